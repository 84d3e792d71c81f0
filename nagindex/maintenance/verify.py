"""Verification: reads every byte of an index, and checks every code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from nagindex.cluster.connection import require_ray
from nagindex.cluster.tasks import tasks
from nagindex.cluster.worker import require_folders
from nagindex.corpus.sql import connect
from nagindex.errors import DamagedIndexError, NagIndexError
from nagindex.nag import NagSpec, invalid_rows
from nagindex.progress import step
from nagindex.sketches import popularity
from nagindex.sketches.graphs import current_graphs
from nagindex.storage.calibration import calibration_damage
from nagindex.storage.locations import absolute_location, index_folder, release, separate_mirror
from nagindex.storage.manifest import (
    Manifest,
    SegmentEntry,
    manifest_path,
    missing_version,
    read_manifest,
    versions,
)
from nagindex.storage.segment import Segment
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.tables import scan_sql
from nagindex.targets.cache import damaged_files

ROWS_PER_CHECK = 4096


@dataclass(frozen=True)
class Check:
    """What is checked of a segment.

    Attributes:
        entry: the segment, with the files to check.
        version: None where codes and rows are checked, too; else the newest version that names these files.
    """

    entry: SegmentEntry
    version: int | None = None

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(file.bytes for file in self.entry.files.values())


Damage = list[NagIndexError]


def verify(snapshot: Snapshot, *, ray: str | None = None) -> Iterator[NagIndexError]:
    """Yield one error for each damage found: lengths, checksums, codes, row counts, derived data, other versions.

    Of an index in an object store every object is fetched anew, into a folder of its own that holds one segment at a time.

    Args:
        snapshot: the version whose codes and rows are checked; of other versions, only files are.
        ray: the Ray cluster whose tasks read the segments; by default this process does.

    Raises:
        BadInputError, InputNotFoundError: there is no such cluster, or a node of it does not see the index.
        MissingDependencyError: Ray is not installed.
    """
    if ray is not None:
        require_ray(ray)
    place = absolute_location(snapshot.path)
    with separate_mirror(snapshot.path) as folder:
        yield from _damage(Snapshot(folder, snapshot.manifest), ray, place)


def _damage(snapshot: Snapshot, ray: str | None, place: str) -> Iterator[NagIndexError]:
    index, manifest = snapshot.path, snapshot.manifest
    numbers, manifests = versions(index), list[Manifest]()
    for number in numbers:
        try:
            manifests.append(read_manifest(index, number))
        except NagIndexError as error:
            yield error
    yield from _missing_manifests(index, numbers)
    yield from filter(None, [calibration_damage(index, manifest.fingerprint)])
    checks = [*map(Check, manifest.segments), *_checks_of_others(manifest, manifests)]
    spec = manifest.fingerprint.spec
    found = _check_here(index, spec, checks) if ray is None else _check_on_cluster(ray, place, spec, checks)
    for check, damage in zip(checks, found, strict=True):
        if damage and (check.version is None or check.version in versions(index)):  # or vacuumed meanwhile
            yield from damage
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


def _checks_of_others(manifest: Manifest, others: Sequence[Manifest]) -> Iterator[Check]:
    """Yield the checks of files that only other versions name; those are given in the order of their numbers."""
    checked = {(entry.id, name) for entry in manifest.segments for name in entry.files}
    for other in reversed(others):
        for entry in other.segments:
            files = {name: file for name, file in entry.files.items() if (entry.id, name) not in checked}
            checked.update((entry.id, name) for name in files)
            if files:
                yield Check(dataclasses.replace(entry, files=files), other.version)


def _check_here(index: Path, spec: NagSpec, checks: Sequence[Check]) -> Iterator[Damage]:
    """Yield the damage of each segment."""
    with step("verifying files", sum(check.bytes for check in checks), "bytes") as advance:
        for check in checks:
            segment = Segment(index, check.entry, spec)
            damage: Damage = list(segment.damage())
            if not damage and check.version is None:
                damage += _inconsistencies(segment)
            release(index, check.entry.id)
            advance(check.bytes)
            yield damage


def _check_on_cluster(ray: str, place: str, spec: NagSpec, checks: Sequence[Check]) -> list[Damage]:
    """Return the damage of each segment, which tasks on a cluster find, those of consecutive segments each."""
    with tasks(ray, most_cpus=1) as cluster:
        groups = cluster.split(checks)
        started = [cluster.start(f"{__name__}:check_there", place, spec, group) for group in groups]
        found = dict[int, list[Damage]]()
        with step("verifying files", sum(check.bytes for check in checks), "bytes") as advance:
            for number, damage in cluster.answers(started):
                found[number] = damage
                advance(sum(check.bytes for check in groups[number]))
    return [damage for number in range(len(groups)) for damage in found[number]]


def check_there(place: str, spec: NagSpec, checks: Sequence[Check]) -> tuple[list[Damage], None]:
    """Return the damage of each segment. A task.

    Args:
        place: the index's folder, or its URL.
        spec: shape of the NAGs.
        checks: of the segments.

    Raises:
        InputNotFoundError: this node does not see the index.
    """
    folder = index_folder(place)
    require_folders(folder)
    with separate_mirror(folder) as index:
        return list(_check_here(index, spec, checks)), None


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
