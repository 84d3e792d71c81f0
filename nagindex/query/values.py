"""The commonest values of a column of the documents, and which of them each document has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import quote_name
from nagindex.errors import BadInputError
from nagindex.storage.docs import open_docs
from nagindex.storage.locations import location
from nagindex.storage.snapshot import Snapshot

MOST_VALUES = 250
"""Values of a column that are told apart at most."""
FEW_VALUES = 50
"""Values that a column of labels has at most."""


@dataclass(frozen=True)
class ColumnValues:
    """A column of all stored documents.

    Attributes:
        column: its name.
        values: its v commonest values as text, None for documents without one, the commonest first.
        numbers: uint8 [documents], the place of each document's value in `values`; v for all others, and deleted documents.
    """

    column: str
    values: Sequence[str | None]
    numbers: npt.NDArray[np.uint8]

    @classmethod
    def read(cls, snapshot: Snapshot, columns: Sequence[str] | None, values: int) -> list[ColumnValues]:
        """Return columns of a snapshot's documents.

        Args:
            snapshot: the version of the index.
            columns: kept columns, or `file`; None for the kept columns of few values.
            values: number of values of each, at least 1.

        Raises:
            BadInputError: there is no such column, or the number of values is out of range.
        """
        if not 1 <= values <= MOST_VALUES:
            raise BadInputError(f"values {values}: from 1 to {MOST_VALUES} values of a column can be told apart")
        require_columns(snapshot, columns)
        kept = snapshot.manifest.settings.keep_columns
        wanted = list(kept if columns is None else dict.fromkeys(columns))
        if not wanted:
            return []
        with open_docs(snapshot) as connection:
            if columns is None:
                listed = ", ".join(f"approx_count_distinct({quote_name(name)})" for name in wanted)
                [counts] = connection.execute(f"SELECT {listed} FROM docs").fetchall()
                wanted = [name for name, count in zip(wanted, counts, strict=True) if count <= FEW_VALUES]
            found = []
            for name in wanted:
                value = f"{quote_name(name)}::VARCHAR"
                rows = connection.execute(
                    f"SELECT {value} FROM docs GROUP BY 1 ORDER BY count(*) DESC, 1 NULLS LAST LIMIT {int(values)}"
                ).fetchall()
                common = [own for (own,) in rows]
                read = connection.execute(
                    f"""SELECT _segment, _position, coalesce(list_position(?::VARCHAR[], {value}) - 1, {len(common)})::UTINYINT AS number
                    FROM docs""",
                    [common],
                ).fetchnumpy()
                numbers = np.full(snapshot.starts[-1], len(common), np.uint8)
                numbers[snapshot.starts[read["_segment"]] + read["_position"]] = read["number"]
                found.append(cls(name, common, numbers))
        return found


def require_columns(snapshot: Snapshot, columns: Sequence[str] | None) -> None:
    """Raise BadInputError if one of some columns is neither a kept column of the index nor `file`."""
    known = [*snapshot.manifest.settings.keep_columns, "file"]
    for name in columns or ():
        if name not in known:
            raise BadInputError(f"no column {name!r} in {location(snapshot.path)}; there are {', '.join(known)}")
