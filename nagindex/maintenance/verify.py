"""Verification: every byte of an index read, and every code checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from nagindex.corpus.sql import connect
from nagindex.errors import DamagedIndexError, NagIndexError
from nagindex.nag import invalid_rows
from nagindex.sketches.graphs import graphs_of
from nagindex.sketches.store import current_sketches
from nagindex.storage.manifest import Manifest, manifest_path, read_manifest, versions
from nagindex.storage.segment import Segment
from nagindex.storage.tables import scan_sql
from nagindex.targets.cache import damaged_files

ROWS_PER_CHECK = 4096


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
