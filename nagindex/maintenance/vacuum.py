"""Vacuum: removes old versions, and files that no remaining version names."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from nagindex.sketches import popularity
from nagindex.sketches.graphs import unused_files, used_files
from nagindex.storage.files import sync_folder
from nagindex.storage.locations import mirror_of
from nagindex.storage.manifest import Manifest, manifest_path, read_manifest, require_newest, versions
from nagindex.storage.mirror import Mirror
from nagindex.storage.mirrored_graphs import fetch_graphs, mark_graphs
from nagindex.stores.objects import StoredObject

GRACE_SECONDS = 3600.0


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum removed, and what it left for running readers and writers.

    Attributes:
        versions, files: numbers of versions and files that were removed.
        bytes: size of these files.
        young_versions, young_files: numbers of those that were left for being younger than the grace.
    """

    versions: int
    files: int
    bytes: int
    young_versions: int = 0
    young_files: int = 0


def vacuum(index: Path, *, keep: int = 1, grace: float = GRACE_SECONDS) -> Vacuumed:
    """Remove old versions and every file that no kept version names; return what was removed.

    Args:
        index: the index's folder.
        keep: number of newest versions to keep, at least one.
        grace: seconds; versions that were current and files that were written within this time are kept for readers and writers
            that are still running.

    Raises:
        DamagedIndexError: the newest version's manifest was removed, and with it the only one that may name some files.
    """
    require_newest(index)
    if (remote := mirror_of(index)) is not None:
        return _vacuum_store(index, remote, keep, grace)
    limit = min(time.time(), _file_system_time(index)) - grace
    manifests = {number: read_manifest(index, number) for number in versions(index)}
    first = _first_kept(manifests, keep, limit)
    kept = {number: manifest for number, manifest in manifests.items() if number >= first}
    for number in manifests:  # oldest first, and before the files, so that no version names a missing file
        if number < first:
            manifest_path(index, number).unlink(missing_ok=True)
    sync_folder(index / "manifests")
    graph_folders = (path for path in _subfolders(index / "derived") if path.name.startswith(("graph-", "sketch-")))
    old_folders = [path for path in (*_subfolders(index / "segments"), *graph_folders) if _is_old(path, limit)]
    files, size, young = 0, 0, 0
    for path in sorted(_unnamed_files(index, kept)):
        if _is_old(path, limit):
            # Another vacuum, or the writer of a temporary file, may have removed it meanwhile.
            with suppress(FileNotFoundError):
                length = path.lstat().st_size
                path.unlink()
                files, size = files + 1, size + length
        else:
            young += path.exists()
    for folder in old_folders:
        with suppress(OSError):  # not empty, or removed meanwhile
            folder.rmdir()
    return Vacuumed(len(manifests) - len(kept), files, size, max(0, len(kept) - max(1, keep)), young)


def _vacuum_store(index: Path, remote: Mirror, keep: int, grace: float) -> Vacuumed:
    """Remove objects, as `vacuum` removes files; the grace is measured by the store's clock, unless it is ahead of this machine's."""
    limit = min(time.time(), remote.store.now()) - grace
    manifests = {number: read_manifest(index, number) for number in versions(index)}
    first = _first_kept(manifests, keep, limit)
    kept = {number: manifest for number, manifest in manifests.items() if number >= first}
    remote.delete(manifest_path(index, number) for number in manifests if number < first)
    unnamed = _unnamed_objects(index, remote, kept)
    old = [found for found in unnamed if found.modified.timestamp() <= limit]
    remote.delete(index / found.name for found in old)
    if any(found.name.startswith("derived/") for found in old):
        mark_graphs(remote)
    young = max(0, len(kept) - max(1, keep)), len(unnamed) - len(old)
    return Vacuumed(len(manifests) - len(kept), len(old), sum(found.bytes for found in old), *young)


def _unnamed_objects(index: Path, remote: Mirror, kept: Mapping[int, Manifest]) -> list[StoredObject]:
    """Return objects of segments, calibrations, graphs and former sketches that no version names or uses, and temporary ones."""
    listed = remote.store.listing()
    fetch_graphs(remote)
    new = [
        read_manifest(index, number) for number in versions(index) if number not in kept
    ]  # after the objects were listed
    known = (*kept.values(), *new)
    named = {f"segments/{e.id}/{name}" for manifest in known for e in manifest.segments for name in e.files}
    named |= {f"calibration/{manifest.fingerprint.calibration}.npy" for manifest in known}
    segments = {entry.id for manifest in known for entry in manifest.segments}
    named |= {remote.name_of(path) for path in used_files(index, segments)}
    own = ("segments/", "calibration/", "derived/graph-", "derived/sketch-", "manifests/.")
    return [found for found in listed if found.name.startswith(own) and found.name not in named]


def _first_kept(manifests: Mapping[int, Manifest], keep: int, limit: float) -> int:
    """Return the oldest version to keep; all newer ones are kept, as `verify` reports a gap between versions.

    Args:
        manifests: all versions by number, ascending.
        keep: number of newest versions to keep.
        limit: Unix time; versions that were current since then are kept.
    """
    numbers = list(manifests)
    first = numbers[-max(1, keep) :][0]
    for number, follower in pairwise(numbers):
        if datetime.fromisoformat(manifests[follower].created).timestamp() > limit:
            first = min(first, number)
    return first


def _unnamed_files(index: Path, kept: Mapping[int, Manifest]) -> list[Path]:
    """Return files of segments and calibrations that no version names, unused derived files, and temporary files.

    Args:
        index: the index's folder.
        kept: the versions to keep; versions that were published meanwhile are kept, too.
    """
    segment_folders, derived_folders = (_subfolders(index / name) for name in ("segments", "derived"))
    temporary = [path for folder in (index / "manifests", *derived_folders) for path in folder.glob(".*.tmp")]
    present = {entry.id for manifest in kept.values() for entry in manifest.segments}
    derived = unused_files(index, present) + popularity.unused_files(index, present)
    calibrations = [path for path in (index / "calibration").glob("*") if not path.is_dir()]
    in_segments = [path for folder in segment_folders for path in folder.iterdir() if not path.is_dir()]
    new = [
        read_manifest(index, number) for number in versions(index) if number not in kept
    ]  # after the files were listed
    known = (*kept.values(), *new)
    named = {(e.id, name) for manifest in known for e in manifest.segments for name in e.files}
    named |= {("calibration", f"{manifest.fingerprint.calibration}.npy") for manifest in known}
    unused = (*in_segments, *calibrations, *temporary, *derived)
    return [path for path in unused if (path.parent.name, path.name) not in named]


def _file_system_time(index: Path) -> float:
    """Return the current time of the clock that sets mtimes of the index's files; it may be another machine's."""
    with tempfile.NamedTemporaryFile(dir=index / "manifests", prefix=".clock.", suffix=".tmp") as file:
        return os.fstat(file.fileno()).st_mtime


def _subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, without symbolic links, which could lead out of the index."""
    return [path for path in folder.glob("*") if path.is_dir() and not path.is_symlink()]


def _is_old(path: Path, limit: float) -> bool:
    with suppress(FileNotFoundError):
        return path.lstat().st_mtime <= limit
    return False
