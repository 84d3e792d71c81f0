"""Parquet files behind URLs, for DuckDB: its reads become reads of ranges, by a file system of this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from nagindex.corpus.sql import connect, quote_path, quote_value
from nagindex.stores.remote_files import RemoteFile

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nagindex.corpus.sources import SourcePath

PROTOCOL = "nagindex-source"
UNCHANGING = datetime.fromtimestamp(0, UTC)
_FILES: dict[str, RemoteFile] = {}
"""Remote files that SQL names, by the token that stands for each."""
_FAILURES: dict[str, Exception] = {}
"""What went wrong with them; DuckDB keeps the text of an error alone."""


def quote_file(path: SourcePath, connection: DuckDBPyConnection | None = None) -> str:
    """Return a file to read as a SQL string.

    Args:
        path: the file.
        connection: where the statement runs; by default the process's own with one thread.
    """
    if not isinstance(path, RemoteFile):
        return quote_path(path)
    _register(connection or connect(threads=1))
    token = _token(path)
    _FILES[token] = path
    return quote_value(token)


def connect_to(path: SourcePath) -> DuckDBPyConnection:
    """Return a connection that caches the Parquet metadata of a remote file, for several statements about one file.

    It is not for corpora of many files, with which this cache would grow.
    """
    connection = connect(threads=1)
    if isinstance(path, RemoteFile):
        connection.execute("SET SESSION parquet_metadata_cache = true")
    return connection


def raise_failure(path: SourcePath) -> None:
    """Raise what a store raised while DuckDB read a file, if that is why a statement failed."""
    failure = _FAILURES.pop(_token(path), None) if isinstance(path, RemoteFile) else None
    if failure is not None:
        raise failure


def reason_of_failure(error: Exception, path: SourcePath) -> str:
    """Return the first line of why a file could not be read, with the file under its own name; what a store raised is raised."""
    raise_failure(path)
    text = (str(error).splitlines() or ["no content"])[0]
    return text.replace(_token(path), str(path)) if isinstance(path, RemoteFile) else text


def _token(file: RemoteFile) -> str:
    """Return what stands for a file in SQL: no character of it is special in a glob or a URL."""
    return f"{PROTOCOL}://{str(file).encode().hex()}-{file.entry.version.encode().hex()}"


def _register(connection: DuckDBPyConnection) -> None:
    """Let a database read remote files; it keeps no copy of them, which would grow with the corpus."""
    if not connection.filesystem_is_registered(PROTOCOL):
        connection.register_filesystem(_file_system()())
        connection.execute("SET enable_external_file_cache = false")


@cache
def _file_system() -> Callable[[], Any]:
    from fsspec import AbstractFileSystem

    class SourceFiles(AbstractFileSystem):  # type: ignore[misc]
        """The remote files that SQL names, as DuckDB reads them."""

        protocol = PROTOCOL
        cachable = False

        def open(self, path: str, mode: str = "rb", **_: object) -> Any:
            return _Reading(path)

        def size(self, path: str) -> int:
            return _FILES[_as_named(path)].entry.size

        def exists(self, path: str, **_: object) -> bool:
            return _as_named(path) in _FILES

        def isfile(self, path: str) -> bool:
            return self.exists(path)

        def glob(self, path: str, **_: object) -> list[str]:
            return [path]

        def modified(self, path: str) -> datetime:
            return UNCHANGING

    return SourceFiles


def _as_named(path: str) -> str:
    return path if path.startswith(f"{PROTOCOL}://") else f"{PROTOCOL}://{path}"


class _Reading:
    """A remote file that DuckDB reads: by several threads at once, each of which seeks before it reads."""

    def __init__(self, path: str) -> None:
        self._token, self._of_thread = _as_named(path), threading.local()

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position from the beginning of the file and return it."""
        self._of_thread.position = position
        return position

    def read(self, size: int) -> bytes:
        """Return that many bytes, fewer at the end of the file."""
        start = self._of_thread.position
        try:
            content = _FILES[self._token].read_range(start, start + size)
        except Exception as error:
            _FAILURES[self._token] = error
            raise
        self._of_thread.position = start + len(content)
        return content

    def close(self) -> None:
        """Do nothing: no connection is held."""
