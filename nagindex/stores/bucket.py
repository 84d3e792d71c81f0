"""Objects of one bucket as files: found by listing, read by ranges of the version that was found."""

from __future__ import annotations

from nagindex.stores.entries import Entry
from nagindex.stores.objects import ObjectStore, StoredObject, require_obstore


class Bucket:
    """Objects of one bucket."""

    def __init__(self, url: str) -> None:
        """Open a bucket.

        Raises:
            MissingDependencyError: obstore is not installed.
        """
        require_obstore()
        self._url, self._store = url, ObjectStore(url)

    def find_one(self, url: str) -> Entry | None:
        """Return the object of a URL; None if there is none."""
        if not self._name(url):
            return None
        try:
            return self._entry(self._store.head(self._name(url)))
        except FileNotFoundError:
            return None

    def find_below(self, url: str) -> list[Entry]:
        """Return the objects below a URL, sorted by name."""
        return [self._entry(found) for found in self._store.listing(self._name(url))]

    def read(self, entry: Entry, start: int, stop: int) -> bytes:
        """Return some bytes of an object, if it still has its ETag."""
        return self._store.read_range(self._name(entry.url), start, stop, etag=entry.version)

    def _name(self, url: str) -> str:
        return url[len(self._url) + 1 :]

    def _entry(self, found: StoredObject) -> Entry:
        return Entry(self._store.url_of(found.name), found.bytes, found.etag)
