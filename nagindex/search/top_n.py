"""Hits, and the collector that keeps a scan's best ones in bounded memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.search import spill

BINS = 1 << 16
"""Bins of the histogram of keys."""
BINS_PER_GROUP = 1 << 8
CAPACITY = 1 << 20
"""Hits collected before those below the threshold are dropped."""
HITS_IN_MEMORY = 32 << 20
"""Largest size in bytes of an array of hits in memory; larger ones go to a temporary file."""
ROWS_PER_BLOCK = 1 << 18
"""Hits that are looked through at once."""
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
"""f(hits): the hits that fill a ranking's budget, ties by id; see `nagindex.select.budget.exact_cut`.

A collector calls it with the part of the budget that is left (`budget`), whether no hit was taken before these (`first`), and
whether these are the last ones (`final`): if more may follow, the one that exceeds the budget is kept, too.
"""


def bins_of_keys(keys: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.int32]:
    """Return the bin of each key, int32 [n], in histograms of keys between two bounds."""
    places: npt.NDArray[np.float64] = np.subtract(keys, low, dtype=np.float64)
    places *= (BINS - 1) / (high - low) if high > low else 0.0
    bounded = np.minimum(np.maximum(places, 0.0), BINS - 1.0)  # sums of damaged codes can lie outside the range
    return bounded.astype(np.int32)


def reaching(hits: Hits, low: float, high: float, threshold: int) -> Hits:
    """Return the hits whose keys, between two bounds, are in the bin of a threshold or above."""
    return hits.take(bins_of_keys(hits.keys, low, high) >= threshold)


def threshold_of(histogram: npt.NDArray[np.int64], budget: int) -> int:
    """Return the highest bin at and above which the weights of a histogram exceed a budget; 0 if they never do."""
    groups = histogram.reshape(-1, BINS_PER_GROUP)  # adding up all bins one by one takes six times as long
    group, left = _place(groups.sum(axis=1), budget)
    return group * BINS_PER_GROUP + _place(groups[group], left)[0]


def _place(weights: npt.NDArray[np.int64], budget: int) -> tuple[int, int]:
    """Return the highest place at and above which weights exceed a budget, or 0, and what those above it leave of the budget."""
    above = np.cumsum(weights[::-1])
    number = min(int(np.searchsorted(above, budget, side="right")), len(above) - 1)
    return len(above) - 1 - number, budget - (int(above[number - 1]) if number else 0)


def _are_among(values: npt.NDArray[np.int64], ascending: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which values are among others, of which the last is above all values, bool [n].

    `np.isin` would sort or hash the others each time.
    """
    found: npt.NDArray[np.bool_] = ascending[np.searchsorted(ascending, values)] == values
    return found


