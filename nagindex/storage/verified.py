"""Which files have been read to the last byte and found whole, so that each is read for that once, and trusted while it stays the same.

A file is the same while its inode, length, and times of change are: whatever writes to it, replaces it or fetches it anew changes
one of them. What has been found whole is noted in the user's cache folder and never in the index: an index that comes from elsewhere
cannot vouch for itself.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from nagindex.errors import DamagedIndexError

KEY_BYTES = 12
APPENDED = os.O_WRONLY | os.O_APPEND | os.O_CREAT
NOTES_BYTES = 16 << 20
"""Length above which the notes start anew; what is forgotten is read once more."""


def notes_path() -> Path:
    """Return where the notes lie."""
    cached = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cached, "nagindex", "checked")


def is_verified(found: os.stat_result, sha256: str) -> bool:
    """Return whether a file, as `stat` tells of it, has been found to have a checksum."""
    return _key(found, sha256) in _known(os.getpid(), notes_path())


def note(found: os.stat_result, sha256: str) -> None:
    """Remember that a file, as `stat` told before it was read, has a checksum; where no note can be kept, for this process alone."""
    key, path = _key(found, sha256), notes_path()
    known = _known(os.getpid(), path)
    if key in known:
        return
    known.add(key)
    with suppress(OSError):
        try:
            file = os.open(path, APPENDED, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, APPENDED, 0o600)
        try:
            if os.fstat(file).st_size > NOTES_BYTES:
                os.ftruncate(file, 0)
            os.write(file, key + b"\n")
        finally:
            os.close(file)


def is_plain(path: Path) -> bool:
    """Return whether a path is a file of its own: no link to another place, no device, no pipe.

    Raises:
        FileNotFoundError: there is nothing.
    """
    return stat.S_ISREG(os.lstat(path).st_mode)


def require_folder(path: Path) -> None:
    """Raise DamagedIndexError where a path is something else than a folder; a link to one would lead out of the index."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise DamagedIndexError(path, "no folder of the index's own")


def _key(found: os.stat_result, sha256: str) -> bytes:
    told = f"{sha256} {found.st_size} {found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}"
    return hashlib.sha256(told.encode()).hexdigest()[: 2 * KEY_BYTES].encode()


@cache
def _known(_process: int, path: Path) -> set[bytes]:
    """Return the notes of earlier processes, to which those of this one are added."""
    try:
        return set(path.read_bytes().split())
    except OSError:
        return set()
