"""Neighbor graphs (HNSW, by usearch) over sketches: the likeliest documents of a large pool without looking at all of it.

Coordinates are centered and lifted to constant length by one more value, which holds what they lack of it. The order by cosine to
(a, 0) is then the order by y'a, the likeliest scores. What a graph finds is always scored exactly afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nagindex.search.sketch import Sketch, SketchType

GROUP_DOCUMENTS = 1 << 18
"""Documents from which on a graph is full and the next segments get another."""
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 64, 64
ROWS_PER_ADD = 16_384
MARGIN = 1.0 + 1e-5


def build(
    sketches: Sequence[Sketch], dtype: SketchType, progress: Callable[[int], None] = lambda documents: None
) -> tuple[Any, npt.NDArray[np.float64]]:
    """Return a usearch index over the documents of some sketches, and what their coordinates were centered by, float64 [d].

    Args:
        sketches: of one basis, with at least one document altogether.
        dtype: how the graph keeps its vectors.
        progress: called with the number of documents that are in.
    """
    from usearch.compiled import MetricKind, ScalarKind
    from usearch.index import Index

    count = sum(map(len, sketches))
    centre = sum(_coordinates(sketch, slice(None)).sum(axis=0) for sketch in sketches) / count
    longest = max(
        float((_centred(sketch, rows, centre) ** 2).sum(axis=1).max())
        for sketch in sketches
        for rows in _blocks(sketch)
    )
    kind = ScalarKind.F16 if dtype == "f16" else ScalarKind.I8
    index = Index(
        ndim=len(centre) + 1,
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
            own = _centred(sketch, rows, centre)
            missing = np.sqrt(np.maximum(longest * MARGIN - (own**2).sum(axis=1), 0))
            vectors = np.concatenate([own, missing[:, None]], axis=1).astype(np.float32)
            index.add(np.arange(done, done + len(vectors), dtype=np.uint64), vectors)
            done += len(vectors)
            progress(done)
    return index, centre


def opened(path: str) -> Any:
    """Return a usearch index mapped from a file whose length has been checked."""
    from usearch.index import Index

    index = Index.restore(path, view=True, enable_key_lookups=False)
    if index is None:
        raise ValueError("no usearch index")
    return index


def nearest(index: Any, inside: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Return the nodes of a graph, int64 [m] with m at most `count`, whose likeliest scores are highest.

    Args:
        index: a graph.
        inside: float64 [d], a target's weights in the basis.
        count: how many.
    """
    query = np.append(inside, 0.0)
    length = float(np.linalg.norm(query))
    if length == 0:
        return np.arange(min(count, len(index)), dtype=np.int64)
    found = index.search((query / length).astype(np.float32), min(count, len(index)))
    return cast("npt.NDArray[np.int64]", np.asarray(found.keys).astype(np.int64))


def _blocks(sketch: Sketch) -> list[slice]:
    return [slice(first, first + ROWS_PER_ADD) for first in range(0, len(sketch), ROWS_PER_ADD)]


def _coordinates(sketch: Sketch, rows: slice) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = (sketch.offsets[:-1] + sketch.steps[:-1] * sketch.values[rows][:, :-1]).astype(
        "f4"
    )
    return found


def _centred(sketch: Sketch, rows: slice, centre: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return _coordinates(sketch, rows) - centre
