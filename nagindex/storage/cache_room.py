"""The cache of mirrors: its folder, its bounded size, and which segments processes use.

Segments are removed least recently used first, never those that a living process uses. A process lists what it uses in a file that it
keeps locked; the system lets go of the lock when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from nagindex.errors import BadInputError

MOST = 50 * 10**9
"""Bytes that the cache takes by default, or a quarter of its disk if that is less."""
RECOUNT = 1 << 30
"""Bytes fetched by this process after which the size of the cache is counted anew, as others add to it, too."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SEPARATE = ".separate"
"""Ending of the folders of mirrors that only the process which made them uses."""
_COUNTING = Lock()
_room = {"left": 0}


@dataclass(frozen=True)
class CachedIndex:
    """The mirror of an index in the cache.

    Attributes:
        url: the index's URL.
        path: the mirror's folder.
        bytes: size of its files.
        segments: segments of which files are there.
        used: Unix time of the last use.
        in_use: whether a living process works on it.
    """

    url: str
    path: Path
    bytes: int
    segments: int
    used: float
    in_use: bool


class Pins:
    """The segments of a mirror that this process uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: set[str] = set()
        self._file: int | None = None
        self._lock = Lock()

    def open(self) -> None:
        """List this process as one that works on the mirror."""
        path = self.folder / "pins" / f"{os.getpid()}-{secrets.token_hex(4)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(exclusive=False):  # or it could pass for the file of a process that ended
            self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def add(self, segment: str) -> None:
        """Keep a segment while this process lives."""
        if segment in self._names:
            return
        with self._lock, locked(exclusive=False):
            if self._file is not None:
                os.write(self._file, f"{segment}\n".encode())
            self._names.add(segment)
            stamp = self.folder / "used" / segment
            stamp.parent.mkdir(exist_ok=True)
            stamp.touch()

    def close(self) -> None:
        """Use nothing of the mirror any more."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None


def cache_root() -> Path:
    """Return the folder of the cache: $NAGINDEX_CACHE, or one in the user's cache folder."""
    own = os.environ.get("NAGINDEX_CACHE")
    if own:
        return Path(os.path.abspath(os.path.expanduser(own)))
    return Path(os.path.abspath(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"), "nagindex", "objects")


def cache_limit() -> int:
    """Return the bytes that the cache may take: $NAGINDEX_CACHE_SIZE, or the default.

    Raises:
        BadInputError: the variable holds no size.
    """
    own = os.environ.get("NAGINDEX_CACHE_SIZE")
    if own:
        match = _SIZE.fullmatch(own.strip())
        if match is None:
            raise BadInputError(f"NAGINDEX_CACHE_SIZE={own}: not a size; write 50GB, 500MB or bytes")
        return int(float(match[1]) * _UNITS[match[2].lower()])
    root = cache_root()
    nearest = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return min(MOST, shutil.disk_usage(nearest).total // 4)


def make_room(needed: int) -> None:
    """Remove the least recently used segments that no process uses, until the cache has room for so many bytes more.

    What living processes use stays, even where the limit is exceeded by it.
    """
    with _COUNTING:
        _room["left"] -= needed
        if _room["left"] >= 0:
            return
        with locked(exclusive=True):
            left = cache_limit() - sum(_size(folder) for folder in _mirrors()) - needed
            for segment in _least_recently_used() if left < 0 else ():
                if left >= 0:
                    break
                left += _size(segment)
                shutil.rmtree(segment, ignore_errors=True)
        _room["left"] = min(left, RECOUNT)


def cached_indexes() -> list[CachedIndex]:
    """Return the indexes that the cache holds files of, the most recently used first."""
    found = []
    remove_abandoned()
    with locked(exclusive=True):
        for folder in _mirrors():
            stamps = [path.stat().st_mtime for path in (folder, *folder.glob("used/*"), *folder.glob("state.json"))]
            segments = [path for path in folder.glob("index/segments/*") if path.is_dir()]
            with suppress(OSError, ValueError, KeyError, TypeError):
                url = str(json.loads((folder / "mirror.json").read_bytes())["url"])
                used = bool(_living_pins(folder))
                found.append(CachedIndex(url, folder, _size(folder), len(segments), max(stamps), used))
    return sorted(found, key=lambda own: -own.used)


def remove_abandoned() -> None:
    """Remove the separate mirrors of processes that were killed."""
    with locked(exclusive=True):
        for folder in cache_root().glob(f"*{SEPARATE}"):
            if not _living_pins(folder):
                shutil.rmtree(folder, ignore_errors=True)


def clear_cache() -> list[CachedIndex]:
    """Empty the cache, and return what was removed; what living processes work on is left."""
    removed = []
    for own in cached_indexes():
        with locked(exclusive=True):
            if not _living_pins(own.path):
                shutil.rmtree(own.path, ignore_errors=True)
                removed.append(own)
    return removed


def _mirrors() -> list[Path]:
    return [path.parent for path in cache_root().glob("*/mirror.json")]


def _least_recently_used() -> list[Path]:
    """Return the folders of segments that no process uses, the least recently used first."""
    found = []
    for mirror in _mirrors():
        used = {name for path in _living_pins(mirror) for name in path.read_text().split()}
        for segment in mirror.glob("index/segments/*"):
            if segment.name not in used:
                stamp = mirror / "used" / segment.name
                with suppress(FileNotFoundError):
                    found.append(((stamp if stamp.exists() else segment).stat().st_mtime, segment))
    return [segment for _, segment in sorted(found)]


def _living_pins(mirror: Path) -> list[Path]:
    """Return the files of processes that work on a mirror; those of processes that ended are removed."""
    living = []
    for path in mirror.glob("pins/*"):
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                living.append(path)
            finally:
                os.close(file)
    return living


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


@contextmanager
def locked(*, exclusive: bool) -> Iterator[None]:
    """Hold the lock of the cache: shared while a process takes files into use, exclusive while files are removed."""
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(root / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(file)
