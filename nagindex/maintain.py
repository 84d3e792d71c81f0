"""Upkeep of an index: make one, delete documents, drop what no version names, check every byte."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.derived.graphs import graphs_of
from nagindex.derived.sketches import current_sketches, stale
from nagindex.errors import BadInputError, DamagedIndexError, NagIndexError
from nagindex.fingerprint import Fingerprint
from nagindex.nag import invalid_rows
from nagindex.storage import segment as segments
from nagindex.storage.cache import damaged_files
from nagindex.storage.docs import open_docs, rows_where
from nagindex.storage.files import make_folders, sync_folder
from nagindex.storage.manifest import (
    Manifest,
    Settings,
    commit,
    manifest_path,
    now,
    publish,
    read_latest,
    read_manifest,
    versions,
)
from nagindex.storage.segment import Segment
from nagindex.storage.tables import connect, scan_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FOLDERS = ("manifests", "segments")
ROWS_PER_CHECK = 4096
GRACE_SECONDS = 3600.0


def create(folder: Path, fingerprint: Fingerprint, settings: Settings) -> Manifest:
    """Make an empty index, or find the one that is there with the same encoding and settings; return its current version.

    Raises:
        SettingsMismatchError: an index is there with others; names both values.
        BadInputError: the folder holds something else.
        DamagedIndexError: segments are left there, and no version.
    """
    if not versions(folder):
        if folder.exists() and (not folder.is_dir() or any(p.name not in FOLDERS for p in folder.iterdir())):
            raise BadInputError(f"{folder}: exists and is not an index; name another place with -i")
        if any(folder.glob("segments/*")):
            raise DamagedIndexError(folder / "manifests", "no version is left, though segments are")
        make_folders(*(folder / name for name in FOLDERS))
        publish(folder, Manifest(1, "create", now(), fingerprint, settings))
    manifest = read_latest(folder)
    differing = manifest.fingerprint.differences(fingerprint) + manifest.settings.differences(settings)
    if differing and not manifest.segments:  # a first attempt that read nothing binds nobody to its settings
        anew = dataclasses.replace(manifest.following("create", ()), fingerprint=fingerprint, settings=settings)
        publish(folder, anew)
        manifest = read_latest(folder)
    manifest.fingerprint.require(fingerprint, where=str(folder))
    manifest.settings.require(settings, where=str(folder))
    return manifest


def delete(index: Path, *, ids: Iterable[str] | None = None, where: str | None = None) -> int:
    """Delete documents by id or by a SQL condition on the view `docs`, and return how many went.

    Args:
        index: the index's folder.
        ids: ids of documents; those that are not in are passed over.
        where: a SQL expression.

    Raises:
        BadInputError: neither or both are given, or the condition is no SQL expression.
    """
    if (ids is None) == (where is None):
        raise BadInputError("delete needs ids or a condition, one of the two")
    chosen = None if ids is None else [ids] if isinstance(ids, str) else list(ids)
    removed = 0

    def list_ids(connection: DuckDBPyConnection) -> None:
        connection.execute("CREATE TABLE _ids AS SELECT unnest(?::VARCHAR[]) AS id", [chosen or []])

    def change(current: Manifest) -> Manifest | None:  # looks the rows up again where another writer published first
        nonlocal removed
        removed = 0
        members = segments.segments_of(index, current)
        with open_docs(index, members, current.settings.keep_columns, prepare=list_ids) as connection:
            found = rows_where(connection, "id IN (SELECT id FROM _ids)" if where is None else where)
        entries = []
        for number, entry in enumerate(current.segments):
            here = found["_segment"] == number
            if here.any():
                removed += int(here.sum())
                lost = int(found["tokens"][here].sum())
                entry = segments.with_deleted(index, entry, found["_position"][here], tokens=lost)
            entries.append(entry)
        return current.following("delete", tuple(entries)) if removed else None

    commit(index, change)
    return removed


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


def verify(index: Path, manifest: Manifest) -> Iterator[NagIndexError]:
    """Yield one error for each thing wrong with an index: lengths, checksums, codes, row counts, what is derived, older versions.

    Args:
        index: the index's folder.
        manifest: the version whose codes and rows are looked at, too.
    """
    numbers, others = versions(index), list[Manifest]()
    for number in numbers:
        try:
            others.append(read_manifest(index, number))
        except NagIndexError as error:
            yield error
    for number, follower in pairwise(numbers):
        if follower != number + 1:
            yield DamagedIndexError(
                manifest_path(index, number + 1), f"missing between versions {number} and {follower}"
            )
    for entry in manifest.segments:
        segment = Segment(index, entry, manifest.fingerprint.spec)
        damage = list(segment.damage())
        yield from damage
        if not damage:
            yield from _inconsistencies(segment)
    yield from _damaged_of_others(index, manifest, others)
    yield from _damaged_sketches(index, manifest)
    for path in damaged_files(index / "derived" / "targets"):
        yield DamagedIndexError(path, "not the cached targets that its name says")


def _damaged_of_others(index: Path, manifest: Manifest, others: Iterable[Manifest]) -> Iterator[NagIndexError]:
    """Yield one error for each damaged file that only other versions name, unless they have been vacuumed meanwhile."""
    checked = {(entry.id, name) for entry in manifest.segments for name in entry.files}
    for other in others:
        for entry in other.segments:
            files = {name: file for name, file in entry.files.items() if (entry.id, name) not in checked}
            checked.update((entry.id, name) for name in files)
            own = Segment(index, dataclasses.replace(entry, files=files), manifest.fingerprint.spec)
            yield from (error for error in own.damage() if manifest_path(index, other.version).exists())


def _damaged_sketches(index: Path, manifest: Manifest) -> Iterator[NagIndexError]:
    try:
        sketches = current_sketches(index, manifest.fingerprint.spec)
    except NagIndexError as error:
        yield error
        return
    for entry in (None, *manifest.segments) if sketches is not None else ():
        if sketches is not None and (damage := sketches.damage(entry)) is not None:
            yield damage
    described = list[NagIndexError]()
    graphs = graphs_of(sketches, manifest.segments, described.append) if sketches is not None else []
    yield from described
    yield from filter(None, (graph.damage() for graph in graphs))


def _inconsistencies(segment: Segment) -> Iterator[DamagedIndexError]:
    name, documents = segment.entry.id, segment.entry.documents
    codes = segment.codes()
    for first in range(0, len(codes), ROWS_PER_CHECK):
        for row in invalid_rows(codes[first : first + ROWS_PER_CHECK], segment.spec):
            what = "holds a neuron twice or one that its layer does not have"
            yield DamagedIndexError(segment.folder / "nags.npy", f"row {first + row} of segment {name} {what}")
    deleted = segment.deleted()
    if len(deleted) != segment.entry.deleted_documents or (len(deleted) and deleted[-1] >= documents):
        stated = segment.entry.deleted_documents
        yield DamagedIndexError(
            segment.folder / str(segment.entry.deleted), f"not the {stated} deletions that segment {name} has"
        )
    with connect() as connection:
        [(rows,)] = connection.execute(f"SELECT count(*) FROM {scan_sql([segment.docs_path])}").fetchall()
    if rows != documents:
        yield DamagedIndexError(segment.docs_path, f"{rows} rows where segment {name} has {documents}")
