"""How much of the exact answer an approximate search found, estimated from a sample of the documents that it did not return.

The true best n hold at least k documents that were not returned exactly when at least k of those score above the k-th lowest
score that was returned. So limits of how many documents score above a given level are all that is needed, and they lead to
limits of the recall without a word about how the scores of unseen documents are distributed.
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
"""How often the recall may lie below the interval, and how often above."""


@dataclass(frozen=True)
class Stratum:
    """Documents that were not returned, and the exact scores of some of them.

    The interval is trustworthy where a stratum is sampled whole or by some ten documents at least.

    Attributes:
        population: how many documents there are.
        scores: int64 or float64 [m], of a simple random sample of them without replacement; of all where they are as many.
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
    """The share of the true best n documents that was returned.

    Attributes:
        estimate: the most plausible share, 0 to 1.
        low: the lower end of its 95 % interval.
        high: the upper end; equal to `low` where every stratum was sampled whole, since the recall is known then.
        sampled: from how many documents' exact scores it was estimated.
    """

    estimate: float
    low: float
    high: float
    sampled: int


def estimate_recall(returned: npt.NDArray[Any], strata: Sequence[Stratum]) -> Recall:
    """Return the recall of a search for the n best documents, with a 95 % interval.

    A document that was not returned counts as missed only where its score is higher than that of the one it would displace.

    Args:
        returned: int64 or float64 [n], the exact scores of what was returned, n at least 1.
        strata: all other documents that can score above the lowest of `returned`, each in one of them.

    Raises:
        BadInputError: nothing was returned.
    """
    if not len(returned):
        raise BadInputError("recall of an empty answer: at least one document must be returned")
    levels, outside = np.sort(returned), _Outside(strata)

    def missed(side: int) -> int:
        # Above a higher level there are fewer documents: from the first k on that too few are above, there always are.
        return bisect_left(range(len(levels)), True, key=lambda k: outside.above(levels[k], side=side) <= k)

    best, most, fewest = (missed(side) for side in (0, 1, -1))
    low, estimate, high = ((len(levels) - d) / len(levels) for d in (max(most, best), best, min(fewest, best)))
    return Recall(estimate, low, high, outside.sampled)


class _Outside:
    """The documents that were not returned."""

    def __init__(self, strata: Sequence[Stratum]) -> None:
        strata = [stratum for stratum in strata if stratum.population]
        self.scores = [np.sort(stratum.scores) for stratum in strata]
        self.sizes = np.array([len(scores) for scores in self.scores], np.int64)
        self.unseen = np.array([stratum.population for stratum in strata], np.int64) - self.sizes
        self.sampled = int(self.sizes.sum())

    def above(self, level: Any, *, side: int) -> int:
        """Return how many documents score above a level: the estimate (side 0), the upper (1) or the lower limit (-1).

        The unseen ones have the mean and variance of a stratified sample, and the skewness of beta-binomial counts. A share of 0
        or 1 among the seen would leave no doubt, so the limits are those after one more observation, a document above the level
        for the upper limit and one not above it for the lower, in the stratum where that matters most.

        Source: Fay and Feuer, Statistics in Medicine 16 (1997), who do so for weighted sums of Poisson counts.
        """
        seen = self.sizes - [np.searchsorted(scores, level, side="right") for scores in self.scores]
        share = seen / self.sizes
        mean = float((self.unseen * share).sum())
        if not side:
            return int(seen.sum() + round(mean))
        variance = self.unseen * share * (1 - share) * (self.sizes + self.unseen) / np.maximum(self.sizes - 1, 1)
        third = variance * (1 - 2 * share) * (self.sizes + 2 * self.unseen) / (self.sizes + 2)
        other = 1 - share if side > 0 else share
        more = float((self.unseen * other / (self.sizes + 1)).max(initial=0))  # the mean of a geometric count
        limit = _quantile(
            mean + side * more,
            float(variance.sum()) + more * (1 + more),
            float(third.sum()) + side * more * (1 + more) * (1 + 2 * more),
            TAIL if side < 0 else 1 - TAIL,
        )
        return int(seen.sum() + np.clip(round(limit), 0, self.unseen.sum()))


def _quantile(mean: float, variance: float, third: float, probability: float) -> float:
    """Return a quantile of the gamma distribution, shifted and maybe reflected, that has these first three cumulants."""
    if variance <= 0:
        return mean
    deviation = variance**0.5
    skew = third / deviation**3
    if abs(skew) < 1e-3:  # as good as normal; the shape would grow beyond all bounds
        skew = 1e-3
    shape = 4 / skew**2
    gamma = float(gammaincinv(shape, probability if skew > 0 else 1 - probability))
    return float(mean + deviation * (gamma - shape) * skew / 2)
