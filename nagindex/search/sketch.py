"""Sketches: a few bytes per document that give its score to within a proven error.

A sketch holds a document's coordinates y in a basis V and its residual norm, each quantized to 8 or 16 bits. With
weights w = Va + w' a document's sum is y'a + x'w', where |x'w'| is at most the product of the residual norms of
document and weights (Cauchy-Schwarz). An upper bound is thus one inner product with the sketch, plus a constant for
quantization and rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nagindex.search.basis import UNIT, Basis
from nagindex.search.file_rows import FileRows

SketchType = Literal["i8", "f16"]
ROWS_PER_BLOCK = 8192
MAX_CODE = 127
MAX_WEIGHT = (1 << 15) - 1
HALF_SHIFT = np.float32(2.0**112)
"""Factor that corrects the exponent of a float16 whose bits were moved to those of a float32."""
RELATIVE = 1e-9
"""Share of a bound that is added to it for rounding in its own computation."""


@dataclass(frozen=True)
class Sketch:
    """Quantized sketches of documents: value j is offsets[j] + steps[j] * values[j], to within errors[j].

    Attributes:
        values: int8 or float16 [n, d + 1]; the last column is the residual norm, rounded up.
        offsets, steps, errors: float64 [d + 1].
        residual: mean square of the documents' residual norms.
    """

    values: npt.NDArray[Any] | FileRows
    offsets: npt.NDArray[np.float64]
    steps: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    residual: float

    @classmethod
    def of(cls, basis: Basis, coordinates: npt.NDArray[np.float32], kind: SketchType) -> Sketch:
        """Quantize the coordinates of documents, float32 [n, d], n at least 1."""
        norms = basis.residuals(coordinates)
        low = np.append(coordinates.min(axis=0), norms.min()).astype(np.float64)
        high = np.append(coordinates.max(axis=0), norms.max()).astype(np.float64)
        largest = np.maximum(np.abs(low), np.abs(high))
        if kind == "f16":
            offsets, steps, errors = np.zeros(len(low)), np.ones(len(low)), largest * 2.0**-11 + 2.0**-24
        else:
            offsets = (low + high) / 2
            steps = np.maximum((high - low) / (2 * MAX_CODE) * (1 + RELATIVE), 1e-9)
            errors = steps * (0.5 + 1e-6) + largest * RELATIVE
        errors[:-1] += basis.rounding
        errors[-1] = steps[-1] * 1e-6 + largest[-1] * RELATIVE  # the residual norm is rounded up
        values = np.empty((len(coordinates), len(low)), np.float16 if kind == "f16" else np.int8)
        for first in range(0, len(values), ROWS_PER_BLOCK):
            rows = slice(first, first + ROWS_PER_BLOCK)
            exact = np.concatenate([coordinates[rows].astype(np.float64), norms[rows, None]], axis=1)
            if kind == "f16":
                rounded = exact.astype(np.float16)
                below = rounded[:, -1] < exact[:, -1]
                rounded[below, -1] = np.nextafter(rounded[below, -1], np.float16(np.inf))
                values[rows] = rounded
            else:
                scaled = (exact - offsets) / steps
                scaled[:, :-1] = np.rint(scaled[:, :-1])
                scaled[:, -1] = np.ceil(scaled[:, -1] - RELATIVE)
                values[rows] = np.clip(scaled, -MAX_CODE, MAX_CODE)
        return cls(values, offsets, steps, errors, float((norms**2).mean()))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class LinearScorer:
    """score(x) = unit * <weights, x> + constant, on quantized sketch values.

    Attributes:
        weights: int16 [d + 1] for int8 values; float32 [d + 1], scaled by 2^112, for float16 values.
        unit: positive factor.
        constant: added to every score.
    """

    weights: npt.NDArray[Any]
    unit: float
    constant: float

    def products(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the inner products of the weights with sketch values [n, d + 1]: int32 or float32 [n]."""
        from nagindex.search.kernels import multiply_halves, multiply_integers

        if values.dtype == np.int8:
            products: npt.NDArray[Any] = np.empty(len(values), np.int32)
            multiply_integers(values, self.weights, products)
        else:
            products = np.empty(len(values), np.float32)
            multiply_halves(values.view(np.uint16), self.weights, products)
        return products

    def scores(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the scores of sketch values [n, d + 1], float64 [n]."""
        return self.products(values) * self.unit + self.constant

    def reaching(self, values: npt.NDArray[Any], score: float) -> npt.NDArray[np.int64]:
        """Return the rows, int64 [m], of sketch values [n, d + 1] that score at least `score`."""
        return np.flatnonzero(self.products(values) >= (score - self.constant) / self.unit)


@dataclass(frozen=True)
class ProjectedQuery:
    """A weight vector projected onto the basis.

    Attributes:
        coefficients: float64 [d].
        residual_norm: upper bound on the norm of the component outside the basis.
        leakage: upper bound on that component's coefficients (zero up to rounding).
        nnz: nonzeros of a document, L * K.
    """

    coefficients: npt.NDArray[np.float64]
    residual_norm: float
    leakage: float
    nnz: int

    @classmethod
    def of(cls, basis: Basis, weights: npt.NDArray[np.int64]) -> ProjectedQuery:
        """Project integer weights, int64 [L, max d_l], onto a basis."""
        return cls(*basis.project(weights), basis.nnz)

    def estimator(self, sketch: Sketch) -> LinearScorer:
        """Return the scorer of estimated scores (residual term dropped)."""
        scorer, _ = self._quantized(sketch, 0.0)
        return scorer

    def upper_bound(self, sketch: Sketch) -> LinearScorer:
        """Return the scorer of upper bounds, which no document's exact score exceeds."""
        scorer, rounding = self._quantized(sketch, self.residual_norm)
        document_norm = float(np.sqrt(self.nnz)) * 1.01
        weights = np.abs(np.append(self.coefficients, self.residual_norm))
        slack = rounding + float(weights @ sketch.errors) + self.leakage * document_norm
        slack += RELATIVE * (float(np.linalg.norm(weights)) * document_norm + abs(scorer.constant))
        return LinearScorer(scorer.weights, scorer.unit, scorer.constant + slack)

    def _quantized(self, sketch: Sketch, residual_weight: float) -> tuple[LinearScorer, float]:
        """Return the scorer with quantized weights, and a bound on the error of its scores."""
        weights = np.append(self.coefficients, residual_weight)
        constant = float(weights @ sketch.offsets)
        scaled = weights * sketch.steps
        largest = float(np.abs(scaled).max())
        if sketch.values.dtype == np.int8:
            unit = max(largest / MAX_WEIGHT, 1e-300)
            quantized = np.rint(scaled / unit).astype(np.int16)
            return LinearScorer(quantized, unit, constant), 0.51 * unit * MAX_CODE * len(scaled)
        unit = max(largest, 1e-300)  # weights of a contrast can exceed the range of float32
        product = float(np.linalg.norm(scaled)) * float(np.sqrt(self.nnz)) * 2
        halves = (scaled / unit).astype(np.float32) * HALF_SHIFT
        return LinearScorer(halves, unit, constant), 2 * UNIT * (len(scaled) + 2) * product
