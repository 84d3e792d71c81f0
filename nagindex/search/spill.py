"""Arrays that may be too large for memory: beyond a limit they lie in an unnamed temporary file."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError


def empty(shape: tuple[int, ...], kind: npt.DTypeLike, *, limit: int) -> npt.NDArray[Any]:
    """Return an uninitialized array, mapped from a temporary file if it has more than `limit` bytes.

    Raises:
        BadInputError: the disk has no room for the temporary file.
    """
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if size <= limit:
        return np.empty(shape, kind)
    with tempfile.TemporaryFile(prefix="nagindex-") as file:
        _reserve(file.fileno(), size)
        return np.memmap(file, kind, "r+", shape=shape)


def _reserve(file: int, size: int) -> None:
    """Reserve disk space for a file: writing to a mapping for which there is none kills the process."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        else:  # macOS
            os.ftruncate(file, size)
    except OSError as error:
        message = f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of a query's scores"
        raise BadInputError(f"{message} ({error.strerror}); set TMPDIR to a folder with more") from error
