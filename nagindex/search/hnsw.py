"""Neighbor graphs (HNSW, by usearch) over sketches, searched for the highest estimated scores.

Coordinates are centered and lifted to constant norm by one more coordinate, which holds the missing norm. The order by
cosine to (a, 0) is then the order by y'a, the estimated score. Candidates from a graph are always scored exactly
afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nagindex.search.sketch import Sketch, SketchType
from nagindex.workers.cpus import available_cpus

GROUP_DOCUMENTS = 1 << 18
"""Most documents of several segments in one graph."""
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 64, 64
ROWS_PER_ADD = 16_384
MARGIN = 1.0 + 1e-5


def build(
    sketches: Sequence[Sketch], dtype: SketchType, advance: Callable[[int], None] = lambda documents: None
) -> tuple[Any, npt.NDArray[np.float64]]:
    """Build a usearch index over the documents of some sketches.

    Args:
        sketches: sketches in one basis, with at least one document in total.
        dtype: type of the graph's vectors.
        advance: called with the number of documents that were added since the last call.

    Returns:
        The index, and the center that was subtracted from the coordinates, float64 [d].
    """
    from usearch.compiled import MetricKind, ScalarKind
    from usearch.index import Index

    count = sum(map(len, sketches))
    center = sum(_coordinates(sketch, slice(None)).sum(axis=0) for sketch in sketches) / count
    longest = max(
        float((_centered(sketch, rows, center) ** 2).sum(axis=1).max())
        for sketch in sketches
        for rows in _blocks(sketch)
    )
    kind = ScalarKind.F16 if dtype == "f16" else ScalarKind.I8
    index = Index(
        ndim=len(center) + 1,
        metric=MetricKind.Cos,
        dtype=kind,
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
        enable_key_lookups=False,
    )
    done = 0
    for sketch in sketches:
        for rows in _blocks(sketch):
            centered = _centered(sketch, rows, center)
            missing = np.sqrt(np.maximum(longest * MARGIN - (centered**2).sum(axis=1), 0))
            vectors = np.concatenate([centered, missing[:, None]], axis=1).astype(np.float32)
            index.add(np.arange(done, done + len(vectors), dtype=np.uint64), vectors, threads=available_cpus())
            done += len(vectors)
            advance(len(vectors))
    return index, center


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


def _blocks(sketch: Sketch) -> list[slice]:
    return [slice(first, first + ROWS_PER_ADD) for first in range(0, len(sketch), ROWS_PER_ADD)]


def _coordinates(sketch: Sketch, rows: slice) -> npt.NDArray[np.float32]:
    values = sketch.values[rows][:, :-1]
    coordinates: npt.NDArray[np.float32] = (sketch.offsets[:-1] + sketch.steps[:-1] * values).astype(np.float32)
    return coordinates


def _centered(sketch: Sketch, rows: slice, center: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return _coordinates(sketch, rows) - center
