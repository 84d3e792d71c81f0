"""Files that appear whole or not at all: new names, fsync of file and folder, then publication."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nagindex.errors import BadInputError, DamagedIndexError
from nagindex.storage import verified


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Have errors of the disk, and those by which DuckDB tells of them, name the file that a block writes.

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


@dataclass(frozen=True)
class FileEntry:
    """What a manifest knows of a file: its length in bytes and its SHA-256 (64 hexadecimal digits)."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """Return the entry of a file as it is on disk, after forcing its bytes to the disk."""
        with writing(path), open(path, "rb") as file:
            os.fsync(file.fileno())
            found = os.fstat(file.fileno())
            entry = cls(found.st_size, hashlib.file_digest(file, "sha256").hexdigest())
        verified.note(found, entry.sha256)
        return entry


def sync_folder(folder: Path) -> None:
    """Force a folder's entries (new, renamed and removed names) to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with writing(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(*folders: Path) -> None:
    """Make folders and what lies above them, and force the new names to the disk; those that exist stay."""
    for folder in folders:
        new = [folder, *(parent for parent in folder.absolute().parents if not parent.exists())]
        folder.mkdir(parents=True, exist_ok=True)
        for made in new:
            sync_folder(made.absolute().parent)


def create_exclusively(path: Path, content: bytes) -> bool:
    """Publish a file under a name that must be new; return False, changing nothing, where the name is taken.

    The bytes reach the disk under a temporary name in the same folder first, so `path` never holds part of them.
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
        except PermissionError as error:  # what Linux says where a file system lacks them
            raise BadInputError(
                f"{path.parent}: no hard link can be made ({error.strerror}); use a file system that has them"
            ) from error
        sync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path whose file replaces `path` when the block ends well, and vanishes when it does not.

    Raises:
        BadInputError: `path` is a folder, or lies in none.
    """
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


def check_length(path: Path, entry: FileEntry, *, segment: str) -> os.stat_result:
    """Raise DamagedIndexError unless the file exists with the length that the manifest states; return what `stat` tells of it."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedIndexError(path, f"missing from segment {segment}") from None
    if not stat.S_ISREG(found.st_mode):
        raise DamagedIndexError(path, f"no plain file where segment {segment} has one")
    if found.st_size != entry.bytes:
        raise DamagedIndexError(path, f"{found.st_size} bytes where segment {segment} has {entry.bytes}")
    return found


def verify_content(path: Path, entry: FileEntry, *, segment: str) -> None:
    """Raise DamagedIndexError unless the file's length and checksum are those that the manifest states; read all of it."""
    told = check_length(path, entry, segment=segment)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != entry.sha256:
        raise DamagedIndexError(path, f"SHA-256 is {found} where segment {segment} has {entry.sha256}")
    verified.note(told, entry.sha256)


def verify_once(path: Path, entry: FileEntry, *, segment: str) -> None:
    """Do the same, but read a file only if it may have changed since it was last found whole: before anything is made of its content."""
    if not verified.is_verified(check_length(path, entry, segment=segment), entry.sha256):
        verify_content(path, entry, segment=segment)
