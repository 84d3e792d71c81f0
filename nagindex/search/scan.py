"""The exact scan: passes over the pool in blocks that score everything, on several threads, in bounded memory.

Scores are integer sums, so equal documents are equal. A pass over memory-mapped codes makes the sums of all targets; where a
query needs them more than once they are kept, and later passes read them instead of the codes.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import Codes
from nagindex.search.scorers import Scorer
from nagindex.search.top_n import Collector, Cut, Hits
from nagindex.search.view import View
from nagindex.workers.cpus import thread_count

ROWS_PER_TASK = 8192
AHEAD = 2
"""Blocks that wait for each thread."""
PARTS_OPEN = 4
"""Parts whose other columns are kept at a time; blocks come nearly in their order."""
KEPT_IN_MEMORY = 1 << 30
"""Bytes of sums above which they go to a temporary file."""

Sums = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A stretch of the pool, mapped only while it is scanned.

    Attributes:
        start: position of its first document in the pool.
        documents: how many it has.
        codes: opens its NAGs, uint16 [n, L, K].
        alive: opens a bool [n] of documents that may be selected, None where all may.
        weights: opens an int64 [n] of what each document takes of the budget, None for one each.
        values: opens a float64 [n] of something else that documents are ranked by, such as quality; None where nothing is.
    """

    start: int
    documents: int
    codes: Callable[[], Codes]
    alive: Callable[[], npt.NDArray[np.bool_]] | None = None
    weights: Callable[[], npt.NDArray[np.int64]] | None = None
    values: Callable[[], npt.NDArray[np.float64]] | None = None


SumsOf = Callable[[Part], Callable[[slice], Sums]]
"""f(part) that opens a part: g(rows) gives the sums of rows of it, int64 [targets, n]."""


@dataclass(frozen=True)
class Ranking:
    """One list of documents, ordered by a key.

    Attributes:
        key: opens a part: f(rows, sums [targets, n]) gives the rows' keys, int64 or float64 [n], the best highest.
        low, high: no key is outside these.
        budget: how much to keep, in the unit of the parts' weights.
        cut: decides at the budget's edge to the last id; see `select.exact_cut`.
    """

    key: Callable[[Part], Callable[[slice, Sums], npt.NDArray[Any]]]
    low: float
    high: float
    budget: int
    cut: Cut


def sums_from_codes(scorer: Scorer, targets: int) -> SumsOf:
    """Return what sums the codes of a part for so many targets."""

    def opened(part: Part) -> Callable[[slice], Sums]:
        flat = _flat(part.codes())

        def block(rows: slice) -> Sums:
            sums = np.empty((targets, len(flat[rows])), np.int64)
            scorer(flat[rows], sums)
            return sums

        return block

    return opened


class KeptSums:
    """The sums of every document, made in one pass over the codes; a file that has no name where they are many.

    Attributes:
        sums: int32 or int64 [targets, documents].
    """

    def __init__(
        self, parts: Sequence[Part], sums_of: SumsOf, *, targets: int, largest: int, threads: int | None
    ) -> None:
        kind = np.dtype(np.int32 if largest < 1 << 31 else np.int64)
        shape = (targets, max((part.start + part.documents for part in parts), default=0))
        self.sums: npt.NDArray[Any] = np.empty(0)
        if shape[0] * shape[1] * kind.itemsize > KEPT_IN_MEMORY:
            with tempfile.TemporaryFile(prefix="nagindex-") as file:
                _make_room(file.fileno(), shape[0] * shape[1] * kind.itemsize)
                self.sums = np.memmap(file, kind, "r+", shape=shape)
        else:
            self.sums = np.empty(shape, kind)
        sweep(parts, sums_of, self._keep, threads=threads)

    def _keep(self, part: Part, rows: slice, sums: Sums) -> None:
        self.sums[:, part.start + rows.start : part.start + rows.start + sums.shape[1]] = sums

    def __call__(self, part: Part) -> Callable[[slice], Sums]:
        """Open a part, as `SumsOf` says."""
        own = self.sums[:, part.start : part.start + part.documents]
        return lambda rows: own[:, rows].astype(np.int64)


