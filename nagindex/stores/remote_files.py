"""Files behind URLs, read by ranges of bytes: objects of a store, and files of the Hugging Face Hub."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from nagindex.errors import BadInputError
from nagindex.stores.bucket import Bucket
from nagindex.stores.entries import Entry, Files
from nagindex.stores.objects import CHUNK
from nagindex.stores.urls import HUB, account

FIRST_READ = 1 << 18
"""Bytes read at first; while a file is read on without a gap, each request asks for twice as many, up to `CHUNK`."""


@dataclass(frozen=True)
class RemoteFile:
    """One version of a file behind a URL; has what sources need of a `Path`.

    Attributes:
        entry: its URL, length and version.
    """

    entry: Entry

    def __str__(self) -> str:
        return self.entry.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.entry.url.rpartition("/")[2]

    @property
    def suffixes(self) -> list[str]:
        """The suffixes of the name."""
        return PurePosixPath(self.name).suffixes

    @property
    def suffix(self) -> str:
        """The last suffix of the name."""
        return PurePosixPath(self.name).suffix

    def is_file(self) -> bool:
        """Return whether this is a regular file, which can be read again, and no pipe or device: always."""
        return True

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Return a reader of the file's bytes."""
        return io.BufferedReader(RangeReader(self))

    def read_bytes(self) -> bytes:
        """Return the file's content."""
        with self.open() as file:
            return file.read()

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop`, or to the file's end.

        Raises:
            SourceChangedError: this version is gone.
            ObjectStoreError: the store does not answer, or refuses.
        """
        stop = min(stop, self.entry.size)
        files, parts = files_behind(self.entry.url), range(start, stop, CHUNK)
        return b"".join(files.read(self.entry, first, min(first + CHUNK, stop)) for first in parts)

    def current(self) -> RemoteFile | None:
        """Return the version that lies behind the URL now; None if there is none."""
        return remote_file(self.entry.url)


class RangeReader(io.RawIOBase):
    """Reads a remote file by ranges of bytes, which grow while it is read without gaps."""

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file, self._at = file, 0
        self._block, self._start, self._ahead = b"", 0, FIRST_READ // 2

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position and return it."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.entry.size}[whence]
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Read as many bytes as a request gives, at most as many as the buffer holds; return their number."""
        if self._at >= self._file.entry.size:
            return 0
        if not self._start <= self._at < self._start + len(self._block):
            self._fetch(len(buffer))
        first = self._at - self._start
        part = self._block[first : first + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _fetch(self, wanted: int) -> None:
        goes_on = self._at == self._start + len(self._block)
        self._ahead = min(2 * self._ahead, CHUNK) if goes_on else FIRST_READ
        stop = min(self._file.entry.size, self._at + min(max(wanted, self._ahead), CHUNK))
        self._block, self._start = b"", self._at  # two blocks would take twice the memory
        self._block = self._file.read_range(self._at, stop)


def files_behind(url: str) -> Files:
    """Return the store that a URL lies in.

    Raises:
        MissingDependencyError: the package that reads it is not installed.
    """
    scheme, _, rest = url.partition("://")
    if scheme == HUB:
        from nagindex.stores.hub import Hub

        return Hub()
    bucket = f"{scheme}://{rest.partition('/')[0]}"
    return _bucket(os.getpid(), bucket, account(bucket))


@lru_cache(maxsize=16)
def _bucket(_process: int, url: str, _account: str) -> Bucket:
    return Bucket(url)


def remote_file(url: str) -> RemoteFile | None:
    """Return the file of a URL as it is now; None if there is none."""
    found = files_behind(url).find_one(url)
    return None if found is None else RemoteFile(found)


def find_files(url: str) -> tuple[list[RemoteFile], str]:
    """Return the files that a URL names, one or those of a folder, and the URL of their folder.

    Raises:
        BadInputError: the bucket does not exist.
        ObjectStoreError: the store does not answer, or refuses.
    """
    files = files_behind(url)
    one = files.find_one(url)
    if one is not None:
        return [RemoteFile(one)], url.rpartition("/")[0]
    return [RemoteFile(found) for found in files.find_below(url)], url


def common_folder(urls: Sequence[str]) -> str:
    """Return the deepest folder that holds all of some folders' URLs.

    Raises:
        BadInputError: they lie in several stores.
    """
    schemes = {url.partition("://")[0] for url in urls}
    shared = os.path.commonpath([url.partition("://")[2] for url in urls])
    if len(schemes) > 1 or not shared:
        listed = " and ".join(sorted({"/".join(url.split("/")[:3]) for url in urls}))
        raise BadInputError(f"{listed}: files of one corpus lie in one bucket; read them one after the other")
    return f"{schemes.pop()}://{shared}"
