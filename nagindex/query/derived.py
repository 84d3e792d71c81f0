"""Sketches and graphs for a query: those that cannot be read are noted, and their documents scanned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nagindex.errors import DamagedIndexError, UnknownFormatError
from nagindex.query.pool import ScoredPool
from nagindex.search.scan import Part
from nagindex.sketches.graphs import graphs_of
from nagindex.sketches.store import SketchSet, current_sketches
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from nagindex.search.graph_search import Graph
    from nagindex.search.sketch import Sketch

T = TypeVar("T")


def open_sketches(snapshot: Snapshot, notes: list[str]) -> SketchSet | None:
    """Return the index's sketches with their basis checked; None, with a note where there are some, if they cannot be used."""
    try:
        sketches = current_sketches(snapshot.path, snapshot.manifest.fingerprint.spec)
        if sketches is not None:
            sketches.basis.vectors  # noqa: B018 - its file is checked as it is opened
        return sketches
    except (DamagedIndexError, UnknownFormatError, OSError) as error:
        notes.append(f"sketches are not used: {error}")
        return None


class SketchReader:
    """Opens the sketches of parts; segments whose sketches cannot be read are noted, and scanned."""

    def __init__(self, pool: ScoredPool, sketches: SketchSet, notes: list[str]) -> None:
        self._sketches, self._notes, self._left_out = sketches, notes, set[str]()
        self._entries = {part.start: entry for part, entry in zip(pool.parts, pool.segments, strict=True)}

    def __call__(self, part: Part) -> Sketch | None:
        """Return the sketches of a part; None if it has none that can be read."""
        entry = self._entries[part.start]
        if entry.id in self._left_out:
            return None
        try:
            return self._sketches.read(entry)
        except (DamagedIndexError, UnknownFormatError, OSError) as error:
            self._leave_out(entry.id, error)
            return None

    def retrying(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; it is repeated without sketches that could be opened but not read to their end.

        Raises:
            DamagedIndexError: a file other than such sketches is damaged.
        """
        while True:
            try:
                return work()
            except DamagedIndexError as error:
                path, ids = Path(error.path), {entry.id for entry in self._entries.values()} - self._left_out
                segment = next((own for own in ids if path.name.startswith(f"{own}-")), None)
                if path.parent != self._sketches.folder or segment is None:
                    raise
                self._leave_out(segment, error)

    def _leave_out(self, segment: str, error: Exception) -> None:
        self._left_out.add(segment)
        self._notes.append(f"a segment's sketches are not used, it is scanned: {error}")


def open_graphs(pool: ScoredPool, sketches: SketchSet, notes: list[str]) -> list[Graph]:
    """Return the graphs that can be used, with the parts that they connect, and note those that cannot."""
    from nagindex.search import hnsw
    from nagindex.search.graph_search import Graph

    by_segment: Mapping[str, Part] = {e.id: part for e, part in zip(pool.segments, pool.parts, strict=True)}
    found = []

    def leave_out(error: Exception) -> None:
        notes.append(f"a graph is not used, its documents are scanned: {error}")

    for file in graphs_of(sketches, pool.segments, leave_out):
        try:
            file.check()
            parts = tuple(by_segment[segment] for segment in file.segments)
            index = hnsw.load(str(file.path))
            if len(index) != sum(part.documents for part in parts) or index.ndim != sketches.width:
                raise DamagedIndexError(file.path, "not the graph of its segments")
            found.append(Graph(index, parts))
        except (DamagedIndexError, OSError, ValueError) as error:  # usearch finds no file: ValueError
            leave_out(error)
    return found
