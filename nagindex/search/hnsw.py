"""Neighbor graphs (HNSW, by usearch) over sketches, searched for the highest estimated scores.

Coordinates are centered and lifted to constant norm by one more coordinate, which holds the missing norm. The order by
cosine to (a, 0) is then the order by y'a, the estimated score; see `nagindex.search.basis`. Vectors are quantized to eight
bits. Candidates from a graph are always scored exactly afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nagindex.workers.cpus import thread_count

GROUP_DOCUMENTS = 1 << 18
"""Most documents of several segments in one graph."""
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 64, 64
ROWS_PER_ADD = 16_384
MARGIN = 1.0 + 1e-5


def build(
    coordinates: npt.NDArray[np.float32],
    advance: Callable[[int], None] = lambda documents: None,
    *,
    threads: int | None = None,
) -> Any:
    """Return a usearch index over documents, node i for row i.

    Args:
        coordinates: float32 [n, d], n at least 1; centered in place.
        advance: called with the number of documents that were added since the last call.
        threads: that add documents; by default one for each CPU.
    """
    from usearch.compiled import MetricKind, ScalarKind
    from usearch.index import Index

    coordinates -= coordinates.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares = np.einsum("ij,ij->i", coordinates, coordinates)
    missing = np.sqrt(np.maximum(squares.max() * MARGIN - squares, 0))
    index = Index(
        ndim=coordinates.shape[1] + 1,
        metric=MetricKind.Cos,
        dtype=ScalarKind.I8,
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
        enable_key_lookups=False,
    )
    for first in range(0, len(coordinates), ROWS_PER_ADD):
        rows = slice(first, first + ROWS_PER_ADD)
        vectors = np.column_stack([coordinates[rows], missing[rows]])
        index.add(np.arange(first, first + len(vectors), dtype=np.uint64), vectors, threads=thread_count(threads))
        advance(len(vectors))
    return index


def load(path: str) -> Any:
    """Return the usearch index memory-mapped from a file whose length has been checked."""
    from usearch.index import Index

    index = Index.restore(path, view=True, enable_key_lookups=False)
    if index is None:
        raise ValueError("no usearch index")
    return index


def search_graph(index: Any, coefficients: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Return the nodes of a graph that have the highest estimated scores, best first, int64 [m].

    Args:
        index: the usearch index.
        coefficients: float64 [d], a target's weights projected onto the basis.
        count: number of nodes; a smaller graph gives fewer.
    """
    query = np.append(coefficients, 0.0)
    length = float(np.linalg.norm(query))
    if length == 0:
        return np.arange(min(count, len(index)), dtype=np.int64)
    matches = index.search((query / length).astype(np.float32), min(count, len(index)))
    return cast("npt.NDArray[np.int64]", np.asarray(matches.keys).astype(np.int64))
