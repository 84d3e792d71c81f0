"""Outputs behind URLs: written to a temporary file, and uploaded as one object, which appears when all of it is there."""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nagindex.corpus.remote_globs import expand_url
from nagindex.errors import BadInputError, InputNotFoundError, ObjectStoreError
from nagindex.storage.disk_errors import writing
from nagindex.stores.objects import ObjectStore, require_obstore
from nagindex.stores.urls import HUB, is_remote, source_place

CLAIM = "_writing"
_MANIFEST = re.compile(r"manifests/\d{12}\.json")


@contextmanager
def uploading(url: str) -> Iterator[Path]:
    """Provide a temporary path whose file becomes the object of a URL when the block ends; if it raises, nothing is uploaded.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    store, name = _object(url)
    with tempfile.TemporaryDirectory(prefix="nagindex-") as folder:
        temporary = Path(folder, name)
        with writing(temporary):
            yield temporary
        store.put(name, temporary)


@contextmanager
def filling(url: str) -> Iterator[str]:
    """Provide the URL of a folder that holds no object; if the block raises, what was written there is removed.

    An object `_writing` keeps other writers out, and stays behind where this one is killed.

    Raises:
        BadInputError: the folder holds objects, maybe those of another writer.
        ObjectStoreError: the store does not answer, or refuses.
    """
    folder = ObjectStore(url)
    if not folder.create(CLAIM, secrets.token_bytes(8)):
        raise _holds(url, CLAIM)
    if held := _held(folder):
        folder.delete([CLAIM])
        raise _holds(url, held[0])
    try:
        yield url
    except BaseException:
        with suppress(ObjectStoreError):  # the error that is raised tells more
            folder.delete([*_held(folder), CLAIM])
        raise
    with suppress(ObjectStoreError):  # what was written is whole
        folder.delete([CLAIM])


def check_remote_folder(url: str) -> None:
    """Raise BadInputError unless a URL names a folder that holds no object yet: objects cannot be replaced all at once.

    Raises:
        BadInputError: there are objects, or it lies in an index, or names no folder or no bucket that exists.
        ObjectStoreError: the store does not answer, or refuses.
    """
    check_remote_output(url, ())
    if found := ObjectStore(url).listing():
        raise _holds(url, found[0].name)


def _held(folder: ObjectStore) -> list[str]:
    return [found.name for found in folder.listing() if found.name != CLAIM]


def _holds(url: str, name: str) -> BadInputError:
    who = ": another command writes there, or was killed" if name == CLAIM else ""
    return BadInputError(f"{url}: holds {name}{who}; name a folder without objects, or remove these")


def check_remote_output(url: str, inputs: Iterable[str | Path]) -> None:
    """Raise BadInputError unless an object can be written at a URL, and nothing that is needed is lost by it.

    Args:
        url: of the object; one that exists will be replaced.
        inputs: files, globs and folders that must not be overwritten.

    Raises:
        BadInputError: the URL is an input, lies in an index, or names no object or no bucket that exists.
        ObjectStoreError: the store does not answer, or refuses.
    """
    store, name = _object(url)
    folder = store.url
    while folder.count("/") > 1 and not folder.endswith("/"):
        if any(_MANIFEST.fullmatch(found.name) for found in ObjectStore(folder).listing("manifests")):
            raise BadInputError(f"{url}: lies inside the index {folder}; name an object outside of it")
        folder = folder.rpartition("/")[0]
    try:
        store.head(name)
    except FileNotFoundError:
        return
    for one in filter(is_remote, inputs):
        if url in _files_of(str(source_place(one))):
            same = "is an input" if str(source_place(one)) == url else f"is in the input {one}"
            raise BadInputError(f"{url}: {same}, which would be overwritten; name another object")


def _files_of(url: str) -> set[str]:
    try:
        return {str(file) for file in expand_url(url)[0]}
    except InputNotFoundError:
        return set()


def _object(url: str) -> tuple[ObjectStore, str]:
    """Return the folder of a URL as a store, and the object's name in it.

    Raises:
        BadInputError: the URL is of the Hub, or names no object.
    """
    if url.startswith(f"{HUB}:"):
        raise BadInputError(f"{url}: files of the Hugging Face Hub are read, and not written; name another output")
    folder, _, name = url.rpartition("/")
    if folder.endswith("/"):
        raise BadInputError(f"{url}: names a bucket; name an object in it")
    require_obstore()
    return ObjectStore(folder), name
