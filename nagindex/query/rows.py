"""The table of a selection's rows: chosen documents joined with their columns in batches, and sorted, on disk where they are many.

Many documents are first distributed by their keys: each part is sorted in memory, and the parts follow one another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import quote_name, quote_path, run_within
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.tables import scan_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SELECTS_AT_ONCE = 8
"""Segments that one statement reads."""
MEMORY = 64 << 20
"""Bytes of rows in memory for each thread; more are kept in a temporary file."""
ROWS_PER_PART = 1 << 18
"""Rows of a part, about; more of a ranking that would have more than `PARTS`."""
PARTS = 256
"""Most parts of a ranking: every statement writes a file of each."""
KEYS_SAMPLED = 1 << 16


@dataclass(frozen=True)
class Chosen:
    """A batch of chosen documents in no particular order, as arrays [m].

    Attributes:
        positions: integers, positions in the snapshot.
        rankings: int64, number of the ranking that a document was chosen from; rankings follow one another in the selection.
        keys: ranking keys, the best highest.
        scores: float64, similarities.
        columns: further columns, by name; every batch has the same ones.
        parts: int64, of which part of its ranking a document is; parts follow one another. By default a ranking is one.
    """

    positions: npt.NDArray[Any]
    rankings: npt.NDArray[np.int64]
    keys: npt.NDArray[Any]
    scores: npt.NDArray[np.float64]
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    parts: npt.NDArray[np.int64] | None = None


def part_edges(keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the least keys, ascending, of all parts but the last, of a ranking with these keys."""
    parts = min(len(keys) // ROWS_PER_PART + 1, PARTS)
    sample = np.sort(keys[:: len(keys) // KEYS_SAMPLED + 1])
    edges = sample[np.arange(1, parts) * len(sample) // parts]
    return edges[np.flatnonzero(np.diff(edges, prepend=edges[:1] - 1))]


def parts_of(keys: npt.NDArray[Any], edges: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the number of the part that each key belongs to, int64 [m], the best one 0."""
    return len(edges) - np.searchsorted(edges, keys, side="right").astype(np.int64)


def create_rows(
    connection: DuckDBPyConnection,
    batches: Iterable[Chosen],
    snapshot: Snapshot,
    *,
    columns: Sequence[str],
    places: Sequence[str],
    kept: Mapping[str, str],
    limits: Sequence[int] | None = None,
) -> int:
    """Create the table `selection` of the chosen documents, by ranking, descending key and ascending id; return its length.

    Its columns are rank (in the ranking), id, score, `columns`, `places`, those of `kept`, and `_position` and `_row` (from 1).
    Memory does not grow with the documents: each batch is joined on its own, and each part sorted on its own.

    Args:
        connection: where the table is made, as a temporary one.
        batches: the documents.
        snapshot: the version that they are of.
        columns: the batches' further columns.
        places: columns of the documents that the index has always.
        kept: types of the kept columns by name. Segments may have narrower ones.
        limits: of each ranking, how many of its documents are kept, the first ones; by default all.
    """
    own = [f"hits._extra{number} AS {quote_name(name)}" for number, name in enumerate(columns)]
    own += [f"d.{name}" for name in places]
    own += [f"d.{quote_name(name)}::{kind} AS {quote_name(name)}" for name, kind in kept.items()]
    listed = f"hits._part, hits._key AS _sum, d.id, hits._score AS score, {', '.join(own)}, hits._position"
    names = ", ".join(map(quote_name, ["id", "score", *columns, *places, *kept, "_position"]))
    batches = iter(batches)
    head, length, ranked = list(islice(batches, 2)), 0, dict[int, int]()
    # One batch fits memory, and needs no files.
    with nullcontext() if len(head) < 2 else tempfile.TemporaryDirectory(prefix="nagindex-") as folder:
        sizes = _distribute(connection, chain(head, batches), snapshot, listed, folder)
        created = False
        for part, (ranking, size) in sorted(sizes.items()):
            before = ranked.get(ranking, 0)
            taken = size if limits is None else max(0, min(size, limits[ranking] - before))
            # Rows keep the order in which they are inserted: nothing that reads the table has to sort again.
            _insert(
                connection,
                "selection",
                f"""SELECT {before} + row_number() OVER () AS rank, {names}, {length} + row_number() OVER () AS _row
                FROM (FROM {_rows_of(folder, part)} ORDER BY _sum DESC, id LIMIT {taken})""",
                create=not created,
            )
            created, length, ranked[ranking] = True, length + taken, before + taken
    connection.execute("DROP TABLE IF EXISTS chosen")
    return length


def _distribute(
    connection: DuckDBPyConnection, batches: Iterable[Chosen], snapshot: Snapshot, listed: str, folder: str | None
) -> dict[int, tuple[int, int]]:
    """Write the rows of batches, joined with their documents, as files by part; return each part's ranking and rows.

    Args:
        connection: gets the view `hits`, for a time.
        batches: the documents.
        snapshot: the version that they are of.
        listed: the columns of the rows in SQL.
        folder: an empty folder; None for a table `chosen` in place of files.
    """
    sizes: dict[int, tuple[int, int]] = {}
    created = False
    for batch in batches:
        parts = batch.rankings if batch.parts is None else batch.parts
        for part in np.flatnonzero(np.bincount(parts)).tolist():
            own = batch.rankings[parts == part]
            sizes[part] = int(own[0]), sizes.get(part, (0, 0))[1] + len(own)
        for selects in _selects(connection, batch, parts, snapshot, listed):
            if folder is None:
                _insert(connection, "chosen", selects, create=not created)
                created = True
                continue
            written = Path(tempfile.mkdtemp(dir=folder))
            to_files = f"COPY ({selects}) TO {quote_path(written)} (FORMAT parquet, COMPRESSION lz4_raw, PARTITION_BY (_part), OVERWRITE)"
            run_within(connection, MEMORY, to_files)  # once more after what a failed attempt left was removed
    connection.unregister("hits")
    return sizes


def _insert(connection: DuckDBPyConnection, table: str, selects: str, *, create: bool) -> None:
    """Insert what a statement selects into a temporary table, within `MEMORY`.

    The table is created before, without a limit: DuckDB can leave a table behind whose creation runs out of memory.
    """
    if create:
        connection.execute(f"CREATE TEMP TABLE {table} AS {selects} WITH NO DATA")
    run_within(connection, MEMORY, f"INSERT INTO {table} {selects}")


def _rows_of(folder: str | None, part: int) -> str:
    """Return the SQL table expression of the rows of a part."""
    if folder is None:
        return f"(FROM chosen WHERE _part = {part})"
    return f"read_parquet({quote_path(Path(folder))} || '/*/_part={part}/*.parquet', hive_partitioning = false)"


def _selects(
    connection: DuckDBPyConnection, batch: Chosen, parts: npt.NDArray[np.int64], snapshot: Snapshot, listed: str
) -> Iterator[str]:
    """Yield SELECT statements that together join a batch, the view `hits`, with its documents `d`; each reads some segments."""
    numbers, rows = snapshot.locate(batch.positions)
    extras = {f"_extra{number}": values for number, values in enumerate(batch.columns.values())}
    columns = {"_part": parts, "_key": batch.keys, "_score": batch.scores, "_position": batch.positions}
    connection.register("hits", {"_segment": numbers, "file_row_number": rows, **columns, **extras})
    selects = [
        f"SELECT {listed} FROM hits JOIN {scan_sql([snapshot.segments[number].docs_path], extra=', file_row_number = true')} d "
        f"USING (file_row_number) WHERE hits._segment = {number}"
        for number in np.flatnonzero(np.bincount(numbers)).tolist()
    ]
    for first in range(0, len(selects), SELECTS_AT_ONCE):
        yield " UNION ALL ".join(selects[first : first + SELECTS_AT_ONCE])
