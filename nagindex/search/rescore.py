"""Exact scores of single documents, whose codes are read at random."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from nagindex.search.file_rows import FileRows
from nagindex.search.scan import Part, Sums
from nagindex.search.scorers import Scorer
from nagindex.workers.cpus import thread_count

ROWS_PER_TASK, ROWS_AT_ONCE = 16_384, 2048


def rescore(
    parts: Sequence[Part], positions: npt.NDArray[np.int64], scorer: Scorer, *, threads: int | None = None
) -> Sums:
    """Return the exact sums of documents, int64 [m]; codes are read in the order of the files.

    Args:
        parts: the pool.
        positions: int64 [m], ascending positions in the pool.
        scorer: sums codes for one target.
        threads: number of threads; by default one per available core.
    """
    sums = np.empty((1, len(positions)), np.int64)
    tasks: list[tuple[Part, slice]] = []
    for part in parts:
        first, last = map(int, np.searchsorted(positions, [part.start, part.start + part.documents]))
        tasks += [(part, slice(start, min(start + ROWS_PER_TASK, last))) for start in range(first, last, ROWS_PER_TASK)]

    def score(task: tuple[Part, slice]) -> None:
        part, chosen = task
        codes = FileRows.of(part.codes())
        for start in range(chosen.start, chosen.stop, ROWS_AT_ONCE):
            rows = slice(start, min(start + ROWS_AT_ONCE, chosen.stop))
            block = np.asarray(codes[positions[rows] - part.start])
            scorer(block.reshape(len(block), -1), sums[:, rows])

    with ThreadPoolExecutor(thread_count(threads)) as pool:
        list(pool.map(score, tasks))
    return sums.reshape(-1)
