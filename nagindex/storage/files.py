"""Atomic and durable file operations: write under a temporary name, fsync file and folder, then link or rename."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nagindex.errors import BadInputError, DamagedIndexError
from nagindex.storage import locations, verified
from nagindex.storage.disk_errors import writing
from nagindex.storage.remote_outputs import uploading
from nagindex.stores.urls import is_remote, source_place

SHA_SHOWN = 12
"""Hexadecimal digits of a checksum in messages."""


@dataclass(frozen=True)
class FileEntry:
    """Length of a file in bytes and its SHA-256 (64 hexadecimal digits), as a manifest lists them."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """Return the entry of a file on disk, after an fsync."""
        with writing(path), open(path, "rb") as file:
            os.fsync(file.fileno())
            status = os.fstat(file.fileno())
            entry = cls(status.st_size, hashlib.file_digest(file, "sha256").hexdigest())
        verified.mark_verified(status, entry.sha256)
        return entry


def sync_folder(folder: Path) -> None:
    """Fsync a folder: its new, renamed and removed names survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with writing(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(*folders: Path) -> None:
    """Create folders and their parents where they do not exist, and fsync what lists the new names."""
    for folder in folders:
        created = [folder, *(parent for parent in folder.absolute().parents if not parent.exists())]
        folder.mkdir(parents=True, exist_ok=True)
        for path in created:
            sync_folder(path.absolute().parent)


def create_exclusively(path: Path, content: bytes) -> bool:
    """Create a file with this content, atomically; return False, without any change, if the name is taken.

    The content is first written and fsynced under a temporary name in the same folder, so `path` never holds part of it.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        with writing(path), open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except PermissionError as error:  # what Linux raises if the file system does not support hard links
            raise BadInputError(
                f"{path.parent}: cannot create hard links ({error.strerror}); use a file system that supports them"
            ) from error
        sync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Provide a temporary path whose file replaces `path` atomically when the block ends; if it raises, the file is removed.

    Args:
        path: the file, or the URL of an object.

    Raises:
        BadInputError: `path` is a folder, or its folder does not exist.
        ObjectStoreError: the store of an object does not answer, or refuses.
    """
    place = source_place(path)
    with uploading(str(place)) if is_remote(place) else _replacing(Path(place)) as temporary:
        yield temporary


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    if path.is_dir() or not path.absolute().parent.is_dir():
        fault = "is a folder" if path.is_dir() else "its folder does not exist"
        raise BadInputError(f"{path}: {fault}; name a file in a folder that exists")
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        with writing(path):
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def verify_length(path: Path, entry: FileEntry, *, owner: str) -> os.stat_result:
    """Raise DamagedIndexError unless a file exists with the length of its entry; return its `stat` result.

    Args:
        path: the file.
        entry: its length and checksum.
        owner: what states them, such as `segment 6684b162a8147043`, for messages.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedIndexError(path, f"missing, though {owner} names it") from None
    if not stat.S_ISREG(status.st_mode):
        raise DamagedIndexError(path, f"not a regular file, as {owner} requires")
    if status.st_size != entry.bytes:
        raise DamagedIndexError(path, f"{status.st_size} bytes where {owner} has {entry.bytes}")
    return status


def verify_content(path: Path, entry: FileEntry, *, owner: str) -> None:
    """Read a file completely; raise DamagedIndexError unless its length and checksum are those of its entry.

    A file of a mirror that is missing or damaged is fetched from the object store.
    """
    locations.pin(path)
    try:
        _verify_content(path, entry, owner)
    except DamagedIndexError:
        if not locations.fetch(path, length=entry.bytes, sha256=entry.sha256, owner=owner):
            raise


def _verify_content(path: Path, entry: FileEntry, owner: str) -> None:
    status = verify_length(path, entry, owner=owner)
    try:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:  # removed since its length was checked
        raise DamagedIndexError(path, f"missing, though {owner} names it") from None
    if sha256 != entry.sha256:
        raise DamagedIndexError(path, f"SHA-256 is {sha256[:SHA_SHOWN]} where {owner} has {entry.sha256[:SHA_SHOWN]}")
    verified.mark_verified(status, entry.sha256)


def verify_once(path: Path, entry: FileEntry, *, owner: str) -> None:
    """Verify a file like `verify_content`, but read it only if it may have changed since it was last verified."""
    locations.pin(path)
    try:
        known = verified.is_verified(verify_length(path, entry, owner=owner), entry.sha256)
    except DamagedIndexError:
        if not locations.fetch(path, length=entry.bytes, sha256=entry.sha256, owner=owner):
            raise
        return
    if not known:
        verify_content(path, entry, owner=owner)
