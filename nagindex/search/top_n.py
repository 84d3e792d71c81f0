"""What a scan keeps: the documents that can still be selected, of all that were seen so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 1 << 16
ROOM = 1 << 20
SEEN_PER_THRESHOLD = 8192


@dataclass(frozen=True)
class Hits:
    """Documents in no particular order: position in the pool int64 [m], key int64 or float64 [m], budget weight int64 [m]."""

    positions: npt.NDArray[np.int64]
    keys: npt.NDArray[Any]
    weights: npt.NDArray[np.int64]

    def take(self, where: npt.NDArray[Any]) -> Hits:
        """Return the hits at positions, or under a mask, of these arrays."""
        return Hits(self.positions[where], self.keys[where], self.weights[where])


Cut = Callable[..., Hits]
"""f(hits, final=...): what a budget keeps, decided to the last id; see `select.exact_cut`."""


class Collector:
    """What one ranking has seen: a histogram of budget weights by key, and the rows that can still be selected."""

    def __init__(self, low: float, high: float, budget: int, cut: Cut) -> None:
        """Start with nothing.

        Args:
            low: no key is below this.
            high: no key is above this.
            budget: how much to keep, in the unit of the weights.
            cut: called with what was collected when the threshold alone leaves too much, and last.
        """
        self.low, self.budget, self.cut, self.lock = float(low), budget, cut, Lock()
        self.bins_per_unit = (BINS - 1) / (high - low) if high > low else 0.0
        self.histogram = np.zeros(BINS, np.int64)
        self.threshold = 0
        self.kept: list[Hits] = []
        self.size, self.room, self.due = 0, ROOM, 0

    def add(
        self, start: int, keys: npt.NDArray[Any], alive: npt.NDArray[np.bool_], weights: npt.NDArray[np.int64]
    ) -> None:
        """Take in a block of documents whose first is at position `start` of the pool."""
        from nagindex.search.kernels import collect

        rows, bins = np.empty(len(keys), np.int64), self._bins(keys)
        with self.lock:
            found = collect(bins, alive, weights, self.threshold, self.histogram, rows)
            rows = rows[:found]
            self.kept.append(Hits(rows + start, keys[rows], weights[rows]))
            self.size += found
            self.due += found
            if self.due >= SEEN_PER_THRESHOLD:
                self._raise_threshold()
            if self.size > self.room:
                self._shrink()

    def result(self) -> Hits:
        """Return what is selected of all that was seen."""
        self._raise_threshold()
        return self.cut(self._joined())

    def _bins(self, keys: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        from nagindex.search.kernels import bins_of

        bins = np.empty(len(keys), np.int32)
        bins_of(keys, self.low, self.bins_per_unit, BINS - 1, bins)
        return bins

    def _raise_threshold(self) -> None:
        """Raise the threshold to the highest bin from which upward the budget is already used up."""
        self.due = 0
        above = np.cumsum(self.histogram[::-1])
        full = int(np.searchsorted(above, self.budget, side="right"))
        if full < len(above):
            self.threshold = len(above) - 1 - full

    def _joined(self) -> Hits:
        if not self.kept:
            return Hits(*(np.empty(0, np.int64) for _ in range(3)))
        hits = Hits(
            *(np.concatenate([getattr(h, name) for h in self.kept]) for name in ("positions", "keys", "weights"))
        )
        return hits.take(self._bins(hits.keys) >= self.threshold)

    def _shrink(self) -> None:
        """Drop what the threshold rules out, and where ties leave too much, decide between them by id."""
        hits = self._joined()
        if len(hits.keys) > self.room // 2:
            hits = self.cut(hits, final=False)
        self.kept, self.size = [hits], len(hits.keys)
        self.room = max(self.room, 2 * self.size)
