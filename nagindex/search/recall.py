"""Recall of an approximate answer, estimated from a stratified sample of the other documents.

At least k of the true best n were missed if and only if at least k missed documents score above the k-th lowest
returned score. Confidence limits on the number of documents that score above a level thus give confidence limits on the
recall, without any assumption on the distribution of the scores.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv

from nagindex.errors import BadInputError

TAIL = 0.025
"""Probability that the recall lies below the interval, and that it lies above."""


@dataclass(frozen=True)
class Stratum:
    """A stratum of the documents that were not returned, and the exact scores of a sample of it.

    The interval is reliable if every stratum is sampled completely, or by about ten documents at least.

    Attributes:
        population: number of documents in the stratum.
        scores: int64 or float64 [m], scores of a simple random sample without replacement; m may be the population.
    """

    population: int
    scores: npt.NDArray[Any]

    def __post_init__(self) -> None:
        if not min(self.population, 1) <= len(self.scores) <= self.population:
            raise BadInputError(
                f"{len(self.scores)} scores of a stratum of {self.population}: at least one is needed, and at most all"
            )


@dataclass(frozen=True)
class Recall:
    """Estimated recall: the share of the true best n documents that was returned.

    Attributes:
        estimate: point estimate, 0 to 1.
        low: lower end of the 95 % interval.
        high: upper end; equal to `low` if every stratum was sampled completely, since the recall is then known.
        sampled: number of documents whose exact scores were used.
    """

    estimate: float
    low: float
    high: float
    sampled: int


def estimate_recall(returned: npt.NDArray[Any], strata: Sequence[Stratum]) -> Recall:
    """Estimate the recall of a search for the n best documents, with a 95 % interval.

    A document that was not returned counts as missed only if its score exceeds that of the document it would displace.

    Args:
        returned: int64 or float64 [n], exact scores of the returned documents, n at least 1.
        strata: disjoint strata of all other documents that can score above the lowest of `returned`.

    Raises:
        BadInputError: `returned` is empty.
    """
    if not len(returned):
        raise BadInputError("recall of an empty answer: at least one document must be returned")
    levels, others = np.sort(returned), _Unreturned(strata)

    def missed(side: int) -> int:
        # The count above the k-th level decreases with k, so the smallest k that is not below it is found by bisection.
        return bisect_left(range(len(levels)), True, key=lambda k: others.count_above(levels[k], side=side) <= k)

    best, most, fewest = (missed(side) for side in (0, 1, -1))
    low, estimate, high = ((len(levels) - d) / len(levels) for d in (max(most, best), best, min(fewest, best)))
    return Recall(estimate, low, high, others.sampled)


class _Unreturned:
    """The documents that were not returned, in strata."""

    def __init__(self, strata: Sequence[Stratum]) -> None:
        strata = [stratum for stratum in strata if stratum.population]
        self.scores = [np.sort(stratum.scores) for stratum in strata]
        self.sizes = np.array([len(scores) for scores in self.scores], np.int64)
        self.unsampled = np.array([stratum.population for stratum in strata], np.int64) - self.sizes
        self.sampled = int(self.sizes.sum())

    def count_above(self, level: Any, *, side: int) -> int:
        """Return the number of documents above a level: estimate (side 0), upper (1) or lower limit (-1).

        The count of unsampled documents has the mean and variance of a stratified sample, and the skewness of
        beta-binomial counts. A sample share of 0 or 1 would have variance 0, so the limits are those after one more
        observation in the stratum where it matters most: a document above the level for the upper limit, one not above
        it for the lower.

        Source: Fay and Feuer, Statistics in Medicine 16 (1997), for weighted sums of Poisson counts.
        """
        above = self.sizes - [np.searchsorted(scores, level, side="right") for scores in self.scores]
        share = above / self.sizes
        mean = float((self.unsampled * share).sum())
        if not side:
            return int(above.sum() + round(mean))
        variance = self.unsampled * share * (1 - share) * (self.sizes + self.unsampled) / np.maximum(self.sizes - 1, 1)
        third = variance * (1 - 2 * share) * (self.sizes + 2 * self.unsampled) / (self.sizes + 2)
        other = 1 - share if side > 0 else share
        more = float((self.unsampled * other / (self.sizes + 1)).max(initial=0))  # the mean of a geometric count
        limit = _quantile(
            mean + side * more,
            float(variance.sum()) + more * (1 + more),
            float(third.sum()) + side * more * (1 + more) * (1 + 2 * more),
            TAIL if side < 0 else 1 - TAIL,
        )
        return int(above.sum() + np.clip(round(limit), 0, self.unsampled.sum()))


def _quantile(mean: float, variance: float, third: float, probability: float) -> float:
    """Return a quantile of the shifted (or reflected) gamma distribution with these three cumulants."""
    if variance <= 0:
        return mean
    deviation = variance**0.5
    skew = third / deviation**3
    if abs(skew) < 1e-3:  # close to normal; the shape parameter would overflow
        skew = 1e-3
    shape = 4 / skew**2
    gamma = float(gammaincinv(shape, probability if skew > 0 else 1 - probability))
    return float(mean + deviation * (gamma - shape) * skew / 2)
