"""The scan engine: scores every document of the pool in blocks, on several threads, in bounded memory.

Scores are integer sums, so ties are exact. One pass over memory-mapped codes computes the sums of all targets; a query
that needs them more than once keeps them, and later passes read the sums and not the codes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.progress import step
from nagindex.search import plain, spill
from nagindex.search.scorers import Scorer
from nagindex.search.top_n import Collector, Cut, Hits
from nagindex.search.view import View
from nagindex.workers.cpus import thread_count

ROWS_PER_TASK = 32768
BLOCKS_QUEUED = 2
"""Blocks queued for each thread."""
PARTS_OPEN = 4
"""Parts whose columns other than codes are cached; blocks come nearly in order."""
KEPT_IN_MEMORY = 1 << 30
"""Largest size in bytes of sums in memory; larger ones go to a temporary file."""

Sums = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A contiguous part of the pool, such as a segment, whose columns are opened on demand.

    Attributes:
        start: position of its first document in the pool.
        documents: number of documents n.
        codes: opens the codes, uint16 [n, L, K].
        alive: opens bool [n], whether a document may be selected; None if all may.
        weights: opens int64 [n], what each document takes of the budget; None for one each.
        values: opens float64 [n], another value for ranking keys, such as quality; None if there is none.
    """

    start: int
    documents: int
    codes: Callable[[], Codes]
    alive: Callable[[], npt.NDArray[np.bool_]] | None = None
    weights: Callable[[], npt.NDArray[np.int64]] | None = None
    values: Callable[[], npt.NDArray[np.float64]] | None = None


SumsOf = Callable[[Part], Callable[[slice], Sums]]
"""f(part): opens a part and returns g(rows), the sums of a slice of its rows, int64 [targets, n]."""


@dataclass(frozen=True)
class Ranking:
    """A ranked list to be made: ordered by a key, cut at a budget.

    Attributes:
        key: opens a part and returns f(rows, sums [targets, n]), the keys of a slice of its rows, int64 or float64 [n],
            the best highest.
        low, high: bounds on the keys.
        budget: the budget, in the unit of the parts' weights.
        cut: cuts hits at the budget, ties by id; see `nagindex.select.budget.exact_cut`.
        minimum: documents of a lower key are no hits.
        cut_later: whether the caller cuts the hits, which may then exceed the budget by ties at its end. Only for documents of weight 1.
    """

    key: Callable[[Part], Callable[[slice, Sums], npt.NDArray[Any]]]
    low: float
    high: float
    budget: int
    cut: Cut
    minimum: float = -math.inf
    cut_later: bool = False


def sums_from_codes(scorer: Scorer, targets: int) -> SumsOf:
    """Return the sums of a scorer for this number of targets, computed from codes."""

    def open_part(part: Part) -> Callable[[slice], Sums]:
        flat = flattened(part.codes())

        def sum_block(rows: slice) -> Sums:
            sums = np.empty((targets, len(flat[rows])), np.int64)
            scorer(flat[rows], sums)
            return sums

        return sum_block

    return open_part


class KeptSums:
    """The sums of every document, computed in one pass and kept for later passes.

    They are kept in memory, or in an unnamed temporary file if they are large.

    Attributes:
        sums: int32 or int64 [targets, documents].
    """

    def __init__(
        self, parts: Sequence[Part], sums_of: SumsOf, *, targets: int, largest: int, threads: int | None
    ) -> None:
        """Compute the sums.

        Args:
            parts: the pool.
            sums_of: computes the sums of blocks.
            targets: number of targets.
            largest: upper bound on the absolute value of a sum.
            threads: number of threads; by default one per available core.

        Raises:
            BadInputError: the disk has no room for the temporary file.
        """
        kind = np.dtype(np.int32 if largest < 1 << 31 else np.int64)
        shape = (targets, max((part.start + part.documents for part in parts), default=0))
        self.sums = spill.empty(shape, kind, limit=KEPT_IN_MEMORY)
        sweep(parts, sums_of, self._keep, threads=threads)

    def _keep(self, part: Part, rows: slice, sums: Sums) -> None:
        self.sums[:, part.start + rows.start : part.start + rows.start + sums.shape[1]] = sums

    def __call__(self, part: Part) -> Callable[[slice], Sums]:
        """Open a part, as `SumsOf` does."""
        own = self.sums[:, part.start : part.start + part.documents]
        return lambda rows: own[:, rows].astype(np.int64)


Block = TypeVar("Block")


def sweep(
    parts: Sequence[Part],
    read: Callable[[Part], Callable[[slice], Block]],
    take: Callable[[Part, slice, Block], None],
    *,
    threads: int | None = None,
    rows: int | None = None,
    stage: str = "scanning the pool",
) -> None:
    """Compute something for every block of the pool on several threads, in no particular order.

    Args:
        parts: the pool.
        read: opens a part and returns f(rows), what is computed for a slice of its rows.
        take: called with the part, the slice and the result of each block.
        threads: number of threads; by default one per available core.
        rows: documents in a block; by default `ROWS_PER_TASK`.
        stage: what progress is reported as.
    """
    size = rows or ROWS_PER_TASK
    workers = thread_count(threads)
    waiting: deque[Future[int]] = deque()
    documents = sum(part.documents for part in parts)
    with ThreadPoolExecutor(workers) as pool, step(stage, documents, "documents") as advance:
        for part in parts:
            read_block = read(part)

            def task(first: int, part: Part = part, read_block: Callable[[slice], Block] = read_block) -> int:
                block = slice(first, first + size)
                take(part, block, read_block(block))
                return min(size, part.documents - first)

            for first in range(0, part.documents, size):
                waiting.append(pool.submit(task, first))
                if len(waiting) > BLOCKS_QUEUED * workers:  # later parts are opened meanwhile, but not all of them
                    advance(waiting.popleft().result())
        while waiting:
            advance(waiting.popleft().result())


