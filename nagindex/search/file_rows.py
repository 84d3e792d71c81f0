"""Rows of an array that lies in a file, read where they are wanted instead of mapped.

A page fault on a mapped file maps the 64 kB around it and takes twice as long as reading a row does, and a file that was cut short
kills the process that touches its mapping. Reading does neither, and leaves no pages in the process.
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

ROWS_PER_LOOK = 128
SLOW = 30e-6
"""Seconds a row from which on it must have come from the disk, and the following ones are asked for in advance."""


class FileRows:
    """An array in a file, as far as a caller asks for its rows: `rows[slice]` and `rows[int64 [m]]` read them.

    Attributes:
        shape, dtype: of the array, whose rows lie one after the other.
    """

    def __init__(self, path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Open a file.

        Args:
            path: the file.
            offset: bytes before the first row.
            dtype: of the array.
            shape: of the array, rows first.

        Raises:
            OSError: the file cannot be opened.
        """
        self.path, self.offset, self.dtype, self.shape = path, offset, dtype, shape
        self._size = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        self._file = os.open(path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._file)

    @classmethod
    def of(cls, mapped: npt.NDArray[Any]) -> FileRows | npt.NDArray[Any]:
        """Return the rows behind an array that `np.load` mapped; the array itself where it is no such array."""
        if not isinstance(mapped, np.memmap) or mapped.filename is None:
            return mapped
        try:
            return cls(Path(mapped.filename), mapped.offset, mapped.dtype, mapped.shape)
        except OSError:  # vacuumed meanwhile; the mapping still holds it
            return mapped

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return rows, [m, ...].

        Raises:
            DamagedIndexError: the file ends before them.
        """
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._stretch(start, max(stop, start))
            rows = np.arange(start, stop, step)
        return self._single(np.ascontiguousarray(rows, np.int64))

    def _stretch(self, start: int, stop: int) -> npt.NDArray[Any]:
        found = np.empty((stop - start, *self.shape[1:]), self.dtype)
        view, place = found.reshape(-1).view(np.uint8).data, self.offset + start * self._size
        while view:
            read = os.preadv(self._file, [view], place)
            if not read:
                raise self._cut()
            view, place = view[read:], place + read
        return found

    def _single(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)}")
        gather, ask = _compiled()
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        flat = found.reshape(len(rows), self._size // self.dtype.itemsize).view(np.uint8)
        for first in range(0, len(rows), ROWS_PER_LOOK):
            some = slice(first, first + ROWS_PER_LOOK)
            started = time.perf_counter()
            whole = gather(self._file, self.offset, rows[some], flat[some])
            if whole and time.perf_counter() - started > SLOW * len(rows[some]):
                rest = slice(first + ROWS_PER_LOOK, None)
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)
                    ask(self._file, self.offset, rows[rest], self._size, os.POSIX_FADV_WILLNEED)
                whole = gather(self._file, self.offset, rows[rest], flat[rest])
                if whole:
                    break
            if not whole:
                raise self._cut()
        return found

    def _cut(self) -> DamagedIndexError:
        return DamagedIndexError(self.path, f"shorter than {self.offset + len(self) * self._size} bytes")


@cache
def _compiled() -> tuple[Any, Any]:
    """Return the loops over the C library's `pread` and `posix_fadvise`, which release the GIL for all rows together."""
    from numba import types

    from nagindex.search.kernels import compiled

    pread = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))
    advise = types.ExternalFunction("posix_fadvise", types.intc(types.intc, types.int64, types.int64, types.intc))

    def gather(file: Any, offset: Any, rows: Any, found: Any) -> bool:
        size = found.shape[1]
        for i in range(rows.shape[0]):
            place = np.uintp(found.ctypes.data + i * size)
            if pread(np.intc(file), place, np.uintp(size), np.int64(offset + rows[i] * size)) != size:
                return False
        return True

    def ask(file: Any, offset: Any, rows: Any, size: Any, advice: Any) -> None:
        for i in range(rows.shape[0]):
            advise(np.intc(file), np.int64(offset + rows[i] * size), np.int64(size), np.intc(advice))

    return compiled(gather), compiled(ask)
