"""Target sets as what documents are scored by: counted neurons, or the examples one by one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import Codes, NagSpec

MAX_SUM = (1 << 62) - 1


@dataclass(frozen=True)
class Profile:
    """Integer weights of neurons; a document's score is the sum of its neurons' weights, divided by `scale`.

    Attributes:
        weights: int64 [L, max d_l], 0 beyond a layer's width. Of a plain profile, the examples whose NAG holds the neuron.
        scale: what sums are divided by.
        spec: shape of the NAGs that are scored.
    """

    weights: npt.NDArray[np.int64]
    scale: int
    spec: NagSpec

    @cached_property
    def low(self) -> int:
        """No document's sum is below this."""
        return min(0, -int(self._best(-self.weights).sum()))

    @cached_property
    def high(self) -> int:
        """No document's sum is above this."""
        return int(self._best(self.weights).sum())

    def _best(self, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.partition(weights, weights.shape[1] - self.spec.top_k, axis=1)[:, -self.spec.top_k :]


@dataclass(frozen=True)
class Nearest:
    """Examples; a document's score is the mean of its largest overlaps with them.

    Attributes:
        codes: uint16 [n, L, K].
        nearest: how many of the largest overlaps count, 1 to n.
        spec: shape of the NAGs that are scored.
    """

    codes: Codes
    nearest: int
    spec: NagSpec

    low = 0

    @property
    def high(self) -> int:
        """No document's sum is above this."""
        return self.scale

    @property
    def scale(self) -> int:
        """What a document's summed overlaps are divided by: L * K for each of the nearest."""
        return self.spec.layers * self.spec.top_k * self.nearest


Target = Profile | Nearest


def profile_of(codes: Codes, spec: NagSpec) -> Profile:
    """Return how many examples of a target set hold each neuron; scores are then mean overlaps with the examples.

    Args:
        codes: uint16 [n, L, K], the NAGs of its examples, n at least 1.
        spec: their shape.

    Raises:
        ValueError: there is no example.

    Source: arXiv 2604.15706.
    """
    if not len(codes):
        raise ValueError("a profile needs at least one example")
    width = max(spec.widths)
    counts = np.stack([np.bincount(codes[:, layer].ravel(), minlength=width) for layer in range(spec.layers)])
    return Profile(counts.astype(np.int64), spec.layers * spec.top_k * len(codes), spec)


def contrast_of(codes: Codes, pool: npt.NDArray[np.int64], documents: int, amount: Fraction, spec: NagSpec) -> Profile:
    """Return the profile that weighs a neuron by its share of the examples minus `amount` times its share of the pool.

    The weights stay integers: shares have the common denominator examples * documents * the amount's own.

    Args:
        codes: uint16 [n, L, K], the NAGs of the examples.
        pool: int64 [L, max d_l], documents of the pool that hold each neuron.
        documents: of the pool.
        amount: how much the pool's frequencies count.
        spec: shape of the NAGs.

    Raises:
        BadInputError: the integers would not fit 64 bits.
    """
    plain = profile_of(codes, spec)
    own, theirs = amount.denominator * documents, amount.numerator * len(codes)
    if spec.layers * spec.top_k * len(codes) * documents * max(amount.denominator, amount.numerator) > MAX_SUM:
        raise BadInputError(
            f"contrast {float(amount):g}: too fine for {len(codes):,} examples and {documents:,} documents; write it with fewer decimals"
        )
    return Profile(plain.weights * own - pool * theirs, plain.scale * own, spec)
