"""Arrays in files whose rows are read on access and not memory-mapped.

A page fault on a mapped file maps the 64 kB around it and takes twice as long as reading a row, and access to the
mapping of a truncated file kills the process. Reads do neither, and leave no pages in the process.
"""

from __future__ import annotations

import os
import time
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import DamagedIndexError

ROWS_PER_BATCH = 128
SLOW = 30e-6
"""Seconds per row that show that rows come from the disk; the remaining ones are then prefetched."""


class FileRows:
    """An array in a file, in C order, whose rows are read by `rows[int64 [m]]`.

    Attributes:
        path: the file.
        offset: bytes before the first row.
        dtype: dtype of the array.
        shape: shape of the array, rows first.
    """

    def __init__(self, path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Open a file.

        Args:
            path: the file.
            offset: bytes before the first row.
            dtype: dtype of the array.
            shape: shape of the array, rows first.

        Raises:
            OSError: the file cannot be opened.
        """
        self.path, self.offset, self.dtype, self.shape = path, offset, dtype, shape
        self._size = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        self._file = os.open(path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._file)

    @classmethod
    def of(cls, mapped: npt.NDArray[Any]) -> FileRows | npt.NDArray[Any]:
        """Return the rows of the file that `np.load` has mapped; other arrays are returned unchanged."""
        if not isinstance(mapped, np.memmap) or mapped.filename is None:
            return mapped
        try:
            return cls(Path(mapped.filename), mapped.offset, mapped.dtype, mapped.shape)
        except OSError:  # vacuumed meanwhile; the mapping is still valid
            return mapped

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Read rows, [m, ...], int64 [m].

        Raises:
            DamagedIndexError: the file is truncated before them, or cannot be read.
            IndexError: a row is out of range.
        """
        rows = np.ascontiguousarray(rows, np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)}")
        gather, advise = _compiled()
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        flat = values.reshape(len(rows), self._size // self.dtype.itemsize).view(np.uint8)
        for first in range(0, len(rows), ROWS_PER_BATCH):
            batch = slice(first, first + ROWS_PER_BATCH)
            started = time.perf_counter()
            complete = gather(self._file, self.offset, rows[batch], flat[batch])
            if complete and time.perf_counter() - started > SLOW * len(rows[batch]):
                rest = slice(first + ROWS_PER_BATCH, None)
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)
                    advise(self._file, self.offset, rows[rest], self._size, os.POSIX_FADV_WILLNEED)
                complete = gather(self._file, self.offset, rows[rest], flat[rest])
                if complete:
                    break
            if not complete:
                raise self._truncated()
        return values

    def _truncated(self) -> DamagedIndexError:
        return DamagedIndexError(self.path, f"shorter than {self.offset + len(self) * self._size} bytes")


@cache
def _compiled() -> tuple[Any, Any]:
    """Compile loops over `pread` and `posix_fadvise`, which release the GIL once for all rows."""
    from numba import types

    from nagindex.search.kernels import compiled

    pread = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))
    fadvise = types.ExternalFunction("posix_fadvise", types.intc(types.intc, types.int64, types.int64, types.intc))

    def gather(file: Any, offset: Any, rows: Any, values: Any) -> bool:
        size = values.shape[1]
        for i in range(rows.shape[0]):
            address = np.uintp(values.ctypes.data + i * size)
            if pread(np.intc(file), address, np.uintp(size), np.int64(offset + rows[i] * size)) != size:
                return False
        return True

    def advise(file: Any, offset: Any, rows: Any, size: Any, advice: Any) -> None:
        for i in range(rows.shape[0]):
            fadvise(np.intc(file), np.int64(offset + rows[i] * size), np.int64(size), np.intc(advice))

    return compiled(gather), compiled(advise)