class Collector:
    """Collects the hits of one ranking from blocks in any order, on any number of threads.

    A histogram of budget weights by key gives a threshold below which no document can be selected any more. Only hits
    at or above it are kept, at 16 bytes each (24 where documents have weights), in temporary files if they are many.
    """

    def __init__(
        self,
        low: float,
        high: float,
        budget: int,
        cut: Cut,
        *,
        cut_later: bool = False,
        minimum: float = -np.inf,
        weighted: bool = True,
        documents: int = 1 << 40,
    ) -> None:
        """Create an empty collector.

        Args:
            low: lower bound on the keys.
            high: upper bound on the keys.
            budget: the budget, in the unit of the weights.
            cut: cuts hits at the budget; called for those in the histogram's bin in which the budget ends.
            cut_later: whether the caller cuts the result: here hits in that bin are only cut if they exceed the budget alone.
            minimum: documents of a lower key are not collected.
            weighted: whether documents have weights other than 1.
            documents: how many may be added at most.
        """
        self.low, self.high, self.budget, self.minimum = low, high, budget, minimum
        self.cut, self.cut_later, self.lock = cut, cut_later, Lock()
        self.histogram = np.zeros(BINS, np.int64)
        self.threshold = self.size = self.since_threshold = 0
        self.weighted, self.documents, self.capacity = weighted, documents, 0
        self.columns: list[npt.NDArray[Any]] = []
        """Positions, keys and, if there are any, weights of the hits, in the first `size` places of each."""

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
        rows = np.flatnonzero((keys >= self._least(keys.dtype)) & alive[: len(keys)])
        bins = bins_of_keys(keys[rows], self.low, self.high)
        with self.lock:
            kept = np.flatnonzero(bins >= self.threshold)
            rows, bins = rows[kept], bins[kept]
            self._take(bins, rows + start, keys[rows], weights[rows] if self.weighted else None)

    def add_hits(self, hits: Hits) -> None:
        """Add documents that another collector of the same ranking holds, in any order."""
        bins = bins_of_keys(hits.keys, self.low, self.high)
        with self.lock:
            kept = np.flatnonzero(bins >= self.threshold)
            own = hits.take(kept)
            self._take(bins[kept], own.positions, own.keys, own.weights if self.weighted else None)

    def _take(
        self,
        bins: npt.NDArray[np.int32],
        positions: npt.NDArray[np.int64],
        keys: npt.NDArray[Any],
        weights: npt.NDArray[np.int64] | None,
    ) -> None:
        """Collect hits at or above the threshold; weights are None where none is other than 1."""
        np.add.at(self.histogram, bins, 1 if weights is None else weights)
        self._append([positions, keys] if weights is None else [positions, keys, weights])
        self.since_threshold += len(bins)
        if self.since_threshold >= ROWS_PER_THRESHOLD:
            self._raise_threshold()

    def _least(self, kind: np.dtype[Any]) -> float:
        """Return a key that documents which can be selected reach: at most one bin below the threshold, and no less than the minimum."""
        width = (self.high - self.low) / (BINS - 1)
        least = max(self.low + (self.threshold - 1) * width if self.threshold else -np.inf, self.minimum)
        if kind.kind != "i":
            return least
        # Comparing integers with a float would convert them.
        return math.ceil(least) if least != -np.inf else np.iinfo(kind).min

    def result(self) -> Hits:
        """Return the hits of all documents that were added, in nearly the order in which they were."""
        self._raise_threshold()
        complete = self.threshold == 0 and int(self.histogram.sum()) <= self.budget
        if not complete:
            self._keep(None if self.cut_later else self._cut(final=True))
        return dataclasses.replace(self._hits(slice(0, self.size)), complete=complete)

    def possible(self) -> Hits:
        """Return the documents at or above the threshold of all that were added, in nearly the order in which they were."""
        self._raise_threshold()
        self._keep(None)
        return self._hits(slice(0, self.size))

    def _append(self, values: Sequence[npt.NDArray[Any]]) -> None:
        if not len(values[0]):
            return
        if self.size + len(values[0]) > self.capacity:
            self._shrink()
            self._make_room(2 * (self.size + len(values[0])), values)
        end = self.size + len(values[0])
        for column, own in zip(self.columns, values, strict=True):
            column[self.size : end] = own
        self.size = end

    def _make_room(self, capacity: int, like: Sequence[npt.NDArray[Any]]) -> None:
        """Let the columns, of the types of these, hold as many hits, if they do not yet."""
        capacity = min(max(capacity, CAPACITY), self.documents)
        if capacity <= self.capacity:
            return
        columns = [spill.empty((capacity,), own.dtype, limit=HITS_IN_MEMORY) for own in like]
        for column, old in zip(columns, self.columns, strict=False):
            column[: self.size] = old[: self.size]
        self.columns, self.capacity = columns, capacity

    def _hits(self, rows: slice) -> Hits:
        """Return some of the collected hits, as views."""
        if not self.columns:
            return concatenate([])
        positions, keys, *weights = (column[rows] for column in self.columns)
        return Hits(positions, keys, weights[0] if weights else np.broadcast_to(np.int64(1), len(keys)))

    def _blocks(self) -> Iterator[tuple[Hits, npt.NDArray[np.int32]]]:
        """Yield the collected hits and their bins, some at a time."""
        for first in range(0, self.size, ROWS_PER_BLOCK):
            own = self._hits(slice(first, min(first + ROWS_PER_BLOCK, self.size)))
            yield own, bins_of_keys(own.keys, self.low, self.high)

    def _raise_threshold(self) -> None:
        """Raise the threshold to the highest bin at and above which the weights exceed the budget."""
        self.since_threshold, self.threshold = 0, threshold_of(self.histogram, self.budget)

    def _shrink(self) -> None:
        """Drop hits below the threshold; if ties leave too many, cut them by id."""
        self._raise_threshold()
        self._keep(None)
        few = self.cut_later and self.size - int(self.histogram[self.threshold + 1 :].sum()) <= self.budget
        if self.size > self.capacity // 2 and not few:
            self._keep(self._cut(final=False))

    def _cut(self, *, final: bool) -> npt.NDArray[np.int64]:
        """Return the positions of the hits in the threshold's bin that fit into what those above it leave of the budget."""
        ties, above = [], 0
        for own, bins in self._blocks():
            ties.append(own.take(bins == self.threshold))
            above += int((bins > self.threshold).sum())
        left = self.budget - int(self.histogram[self.threshold + 1 :].sum())
        return self.cut(concatenate(ties), budget=left, first=not above, final=final).positions

    def _keep(self, ties: npt.NDArray[np.int64] | None) -> None:
        """Keep the hits above the threshold, and of those in its bin these positions, by default all. Their order stays."""
        size, ascending = 0, None if ties is None else np.append(np.sort(ties), np.iinfo(np.int64).max)
        for own, bins in self._blocks():
            kept = bins >= self.threshold
            if ascending is not None:
                here = np.flatnonzero(bins == self.threshold)
                kept[here] = _are_among(own.positions[here], ascending)
            end = size + int(kept.sum())
            for column, values in zip(self.columns, (own.positions, own.keys, own.weights), strict=False):
                column[size:end] = values[kept]
            size = end
        self.size = size
