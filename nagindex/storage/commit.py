"""Commits: a change to the current version is published as the next one, whoever else writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nagindex.errors import BadInputError, ObjectStoreError
from nagindex.storage.files import create_exclusively
from nagindex.storage.json_bytes import dump_json
from nagindex.storage.locations import location, mirror_of
from nagindex.storage.manifest import Manifest, manifest_path, newest_version, read_latest, versions
from nagindex.storage.version_hint import write_hint
from nagindex.stores.objects import ATTEMPTS, pause


def publish(index: Path, manifest: Manifest) -> bool:
    """Publish a version, which makes it current; return False, without any change, if another writer took its number."""
    path = manifest_path(index, manifest.version)
    content, remote = dump_json(manifest.to_json()), mirror_of(index)
    if not (create_exclusively(path, content) if remote is None else remote.create(path, content)):
        return False
    numbers = versions(index)
    if numbers[-1] > manifest.version and manifest.version - 1 not in numbers:
        # another writer published this number, and it was vacuumed since
        path.unlink(missing_ok=True) if remote is None else remote.delete([path])
        return False
    write_hint(index, manifest.version)
    return True


def commit(index: Path, change: Callable[[Manifest], Manifest | None]) -> Manifest:
    """Publish a change to the current version; if another writer publishes first, apply it again to the new version.

    Args:
        index: the index's folder.
        change: returns the version that follows a given one, or None if there is nothing to change.

    Returns:
        The published version; the current one if there was nothing to change.

    Raises:
        BadInputError: a file of the new version has been removed before publication.
    """
    uploaded = set[Path]()
    while True:
        current = read_latest(index)
        following = change(current)
        if following is None:
            return current
        _require_files(index, current, following)
        new = _new_files(index, current, following)
        if (remote := mirror_of(index)) is not None:
            remote.upload(path for path in new if path not in uploaded)  # those of a lost race are there
            uploaded.update(new)
        if publish(index, following):
            _restore_files(index, new)
            return following
        if remote is not None:
            _await_listed(index, following.version)


def _await_listed(index: Path, version: int) -> None:
    """Wait until the version that another writer has published is listed.

    Raises:
        ObjectStoreError: the store's listings are too old.
    """
    for attempt in range(ATTEMPTS):
        if newest_version(index) >= version:
            return
        pause(attempt)
    place = f"{location(index)}/manifests/{version:012d}.json"
    raise ObjectStoreError(f"{place}: exists, and the store does not list it; run the same command again later")


def _require_files(index: Path, current: Manifest, following: Manifest) -> None:
    """Raise BadInputError if a file written for the following version is gone, so that no version names a missing file."""
    known = {(entry.id, entry.deleted) for entry in current.segments}
    for entry in following.segments:
        if (entry.id, entry.deleted) not in known:
            for name in entry.files:
                path = index / "segments" / entry.id / name
                if not path.exists() and not _is_stored(index, current, entry.id, name):
                    cause = "by a vacuum whose clock is ahead of this one, or by somebody"
                    raise BadInputError(f"{path}: removed before it was published, {cause}; run the same command again")


def _is_stored(index: Path, current: Manifest, segment: str, name: str) -> bool:
    """Return whether an object store holds a file of the current version, which the mirror may lack."""
    return mirror_of(index) is not None and any(e.id == segment and name in e.files for e in current.segments)


def _new_files(index: Path, current: Manifest, following: Manifest) -> list[Path]:
    """Return the files of segments that the current version does not name."""
    known = {(entry.id, name) for entry in current.segments for name in entry.files}
    new = [(e.id, name) for e in following.segments for name in e.files if (e.id, name) not in known]
    return [index / "segments" / segment / name for segment, name in new]


def _restore_files(index: Path, paths: Sequence[Path]) -> None:
    """Write files of the version just published again that a vacuum elsewhere removed: the upload took longer than its grace."""
    remote = mirror_of(index)
    if remote is not None:
        there = {
            own.name for folder in {p.parent for p in paths} for own in remote.store.listing(remote.name_of(folder))
        }
        remote.upload(path for path in paths if remote.name_of(path) not in there)
