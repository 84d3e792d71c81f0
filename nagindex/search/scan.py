"""The exact scan: one pass over memory-mapped codes scores every document for every target and keeps what can win.

Scores are integer sums of profile counts, so equal documents are equal. A histogram of what was seen gives, at any moment, a
sum below which nothing can be selected any more; only rows that reach it are collected, so memory follows the result and not
the pool, and the pool is never sorted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import Codes
from nagindex.profile import Profile

ROWS_PER_TASK = 8192
BINS = 1 << 16
ROOM = 1 << 20
MAX_SUM = (1 << 32) - 1


@dataclass(frozen=True)
class Part:
    """A stretch of the pool, mapped only while it is scanned.

    Attributes:
        start: position of its first document in the pool.
        documents: how many it has.
        codes: opens its NAGs, uint16 [n, L, K].
        alive: opens a bool [n] of documents that may be selected, None where all may.
        weights: opens an int64 [n] of what each document takes of the budget, None for one each.
    """

    start: int
    documents: int
    codes: Callable[[], Codes]
    alive: Callable[[], npt.NDArray[np.bool_]] | None = None
    weights: Callable[[], npt.NDArray[np.int64]] | None = None


@dataclass(frozen=True)
class Hits:
    """Documents in no particular order: position in the pool, summed counts and budget weight, int64 [m] each."""

    positions: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int64]

    def take(self, where: npt.NDArray[Any]) -> Hits:
        """Return the hits at positions, or under a mask, of these arrays."""
        return Hits(self.positions[where], self.sums[where], self.weights[where])


Cut = Callable[..., Hits]
"""f(hits, final=...): what a budget keeps, decided to the last id; see `select.exact_cut`."""


def scan(
    parts: Sequence[Part],
    profiles: Sequence[Profile],
    *,
    budgets: Sequence[int],
    cut: Sequence[Cut],
    threads: int | None = None,
) -> list[Hits]:
    """Return, for each target, the documents whose cumulated weight in order of falling score stays within its budget.

    Args:
        parts: the pool.
        profiles: the targets, all of one spec.
        budgets: each target's budget, in the unit of the parts' weights.
        cut: for each target, the exact cut; called with what was collected when the threshold alone leaves too much, and last.
        threads: how many run side by side; by default one for each core.
    """
    scorers = _scorers(profiles)
    collectors = [
        _Collector(profile, budget, exact) for profile, budget, exact in zip(profiles, budgets, cut, strict=True)
    ]
    longest = max((part.documents for part in parts), default=0)
    everything, ones = np.ones(longest, bool), np.ones(longest, np.int64)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for part in parts:
            codes = part.codes()
            flat = codes.view(np.ndarray).reshape(len(codes), codes.shape[1] * codes.shape[2])
            alive = part.alive() if part.alive else everything
            weights = part.weights() if part.weights else ones

            def task(
                first: int, part: Part = part, flat: Any = flat, alive: Any = alive, weights: Any = weights
            ) -> None:
                rows = slice(first, first + ROWS_PER_TASK)
                for target, sums in _sums(scorers, flat[rows]):
                    collectors[target].add(part.start + first, sums, alive[rows], weights[rows])

            list(pool.map(task, range(0, len(codes), ROWS_PER_TASK)))
    return [collector.result() for collector in collectors]


Scorer = tuple[list[int], Callable[[npt.NDArray[np.uint16], npt.NDArray[np.int64]], None]]
"""Targets, and f(codes uint16 [n, L * K], sums int64 [targets or more, n]) that sums their counts."""


def _scorers(profiles: Sequence[Profile]) -> list[Scorer]:
    """Return the scorers that together cover all targets, six at a time where that is faster."""
    from nagindex.search import kernels

    top_k, width = profiles[0].spec.top_k, profiles[0].counts.shape[1]
    if any(profile.scale > MAX_SUM for profile in profiles):
        limit = MAX_SUM // (profiles[0].spec.layers * top_k)
        raise BadInputError(f"a target set of more than {limit:,} examples cannot be scored; give a sample of it")
    scorers: list[Scorer] = []
    for first in range(0, len(profiles), kernels.TOGETHER):
        targets = list(range(first, min(first + kernels.TOGETHER, len(profiles))))
        layer_sum = top_k * max(profiles[target].examples for target in targets)
        if len(targets) > 2 and layer_sum <= kernels.LANE_MAX:
            table = kernels.packed_table([profiles[target].counts for target in targets])
            scorers.append(
                (targets, partial(_six, kernels.sum_six(top_k), table, width, kernels.LANE_MAX // layer_sum))
            )
        else:
            one = kernels.sum_one(top_k)
            scorers += [([t], partial(_one, one, kernels.single_table(profiles[t].counts), width)) for t in targets]
    return scorers


def _one(kernel: Callable[..., None], table: Any, width: int, codes: Any, sums: npt.NDArray[np.int64]) -> None:
    kernel(codes, table, width, sums[0])


def _six(
    kernel: Callable[..., None], table: Any, width: int, layers: int, codes: Any, sums: npt.NDArray[np.int64]
) -> None:
    kernel(codes, table, width, layers, sums)


def _sums(scorers: Sequence[Scorer], codes: npt.NDArray[np.uint16]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield (target, its sums [n]) for a block of documents, codes uint16 [n, L * K]."""
    for targets, summed in scorers:
        sums = np.empty((1 if len(targets) == 1 else 6, len(codes)), np.int64)
        summed(codes, sums)
        yield from zip(targets, sums, strict=False)


