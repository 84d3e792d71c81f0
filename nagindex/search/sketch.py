"""Sketches: a few bytes a document from which its score can be told to within a proven error.

A sketch holds a document's coordinates in a basis and the length of what they leave of it, each rounded to 8 or 16 bits. With
weights w = Va + w' a document's sum is y'a + x'w', and |x'w'| is at most the product of the two lengths beside the basis
(Cauchy and Schwarz). An upper bound is thus one inner product with the sketch, plus what rounding can add.
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
LARGEST_CODE = 127
LARGEST_WEIGHT = (1 << 15) - 1
HALF_SHIFT = np.float32(2.0**112)
"""What the bits of a float16, moved to where a float32 has its own, are to be multiplied by."""
RELATIVE = 1e-9
"""Share of a bound that is added to it for the rounding of the bound's own computation in float64."""


@dataclass(frozen=True)
class Sketch:
    """Sketches of a segment's documents: value i of a document is offsets[i] + steps[i] * values[i], give or take errors[i].

    Attributes:
        values: int8 or float16 [n, d + 1]; the last is the length beside the basis, never rounded down.
        offsets, steps, errors: float64 [d + 1].
        residual: mean square of the documents' lengths beside the basis.
    """

    values: npt.NDArray[Any] | FileRows
    offsets: npt.NDArray[np.float64]
    steps: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    residual: float

    @classmethod
    def of(cls, basis: Basis, coordinates: npt.NDArray[np.float32], kind: SketchType) -> Sketch:
        """Return the sketches of documents with these coordinates, float32 [n, d], at least one."""
        lengths = basis.residuals(coordinates)
        low = np.append(coordinates.min(axis=0), lengths.min()).astype(np.float64)
        high = np.append(coordinates.max(axis=0), lengths.max()).astype(np.float64)
        largest = np.maximum(np.abs(low), np.abs(high))
        if kind == "f16":
            offsets, steps, errors = np.zeros(len(low)), np.ones(len(low)), largest * 2.0**-11 + 2.0**-24
        else:
            offsets = (low + high) / 2
            steps = np.maximum((high - low) / (2 * LARGEST_CODE) * (1 + RELATIVE), 1e-9)
            errors = steps * (0.5 + 1e-6) + largest * RELATIVE
        errors[:-1] += basis.rounding
        errors[-1] = steps[-1] * 1e-6 + largest[-1] * RELATIVE  # the length beside the basis is rounded up
        values = np.empty((len(coordinates), len(low)), np.float16 if kind == "f16" else np.int8)
        for first in range(0, len(values), ROWS_PER_BLOCK):
            rows = slice(first, first + ROWS_PER_BLOCK)
            exact = np.concatenate([coordinates[rows].astype(np.float64), lengths[rows, None]], axis=1)
            if kind == "f16":
                own = exact.astype(np.float16)
                below = own[:, -1] < exact[:, -1]
                own[below, -1] = np.nextafter(own[below, -1], np.float16(np.inf))
                values[rows] = own
            else:
                scaled = (exact - offsets) / steps
                scaled[:, :-1] = np.rint(scaled[:, :-1])
                scaled[:, -1] = np.ceil(scaled[:, -1] - RELATIVE)
                values[rows] = np.clip(scaled, -LARGEST_CODE, LARGEST_CODE)
        return cls(values, offsets, steps, errors, float((lengths**2).mean()))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class LinearScorer:
    """What a sketch's values are multiplied by to tell scores: a score is about, or at most, `unit` * product + `constant`."""

    weights: npt.NDArray[Any]
    unit: float
    constant: float

    def products(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return inner products with sketch values [n, d + 1]: int32 or float32 [n]."""
        from nagindex.search.kernels import multiply_halves, multiply_integers

        if values.dtype == np.int8:
            found: npt.NDArray[Any] = np.empty(len(values), np.int32)
            multiply_integers(values, self.weights, found)
        else:
            found = np.empty(len(values), np.float32)
            multiply_halves(values.view(np.uint16), self.weights, found)
        return found

    def scores(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return scores or bounds, float64 [n]."""
        return self.products(values) * self.unit + self.constant

    def reaches(self, values: npt.NDArray[Any], score: float) -> npt.NDArray[np.int64]:
        """Return the rows, int64 [m], whose score or bound is not below a score."""
        return np.flatnonzero(self.products(values) >= (score - self.constant) / self.unit)


@dataclass(frozen=True)
class ProjectedQuery:
    """A target's weights as a basis sees them.

    Attributes:
        inside: float64 [d], the weights' coordinates.
        beside: upper bound of the length of the rest.
        leak: upper bound of the length of the rest's coordinates, which are 0 but for rounding.
        places: neurons of a document, L * K.
    """

    inside: npt.NDArray[np.float64]
    beside: float
    leak: float
    places: int

    @classmethod
    def of(cls, basis: Basis, weights: npt.NDArray[np.int64]) -> ProjectedQuery:
        """Return how a basis sees integer weights [L, max d_l]."""
        return cls(*basis.split(weights), basis.spec.layers * basis.spec.top_k)

    def estimate(self, sketch: Sketch) -> LinearScorer:
        """Return the plane whose scores are the likeliest ones."""
        plane, _ = self._plane(sketch, 0.0)
        return plane

    def bound(self, sketch: Sketch) -> LinearScorer:
        """Return the plane whose scores no document exceeds."""
        plane, rounding = self._plane(sketch, self.beside)
        length = float(np.sqrt(self.places)) * 1.01
        inside = np.abs(np.append(self.inside, self.beside))
        slack = rounding + float(inside @ sketch.errors) + self.leak * length
        slack += RELATIVE * (float(np.linalg.norm(inside)) * length + abs(plane.constant))
        return LinearScorer(plane.weights, plane.unit, plane.constant + slack)

    def _plane(self, sketch: Sketch, beside: float) -> tuple[LinearScorer, float]:
        """Return the plane that gives what is beside the basis so much weight, and how far rounding its weights can move a score."""
        wanted = np.append(self.inside, beside)
        constant = float(wanted @ sketch.offsets)
        scaled = wanted * sketch.steps
        if sketch.values.dtype == np.int8:
            unit = max(float(np.abs(scaled).max()) / LARGEST_WEIGHT, 1e-300)
            return LinearScorer(
                np.rint(scaled / unit).astype(np.int16), unit, constant
            ), 0.51 * unit * LARGEST_CODE * len(scaled)
        products = float(np.linalg.norm(scaled)) * float(np.sqrt(self.places)) * 2
        size = max(float(np.abs(scaled).max()), 1e-300)  # integers of contrast can exceed float32
        return LinearScorer((scaled / size).astype(np.float32) * HALF_SHIFT, size, constant), 2 * UNIT * (
            len(scaled) + 2
        ) * products
