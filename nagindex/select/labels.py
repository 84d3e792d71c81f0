"""Labels: which documents are known to be relevant to a target, by the values of kept columns or by files of ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import format_names, similar_name
from nagindex.corpus.sql import open_database, quote_name
from nagindex.errors import BadInputError
from nagindex.progress import step
from nagindex.select.id_files import load_ids
from nagindex.storage.docs import columns_of, open_docs
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.given import OTHERS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Values = str | float | bool | Sequence[str | float | bool]
"""A value of a column, or several."""
Relevant = Mapping[str, Values | Mapping[str, Values]]
"""Values by column, or such a mapping for each target."""
RelevantIds = str | Path | Iterable[str | Path] | Mapping[str, str | Path | Iterable[str | Path]]
"""Files of ids, or the files of each target."""

NEAREST_VALUES = 3
"""Values of a column that the message about a value that no document has names."""


@dataclass(frozen=True)
class Labels:
    """What makes a document relevant: a value of one of the columns, or its id in one of the files.

    Attributes:
        columns: the values of each column, as text.
        files: files of ids.
    """

    columns: Mapping[str, tuple[str, ...]]
    files: tuple[str, ...]


def labels_of(relevant: Relevant | None, ids: RelevantIds | None) -> dict[str, Labels]:
    """Return the labels of each target by its name, those of all others as `*`; none where no label is given.

    Args:
        relevant: values of columns, such as `{"subject": ["biology"]}`; or such a mapping for each target.
        ids: files of ids, of all targets or by target.

    Raises:
        BadInputError: some values are given by target and others are not, or a column has no value.
    """
    columns: Mapping[str, Any] = relevant or {}
    nested = [isinstance(own, Mapping) for own in columns.values()]
    if any(nested) and not all(nested):
        raise BadInputError(
            '`relevant`: values for some targets and for all; write `*` for the others: {"a": {...}, "*": {...}}'
        )
    by_target = columns if any(nested) else {OTHERS: columns} if columns else {}
    files: Mapping[str, Any] = ids if isinstance(ids, Mapping) else {} if ids is None else {OTHERS: ids}
    found = {}
    for name in dict.fromkeys([*by_target, *files]):
        own = {column: tuple(map(_text, _listed(values))) for column, values in by_target.get(name, {}).items()}
        for column, values in own.items():
            if not values:
                raise BadInputError(f"`relevant` {column}: no value; name at least one")
        found[name] = Labels(own, tuple(map(str, _listed(files.get(name, ())))))
        if not (own or found[name].files):
            raise BadInputError(f"`relevant`: no column for {name}; name one with its values")
    return found


def relevant_documents(
    snapshot: Snapshot, labels: Mapping[str, Labels]
) -> tuple[dict[str, npt.NDArray[np.bool_]], list[str]]:
    """Return which stored documents are relevant, bool [stored documents] for each entry, and sentences for the user.

    Args:
        snapshot: the version.
        labels: what makes documents relevant, by target.

    Raises:
        InputNotFoundError, BadInputError: a file cannot be read, the index keeps no such column, or no document has such a value.
    """
    database, notes = open_database(), []
    for number, own in enumerate(labels.values()):
        if own.files:
            load_ids(database, f"_relevant_{number}", own.files)
    found = {}
    with step("finding relevant documents"), open_docs(snapshot, database=database) as connection:
        known = columns_of(connection)
        for number, (name, own) in enumerate(labels.items()):
            for column, values in own.columns.items():
                _require_values(connection, column, values, known)
            conditions = [f"list_contains(?::VARCHAR[], {quote_name(column)}::VARCHAR)" for column in own.columns]
            if own.files:
                conditions.append(f"id IN (SELECT id FROM _relevant_{number})")
                notes += _unknown_ids(connection, f"_relevant_{number}")
            rows = connection.execute(
                f"SELECT _segment, _position FROM docs WHERE {' OR '.join(conditions)}",
                [list(values) for values in own.columns.values()],
            ).fetchnumpy()
            found[name] = np.zeros(int(snapshot.starts[-1]), bool)
            found[name][snapshot.starts[np.asarray(rows["_segment"])] + np.asarray(rows["_position"])] = True
    return found, notes


def positions_by_id(snapshot: Snapshot) -> npt.NDArray[np.int64]:
    """Return the positions of the documents that are not deleted, in ascending order of their ids, int64 [documents]."""
    with open_docs(snapshot) as connection:
        rows = connection.execute("SELECT _segment, _position FROM docs ORDER BY id").fetchnumpy()
    positions: npt.NDArray[np.int64] = snapshot.starts[np.asarray(rows["_segment"])] + np.asarray(rows["_position"])
    return positions


def _require_values(
    connection: DuckDBPyConnection, column: str, values: Sequence[str], known: Mapping[str, str]
) -> None:
    """Raise BadInputError unless the index has a column, and documents with each of some values in it."""
    if column not in known:
        likely = similar_name(column, known)
        hint = f" (did you mean {likely}?)" if likely else ""
        raise BadInputError(
            f"`relevant` {column}: no such column in the index{hint}; its columns are {format_names(known)}; "
            "others are kept by a new build with `keep_columns`"
        )
    distinct = (
        f"SELECT DISTINCT {quote_name(column)}::VARCHAR AS value FROM docs WHERE {quote_name(column)} IS NOT NULL"
    )
    [(missing,)] = connection.execute(
        f"SELECT min(value) FROM (SELECT unnest(?::VARCHAR[]) AS value) ANTI JOIN ({distinct}) USING (value)",
        [list(values)],
    ).fetchall()
    if missing is None:
        return
    nearest = connection.execute(
        f"FROM ({distinct}) ORDER BY jaro_winkler_similarity(value, ?) DESC, value LIMIT {NEAREST_VALUES}", [missing]
    ).fetchall()
    remedy = f"the nearest values are {format_names([value for (value,) in nearest])}" if nearest else "it is empty"
    raise BadInputError(f"`relevant` {column}: no document has the value {missing!r}; {remedy}")


def _unknown_ids(connection: DuckDBPyConnection, table: str) -> list[str]:
    """Return a sentence if ids of a table are not in the index."""
    [(listed,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    [(present,)] = connection.execute(f"SELECT count(*) FROM docs SEMI JOIN {table} USING (id)").fetchall()
    return [f"relevant ids that are not in the index: {listed - present:,} of {listed:,}"] if present < listed else []


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, (str, int, float)) or hasattr(given, "__fspath__") else list(given)


def _text(value: object) -> str:
    """Return a value as DuckDB writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
