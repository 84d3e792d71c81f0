"""The rows of a selection by tasks on a Ray cluster: looked up batch by batch, sorted and written part by part.

A first task of each batch joins its documents with their columns and distributes the rows by key, as `nagindex.query.rows` does in one
process; they stay on its node. A second task of each part takes the rows of that part from all batches, sorts and writes them. The parts
follow one another, so their rows are those of the single file, in its order.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.cluster.tasks import TASKS_PER_SLOT, Task, Tasks, tasks
from nagindex.cluster.worker import require_folder
from nagindex.corpus.sql import open_database, quote_name, quote_path
from nagindex.progress import step
from nagindex.query.parts import write_metadata, write_part
from nagindex.query.remote import opened
from nagindex.query.rows import (
    MEMORY,
    PARTS_BY_TASKS,
    PLACE_COLUMNS,
    Batches,
    Chosen,
    distribute,
    files_in,
    insert_ranked,
    joined_columns,
)
from nagindex.query.totals import Total, Totals, added, totals_by_target, whole_of
from nagindex.search import spill
from nagindex.storage.docs import kept_types
from nagindex.storage.locations import absolute_location
from nagindex.storage.part_folders import writing_parts
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.stores.urls import absolute, is_remote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyarrow.parquet import FileMetaData

ROWS, ROWS_WITH_TEXTS = 1 << 18, 1 << 15
"""Most documents that one task looks up."""
LEAST = 8
"""A task looks up at least this part of them: every task leaves a piece of each part, and small pieces take more bytes a document."""
SEEN_IN_MEMORY = 32 << 20
"""Largest size in bytes of the marks of documents in memory; larger ones go to a temporary file."""


@dataclass(frozen=True)
class Wanted:
    """What tasks need to look up and write the rows of a selection.

    Attributes:
        index: the index's folder, or its URL.
        version: its version.
        columns: further columns of the documents' batches.
        kept: types of the kept columns by name.
        with_text: whether there is a column `text`.
        corpus_root: where the sources lie now; None for where they were read.
        settings: the selection's record.
        threads: threads of a task.
    """

    index: str
    version: int
    columns: tuple[str, ...]
    kept: Mapping[str, str]
    with_text: bool
    corpus_root: str | None
    settings: dict[str, Any]
    threads: int

    @property
    def extras(self) -> list[str]:
        """Names of the columns of batches, texts included."""
        return [*self.columns, *["text"] * self.with_text]

    @property
    def several(self) -> bool:
        """Whether there are several targets."""
        return "target" in self.columns


@dataclass(frozen=True)
class Written:
    """A part that was written.

    Attributes:
        footer: of its file.
        totals: of its documents, by target.
    """

    footer: FileMetaData
    totals: Mapping[str, Total]


def write_by_tasks(
    ray: str,
    path: str | Path,
    snapshot: Snapshot,
    chosen: Batches,
    limits: Sequence[int] | None,
    *,
    columns: Sequence[str],
    settings: dict[str, Any],
    with_text: bool,
    corpus_root: str | Path | None,
) -> Totals:
    """Write a selection as a folder of parts by tasks on a Ray cluster; return its totals.

    Args:
        ray: the address of the cluster.
        path: the folder, or its URL; see `writing_parts`.
        snapshot: the version that the documents are of.
        chosen: the documents.
        limits: of each ranking, how many of its documents are selected, the first ones; None for all.
        columns: names of the batches' further columns.
        settings: the selection's record.
        with_text: whether to add a column `text`, read again from the sources.
        corpus_root: where the sources lie now; None for where they were read.

    Raises:
        BadInputError: there is no such cluster, or something is in the folder.
        InputNotFoundError: there is no such cluster, or a node of it does not see the output's folder.
        SourceChangedError: a source is missing or no longer holds what was encoded.
    """
    with writing_parts(path) as place, tasks(ray) as cluster:
        wanted = Wanted(
            absolute_location(snapshot.path),
            snapshot.manifest.version,
            tuple(columns),
            kept_types(snapshot),
            with_text,
            None if corpus_root is None else absolute(corpus_root),
            settings,
            cluster.slots.cpus,
        )
        shared = cluster.share(wanted)
        sizes, pieces = _look_up(cluster, shared, chosen, ROWS_WITH_TEXTS if with_text else ROWS)
        started, ranked = list[Task](), defaultdict[int, int](int)
        for part, (ranking, size) in sorted(sizes.items()):
            before = ranked[ranking]
            taken = size if limits is None else max(0, min(size, limits[ranking] - before))
            if taken:
                at = str(path), place, len(started)
                started.append(cluster.start(f"{__name__}:write_sorted", shared, at, before, taken, *pieces.pop(part)))
            ranked[ranking] += taken
        written: dict[int, Written] = {}
        seen = _marks(snapshot) if wanted.several else None
        with step("writing the selection", len(started), "parts") as advance:
            for number, (own, positions) in cluster.answers(started):
                written[number] = own
                if seen is not None:
                    seen[positions] = True
                advance(1)
        parts = [written[number] for number in sorted(written)]
        write_metadata(place, [own.footer for own in parts])
    return whole_of(added(own.totals for own in parts), None if seen is None else int(np.count_nonzero(seen)))


def _look_up(
    cluster: Tasks, shared: Any, chosen: Batches, most: int
) -> tuple[dict[int, tuple[int, int]], dict[int, list[Any]]]:
    """Have tasks look up all documents; return each part's ranking and size, and the references to its pieces."""
    sizes: dict[int, tuple[int, int]] = {}
    pieces: dict[int, list[Any]] = defaultdict(list)
    started, counts = list[Task](), list[int]()
    even = max(most // LEAST, -(-chosen.documents // (TASKS_PER_SLOT * cluster.slots.count)))
    for batch in chosen:
        for rows in _shares(len(batch.positions), max(even, most // PARTS_BY_TASKS * len(batch.sizes())), most):
            own = batch.take(rows)
            parts = own.sizes()
            task = cluster.start(f"{__name__}:look_up", shared, own, pieces=len(parts))
            started.append(task)
            counts.append(len(own.positions))
            for (part, (ranking, size)), piece in zip(parts.items(), task.left, strict=True):
                sizes[part] = ranking, sizes.get(part, (0, 0))[1] + size
                pieces[part].append(piece)
    with step("looking up the selected documents", sum(counts), "documents") as advance:
        for number, _ in cluster.answers(started):
            advance(counts[number])
    return sizes, pieces


def _shares(documents: int, wanted: int, most: int) -> list[slice]:
    """Return the rows of a batch that each task looks up: equally many, `wanted` or more, but not more than `most`."""
    count = max(documents // wanted, -(-documents // most))
    edges = np.linspace(0, documents, count + 1).astype(int).tolist()
    return [slice(*edge) for edge in pairwise(edges)]


def look_up(wanted: Wanted, batch: Chosen) -> tuple[None, list[list[bytes]]]:
    """Leave the rows of a batch as the content of Parquet files, a list of them for each part that it has documents of. A task."""
    snapshot, texts = opened(wanted.index, wanted.version), {}
    if wanted.with_text:
        found = np.empty(len(batch.positions), object)
        for number, text in SourceTexts(snapshot, wanted.corpus_root).read(batch.positions):
            found[number] = text
        texts = {"text": found}
    listed = joined_columns(wanted.extras, wanted.kept)
    batch = replace(batch, columns={**batch.columns, **texts})
    with (
        open_database(threads=wanted.threads) as connection,
        tempfile.TemporaryDirectory(prefix="nagindex-") as folder,
    ):
        sizes = distribute(connection, [batch], snapshot, listed, folder)
        return None, [[file.read_bytes() for file in files_in(folder, part)] for part in sizes]


def write_sorted(
    wanted: Wanted, at: tuple[str, str, int], before: int, taken: int, *pieces: list[bytes]
) -> tuple[tuple[Written, npt.NDArray[np.int64]], None]:
    """Sort and write a part; return it and, where there are several targets, the positions of its documents, int64 [m]. A task.

    Args:
        wanted: what is the same for all parts.
        at: the output as the user named it, where it is written, and the part's number from 0.
        before: documents of earlier parts of its ranking.
        taken: how many of the part's documents are selected, the first ones.
        pieces: the part's rows: of each batch that has some, the content of Parquet files.

    Raises:
        InputNotFoundError: this node does not see the folder.
    """
    output, place, number = at
    if not is_remote(place):
        require_folder(place, output)
    with (
        open_database(threads=wanted.threads) as connection,
        tempfile.TemporaryDirectory(prefix="nagindex-") as folder,
    ):
        for piece, content in enumerate(chain.from_iterable(pieces)):
            Path(folder, f"{piece}.parquet").write_bytes(content)
        names = [*wanted.extras, *PLACE_COLUMNS, *wanted.kept]
        rows = f"read_parquet({quote_path(folder)} || '/*.parquet', hive_partitioning = false)"
        insert_ranked(connection, rows, names, before=before, length=0, taken=taken)
        footer = write_part(connection, _listed(wanted), place, number, settings=wanted.settings, memory=MEMORY)
        totals = totals_by_target(connection, several=wanted.several)
        return (Written(footer, totals), _positions(connection) if wanted.several else np.empty(0, np.int64)), None


def _listed(wanted: Wanted) -> str:
    """Return the SELECT statement of the columns of a part."""
    names = ["rank", "id", "score", *wanted.columns, *PLACE_COLUMNS, *wanted.kept, *["text"] * wanted.with_text]
    return f"SELECT {', '.join(map(quote_name, names))} FROM selection"


def _positions(connection: DuckDBPyConnection) -> npt.NDArray[np.int64]:
    return np.asarray(connection.execute("SELECT _position FROM selection").fetchnumpy()["_position"], np.int64)


def _marks(snapshot: Snapshot) -> npt.NDArray[np.bool_]:
    """Return bool [documents], all false, in which documents are marked."""
    marks = spill.empty((int(snapshot.starts[-1]),), bool, limit=SEEN_IN_MEMORY)
    marks[:] = False
    return marks
