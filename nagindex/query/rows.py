"""The table of a selection's rows: chosen documents joined with their columns in batches, and sorted, on disk where they are many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import quote_name, run_within
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.tables import scan_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SELECTS_AT_ONCE = 8
"""Segments that one statement reads."""
MEMORY = 64 << 20
"""Bytes of rows in memory for each thread; more are kept in a temporary file."""


@dataclass(frozen=True)
class Chosen:
    """A batch of chosen documents in no particular order, as arrays [m].

    Attributes:
        positions: integers, positions in the snapshot.
        rankings: int64, number of the ranking that a document was chosen from; rankings follow one another in the selection.
        keys: ranking keys, the best highest.
        scores: float64, similarities.
        columns: further columns, by name; every batch has the same ones.
    """

    positions: npt.NDArray[Any]
    rankings: npt.NDArray[np.int64]
    keys: npt.NDArray[Any]
    scores: npt.NDArray[np.float64]
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


def create_rows(
    connection: DuckDBPyConnection,
    batches: Iterable[Chosen],
    snapshot: Snapshot,
    *,
    columns: Sequence[str],
    places: Sequence[str],
    kept: Mapping[str, str],
) -> int:
    """Create the table `selection` of the chosen documents, by ranking, descending key and ascending id; return its length.

    Its columns are rank (in the ranking), id, score, `columns`, `places`, those of `kept`, and `_position` and `_row` (from 1).
    Memory does not grow with the documents: each batch is joined on its own, and the database sorts them, on disk if it must.

    Args:
        connection: where the table is made, as a temporary one.
        batches: the documents.
        snapshot: the version that they are of.
        columns: the batches' further columns.
        places: columns of the documents that the index has always.
        kept: types of the kept columns by name. Segments may have narrower ones.
    """
    own = [f"hits._extra{number} AS {quote_name(name)}" for number, name in enumerate(columns)]
    own += [f"d.{name}" for name in places]
    own += [f"d.{quote_name(name)}::{kind} AS {quote_name(name)}" for name, kind in kept.items()]
    listed = f"hits._list AS _segment, hits._key AS _sum, d.id, hits._score AS score, {', '.join(own)}, hits._position"
    verb = "CREATE TEMP TABLE chosen AS"
    for batch in batches:
        for selects in _selects(connection, batch, snapshot, listed):
            run_within(connection, MEMORY, f"{verb} {selects}")
            verb = "INSERT INTO chosen"
    connection.unregister("hits")
    counts = dict(connection.execute("SELECT _segment, count(*) FROM chosen GROUP BY _segment").fetchall())
    before = np.cumsum([0, *(counts.get(number, 0) for number in range(max(counts) + 1))]).tolist()
    names = ", ".join(map(quote_name, ["id", "score", *columns, *places, *kept, "_position"]))
    # Rows keep the order in which they are inserted: nothing that reads the table has to sort again.
    run_within(
        connection,
        MEMORY,
        f"""CREATE TEMP TABLE selection AS SELECT _row - ({before}::BIGINT[])[_segment + 1] AS rank, {names}, _row
        FROM (SELECT row_number() OVER () AS _row, * FROM (FROM chosen ORDER BY _segment, _sum DESC, id))""",
    )
    connection.execute("DROP TABLE chosen")
    return int(before[-1])


def _selects(connection: DuckDBPyConnection, batch: Chosen, snapshot: Snapshot, listed: str) -> Iterator[str]:
    """Yield SELECT statements that together join a batch, the view `hits`, with its documents `d`; each reads some segments."""
    numbers, rows = snapshot.locate(batch.positions)
    extras = {f"_extra{number}": values for number, values in enumerate(batch.columns.values())}
    columns = {"_list": batch.rankings, "_key": batch.keys, "_score": batch.scores, "_position": batch.positions}
    connection.register("hits", {"_segment": numbers, "file_row_number": rows, **columns, **extras})
    selects = [
        f"SELECT {listed} FROM hits JOIN {scan_sql([snapshot.segments[number].docs_path], extra=', file_row_number = true')} d "
        f"USING (file_row_number) WHERE hits._segment = {number}"
        for number in np.unique(numbers).tolist()
    ]
    for first in range(0, len(selects), SELECTS_AT_ONCE):
        yield " UNION ALL ".join(selects[first : first + SELECTS_AT_ONCE])
