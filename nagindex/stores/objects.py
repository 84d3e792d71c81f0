"""Object stores: objects are read, written, listed and deleted with retries; a create-if-absent decides who publishes.

Only this module knows obstore. Credentials come from the environment alone, and no message holds any.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from nagindex.errors import BadInputError, MissingDependencyError
from nagindex.stores.entries import changed
from nagindex.stores.failures import failure_of, is_transient, page_expired
from nagindex.stores.urls import endpoint

ATTEMPTS = 6
FIRST_PAUSE = 0.25
"""Seconds before the second attempt; each later pause is twice as long, less a random part."""
TIMEOUT = 120.0
"""Seconds until a request is given up; at most `CHUNK` bytes are moved by one."""
CHUNK = 8 << 20
CONNECTIONS, PARTS = 8, 4
"""Objects that are read or written at a time, and parts of one."""
MOST_PARTS = 10_000
"""Parts of an object; S3 takes no more."""

T = TypeVar("T")


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it: its name below the store's URL, length in bytes, ETag and time of writing."""

    name: str
    bytes: int
    etag: str
    modified: datetime


class ObjectStore:
    """The objects below a URL.

    Attributes:
        url: the URL, as `normalized_url` returns it.
    """

    def __init__(self, url: str, *, store: Any = None) -> None:
        """Open a URL; `store` is an obstore store to use in its place."""
        self.url = url
        self._opened = store

    def url_of(self, name: str) -> str:
        """Return the URL of an object."""
        return f"{self.url}/{name}"

    def get(self, name: str) -> tuple[bytes, str]:
        """Return the content of an object and its ETag.

        Raises:
            FileNotFoundError: there is no such object.
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        def read() -> tuple[bytes, str]:
            found = obstore.get(self._store(), name)
            return bytes(found.bytes()), _etag(found.meta)

        return self._attempt(read, name)

    def head(self, name: str) -> StoredObject:
        """Return an object as a listing shows it.

        Raises:
            FileNotFoundError: there is no such object.
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        return _stored(self._attempt(lambda: obstore.head(self._store(), name), name))

    def read_range(self, name: str, start: int, stop: int, *, etag: str) -> bytes:
        """Return the bytes from `start` up to `stop` of the version of an object that has an ETag.

        Raises:
            SourceChangedError: the object has another ETag by now, or is gone.
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore
        from obstore.exceptions import PreconditionError

        options: dict[str, Any] = {"range": (start, stop), **({"if_match": etag} if etag else {})}
        try:
            return self._attempt(lambda: bytes(obstore.get(self._store(), name, options=options).bytes()), name)
        except (PreconditionError, FileNotFoundError):
            raise changed(self.url_of(name)) from None

    def download(self, name: str, path: Path, expected: int) -> int:
        """Write the content of an object to a file, unless it has another length than expected; return its length.

        Raises:
            FileNotFoundError: there is no such object.
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        def first() -> tuple[int, bytes]:
            try:
                found = obstore.get(self._store(), name, options={"range": (0, CHUNK)} if expected else {})
            except Exception:  # also of an empty object, which has no range
                size = obstore.head(self._store(), name)["size"]
                if size == expected:
                    raise
                return size, b""
            return found.meta["size"], bytes(found.bytes())

        size, content = self._attempt(first, name)
        if size != expected:
            return size
        with open(path, "wb") as file, ThreadPoolExecutor(CONNECTIONS) as pool:
            file.write(content)

            def fill(start: int) -> None:
                part = self._attempt(
                    lambda: bytes(obstore.get_range(self._store(), name, start=start, end=min(size, start + CHUNK))),
                    name,
                )
                os.pwrite(file.fileno(), part, start)

            file.flush()
            list(pool.map(fill, range(CHUNK, size, CHUNK)))
            os.fsync(file.fileno())
        return path.stat().st_size

    def put(self, name: str, content: bytes | Path) -> str:
        """Write an object, which replaces one of its name; return its ETag."""
        import obstore

        store = self._store(write=True)
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        parts: dict[str, Any] = {"chunk_size": max(CHUNK, -(-size // MOST_PARTS)), "max_concurrency": PARTS}
        written = self._attempt(lambda: obstore.put(store, name, content, mode="overwrite", **parts), name)
        return _etag(written)

    def create(self, name: str, content: bytes) -> bool:
        """Write an object if there is none of its name; return False, without any change, if there is another.

        After a failure that leaves open whether the object was written, it is read back and compared: what is there with this content
        was written by this call.

        Raises:
            BadInputError: the store has no create-if-absent.
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        store = self._store(write=True)
        for attempt in range(ATTEMPTS):
            try:
                obstore.put(store, name, content, mode="create", use_multipart=False)
                return True
            except (NotSupportedError, NotImplementedError):
                raise BadInputError(self.no_conditional_put()) from None
            except (AlreadyExistsError, PreconditionError, FileExistsError) as error:
                failure: Exception = error  # perhaps of an attempt before, whose answer was lost
            except Exception as error:
                if "status code: 501" in str(error):
                    raise BadInputError(self.no_conditional_put()) from None
                if not is_transient(error):
                    raise failure_of(error, self.url, name, attempts=ATTEMPTS) from None
                failure = error
            try:
                found, _ = self.get(name)
            except (
                FileNotFoundError
            ):  # nobody's: a conflict of two writers of which none won, or a request that was lost
                pause(attempt)
                continue
            return found == content
        raise failure_of(failure, self.url, name, attempts=ATTEMPTS)

    def no_conditional_put(self) -> str:
        """Return the message for a store without create-if-absent."""
        where = f" ({endpoint()})" if self.url.startswith("s3") and endpoint() else ""
        return (
            f"{self.url}: this store{where} has no conditional puts (If-None-Match), and two writers could overwrite each other's "
            "versions; use one that has them"
        )

    def listing(self, folder: str = "", *, after: str | None = None) -> list[StoredObject]:
        """Return the objects whose names lie in a folder, ascending by name; `after`: only those beyond this name."""
        import obstore

        def read() -> list[StoredObject]:
            chunks = obstore.list(self._store(), folder or None, offset=after, chunk_size=1000)
            return [_stored(own) for chunk in chunks for own in chunk]

        try:
            return sorted(self._attempt(read, folder, again=page_expired), key=lambda found: found.name)
        except FileNotFoundError:
            return []

    def top_names(self) -> set[str]:
        """Return the names of the folders and objects directly below the URL."""
        import obstore

        def read() -> set[str]:
            found: Any = obstore.list_with_delimiter(self._store())
            return {*found["common_prefixes"], *(own["path"] for own in found["objects"])}

        try:
            return self._attempt(read, "")
        except FileNotFoundError:
            return set()

    def now(self) -> float:
        """Return the current time of the store's clock, Unix time in seconds."""
        name = f"manifests/.clock-{secrets.token_hex(8)}"
        self.put(name, b"")
        try:
            [found] = [own for own in self.listing("manifests", after=name[:-1]) if own.name == name]
        finally:
            self.delete([name])
        return found.modified.timestamp()

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; names without an object are passed over."""
        import obstore

        for name in names:
            try:
                self._attempt(lambda name=name: obstore.delete(self._store(), name), name)  # type: ignore[misc]
            except FileNotFoundError:
                continue

    def _store(self, *, write: bool = False) -> Any:
        if self._opened is None:
            self._opened = self._open(write)
        return self._opened

    def _open(self, write: bool) -> Any:
        """Return obstore's store.

        Raises:
            FileNotFoundError: the folder of a file URL does not exist, and nothing is to be written.
        """
        require_obstore()
        from datetime import timedelta

        from obstore.store import LocalStore, from_url

        if self.url.startswith("file:"):
            folder = Path(unquote(urlsplit(self.url).path))
            if not write and not folder.is_dir():
                raise FileNotFoundError(str(folder))
            return LocalStore(folder, mkdir=True)
        plain = endpoint().startswith("http://") and self.url.startswith("s3:")
        try:
            return from_url(
                self.url.replace("%", "%25"),  # which decodes it: a name is what stands in the URL
                client_options={
                    "timeout": f"{TIMEOUT}s",
                    "connect_timeout": f"{min(10.0, TIMEOUT)}s",
                    **({"allow_http": True} if plain else {}),
                },
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=TIMEOUT)},
            )
        except Exception as error:
            raise failure_of(error, self.url, attempts=ATTEMPTS) from None

    def _attempt(
        self, action: Callable[[], T], name: str, *, again: Callable[[Exception], bool] = lambda error: False
    ) -> T:
        """Return what an action returns, which is repeated after failures that may pass, or of which `again` says so."""
        from obstore.exceptions import PreconditionError

        for attempt in range(ATTEMPTS):
            try:
                return action()
            except Exception as error:
                if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
                    raise FileNotFoundError(self.url_of(name)) from None
                if isinstance(error, PreconditionError):
                    raise
                if not (is_transient(error) or again(error)) or attempt == ATTEMPTS - 1:
                    raise failure_of(error, self.url, name, attempts=ATTEMPTS) from None
            pause(attempt)
        raise AssertionError


def require_obstore() -> None:
    """Raise MissingDependencyError unless obstore is installed."""
    try:
        import obstore  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"object stores are read and written by obstore ({error}); run: pip install 'nagindex[cloud]'"
        ) from error


def pause(attempt: int) -> None:
    """Wait before another attempt, the longer the more there were."""
    time.sleep(FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries of several writers


def _stored(found: Any) -> StoredObject:
    return StoredObject(found["path"], found["size"], _etag(found), found["last_modified"])


def _etag(found: Any) -> str:
    """Return an object's ETag as conditions state it: in quotes, which listings of Azure leave out; empty without one."""
    etag = str(found["e_tag"] or "")
    return etag if not etag or etag.startswith(('"', "W/")) else f'"{etag}"'
