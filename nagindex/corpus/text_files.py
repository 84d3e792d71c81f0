"""Text files: opened as one decompressed stream whose bytes are counted, and read by lines of bounded length."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from itertools import count
from typing import IO, Any, BinaryIO, cast

from nagindex.corpus.sources import Position, Source
from nagindex.errors import BadInputError, MissingDependencyError, NagIndexError
from nagindex.stores.remote_files import RangeReader, RemoteFile

MAX_RECORD = 1 << 28
"""Most characters of a line, JSON value, CSV field or text; a decompression bomb would not fit into memory."""


def read_lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (row, line) of a text source, without line ends."""
    with open_text(source) as stream:
        for row, line in enumerate(lines_of(stream, source)):
            yield row, line.removesuffix("\n").removesuffix("\r")


def lines_of(stream: IO[str], source: Source, position: Position | None = None) -> Iterator[str]:
    """Yield lines with their ends, counting their bytes.

    Raises:
        BadInputError: a line is too long.
    """
    for number in count(1):
        line = stream.readline(MAX_RECORD + 1)
        if len(line) > MAX_RECORD:
            raise too_long(f"{source.path}, line {number}")
        if not line:
            return
        count_bytes(line, source, position)
        yield line


def count_bytes(text: str, source: Source, position: Position | None) -> None:
    """Add a text to the bytes read of a source; of a compressed one, those that its file was asked for count instead."""
    if position is not None and source.compression == "none":
        position.bytes += len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def too_long(where: str) -> BadInputError:
    """Return the error of a record that is too long, with where it is."""
    remedy = "split the document, or replace or remove the file if it is corrupt"
    return BadInputError(f"{where}: more than {MAX_RECORD >> 20} MiB in one record; {remedy}")


class _CountingFile(io.RawIOBase):
    """A file that counts the bytes read from it."""

    _file: io.RawIOBase | None = None

    def __init__(self, source: Source, position: Position) -> None:
        super().__init__()
        self._file = RangeReader(source.path) if isinstance(source.path, RemoteFile) else io.FileIO(source.path, "rb")
        self._position = position

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        read = None if self._file is None else self._file.readinto(buffer)
        self._position.bytes += read or 0
        return read

    def close(self) -> None:
        if self._file is not None:  # it is, after a failure to open
            self._file.close()
        super().close()


class open_text:
    """Context manager that opens a source as decompressed text.

    Bytes that are not UTF-8 are decoded to lone surrogates. A file that turns out to be damaged raises a BadInputError.
    """

    def __init__(self, source: Source, position: Position | None = None, *, newline: str = "\n") -> None:
        # Of a plain file, what is read ahead does not count: its rows do, see `count_bytes`.
        self.source, self.newline = source, newline
        self.position = Position() if position is None or source.compression == "none" else position

    def __enter__(self) -> IO[str]:
        try:
            self.file = io.BufferedReader(_CountingFile(self.source, self.position))
        except OSError as error:
            raise BadInputError(
                f"{self.source.path}: cannot be read ({error.strerror}); make it readable or remove it"
            ) from error
        binary = _decompressed(self.file, self.source)
        self.stream = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline=self.newline)
        return self.stream

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.stream.close()
        self.file.close()
        if isinstance(error, NagIndexError):  # of the store that the file lies in
            return
        if isinstance(error, (EOFError, OSError, zlib.error)) or type(error).__name__ == "ZstdError":
            reason = str(error).splitlines()[0]
            raise BadInputError(
                f"{self.source.path}: cannot be read to its end ({reason}); the file is truncated or corrupt: replace or remove it"
            ) from error


def _decompressed(file: BinaryIO, source: Source) -> IO[bytes]:
    if source.compression == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb"))
    if source.compression == "zstd":
        try:
            if sys.version_info >= (3, 14):
                from compression import zstd
            else:
                from backports import zstd
        except ImportError:
            raise MissingDependencyError(
                f"{source.path}: reading .zst needs backports.zstd; run: pip install backports.zstd"
            ) from None
        return cast(IO[bytes], zstd.ZstdFile(file, "rb"))
    return file
