"""Verification: reads every byte of an index, and checks every code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from nagindex.corpus.sql import connect
from nagindex.errors import DamagedIndexError, NagIndexError
from nagindex.nag import invalid_rows
from nagindex.progress import step
from nagindex.sketches import popularity
from nagindex.sketches.graphs import current_graphs
from nagindex.storage.calibration import calibration_damage
from nagindex.storage.locations import release, separate_mirror
from nagindex.storage.manifest import Manifest, manifest_path, missing_version, read_manifest, versions
from nagindex.storage.segment import Segment
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.tables import scan_sql
from nagindex.targets.cache import damaged_files

ROWS_PER_CHECK = 4096


def verify(snapshot: Snapshot) -> Iterator[NagIndexError]:
    """Yield one error for each damage found: lengths, checksums, codes, row counts, derived data, other versions.

    Of an index in an object store every object is fetched anew, into a folder of its own that holds one segment at a time.

    Args:
        snapshot: the version whose codes and rows are checked; of other versions, only files are.
    """
    with separate_mirror(snapshot.path) as folder:
        yield from _damage(Snapshot(folder, snapshot.manifest))


def _damage(snapshot: Snapshot) -> Iterator[NagIndexError]:
    index, manifest = snapshot.path, snapshot.manifest
    numbers, manifests = versions(index), list[Manifest]()
    for number in numbers:
        try:
            manifests.append(read_manifest(index, number))
        except NagIndexError as error:
            yield error
    yield from _missing_manifests(index, numbers)
    yield from filter(None, [calibration_damage(index, manifest.fingerprint)])
    sizes = [sum(file.bytes for file in segment.entry.files.values()) for segment in snapshot.segments]
    with step("verifying files", sum(sizes), "bytes") as advance:
        for segment, size in zip(snapshot.segments, sizes, strict=True):
            damage = list(segment.damage())
            yield from damage
            if not damage:
                yield from _inconsistencies(segment)
            release(index, segment.entry.id)
            advance(size)
    yield from _damaged_in_others(index, manifest, manifests)
    yield from _damaged_graphs(index, manifest)
    for path in (*popularity.damaged_files(index, manifest.segments), *damaged_files(index / "derived" / "targets")):
        yield DamagedIndexError(path, "content does not match the SHA-256 in its name")


def _missing_manifests(index: Path, numbers: Sequence[int]) -> Iterator[DamagedIndexError]:
    """Yield one error for each gap between versions, and one if the newest version is lost or the hint is damaged."""
    for number, follower in pairwise(numbers):
        if follower != number + 1:
            yield DamagedIndexError(
                manifest_path(index, number + 1), f"missing between versions {number} and {follower}"
            )
    try:
        missing = missing_version(index)
    except DamagedIndexError as error:
        yield error
        return
    if missing is not None:
        yield DamagedIndexError(
            manifest_path(index, missing),
            f"missing, though version {missing} was published; version {numbers[-1]} is current now",
        )


def _damaged_in_others(index: Path, manifest: Manifest, others: Iterable[Manifest]) -> Iterator[NagIndexError]:
    """Yield one error for each damaged file that only other versions name, unless they have been vacuumed meanwhile."""
    checked = {(entry.id, name) for entry in manifest.segments for name in entry.files}
    for other in others:
        for entry in other.segments:
            files = {name: file for name, file in entry.files.items() if (entry.id, name) not in checked}
            checked.update((entry.id, name) for name in files)
            own = Segment(index, dataclasses.replace(entry, files=files), manifest.fingerprint.spec)
            yield from (error for error in own.damage() if other.version in versions(index))
            release(index, entry.id)


def _damaged_graphs(index: Path, manifest: Manifest) -> Iterator[NagIndexError]:
    """Yield one error for each damaged file of the current graphs."""
    try:
        graphs = current_graphs(index, manifest.fingerprint.spec)
    except NagIndexError as error:
        yield error
        return
    if graphs is None:
        return
    errors = list[NagIndexError]()
    files = graphs.graphs(manifest.segments, errors.append)
    yield from filter(None, [graphs.damage(), *errors, *(file.damage() for file in files)])


def _inconsistencies(segment: Segment) -> Iterator[DamagedIndexError]:
    """Yield one error for each invalid row of codes, and for each table whose length is not that of the manifest."""
    name, documents = segment.entry.id, segment.entry.documents
    codes = segment.codes()
    for first in range(0, len(codes), ROWS_PER_CHECK):
        for row in invalid_rows(codes[first : first + ROWS_PER_CHECK], segment.spec):
            fault = "holds a neuron twice or one that its layer does not have"
            yield DamagedIndexError(segment.folder / "nags.npy", f"row {first + row} of segment {name} {fault}")
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
