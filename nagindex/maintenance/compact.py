"""Compaction: merges small neighboring segments, and drops deleted rows from the files."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex.cluster.connection import require_ray
from nagindex.cluster.tasks import tasks
from nagindex.cluster.worker import require_folders
from nagindex.corpus.sql import connect, quote_value
from nagindex.nag import NagSpec
from nagindex.progress import step
from nagindex.storage import segment as segments
from nagindex.storage.commit import commit
from nagindex.storage.disk_errors import writing
from nagindex.storage.locations import absolute_location, index_folder
from nagindex.storage.manifest import Manifest, SegmentEntry, read_latest, require_newest
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Segment, SourceSpan
from nagindex.storage.tables import DOCS_ROW_GROUP, scan_sql

Group = list[SegmentEntry]
"""Neighboring segments that are merged into one."""


def compact(index: Path, manifest: Manifest, *, ray: str | None = None) -> None:
    """Merge runs of small neighboring segments, without their deleted rows.

    The order of documents does not change. Segments that another writer changes meanwhile are left alone.

    Args:
        index: the index's folder.
        manifest: the current version.
        ray: the Ray cluster whose tasks merge and publish segments; by default this process does.

    Raises:
        BadInputError, InputNotFoundError: there is no such cluster, or a node of it does not see the index.
        DamagedIndexError: a segment is not what was written.
        MissingDependencyError: Ray is not installed.
    """
    if ray is not None:
        require_ray(ray)
    require_newest(index)
    groups, spec = _groups(index, manifest), manifest.fingerprint.spec
    if ray is None or not groups:
        with step("merging segments", sum(map(len, groups)), "segments") as advance:
            for group in groups:
                _replace(index, group, _merge(index, spec, group))
                advance(len(group))
        return
    with tasks(ray, most_cpus=1) as cluster:
        shares = cluster.split(groups)
        place = absolute_location(index)
        started = [cluster.start(f"{__name__}:merge_there", place, spec, share) for share in shares]
        with step("merging segments", sum(map(len, groups)), "segments") as advance:
            for number, _ in cluster.answers(started):
                advance(sum(map(len, shares[number])))


def merge_there(place: str, spec: NagSpec, groups: Sequence[Group]) -> tuple[None, None]:
    """Merge groups of segments, and publish each that is done. A task.

    Args:
        place: the index's folder, or its URL.
        spec: shape of the NAGs.
        groups: those that the current version no longer has, as where the task ran before on a node that was lost, are left alone.

    Raises:
        DamagedIndexError: a segment is not what was written.
        InputNotFoundError: this node does not see the index.
    """
    index = index_folder(place)
    require_folders(index)
    current = read_latest(index).segments
    for group in groups:
        if _first_of(current, group) is not None:
            _replace(index, group, _merge(index, spec, group))
    return None, None


def _first_of(entries: Sequence[SegmentEntry], group: Group) -> int | None:
    """Return where the segments of a group begin among others; None if they are not neighbors there, unchanged."""
    ids = [entry.id for entry in entries]
    if group[0].id not in ids:
        return None
    first = ids.index(group[0].id)
    return first if list(entries[first : first + len(group)]) == group else None


def _replace(index: Path, group: Group, merged: SegmentEntry) -> None:
    """Publish a segment in place of those that it was merged from, unless another writer changed them."""

    def change(current: Manifest) -> Manifest | None:
        first = _first_of(current.segments, group)
        if first is None:
            return None
        entries = list(current.segments)
        entries[first : first + len(group)] = [merged]
        return current.following("compact", tuple(entries))

    if merged not in commit(index, change).segments:  # another writer changed a segment of the group
        shutil.rmtree(index / "segments" / merged.id, ignore_errors=True)


def _groups(index: Path, manifest: Manifest) -> list[Group]:
    """Return runs of neighboring segments to rewrite: several that fit into one segment, or one with deleted rows."""
    groups: list[Group] = []
    size = 0
    contents: dict[str, tuple[str, str | None]] = {}
    for entry in manifest.segments:
        documents = entry.documents - entry.deleted_documents
        spans = [span for span in Segment(index, entry, manifest.fingerprint.spec).spans() if not span.unread]
        # Documents refer to their source by name, so sources of one name and different texts cannot share a segment.
        own = {span.name: (span.sha256, span.text_column) for span in spans}
        clash = any(contents.get(name, content) != content for name, content in own.items())
        same_libraries = bool(groups) and groups[-1][-1].libraries == entry.libraries
        if not groups or size + documents > SEGMENT_DOCUMENTS or clash or not same_libraries:
            groups.append([])
            size, contents = 0, {}
        groups[-1].append(entry)
        size += documents
        contents |= own
    return [group for group in groups if len(group) > 1 or group[0].deleted_documents]


def _merge(index: Path, spec: NagSpec, group: Group) -> SegmentEntry:
    """Write a segment with the rows of others that are not deleted, in order; return its entry."""
    members = [Segment(index, entry, spec) for entry in group]
    rows = [np.flatnonzero(member.alive()) for member in members]
    skipped = [row for member in members for row in member.skipped()]
    folder = segments.new_folder(index)
    try:
        codes = [member.codes()[kept] for member, kept in zip(members, rows, strict=True)]
        segments.write_codes(folder / "nags.npy", spec, codes)
        _write_docs(folder / "docs.parquet", members, rows)
        segments.write_spans(folder / "sources.parquet", _merged_spans(members))
        segments.write_skipped(folder / "skipped.parquet", skipped)
        return segments.finish_segment(
            folder,
            documents=sum(map(len, rows)),
            tokens=sum(entry.tokens - entry.deleted_tokens for entry in group),
            skipped=len(skipped),
            libraries=group[0].libraries,
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_docs(path: Path, members: Sequence[Segment], rows: Sequence[npt.NDArray[np.int64]]) -> None:
    """Write docs.parquet with some rows of segments; `rows`: int64 [m_i] of each segment, ascending."""
    numbers = np.arange(len(members))
    paths = {"path": np.array([str(m.docs_path) for m in members], dtype=object), "segment": numbers}
    kept = {"segment": np.repeat(numbers, [len(own) for own in rows]), "position": np.concatenate(rows)}
    scan = scan_sql([m.docs_path for m in members], extra=", filename = true, file_row_number = true")
    with writing(path), connect() as connection:
        connection.register("paths", paths)
        connection.register("kept", kept)
        connection.execute(
            f"""COPY (SELECT d.* EXCLUDE (filename, file_row_number) FROM kept JOIN paths USING (segment)
            JOIN {scan} d ON d.filename = paths.path AND d.file_row_number = kept.position ORDER BY kept.segment, kept.position)
            TO {quote_value(path)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {DOCS_ROW_GROUP})"""
        )


def _merged_spans(members: Sequence[Segment]) -> list[SourceSpan]:
    """Return the spans of the segments, those that touch joined: rows between others were not read, and stay so."""
    merged: list[SourceSpan] = []
    spans = [span for member in members for span in member.spans()]
    for span in sorted(spans, key=lambda span: (span.name, span.sha256, span.unread, span.start, span.stop)):
        last = merged[-1] if merged else None
        same = last is not None and (last.name, last.sha256, last.unread) == (span.name, span.sha256, span.unread)
        if last is None or not same or span.start > last.stop:
            merged.append(span)
            continue
        end = span if span.stop >= last.stop else last
        merged[-1] = dataclasses.replace(end, start=last.start, complete=last.complete or span.complete)
    return merged
