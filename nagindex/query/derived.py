"""Graphs for a query: those that cannot be read are noted, and their documents scanned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagindex.errors import DamagedIndexError, UnknownFormatError
from nagindex.query.pool import ScoredPool
from nagindex.sketches.graphs import current_graphs
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from nagindex.search.basis import Basis
    from nagindex.search.graph_search import Graph


def open_graphs(snapshot: Snapshot, pool: ScoredPool, notes: list[str]) -> tuple[Basis | None, list[Graph]]:
    """Return the graphs that can be used, with the parts that they connect, and their basis; note those that cannot.

    Args:
        snapshot: the version that the pool belongs to.
        pool: the candidates.
        notes: sentences for the user, which are added to.
    """
    from nagindex.search import hnsw
    from nagindex.search.graph_search import Graph

    by_segment = {entry.id: part for entry, part in zip(pool.segments, pool.parts, strict=True)}
    found: list[Graph] = []

    def leave_out(error: Exception) -> None:
        notes.append(f"a graph is not used, its documents are scanned: {error}")

    try:
        graphs = current_graphs(snapshot.path, snapshot.manifest.fingerprint.spec)
        basis = None if graphs is None else graphs.basis
    except (DamagedIndexError, UnknownFormatError, OSError) as error:
        notes.append(f"graphs are not used: {error}")
        return None, []
    for file in graphs.graphs(pool.segments, leave_out) if graphs is not None else ():
        try:
            file.check()
            parts = tuple(by_segment[segment] for segment in file.segments)
            index = hnsw.load(str(file.path))
            if graphs is None or (len(index), index.ndim) != (sum(part.documents for part in parts), graphs.dims + 1):
                raise DamagedIndexError(file.path, "not the graph of its segments")
            found.append(Graph(index, parts))
        except (DamagedIndexError, OSError, ValueError) as error:  # usearch finds no file: ValueError
            leave_out(error)
    return basis, found
