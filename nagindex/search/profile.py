"""Targets that documents are scored by: a profile of neuron weights, or the examples themselves."""

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
    """Integer weights of neurons; a score is the sum of a document's neuron weights divided by `scale`.

    Attributes:
        weights: int64 [L, max d_l], 0 beyond a layer's width; by default the number of examples whose NAG holds the
            neuron.
        scale: divisor of the sums.
        spec: shape of the NAGs to score.
    """

    weights: npt.NDArray[np.int64]
    scale: int
    spec: NagSpec

    @cached_property
    def low(self) -> int:
        """Lower bound on a document's sum."""
        return min(0, -int(largest_sums(-self.weights, self.spec.top_k).sum()))

    @cached_property
    def high(self) -> int:
        """Upper bound on a document's sum."""
        return int(largest_sums(self.weights, self.spec.top_k).sum())


def largest_sums(weights: npt.NDArray[np.int64], top_k: int) -> npt.NDArray[np.int64]:
    """Return the sum of the K largest weights of each layer, int64 [L], of weights, int64 [L, max d_l]."""
    best = np.partition(weights, weights.shape[1] - top_k, axis=1)[:, -top_k:]
    sums: npt.NDArray[np.int64] = best.sum(axis=1)
    return sums


@dataclass(frozen=True)
class Nearest:
    """The examples of a target set; a document's score is the mean of its largest overlaps with them.

    Attributes:
        codes: uint16 [n, L, K].
        nearest: number of largest overlaps in the mean, 1 to n.
        spec: shape of the NAGs to score.
    """

    codes: Codes
    nearest: int
    spec: NagSpec

    low = 0

    @property
    def high(self) -> int:
        """Upper bound on a document's sum."""
        return self.scale

    @property
    def scale(self) -> int:
        """Divisor of the sums: L * K for each of the nearest."""
        return self.spec.layers * self.spec.top_k * self.nearest


Target = Profile | Nearest


def profile_of(codes: Codes, spec: NagSpec) -> Profile:
    """Return the profile of a target set: how many examples hold each neuron.

    Scores are mean overlaps with the examples.

    Args:
        codes: uint16 [n, L, K], the NAGs of the examples, n at least 1.
        spec: shape of the NAGs.

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
    """Return a contrastive profile, which lowers the weights of neurons that are frequent in the pool.

    A neuron's weight is its share of the examples minus `amount` times its share of the pool. Weights are integers,
    over the common denominator of examples * documents * the denominator of `amount`.

    Args:
        codes: uint16 [n, L, K], the NAGs of the examples.
        pool: int64 [L, max d_l], number of documents of the pool that hold each neuron.
        documents: number of documents of the pool.
        amount: factor of the pool's shares.
        spec: shape of the NAGs.

    Raises:
        BadInputError: the integers exceed 64 bits.
    """
    plain = profile_of(codes, spec)
    own, theirs = amount.denominator * documents, amount.numerator * len(codes)
    if spec.layers * spec.top_k * len(codes) * documents * max(amount.denominator, amount.numerator) > MAX_SUM:
        raise BadInputError(
            f"contrast {float(amount):g}: too fine for {len(codes):,} examples and {documents:,} documents; write it with fewer decimals"
        )
    return Profile(plain.weights * own - pool * theirs, plain.scale * own, spec)
