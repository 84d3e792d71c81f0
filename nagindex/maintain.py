"""Upkeep of an index: make one, delete documents, merge small segments, drop what no version names, check every byte."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nagindex.errors import BadInputError, DamagedIndexError, NagIndexError
from nagindex.fingerprint import Fingerprint
from nagindex.nag import invalid_rows
from nagindex.storage import segment as segments
from nagindex.storage.docs import open_docs, rows_where
from nagindex.storage.files import make_folders, sync_folder
from nagindex.storage.manifest import (
    Manifest,
    SegmentEntry,
    Settings,
    commit,
    manifest_path,
    now,
    publish,
    read_latest,
    read_manifest,
    versions,
)
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Segment, SkippedRow, SourceSpan
from nagindex.storage.tables import DOCS_ROW_GROUP, connect, quote_sql, scan_sql

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


def compact(index: Path, manifest: Manifest) -> Manifest:
    """Merge runs of small neighbouring segments and drop deleted rows for good; return the resulting version.

    The order of documents stays. A segment that another writer changes meanwhile is left as it is.
    """
    latest = manifest
    for group in _groups(index, manifest):
        merged = _merge(index, manifest, group)

        def change(
            current: Manifest, group: Sequence[SegmentEntry] = group, merged: SegmentEntry = merged
        ) -> Manifest | None:
            entries = list(current.segments)
            try:
                first = entries.index(group[0])
            except ValueError:
                return None
            if tuple(entries[first : first + len(group)]) != tuple(group):
                return None
            entries[first : first + len(group)] = [merged]
            return current.following("compact", tuple(entries))

        latest = commit(index, change)
        if merged not in latest.segments:  # another writer changed the group: what was merged is of no use
            shutil.rmtree(index / "segments" / merged.id, ignore_errors=True)
    return latest


def _groups(index: Path, manifest: Manifest) -> list[list[SegmentEntry]]:
    """Return runs of neighbouring segments worth merging: together no larger than a segment, or one with deleted rows."""
    groups: list[list[SegmentEntry]] = []
    size = 0
    names: dict[str, str] = {}
    for entry in manifest.segments:
        living = entry.documents - entry.deleted_documents
        spans = Segment(index, entry, manifest.fingerprint.spec).spans()
        # A segment tells sources apart by name: two of one name and different content must stay in different segments.
        clash = any(names.get(span.name, span.sha256) != span.sha256 for span in spans)
        same_libraries = bool(groups) and groups[-1][-1].libraries == entry.libraries
        if not groups or size + living > SEGMENT_DOCUMENTS or clash or not same_libraries:
            groups.append([])
            size, names = 0, {}
        groups[-1].append(entry)
        size += living
        names |= {span.name: span.sha256 for span in spans}
    return [group for group in groups if len(group) > 1 or group[0].deleted_documents]


def _merge(index: Path, manifest: Manifest, group: Sequence[SegmentEntry]) -> SegmentEntry:
    """Write a segment with the living rows of some others, in order, and return its entry."""
    spec = manifest.fingerprint.spec
    members = [Segment(index, entry, spec) for entry in group]
    alive = [member.alive() for member in members]
    folder = segments.new_folder(index)
    try:
        segments.write_codes(
            folder / "nags.npy", spec, [member.codes()[mask] for member, mask in zip(members, alive, strict=True)]
        )
        places = {"path": np.array([str(m.docs_path) for m in members], dtype=object), "place": np.arange(len(members))}
        kept = {
            "place": np.repeat(np.arange(len(members)), [int(mask.sum()) for mask in alive]),
            "position": np.concatenate([np.flatnonzero(mask) for mask in alive]),
        }
        scan = scan_sql([m.docs_path for m in members], extra=", filename = true, file_row_number = true")
        with connect() as connection:
            connection.register("places", places)
            connection.register("kept", kept)
            connection.execute(
                f"""COPY (SELECT d.* EXCLUDE (filename, file_row_number) FROM kept JOIN places USING (place)
                JOIN {scan} d ON d.filename = places.path AND d.file_row_number = kept.position ORDER BY kept.place, kept.position)
                TO {quote_sql(folder / "docs.parquet")} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {DOCS_ROW_GROUP})"""
            )
        spans: dict[tuple[str, str], SourceSpan] = {}
        skipped: list[SkippedRow] = []
        for member in members:
            skipped += member.skipped()
            for span in member.spans():
                before = spans.setdefault((span.name, span.sha256), span)
                spans[span.name, span.sha256] = dataclasses.replace(
                    span if span.stop >= before.stop else before,
                    start=min(before.start, span.start),
                    complete=before.complete or span.complete,
                )
        segments.write_spans(folder / "sources.parquet", list(spans.values()))
        segments.write_skipped(folder / "skipped.parquet", skipped)
        tokens = sum(entry.tokens - entry.deleted_tokens for entry in group)
        return segments.seal(
            folder,
            documents=int(sum(mask.sum() for mask in alive)),
            tokens=tokens,
            skipped=len(skipped),
            libraries=group[0].libraries,
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


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
    clock = time.time()
    numbers = versions(index)
    manifests = {number: read_manifest(index, number) for number in numbers}
    kept = set(numbers[-max(1, keep) :])
    for number, follower in pairwise(numbers):
        if clock - datetime.fromisoformat(manifests[follower].created).timestamp() < grace:
            kept.add(number)
    old = [number for number in numbers if number not in kept]
    named = {(entry.id, name) for number in kept for entry in manifests[number].segments for name in entry.files}
    gone, size = 0, 0
    for number in old:  # manifests go before the files that only they name, so no version ever names a missing file
        manifest_path(index, number).unlink(missing_ok=True)
    sync_folder(index / "manifests")
    folders = [folder for folder in (index / "segments").iterdir() if folder.is_dir() and _is_old(folder, clock, grace)]
    temporary = [*index.glob("manifests/.*.tmp"), *index.glob("derived/*/.*.tmp")]
    for path in sorted([*(index / "segments").glob("*/*"), *temporary]):
        if (path.parent.name, path.name) not in named and _is_old(path, clock, grace):
            with suppress(FileNotFoundError):  # another vacuum, or the writer whose temporary file it was, came first
                length = path.stat().st_size
                path.unlink()
                gone, size = gone + 1, size + length
    for folder in folders:
        with suppress(OSError):  # not empty, or gone
            folder.rmdir()
    return Vacuumed(len(old), gone, size)


def _is_old(path: Path, clock: float, grace: float) -> bool:
    with suppress(FileNotFoundError):
        return clock - path.stat().st_mtime >= grace
    return False


def verify(index: Path, manifest: Manifest) -> Iterator[NagIndexError]:
    """Yield one error for each thing wrong with the current version: lengths, checksums, codes, row counts, older manifests.

    Args:
        index: the index's folder.
        manifest: the version to check.
    """
    for number in versions(index):
        try:
            read_manifest(index, number)
        except NagIndexError as error:
            yield error
    for entry in manifest.segments:
        segment = Segment(index, entry, manifest.fingerprint.spec)
        damage = list(segment.damage())
        yield from damage
        if not damage:
            yield from _inconsistencies(segment)


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
