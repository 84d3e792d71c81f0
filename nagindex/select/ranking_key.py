"""Ranking keys: what documents are ordered by. One target's sums, the best of several targets, either blended with quality."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.search.profile import Target
from nagindex.search.scan import ROWS_PER_TASK, Part, SumsOf
from nagindex.select.signals import Quality

EXACT_SQUARES = 1 << 44
"""Sums below this can be added up by the block in 64 bits, and so can the products of their halves, of `HALF` bits and more."""
HALF = 22

Blend = Callable[[npt.NDArray[Any], npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""f(keys [n], values [n]): normalized distance plus weighted normalized lack of quality, float64 [n], the best lowest."""


@dataclass(frozen=True)
class RankingKey:
    """The key that one ranking orders documents by, the best highest.

    Attributes:
        base: f(sums [targets, n]): keys from similarity alone, int64 or float64 [n].
        low, high: bounds of `base`.
        blend: combines these keys with quality; None where there is no quality signal.
        weight: weight of quality in the blend.
        minimum: documents of a lower key are not selected.
        passes: f(sums [targets, n]): bool [n], which documents may be selected; None where `minimum` alone decides. The others get
            minus infinity as their key.
    """

    base: Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]
    low: float
    high: float
    blend: Blend | None = None
    weight: float = 0.0
    minimum: float = -math.inf
    passes: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.bool_]] | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of the keys."""
        return (self.low, self.high) if self.blend is None else (-1.0 - self.weight, 0.0)

    def key(self, part: Part) -> Callable[[slice, npt.NDArray[np.int64]], npt.NDArray[Any]]:
        """Return, for a part of the pool, f(rows, sums [targets, n]): the rows' keys, [n]."""
        blend, passes = self.blend, self.passes
        values = None if blend is None or part.values is None else part.values()

        def keys(rows: slice, sums: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
            own = self.base(sums) if blend is None or values is None else -blend(self.base(sums), values[rows])
            return own if passes is None else np.where(passes(sums), own, -math.inf)

        return keys


def by_target(number: int, target: Target) -> RankingKey:
    """Return the key of one target's ranking: its sums."""
    return RankingKey(lambda sums: sums[number], target.low, target.high)


def by_best(parts: Sequence[Part], sums_of: SumsOf, targets: Sequence[Target]) -> tuple[RankingKey, Standardized]:
    """Return the key by each document's best standardized score: standard deviations above a target's mean.

    Args:
        parts: the candidates, over which means and standard deviations are taken.
        sums_of: gives their sums.
        targets: the targets, at least one.
    """
    count, totals, squares = 0, [0] * len(targets), [0] * len(targets)
    for sums, alive, _ in _blocks(parts, sums_of):
        count += int(alive.sum())
        for number in range(len(targets)):
            own = sums[number, alive]
            if max(-targets[number].low, targets[number].high) < EXACT_SQUARES:
                totals[number] += int(own.sum())
                squares[number] += _sum_of_squares(own)
            else:
                totals[number] += sum(own.tolist())
                squares[number] += sum(value * value for value in own.tolist())
    means = [float(Fraction(total, count)) for total in totals]
    deviations = [
        math.sqrt(Fraction(count * square - total * total, count * count))
        for total, square in zip(totals, squares, strict=True)
    ]
    found = Standardized(np.array(means)[:, None], np.array([d or math.inf for d in deviations])[:, None])
    lows, highs = (found(np.array([[getattr(target, end)] for target in targets])) for end in ("low", "high"))
    return RankingKey(lambda sums: found(sums).max(axis=0), float(lows.min()), float(highs.max())), found


def _sum_of_squares(values: npt.NDArray[np.int64]) -> int:
    """Return the exact sum of the squares of a block's values, below `EXACT_SQUARES` in size."""
    high, low = values >> HALF, values & ((1 << HALF) - 1)
    return (int(high @ high) << 2 * HALF) + (int(high @ low) << HALF + 1) + int(low @ low)


@dataclass(frozen=True)
class Standardized:
    """Means and standard deviations of targets' sums, float64 [targets, 1]; a deviation of zero is stored as infinity."""

    means: npt.NDArray[np.float64]
    deviations: npt.NDArray[np.float64]

    def __call__(self, sums: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return standardized scores, float64 [targets, n], of sums [targets, n]."""
        standardized: npt.NDArray[np.float64] = (sums - self.means) / self.deviations
        return standardized


def with_quality(
    bases: Sequence[RankingKey], parts: Sequence[Part], sums_of: SumsOf, quality: Quality
) -> list[RankingKey]:
    """Return the keys blended with the candidates' quality, similarity and quality both normalized over the candidates.

    Args:
        bases: the keys from similarity alone.
        parts: the candidates, with their values.
        sums_of: gives their sums.
        quality: how the values count.

    Source: arXiv 2604.15706 for min-max normalization and equal weights.
    """
    signals = (
        [*(base.base(sums)[alive] for base in bases), values[alive]]
        for sums, alive, values in _blocks(parts, sums_of)
        if alive.any()
    )
    if quality.normalize == "rank":
        found = [_by_rank(np.sort(np.concatenate(column))) for column in zip(*signals, strict=True)]
    else:
        ends = [[(own.min(), own.max()) for own in block] for block in signals]
        found = [_by_range(min(e[0] for e in column), max(e[1] for e in column)) for column in zip(*ends, strict=True)]
    *scores, normalize_quality = found
    weight, lower_is_better = quality.weight, quality.lower_is_better

    def blended(base: RankingKey, score: Normalize) -> RankingKey:
        def blend(keys: npt.NDArray[Any], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            normalized = normalize_quality(values, False)
            return score(keys, True) + weight * (normalized if lower_is_better else 1 - normalized)

        return dataclasses.replace(base, blend=blend, weight=weight)

    return [blended(base, score) for base, score in zip(bases, scores, strict=True)]


def with_minimum(
    keys: Sequence[RankingKey], targets: Sequence[Target], score: float, standardized: Standardized | None
) -> list[RankingKey]:
    """Return the keys of rankings that end where a document's score for its target is below a minimum.

    Args:
        keys: the keys, one for each target, or one for all of them.
        targets: the targets.
        score: the minimum.
        standardized: standardizes sums, where one ranking serves all targets: a document's target is then its best one.
    """
    minimums = np.array([_least_sum(score, target.scale) for target in targets], np.int64)

    def best_passes(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        best = np.zeros(sums.shape[1], np.int64) if standardized is None else standardized(sums).argmax(axis=0)
        passing: npt.NDArray[np.bool_] = sums[best, np.arange(sums.shape[1])] >= minimums[best]
        return passing

    def limited(number: int, key: RankingKey) -> RankingKey:
        if standardized is not None:
            return dataclasses.replace(key, minimum=key.bounds[0], passes=best_passes)
        least = int(minimums[number])
        if key.blend is None:
            return dataclasses.replace(key, minimum=least)
        return dataclasses.replace(key, minimum=key.bounds[0], passes=lambda sums: sums[number] >= least)

    return [limited(number, key) for number, key in enumerate(keys)]


def _least_sum(score: float, scale: int) -> int:
    """Return the least sum whose quotient by a scale is, as a float, at least a score."""
    least = math.ceil(Fraction(score) * scale)
    while (least - 1) / scale >= score:
        least -= 1
    return least


Normalize = Callable[[npt.NDArray[Any], bool], npt.NDArray[np.float64]]
"""f(values [n], descending): from 0 for the least value to 1 for the greatest, or from the greatest where `descending`."""


def _by_range(low: Any, high: Any) -> Normalize:
    """Return min-max normalization between two values; all zeros where they are equal."""
    width = high - low
    if not width:
        return lambda values, descending: np.zeros(len(values))
    return lambda values, descending: (high - values if descending else values - low) / width


def _by_rank(ordered: npt.NDArray[Any]) -> Normalize:
    """Return rank normalization among sorted values; equal values get the mean of their ranks."""
    count = len(ordered)

    def ranked(values: npt.NDArray[Any], descending: bool) -> npt.NDArray[np.float64]:
        first, last = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
        below = first + (last - first - 1) / 2
        return np.asarray((count - 1 - below if descending else below) / max(count - 1, 1), np.float64)

    return ranked


def _blocks(
    parts: Sequence[Part], sums_of: SumsOf
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.float64]]]:
    """Yield (sums [targets, n], candidates bool [n], values [n]) of the pool, in its order."""
    for part in parts:
        alive = part.alive() if part.alive else np.ones(part.documents, bool)
        values = part.values() if part.values else np.zeros(part.documents)
        block = sums_of(part)
        for first in range(0, part.documents, ROWS_PER_TASK):
            rows = slice(first, first + ROWS_PER_TASK)
            yield block(rows), alive[rows], values[rows]
