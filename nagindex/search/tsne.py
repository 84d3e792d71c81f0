"""t-SNE in two dimensions on the distance 1 - overlap of NAGs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import require_package
from nagindex.nag import Codes, NagSpec
from nagindex.progress import step

FEWEST = 10
"""Points that a map needs."""
ROWS = 512
"""Rows of distances that are computed at a time."""
ONE_THREAD = 5_000
"""Points up to which one thread lays them out: more would mostly wait for one another, and long where CPUs are busy."""


def require_layout() -> None:
    """Raise MissingDependencyError unless maps can be laid out."""
    require_package("sklearn", "map", "maps need scikit-learn, which is not installed")


def embed(
    codes: Codes, spec: NagSpec, *, seed: int, perplexity: float, threads: int | None = None
) -> tuple[npt.NDArray[np.float64], Any]:
    """Return t-SNE of NAGs, float64 [n, 2], and the distances that it keeps; see `lay_out` and `neighbor_graph`.

    Args:
        codes: uint16 [n, L, K].
        spec: their shape.
        seed: of the layout.
        perplexity: lowered to a third of the other points if these are fewer.
        threads: see `lay_out`.
    """
    perplexity = min(perplexity, (len(codes) - 1) / 3)
    matrix = as_matrix(codes, spec)
    graph = neighbor_graph(matrix, int(3 * perplexity + 1), spec.layers * spec.top_k)
    return lay_out(matrix, graph, seed=seed, perplexity=perplexity, threads=threads), graph


def as_matrix(codes: Codes, spec: NagSpec) -> Any:
    """Return NAGs, uint16 [n, L, K], as 0/1 vectors: a scipy matrix float32 [n, sum of d_l] in CSR form."""
    from scipy.sparse import csr_array

    n, layers, top_k = codes.shape
    columns = np.sort((codes + spec.offsets[:-1, None].astype(np.int32)).reshape(n, -1), axis=1)
    starts = np.arange(0, n * layers * top_k + 1, layers * top_k, dtype=np.int32)  # k-means takes no wider indices
    ones = np.ones(columns.size, np.float32)
    return csr_array((ones, columns.ravel(), starts), shape=(n, int(spec.offsets[-1])))


def neighbor_graph(matrix: Any, count: int, nnz: int) -> Any:
    """Return the distances 1 - overlap of each point to itself and its nearest others, as a CSR matrix with rows in ascending order.

    Args:
        matrix: the NAGs as 0/1 vectors; see `as_matrix`.
        count: number of others, at most n - 1.
        nnz: ones of a vector, L * K.
    """
    from scipy.sparse import csr_array

    n = matrix.shape[0]
    count = min(count, n - 1)
    columns, distances = np.empty((n, count + 1), np.int64), np.zeros((n, count + 1), np.float32)
    transposed = matrix.T.tocsr()
    with step("comparing points", n, "points") as advance:
        for first in range(0, n, ROWS):
            rows = np.arange(first, min(first + ROWS, n))
            shared = (matrix[rows] @ transposed).toarray()
            shared[np.arange(len(rows)), rows] = nnz + 1  # a point comes first among its equals
            nearest = np.argsort(-shared, axis=1, kind="stable")[:, : count + 1]
            columns[rows], distances[rows] = nearest, 1 - np.take_along_axis(shared, nearest, axis=1) / nnz
            advance(len(rows))
    distances[:, 0] = 0
    return csr_array((distances.ravel(), columns.ravel(), np.arange(0, n * (count + 1) + 1, count + 1)), shape=(n, n))


def lay_out(
    matrix: Any, graph: Any, *, seed: int, perplexity: float, threads: int | None = None
) -> npt.NDArray[np.float64]:
    """Return t-SNE of points on d = 1 - overlap, float64 [n, 2].

    It starts from the first two principal components. The neighbors are exact; what pulls points apart is approximated (Barnes-Hut).

    Args:
        matrix: the NAGs as 0/1 vectors; see `as_matrix`.
        graph: distances of the nearest 3 * perplexity + 1 others; see `neighbor_graph`.
        seed: of the layout.
        perplexity: at most a third of the other points.
        threads: threads of the layout of more than `ONE_THREAD` points; by default one for each CPU.

    Source: van der Maaten, "Accelerating t-SNE using Tree-Based Algorithms", JMLR 15, 2014; the distance, arXiv 2604.15706.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    start = PCA(2, svd_solver="arpack", random_state=seed).fit_transform(matrix)
    start = start / max(float(start[:, 0].std()), 1e-12) * 1e-4
    threads = 1 if matrix.shape[0] <= ONE_THREAD else threads
    limited = nullcontext() if threads is None else threadpool_limits(threads, user_api="openmp")
    with step("laying points out"), limited:
        layout = TSNE(
            metric="precomputed", perplexity=perplexity, init=start.astype(np.float32), random_state=seed, n_jobs=-1
        )
        places: npt.NDArray[np.float64] = layout.fit_transform(graph).astype(np.float64)
    return places
