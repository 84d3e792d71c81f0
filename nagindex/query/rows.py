"""The table of a selection's rows: chosen documents joined with their columns in batches, and sorted, on disk where they are many.

Many documents are first distributed by their keys: each part is sorted in memory, and the parts follow one another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

PLACE_COLUMNS = ("tokens", "file", "row")
"""Columns of the documents that an index has always."""
SELECTS_AT_ONCE = 8
"""Segments that one statement reads."""
MEMORY = 64 << 20
"""Bytes of rows in memory for each thread; more are kept in a temporary file."""
ROWS_PER_PART = 1 << 18
"""Rows of a part, about; more of a ranking that would have more than `PARTS`."""
PARTS = 256
"""Most parts of a ranking: every statement writes a file of each."""
PARTS_BY_TASKS = 64
"""Most parts of a ranking on a cluster, where every task leaves a piece of each: Ray sends pieces below 100 kB to the command."""
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

    @property
    def parts_or_rankings(self) -> npt.NDArray[np.int64]:
        """Number of the part of each document, int64 [m]."""
        return self.rankings if self.parts is None else self.parts

    def sizes(self) -> dict[int, tuple[int, int]]:
        """Return the ranking of each part that has documents here, and how many, by the part's number, ascending."""
        parts, first, sizes = np.unique(self.parts_or_rankings, return_index=True, return_counts=True)
        return dict(zip(parts.tolist(), zip(self.rankings[first].tolist(), sizes.tolist(), strict=True), strict=True))

    def take(self, rows: slice) -> Chosen:
        """Return some of the documents."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        parts = None if self.parts is None else self.parts[rows]
        return Chosen(self.positions[rows], self.rankings[rows], self.keys[rows], self.scores[rows], columns, parts)


@dataclass(frozen=True)
class Batches:
    """Batches of chosen documents.

    Attributes:
        documents: of all batches.
        make: makes the batches, each time they are iterated over.
    """

    documents: int
    make: Callable[[], Iterator[Chosen]]

    def __iter__(self) -> Iterator[Chosen]:
        return self.make()


def part_edges(keys: npt.NDArray[Any], most: int = PARTS) -> npt.NDArray[Any]:
    """Return the least keys, ascending, of all parts but the last, of a ranking with these keys; there are `most` parts at most."""
    parts = min(len(keys) // ROWS_PER_PART + 1, most)
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
    kept: Mapping[str, str],
    limits: Sequence[int] | None = None,
) -> int:
    """Create the table `selection` of the chosen documents, by ranking, descending key and ascending id; return its length.

    Its columns are rank (in the ranking), id, score, `columns`, `PLACE_COLUMNS`, those of `kept`, and `_position` and `_row` (from 1).
    Memory does not grow with the documents: each batch is joined on its own, and each part sorted on its own.

    Args:
        connection: where the table is made, as a temporary one.
        batches: the documents.
        snapshot: the version that they are of.
        columns: the batches' further columns.
        kept: types of the kept columns by name. Segments may have narrower ones.
        limits: of each ranking, how many of its documents are kept, the first ones; by default all.
    """
    listed, names = joined_columns(columns, kept), [*columns, *PLACE_COLUMNS, *kept]
    batches = iter(batches)
    head, length, ranked = list(islice(batches, 2)), 0, dict[int, int]()
    # One batch fits memory, and needs no files.
    with nullcontext() if len(head) < 2 else tempfile.TemporaryDirectory(prefix="nagindex-") as folder:
        sizes = distribute(connection, chain(head, batches), snapshot, listed, folder)
        created = False
        for part, (ranking, size) in sorted(sizes.items()):
            before = ranked.get(ranking, 0)
            taken = size if limits is None else max(0, min(size, limits[ranking] - before))
            rows = f"(FROM chosen WHERE _part = {part})" if folder is None else rows_in(folder, part)
            insert_ranked(connection, rows, names, before=before, length=length, taken=taken, create=not created)
            created, length, ranked[ranking] = True, length + taken, before + taken
    connection.execute("DROP TABLE IF EXISTS chosen")
    return length


def joined_columns(columns: Sequence[str], kept: Mapping[str, str]) -> str:
    """Return the columns in SQL of batches that are joined with their documents; see `create_rows`.

    Columns are numbered, so that a kept one may have any name.
    """
    own = [f"hits._extra{number}" for number, _ in enumerate(columns)]
    own += [f"d.{name}" for name in PLACE_COLUMNS]
    own += [f"d.{quote_name(name)}::{kind}" for name, kind in kept.items()]
    numbered = ", ".join(f"{column} AS _column{number}" for number, column in enumerate(own))
    return f"hits._part, hits._key, d.id, hits._score AS score, {numbered}, hits._position"


def insert_ranked(
    connection: DuckDBPyConnection,
    rows: str,
    names: Sequence[str],
    *,
    before: int,
    length: int,
    taken: int,
    create: bool = True,
) -> None:
    """Insert the rows of a part into the table `selection`, by descending key and ascending id.

    Args:
        connection: where the table is.
        rows: SQL table expression of the part's rows, as `distribute` writes them.
        names: of the columns that `joined_columns` numbers.
        before: documents of earlier parts of its ranking.
        length: rows that the table has.
        taken: how many of the part's rows are kept, the first ones.
        create: whether to create the table.
    """
    listed = ", ".join(f"_column{number} AS {quote_name(name)}" for number, name in enumerate(names))
    # Rows keep the order in which they are inserted: nothing that reads the table has to sort again.
    _insert(
        connection,
        "selection",
        f"""SELECT {before} + row_number() OVER () AS rank, id, score, {listed}, _position, {length} + row_number() OVER () AS _row
        FROM (FROM {rows} ORDER BY _key DESC, id LIMIT {taken})""",
        create=create,
    )


def distribute(
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
        parts = batch.parts_or_rankings
        for part, (ranking, size) in batch.sizes().items():
            sizes[part] = ranking, sizes.get(part, (0, 0))[1] + size
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


def rows_in(folder: str | Path, part: int) -> str:
    """Return the SQL table expression of the rows of a part that `distribute` wrote to a folder."""
    return f"read_parquet({quote_path(folder)} || '/*/_part={part}/*.parquet', hive_partitioning = false)"


def files_in(folder: str | Path, part: int) -> list[Path]:
    """Return the files of the rows of a part that `distribute` wrote to a folder."""
    return sorted(Path(folder).glob(f"*/_part={part}/*.parquet"))


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