def _make_room(file: int, size: int) -> None:
    """Take so many bytes of the disk now: a mapped file that cannot grow kills the process when it is written to."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        place = f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of scores"
        raise BadInputError(f"{place} ({error.strerror}); set TMPDIR to a folder with more") from error


Block = TypeVar("Block")


def sweep(
    parts: Sequence[Part],
    sums_of: Callable[[Part], Callable[[slice], Block]],
    take: Callable[[Part, slice, Block], None],
    *,
    threads: int | None = None,
    rows: int = ROWS_PER_TASK,
) -> None:
    """Call `take` with every block of the pool: its part, rows and sums; side by side on threads, in no order.

    Args:
        parts: the pool.
        sums_of: gives the sums, or whatever else is to be taken of a block.
        take: what is done with them.
        threads: how many run side by side; by default one for each core.
        rows: documents in a block.
    """
    workers = thread_count(threads)
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for part in parts:
            block = sums_of(part)

            def task(first: int, part: Part = part, block: Callable[[slice], Block] = block) -> None:
                own = slice(first, first + rows)
                take(part, own, block(own))

            for first in range(0, part.documents, rows):
                waiting.append(pool.submit(task, first))
                if len(waiting) > AHEAD * workers:  # files are opened meanwhile, but not all of them
                    waiting.popleft().result()
        while waiting:
            waiting.popleft().result()


def scan(
    parts: Sequence[Part],
    sums_of: SumsOf,
    rankings: Sequence[Ranking],
    *,
    threads: int | None = None,
    rows: int = ROWS_PER_TASK,
) -> list[Hits]:
    """Return, for each ranking, the documents whose cumulated weight in its order stays within its budget.

    A histogram of what was seen gives, at any moment, a key below which nothing can be selected any more; only rows that reach it
    are collected, so memory follows the result and not the pool, and the pool is never sorted.

    Args:
        parts: the pool.
        sums_of: gives the documents' sums, which the rankings' keys are made of.
        rankings: the lists to make.
        threads: how many run side by side; by default one for each core.
        rows: documents in a block.
    """
    collectors = [Collector(ranking.low, ranking.high, ranking.budget, ranking.cut) for ranking in rankings]
    longest = max((part.documents for part in parts), default=0)
    everything, ones = np.ones(longest, bool), np.ones(longest, np.int64)

    @lru_cache(PARTS_OPEN)
    def opened(part: Part) -> Any:
        alive, weights = part.alive() if part.alive else everything, part.weights() if part.weights else ones
        return alive, weights, [ranking.key(part) for ranking in rankings]

    def take(part: Part, rows: slice, sums: Sums) -> None:
        alive, weights, keys = opened(part)
        for collector, key in zip(collectors, keys, strict=True):
            collector.add(part.start + rows.start, key(rows, sums), alive[rows], weights[rows])

    sweep([part for part in parts if part.documents], sums_of, take, threads=threads, rows=rows)
    return [collector.result() for collector in collectors]


def counts_of(parts: Sequence[Part], view: View, *, threads: int | None = None) -> tuple[npt.NDArray[np.int64], int]:
    """Return how many living documents hold each neuron, int64 [layers, max d_l], and how many documents that are.

    Args:
        parts: the pool.
        view: which neurons are counted.
        threads: how many run side by side; by default one for each core.
    """
    from nagindex.search.kernels import count

    shape, columns = (view.spec.layers, max(view.spec.widths)), view.columns
    counts, documents = np.zeros(shape, np.int64), np.zeros(1, np.int64)
    lock = Lock()

    def opened(part: Part) -> Callable[[slice], Sums]:
        flat, alive = _flat(part.codes()), part.alive() if part.alive else np.ones(part.documents, bool)
        documents[:] += alive.sum()

        def block(rows: slice) -> Sums:
            own = np.zeros(shape, np.int64)
            count(flat[rows], columns, view.top_k, alive[rows], own)
            return own

        return block

    def take(part: Part, rows: slice, own: Sums) -> None:
        with lock:
            np.add(counts, own, out=counts)

    sweep(parts, opened, take, threads=threads)
    return counts, int(documents[0])


def _flat(codes: Codes) -> npt.NDArray[np.uint16]:
    """Return codes, uint16 [n, L, K], as the uint16 [n, L * K] that the compiled loops take."""
    return codes.view(np.ndarray).reshape(len(codes), codes.shape[1] * codes.shape[2])
