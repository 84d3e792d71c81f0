"""What is known of files behind URLs, and what a store of them can do."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from nagindex.errors import SourceChangedError


class Entry(NamedTuple):
    """One version of a file: its URL, its length in bytes, and its ETag or the hash of its content."""

    url: str
    size: int
    version: str


class Files(Protocol):
    """Files behind the URLs of one store."""

    def find_one(self, url: str) -> Entry | None:
        """Return the file of a URL as it is now; None if there is none."""

    def find_below(self, url: str) -> list[Entry]:
        """Return all files below the URL of a folder."""

    def read(self, entry: Entry, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop` of a file.

        Raises:
            SourceChangedError: its version is gone.
        """


def changed(url: str) -> SourceChangedError:
    """Return the error of a file whose content is no longer what it was when it was found."""
    return SourceChangedError(f"{url}: changed while it was read; run the same command again when nothing writes to it")
