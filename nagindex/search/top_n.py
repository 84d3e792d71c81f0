"""Hits, and the collector that keeps a scan's best ones in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 1 << 16
"""Bins of the histogram of keys."""
CAPACITY = 1 << 20
"""Hits collected before those below the threshold are dropped."""
ROWS_PER_THRESHOLD = 8192
"""Hits collected between two updates of the threshold."""


@dataclass(frozen=True)
class Hits:
    """Documents of a ranking, in no particular order.

    Attributes:
        positions: int64 [m], positions in the pool.
        keys: int64 or float64 [m], ranking keys, the best highest.
        weights: int64 [m], what each document takes of the budget.
        complete: whether these are known to be all documents of the ranking.
    """

    positions: npt.NDArray[np.int64]
    keys: npt.NDArray[Any]
    weights: npt.NDArray[np.int64]
    complete: bool = False

    def take(self, where: npt.NDArray[Any]) -> Hits:
        """Return the hits that an index array or a mask selects."""
        return Hits(self.positions[where], self.keys[where], self.weights[where])


def concatenate(hits: Sequence[Hits]) -> Hits:
    """Return several sets of hits as one."""
    if not hits:
        return Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))
    positions, keys, weights = (
        np.concatenate([getattr(own, name) for own in hits]) for name in ("positions", "keys", "weights")
    )
    return Hits(positions, keys, weights)


Cut = Callable[..., Hits]
"""f(hits, final=True): the hits that fill a budget, ties by id; see `nagindex.select.budget.exact_cut`.

With `final=False` more hits may follow, and the one that exceeds the budget is kept, too.
"""


def bins_of_keys(keys: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.int32]:
    """Return the bin of each key, int32 [n], in histograms of keys between two bounds."""
    from nagindex.search.kernels import bins_of

    bins = np.empty(len(keys), np.int32)
    bins_of(keys, float(low), (BINS - 1) / (high - low) if high > low else 0.0, BINS - 1, bins)
    return bins


def reaching(hits: Hits, low: float, high: float, threshold: int) -> Hits:
    """Return the hits whose keys, between two bounds, are in the bin of a threshold or above."""
    return hits.take(bins_of_keys(hits.keys, low, high) >= threshold)


def threshold_of(histogram: npt.NDArray[np.int64], budget: int) -> int:
    """Return the highest bin at and above which the weights of a histogram exceed a budget; 0 if they never do."""
    above = np.cumsum(histogram[::-1])
    return max(0, len(above) - 1 - int(np.searchsorted(above, budget, side="right")))


class Collector:
    """Collects the hits of one ranking from blocks in any order, on any number of threads.

    A histogram of budget weights by key gives a threshold below which no document can be selected any more. Only hits
    at or above it are kept.
    """

    def __init__(self, low: float, high: float, budget: int, cut: Cut, *, minimum: float = -np.inf) -> None:
        """Create an empty collector.

        Args:
            low: lower bound on the keys.
            high: upper bound on the keys.
            budget: the budget, in the unit of the weights.
            cut: cuts hits at the budget; called for the result, and before that when the threshold leaves too many.
            minimum: documents of a lower key are not collected.
        """
        self.low, self.high, self.budget, self.minimum = low, high, budget, minimum
        self.cut, self.lock = cut, Lock()
        self.histogram = np.zeros(BINS, np.int64)
        self.threshold = 0
        self.kept: list[Hits] = []
        self.size, self.capacity, self.since_threshold = 0, CAPACITY, 0

    def add(
        self, start: int, keys: npt.NDArray[Any], alive: npt.NDArray[np.bool_], weights: npt.NDArray[np.int64]
    ) -> None:
        """Add a block of consecutive documents.

        Args:
            start: position of the first in the pool.
            keys: int64 or float64 [n].
            alive: bool [n], whether a document may be selected.
            weights: int64 [n], what each takes of the budget.
        """
        from nagindex.search.kernels import collect

        rows, bins = np.empty(len(keys), np.int64), bins_of_keys(keys, self.low, self.high)
        alive = alive if self.minimum == -np.inf else alive[: len(keys)] & (keys >= self.minimum)
        with self.lock:
            count = collect(bins, alive, weights, self.threshold, self.histogram, rows)
            rows = rows[:count]
            self.kept.append(Hits(rows + start, keys[rows], weights[rows]))
            self.size += count
            self.since_threshold += count
            if self.since_threshold >= ROWS_PER_THRESHOLD:
                self._raise_threshold()
            if self.size > self.capacity:
                self._shrink()

    def result(self) -> Hits:
        """Return the hits of all documents that were added."""
        return self.cut(self.possible())

    def possible(self) -> Hits:
        """Return the documents at or above the threshold of all that were added, in no particular order."""
        self._raise_threshold()
        return reaching(concatenate(self.kept), self.low, self.high, self.threshold)

    def _raise_threshold(self) -> None:
        """Raise the threshold to the highest bin at and above which the weights exceed the budget."""
        self.since_threshold, self.threshold = 0, threshold_of(self.histogram, self.budget)

    def _shrink(self) -> None:
        """Drop hits below the threshold; if ties leave too many, cut them by id."""
        hits = reaching(concatenate(self.kept), self.low, self.high, self.threshold)
        if len(hits.keys) > self.capacity // 2:
            hits = self.cut(hits, final=False)
        self.kept, self.size = [hits], len(hits.keys)
        self.capacity = max(self.capacity, 2 * self.size)
