"""The subspace that sketches are coordinates in: a truncated singular value decomposition of a sample of NAGs.

A NAG is a vector x of zeros and ones over all neurons of all layers. A basis V has the direction of the sample's mean first and the
directions of largest variance after it; y = V'x are a document's coordinates, and what they leave of it has the length
|x - Vy|. All that floating point can be wrong by is bounded, so that bounds on scores stay bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes, NagSpec

TOLERANCE = 0.1
"""Of the decomposition: the certificate holds for any basis, and a better one admits no fewer candidates."""
UNIT = 2.0**-24
"""Half a unit in the last place of a float32 of size 1."""
ROWS_PER_TASK = 4096


@dataclass(frozen=True)
class Basis:
    """Directions in the space of all neurons, nearly orthonormal.

    Attributes:
        vectors: float32 [neurons, d], mapped from the disk or in memory.
        skew: no less than the spectral norm of V'V - 1.
        rounding: float64 [d]; coordinates computed in float32 differ from the true ones by at most this.
        spec: shape of the NAGs.
    """

    vectors: npt.NDArray[np.float32]
    skew: float
    rounding: npt.NDArray[np.float64]
    spec: NagSpec

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32], spec: NagSpec) -> Basis:
        """Return the basis with these vectors, float32 [neurons, d]."""
        gram = np.zeros((vectors.shape[1],) * 2)
        largest = np.zeros(vectors.shape[1])
        for start, stop in zip(spec.offsets[:-1], spec.offsets[1:], strict=True):
            layer = vectors[start:stop].astype(np.float64)
            gram += layer.T @ layer
            largest += np.partition(np.abs(layer), -spec.top_k, axis=0)[-spec.top_k :].sum(axis=0)
        places = spec.layers * spec.top_k
        return cls(
            vectors,
            float(np.linalg.norm(gram - np.eye(len(gram)))) * 1.01 + 1e-12,
            1.01 * places * UNIT * largest,
            spec,
        )

    def coordinates(self, codes: Codes) -> npt.NDArray[np.float32]:
        """Return documents' coordinates, float32 [n, d], of codes uint16 [n, L, K]."""
        import torch

        found = np.empty((len(codes), self.vectors.shape[1]), np.float32)
        offsets, last = self.spec.offsets[:-1, None], np.array(self.spec.widths)[:, None] - 1
        # Mapped memory is read-only, which torch warns of; it is only read.
        vectors = torch.from_numpy(np.require(self.vectors.view(np.ndarray), requirements="W"))
        for first in range(0, len(codes), ROWS_PER_TASK):
            rows = slice(first, first + ROWS_PER_TASK)
            # A damaged code may name a neuron that the layer does not have.
            places = (
                (np.minimum(codes[rows], last) + offsets)
                .astype(np.int32)
                .reshape(-1, self.spec.layers * self.spec.top_k)
            )
            found[rows] = torch.nn.functional.embedding_bag(torch.from_numpy(places), vectors, mode="sum").numpy()
        return found

    def residuals(self, coordinates: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return upper bounds of |x - Vy|, float64 [n], from computed coordinates [n, d]."""
        places = self.spec.layers * self.spec.top_k
        length = np.sqrt(np.einsum("ij,ij->i", coordinates, coordinates, dtype=np.float64))
        true = np.maximum(length - np.linalg.norm(self.rounding), 0)  # the true coordinates are at least as long
        left: npt.NDArray[np.float64] = np.sqrt(np.maximum(places - true * true * (1 - self.skew), 0)) * (1 + 1e-12)
        return left

    def split(self, weights: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], float, float]:
        """Split neurons' weights w into a part in the basis and one beside it: w = Va + w'.

        Args:
            weights: [L, max d_l], 0 beyond a layer's width.

        Returns:
            a, float64 [d]; an upper bound of |w'|; an upper bound of |V'w'|, which is 0 but for rounding.
        """
        inside = np.zeros(self.vectors.shape[1])
        square = 0.0
        for layer, start in enumerate(self.spec.offsets[:-1]):
            own = np.flatnonzero(weights[layer])
            values = weights[layer, own].astype(np.float64)
            inside += values @ self.vectors[start + own].astype(np.float64)
            square += float(values @ values)
        length = float(inside @ inside)
        beside = max(square * (1 + 1e-12) - length * (1 - self.skew), 0.0)
        return inside, float(np.sqrt(beside)), (self.skew + 1e-12) * float(np.sqrt(length)) * (1 + 1e-12)


def fit(codes: Codes, spec: NagSpec, directions: int, seed: int) -> tuple[npt.NDArray[np.float32], float]:
    """Return the mean's direction and those of largest variance of a sample, and the share of variance that they keep.

    Args:
        codes: uint16 [n, L, K], the sample.
        spec: its shape.
        directions: how many in all, 2 or more; fewer come back where the sample has no more.
        seed: of the decomposition's starting vector.

    Returns:
        float32 [neurons, d]; 0 to 1.
    """
    import scipy.sparse as sp
    from scipy.sparse.linalg import LinearOperator, svds

    n, places = len(codes), spec.layers * spec.top_k
    columns = (codes.astype(np.int32) + spec.offsets[:-1, None].astype(np.int32)).reshape(-1)
    matrix = sp.csr_matrix(
        (np.ones(columns.size, np.float32), columns, np.arange(0, columns.size + 1, places)),
        shape=(n, int(spec.offsets[-1])),
    )
    turned = matrix.T.tocsr()
    mean = np.asarray(matrix.mean(axis=0), np.float32).reshape(-1)
    centered = LinearOperator(
        matrix.shape,
        dtype=np.float32,
        matvec=lambda v: matrix @ v.reshape(-1) - mean @ v.reshape(-1),
        rmatvec=lambda u: turned @ u.reshape(-1) - mean * u.sum(),
    )
    found = np.zeros((0, len(mean)), np.float32)
    singular = np.zeros(0)
    wanted = min(directions - 1, min(matrix.shape) - 1)
    if wanted > 0:
        start = np.random.default_rng(seed).standard_normal(min(matrix.shape)).astype(np.float32)
        _, singular, found = svds(
            centered, k=wanted, tol=TOLERANCE, v0=start, return_singular_vectors="vh", maxiter=20 * sum(matrix.shape)
        )
    order = np.argsort(-singular)
    stacked = np.concatenate([mean[None], found[order]]).astype(np.float64)
    vectors, triangle = np.linalg.qr(stacked.T)  # the sample may have fewer directions than were asked for
    real = np.abs(np.diag(triangle)) > 1e-4 * np.abs(triangle[0, 0])
    variance = places - float(mean.astype(np.float64) @ mean)
    kept = float((singular.astype(np.float64) ** 2).sum()) / n / variance if variance > 1e-9 else 1.0
    return np.ascontiguousarray(vectors[:, real], np.float32), min(kept, 1.0)
