"""Where an index lies: in its own folder, or behind a URL, in the mirror of an object store.

Functions that take the path of an index, or of a file in one, do nothing for one outside of the cache, so that all of nagindex works on
paths.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from nagindex.errors import show_folder, show_folder_as
from nagindex.storage.cache_room import SEPARATE, cache_root, locked, remove_abandoned
from nagindex.storage.mirror import Mirror
from nagindex.stores.objects import require_obstore
from nagindex.stores.urls import account, is_url, normalized_url

_ROOTS: set[str] = set()
"""Cache folders with mirrors that this process works on."""
_MIRRORS: dict[tuple[int, Path], Mirror] = {}
"""The mirrors of this process, by its id and their folders."""


def index_folder(path: str | Path) -> Path:
    """Return the folder to work on an index in: its own folder, or the mirror of a URL.

    Raises:
        BadInputError: the URL names no bucket, holds credentials, or is of no known kind of store.
        MissingDependencyError: obstore is not installed.
    """
    if not is_url(path) and not (isinstance(path, str) and "://" in path):
        return Path(path).expanduser()
    url = normalized_url(path)
    require_obstore()
    found = hashlib.sha256(f"{url} {account(url)}".encode()).hexdigest()[:12]
    readable = re.sub(r"\W+", "-", url.rpartition("@")[2], flags=re.ASCII).strip("-")[-60:]
    return _opened(cache_root() / f"{readable}-{found}", url).index


def _opened(folder: Path, url: str) -> Mirror:
    """Return the mirror of a URL in a folder, which is made if it is not there."""
    _ROOTS.add(str(folder.parent))
    with locked(exclusive=False):  # or it could be removed before it is listed as used
        (folder / "index" / "segments").mkdir(parents=True, exist_ok=True)
        description = folder / "mirror.json"
        if not description.exists():
            temporary = folder / f".{secrets.token_hex(4)}.tmp"
            temporary.write_text(json.dumps({"url": url}))
            os.replace(temporary, description)
        return _mirror(folder)


def _mirror(folder: Path) -> Mirror:
    key = os.getpid(), folder
    if key not in _MIRRORS:
        mirror = Mirror(folder, json.loads((folder / "mirror.json").read_bytes())["url"])
        show_folder_as(str(mirror.index), mirror.url)
        mirror.pins.open()
        _MIRRORS[key] = mirror
    return _MIRRORS[key]


def _current_root() -> str:
    """Return the folder of the cache as text; empty where there can be none, as without a home folder."""
    return _root_text(*(os.environ.get(name) for name in ("NAGINDEX_CACHE", "XDG_CACHE_HOME", "HOME")))


@cache
def _root_text(*_variables: str | None) -> str:
    try:
        return str(cache_root())
    except RuntimeError:
        return ""


def mirror_of(path: Path) -> Mirror | None:
    """Return the mirror that a folder or file belongs to; None if it lies elsewhere."""
    text = str(path)
    root = next((root for root in (*_ROOTS, _current_root()) if root and text.startswith(root + os.sep)), None)
    if root is None:
        return None
    name, _, rest = text[len(root) + 1 :].partition(os.sep)
    folder = Path(root, name)
    if rest.partition(os.sep)[0] != "index":
        return None
    if (folder / "mirror.json").is_file():
        return _mirror(folder)
    removed = _MIRRORS.pop((os.getpid(), folder), None)
    if removed is None:
        return None  # an index of its own below the folder of the cache
    return _opened(folder, removed.url)  # somebody emptied the cache by hand


def location(index: Path) -> str:
    """Return the URL of the index that a folder mirrors, or the folder's path."""
    mirror = mirror_of(index)
    return str(index) if mirror is None else mirror.url


def absolute_location(index: Path) -> str:
    """Return the URL of the index that a folder mirrors, or the folder's absolute path: what other nodes find it by."""
    return location(index.absolute())


def fetch(path: Path, *, length: int, sha256: str, owner: str) -> bool:
    """Fetch a file of a mirror anew; return False for a file that is in none."""
    mirror = mirror_of(path)
    if mirror is None:
        return False
    mirror.fetch(path, length=length, sha256=sha256, owner=owner)
    return True


def fetch_small(path: Path) -> bool:
    """Fetch a file that contains its own checksum anew; return False for a file in no mirror, or without an object."""
    mirror = mirror_of(path)
    if mirror is None or not mirror.is_checked_json(path):
        return False
    with suppress(FileNotFoundError):
        mirror.fetch_small(path)
        return True
    return False


def pin(path: Path) -> None:
    """Keep the segment that a file or folder belongs to in the cache while this process lives."""
    mirror = mirror_of(path)
    if mirror is not None:
        parts = path.relative_to(mirror.index).parts
        if len(parts) > 1 and parts[0] == "segments":
            mirror.pins.add(parts[1])


@contextmanager
def separate_mirror(index: Path) -> Iterator[Path]:
    """Provide an empty mirror of the same URL, into which every file is fetched anew; an index's own folder is provided as it is.

    It is removed at the end; one that a killed process left is removed by the next to make or list any.
    """
    mirror = mirror_of(index)
    if mirror is None:
        yield index
        return
    remove_abandoned()
    folder = cache_root() / f"{mirror.folder.name}-{secrets.token_hex(4)}{SEPARATE}"
    separate = _opened(folder, mirror.url)
    try:
        yield separate.index
    finally:
        _MIRRORS.pop((os.getpid(), folder), None)
        show_folder(str(separate.index))
        separate.pins.close()
        shutil.rmtree(folder, ignore_errors=True)


def release(index: Path, segment: str) -> None:
    """Remove the files of a segment from a separate mirror, once they were verified; does nothing to other folders."""
    mirror = mirror_of(index)
    if mirror is not None:
        shutil.rmtree(mirror.index / "segments" / segment, ignore_errors=True)