def scan(
    parts: Sequence[Part],
    sums_of: SumsOf,
    rankings: Sequence[Ranking],
    *,
    threads: int | None = None,
    rows: int | None = None,
) -> list[Hits]:
    """Return the hits of each ranking.

    Hits are the documents whose cumulative weight, in the ranking's order, stays within its budget. Memory grows with
    the hits and not with the pool, which is never sorted; see `Collector`.

    Args:
        parts: the pool.
        sums_of: computes the sums from which the rankings' keys are made.
        rankings: the lists to make.
        threads: number of threads; by default one per available core.
        rows: documents in a block; by default `ROWS_PER_TASK`.
    """
    return [collector.result() for collector in collect(parts, sums_of, rankings, threads=threads, rows=rows)]


def collectors_of(rankings: Sequence[Ranking], parts: Sequence[Part]) -> list[Collector]:
    """Return an empty collector for each ranking of a pool."""
    weighted, documents = any(part.weights is not None for part in parts), sum(part.documents for part in parts)
    return [
        Collector(
            ranking.low,
            ranking.high,
            ranking.budget,
            ranking.cut,
            cut_later=ranking.cut_later,
            minimum=ranking.minimum,
            weighted=weighted,
            documents=documents,
        )
        for ranking in rankings
    ]


def collect(
    parts: Sequence[Part],
    sums_of: SumsOf,
    rankings: Sequence[Ranking],
    *,
    threads: int | None = None,
    rows: int | None = None,
) -> list[Collector]:
    """Return a collector for each ranking, to which all documents were added; see `scan`.

    Args:
        parts: the pool.
        sums_of: computes the sums from which the rankings' keys are made.
        rankings: the lists to make.
        threads: number of threads; by default one per available core.
        rows: documents in a block; by default `ROWS_PER_TASK`.
    """
    collectors = collectors_of(rankings, parts)
    longest = max((part.documents for part in parts), default=0)
    all_alive, ones = np.ones(longest, bool), np.ones(longest, np.int64)

    @lru_cache(PARTS_OPEN)
    def open_columns(part: Part) -> Any:
        alive, weights = part.alive() if part.alive else all_alive, part.weights() if part.weights else ones
        return alive, weights, [ranking.key(part) for ranking in rankings]

    def take(part: Part, rows: slice, sums: Sums) -> None:
        alive, weights, keys = open_columns(part)
        for collector, key in zip(collectors, keys, strict=True):
            collector.add(part.start + rows.start, key(rows, sums), alive[rows], weights[rows])

    sweep([part for part in parts if part.documents], sums_of, take, threads=threads, rows=rows)
    return collectors


def counts_of(parts: Sequence[Part], view: View, *, threads: int | None = None) -> tuple[npt.NDArray[np.int64], int]:
    """Count the living documents that hold each neuron.

    Args:
        parts: the pool.
        view: the layers and neurons to count.
        threads: number of threads; by default one per available core.

    Returns:
        Counts, int64 [layers, max d_l], and the number of living documents.
    """
    count = neuron_counter(sum(part.documents for part in parts), view)
    shape, columns = (view.spec.layers, max(view.spec.widths)), view.columns
    counts, documents = np.zeros(shape, np.int64), np.zeros(1, np.int64)
    lock = Lock()

    def open_part(part: Part) -> Callable[[slice], Sums]:
        flat, alive = flattened(part.codes()), part.alive() if part.alive else np.ones(part.documents, bool)
        documents[:] += alive.sum()

        def count_block(rows: slice) -> Sums:
            block_counts = np.zeros(shape, np.int64)
            count(flat[rows], columns, view.top_k, alive[rows], block_counts)
            return block_counts

        return count_block

    def take(part: Part, rows: slice, block_counts: Sums) -> None:
        with lock:
            np.add(counts, block_counts, out=counts)

    sweep(parts, open_part, take, threads=threads, stage="counting the pool's neurons")
    return counts, int(documents[0])


def neuron_counter(documents: int, view: View) -> Callable[..., None]:
    """Return the loop that counts neurons, compiled unless it is for few codes; see `nagindex.search.kernels.count`."""
    if documents * view.spec.layers * view.top_k <= plain.FEW:
        return plain.count
    from nagindex.search import kernels

    return kernels.count


def flattened(codes: Codes) -> npt.NDArray[np.uint16]:
    """Flatten codes, uint16 [n, L, K], to the uint16 [n, L * K] that the compiled loops take."""
    return codes.view(np.ndarray).reshape(len(codes), codes.shape[1] * codes.shape[2])
