"""The subspace that graphs are built in: a truncated singular value decomposition of a sample of NAGs.

A NAG is a 0/1 vector x over all neurons of all layers, with nnz = L * K nonzeros. The first direction of a basis V is
the sample's mean, the others are its principal components. The sketch of a document is its coordinates y = V'x; with the
coefficients a = V'w of a target's weights w, y'a is its estimated score.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes, NagSpec
from nagindex.workers.cpus import thread_count

TOLERANCE = 0.1
"""Relative accuracy of the singular values."""
ROWS_PER_TASK = 4096


@dataclass(frozen=True)
class Basis:
    """Nearly orthonormal directions in the space of all neurons.

    Attributes:
        vectors: float32 [neurons, d], memory-mapped or in memory.
        spec: shape of the NAGs.
    """

    vectors: npt.NDArray[np.float32]
    spec: NagSpec

    def coordinates(self, codes: Codes, *, threads: int | None = None) -> npt.NDArray[np.float32]:
        """Return the coordinates V'x of documents, float32 [n, d], from their codes, uint16 [n, L, K].

        A code that its layer does not have, which only damage leads to, counts as the layer's last neuron.

        Args:
            codes: uint16 [n, L, K].
            threads: number of threads; by default one per available core.
        """
        from nagindex.search.kernels import sum_vectors

        coordinates = np.empty((len(codes), self.vectors.shape[1]), np.float32)
        vectors, offsets, top_k = self.vectors.view(np.ndarray).reshape(-1), self.spec.offsets, self.spec.top_k

        def fill(first: int) -> None:
            rows = slice(first, first + ROWS_PER_TASK)
            block = np.ascontiguousarray(codes[rows]).reshape(-1, self.spec.layers * top_k)
            sum_vectors(block, offsets, top_k, vectors, coordinates[rows])

        with ThreadPoolExecutor(thread_count(threads)) as pool:
            list(pool.map(fill, range(0, len(codes), ROWS_PER_TASK)))
        return coordinates

    def coefficients(self, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the coefficients V'w of a weight vector, float64 [d].

        Args:
            weights: int64 [L, max d_l], 0 beyond a layer's width.
        """
        coefficients = np.zeros(self.vectors.shape[1])
        for layer, start in enumerate(self.spec.offsets[:-1]):
            neurons = np.flatnonzero(weights[layer])
            vectors = self.vectors[start + neurons].astype(np.float64)
            coefficients += weights[layer, neurons].astype(np.float64) @ vectors
        return coefficients


def fit(codes: Codes, spec: NagSpec, directions: int, seed: int) -> tuple[npt.NDArray[np.float32], float]:
    """Fit a basis to a sample: the direction of its mean, then its principal components.

    Args:
        codes: uint16 [n, L, K], the sample.
        spec: shape of the NAGs.
        directions: number of directions, at least 2; a sample of lower rank gives fewer.
        seed: seed of the decomposition's starting vector.

    Returns:
        The vectors, float32 [neurons, d], and the share of the sample's variance that they keep, 0 to 1.
    """
    import scipy.sparse as sp
    from scipy.sparse.linalg import LinearOperator, svds

    n, nnz = len(codes), spec.layers * spec.top_k
    columns = (codes.astype(np.int32) + spec.offsets[:-1, None].astype(np.int32)).reshape(-1)
    matrix = sp.csr_matrix(
        (np.ones(columns.size, np.float32), columns, np.arange(0, columns.size + 1, nnz)),
        shape=(n, int(spec.offsets[-1])),
    )
    transposed = matrix.T.tocsr()
    mean = np.asarray(matrix.mean(axis=0), np.float32).reshape(-1)
    centered = LinearOperator(
        matrix.shape,
        dtype=np.float32,
        matvec=lambda v: matrix @ v.reshape(-1) - mean @ v.reshape(-1),
        rmatvec=lambda u: transposed @ u.reshape(-1) - mean * u.sum(),
    )
    components = np.zeros((0, len(mean)), np.float32)
    singular = np.zeros(0)
    count = min(directions - 1, min(matrix.shape) - 1)
    variance = nnz - float(mean.astype(np.float64) @ mean)
    if count > 0 and variance > 1e-9:  # equal documents have no direction of variance, and svds fails on them
        start = np.random.default_rng(seed).standard_normal(min(matrix.shape)).astype(np.float32)
        _, singular, components = svds(
            centered, k=count, tol=TOLERANCE, v0=start, return_singular_vectors="vh", maxiter=20 * sum(matrix.shape)
        )
    order = np.argsort(-singular)
    stacked = np.concatenate([mean[None], components[order]]).astype(np.float64)
    vectors, triangle = np.linalg.qr(stacked.T)
    independent = np.abs(np.diag(triangle)) > 1e-4 * np.abs(triangle[0, 0])  # the sample's rank may be lower
    kept = float((singular.astype(np.float64) ** 2).sum()) / n / variance if variance > 1e-9 else 1.0
    return np.ascontiguousarray(vectors[:, independent], np.float32), min(kept, 1.0)
