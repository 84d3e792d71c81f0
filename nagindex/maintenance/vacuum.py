"""Vacuum: removing old versions, and files that no kept version names."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from nagindex.sketches.store import stale
from nagindex.storage.files import sync_folder
from nagindex.storage.manifest import manifest_path, read_manifest, versions

GRACE_SECONDS = 3600.0


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum removed: versions, folders and files, and their bytes."""

    versions: int
    files: int
    bytes: int


def vacuum(index: Path, *, keep: int = 1, grace: float = GRACE_SECONDS) -> Vacuumed:
    """Remove old versions and every file that no kept version names; return what went.

    Args:
        index: the index's folder.
        keep: newest versions to keep, at least one.
        grace: seconds; a version that was current, and a file that was written, within them stays, so that running readers and
            writers are not disturbed.
    """
    clock = min(time.time(), _clock_of_files(index))
    numbers = versions(index)
    manifests = {number: read_manifest(index, number) for number in numbers}
    first = numbers[-max(1, keep) :][0]
    for number, follower in pairwise(numbers):
        if clock - datetime.fromisoformat(manifests[follower].created).timestamp() < grace:
            first = min(first, number)
    # Whatever the clock did, no gap is left among the versions: `verify` takes one for a manifest that was lost.
    old, kept = [number for number in numbers if number < first], [number for number in numbers if number >= first]
    named = {(entry.id, name) for number in kept for entry in manifests[number].segments for name in entry.files}
    gone, size = 0, 0
    for number in old:  # manifests go before the files that only they name, so no version ever names a missing file
        manifest_path(index, number).unlink(missing_ok=True)
    sync_folder(index / "manifests")
    of_segments, of_derived = (_folders_in(index / name) for name in ("segments", "derived"))
    empty = [folder for folder in of_segments if _is_old(folder, clock, grace)]
    empty += [folder for folder in of_derived if folder.name.startswith("sketch-") and _is_old(folder, clock, grace)]
    temporary = [path for folder in (index / "manifests", *of_derived) for path in folder.glob(".*.tmp")]
    derived = stale(index, {segment for segment, _ in named})
    in_segments = [path for folder in of_segments for path in folder.iterdir() if not path.is_dir()]
    for number in set(versions(index)) - set(
        numbers
    ):  # what was published meanwhile needs its files, however old they look
        named |= {(entry.id, name) for entry in read_manifest(index, number).segments for name in entry.files}
    for path in sorted([*in_segments, *temporary, *derived]):
        if (path.parent.name, path.name) not in named and _is_old(path, clock, grace):
            with suppress(FileNotFoundError):  # another vacuum, or the writer whose temporary file it was, came first
                length = path.lstat().st_size
                path.unlink()
                gone, size = gone + 1, size + length
    for folder in empty:
        with suppress(OSError):  # not empty, or gone
            folder.rmdir()
    return Vacuumed(len(old), gone, size)


def _clock_of_files(index: Path) -> float:
    """Return the time by the clock that stamps the index's files, which may be another machine's."""
    with tempfile.NamedTemporaryFile(dir=index / "manifests", prefix=".clock.", suffix=".tmp") as file:
        return os.fstat(file.fileno()).st_mtime


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, of which links are none: they would lead out of the index."""
    return [path for path in folder.glob("*") if path.is_dir() and not path.is_symlink()]


def _is_old(path: Path, clock: float, grace: float) -> bool:
    with suppress(FileNotFoundError):
        return clock - path.lstat().st_mtime >= grace
    return False
