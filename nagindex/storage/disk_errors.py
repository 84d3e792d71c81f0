"""Errors of the disk, which name the file that was being written."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Add the name of the file that a block writes to errors of the disk, including those that DuckDB reports.

    Raises:
        OSError: the block failed.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    except getattr(sys.modules.get("duckdb"), "IOException", ()) as error:
        raise OSError(errno.EIO, f"cannot be written: {str(error).splitlines()[0]}", str(path)) from error
