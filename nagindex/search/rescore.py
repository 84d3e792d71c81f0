"""Exact scores of single documents, read from wherever in the pool they lie."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.search.scan import Part, Sums
from nagindex.search.scorers import Scorer

ROWS_PER_TASK = 2048
ROWS_PER_LOOK = 128
SLOW = 30e-6
"""Seconds a document from which on it must have come from the disk, and the following ones are asked for in advance."""


def rescore(
    parts: Sequence[Part], positions: npt.NDArray[np.int64], scorer: Scorer, *, threads: int | None = None
) -> Sums:
    """Return the sums of documents, int64 [m].

    Codes are read in the order of the files, and where they come from the disk, many at a time.

    Args:
        parts: the pool.
        positions: int64 [m], ascending, in the pool.
        scorer: what sums codes for one target.
        threads: how many run side by side; by default one for each core.
    """
    sums = np.empty((1, len(positions)), np.int64)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for part in parts:
            first, last = map(int, np.searchsorted(positions, [part.start, part.start + part.documents]))
            if first == last:
                continue
            codes = part.codes()
            if isinstance(own := getattr(codes, "_mmap", None), mmap.mmap) and hasattr(own, "madvise"):
                own.madvise(mmap.MADV_RANDOM)  # of this mapping: a page fault reads one page, not what lies around it

            def task(start: int, part: Part = part, codes: Codes = codes, last: int = last) -> None:
                rows = slice(start, min(start + ROWS_PER_TASK, last))
                scorer(_gathered(codes, positions[rows] - part.start), sums[:, rows])

            list(pool.map(task, range(first, last, ROWS_PER_TASK)))
    return sums.reshape(-1)


def _gathered(codes: Codes, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Return rows of mapped codes [n, L, K] as uint16 [m, L * K]."""
    flat = codes.view(np.ndarray).reshape(len(codes), codes.shape[1] * codes.shape[2])
    found = np.empty((len(rows), flat.shape[1]), np.uint16)
    for first in range(0, len(rows), ROWS_PER_LOOK):
        own = rows[first : first + ROWS_PER_LOOK]
        started = time.perf_counter()
        found[first : first + ROWS_PER_LOOK] = flat[own]
        if time.perf_counter() - started > SLOW * len(own):
            _ask_for(codes, rows[first + ROWS_PER_LOOK :])
            found[first + ROWS_PER_LOOK :] = flat[rows[first + ROWS_PER_LOOK :]]
            break
    return found


def _ask_for(codes: Any, rows: npt.NDArray[np.int64]) -> None:
    """Tell the system which pages of mapped codes are needed next; the disk then serves many at once."""
    mapped = getattr(codes, "_mmap", None)
    if not isinstance(mapped, mmap.mmap) or not hasattr(mapped, "madvise"):
        return
    size = codes.shape[1] * codes.shape[2] * codes.itemsize
    offset = int(codes.offset) % mmap.ALLOCATIONGRANULARITY  # of the array's first byte in the mapping
    starts = (rows * size + offset) // mmap.PAGESIZE * mmap.PAGESIZE
    stops = rows * size + offset + size
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        mapped.madvise(mmap.MADV_WILLNEED, start, stop - start)