def score(codes: Codes, profile: Profile) -> npt.NDArray[np.int64]:
    """Return the summed counts of documents, int64 [n]; divided by `profile.scale` they are the similarities.

    Args:
        codes: uint16 [n, L, K].
        profile: the target.

    Source: arXiv 2604.15706.
    """
    [(_, sums)] = _sums(
        _scorers([profile]), np.ascontiguousarray(codes).reshape(len(codes), codes.shape[1] * codes.shape[2])
    )
    return sums


class _Collector:
    """What one target has seen: a histogram of budget weights by score, and the rows that can still be selected."""

    def __init__(self, profile: Profile, budget: int, cut: Cut) -> None:
        self.budget, self.cut, self.lock = budget, cut, Lock()
        self.shift = max(0, int(profile.scale).bit_length() - BINS.bit_length() + 1)
        self.histogram = np.zeros((profile.scale >> self.shift) + 1, np.int64)
        self.threshold = 0
        self.kept: list[Hits] = []
        self.size, self.room, self.due = 0, ROOM, 0

    def add(
        self, start: int, sums: npt.NDArray[Any], alive: npt.NDArray[np.bool_], weights: npt.NDArray[np.int64]
    ) -> None:
        """Take in a block of documents whose first is at position `start` of the pool."""
        from nagindex.search.kernels import collect

        rows = np.empty(len(sums), np.int64)
        with self.lock:
            found = collect(sums, alive, weights, self.threshold, self.shift, self.histogram, rows)
            rows = rows[:found]
            self.kept.append(Hits(rows + start, sums[rows].astype(np.int64), weights[rows]))
            self.size += found
            self.due += found
            if self.due >= ROWS_PER_TASK:
                self._raise_threshold()
            if self.size > self.room:
                self._shrink()

    def result(self) -> Hits:
        """Return what is selected of all that was seen."""
        self._raise_threshold()
        return self.cut(self._joined())

    def _raise_threshold(self) -> None:
        """Raise the threshold to the highest bin from which upward the budget is already used up."""
        self.due = 0
        above = np.cumsum(self.histogram[::-1])
        full = int(np.searchsorted(above, self.budget, side="right"))
        if full < len(above):
            self.threshold = (len(above) - 1 - full) << self.shift

    def _joined(self) -> Hits:
        if not self.kept:
            return Hits(*(np.empty(0, np.int64) for _ in range(3)))
        hits = Hits(
            *(np.concatenate([getattr(h, name) for h in self.kept]) for name in ("positions", "sums", "weights"))
        )
        return hits.take(hits.sums >= self.threshold)

    def _shrink(self) -> None:
        """Drop what the threshold rules out, and where ties leave too much, decide between them by id."""
        hits = self._joined()
        if len(hits.sums) > self.room // 2:
            hits = self.cut(hits, final=False)
        self.kept, self.size = [hits], len(hits.sums)
        self.room = max(self.room, 2 * self.size)
