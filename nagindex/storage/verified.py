"""Record of verified files: a file is checksummed on first use, and then trusted until its metadata changes.

A file counts as unchanged while its inode, length, mtime and ctime are the same: writing, replacing or downloading it changes at least
one of them. The record is kept in the user's cache folder, never in the index: an index from elsewhere must not vouch for itself.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock

from nagindex.errors import DamagedIndexError

KEY_BYTES = 12
APPEND_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT
RECORD_BYTES = 16 << 20
"""Length above which the record is emptied; the files in it are verified once more."""
_RECORDING = Lock()


def record_path() -> Path:
    """Return the path of the record."""
    cache_folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_folder, "nagindex", "checked")


def is_verified(status: os.stat_result, sha256: str) -> bool:
    """Return whether a file with this `stat` result is known to have a checksum."""
    return _key(status, sha256) in _verified_keys(os.getpid(), record_path())


def mark_verified(status: os.stat_result, sha256: str) -> None:
    """Record that a file has a checksum; if the record cannot be written, only this process knows.

    Args:
        status: `stat` result of the file, taken before it was read.
        sha256: its checksum.
    """
    key, path = _key(status, sha256), record_path()
    keys = _verified_keys(os.getpid(), path)
    with _RECORDING:  # files are verified on several threads
        if key not in keys:
            keys.add(key)
            with suppress(OSError):
                _append(path, key + b"\n")


def _append(path: Path, line: bytes) -> None:
    try:
        file = os.open(path, APPEND_FLAGS, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, APPEND_FLAGS, 0o600)
    try:
        if os.fstat(file).st_size > RECORD_BYTES:
            os.ftruncate(file, 0)
        os.write(file, line)
    finally:
        os.close(file)


def is_regular_file(path: Path) -> bool:
    """Return whether a path is a regular file: no symbolic link, device or pipe.

    Raises:
        FileNotFoundError: nothing exists there.
    """
    return stat.S_ISREG(os.lstat(path).st_mode)


def require_folder(path: Path) -> None:
    """Raise DamagedIndexError if a path exists and is not a folder; a symbolic link could lead out of the index."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise DamagedIndexError(path, "not a folder")


def _key(status: os.stat_result, sha256: str) -> bytes:
    text = f"{sha256} {status.st_size} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()[: 2 * KEY_BYTES].encode()


@cache
def _verified_keys(_process: int, path: Path) -> set[bytes]:
    """Return the keys in the record, to which this process adds its own; one set for each process and record."""
    try:
        return set(path.read_bytes().split())
    except OSError:
        return set()
