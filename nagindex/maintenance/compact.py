"""Compaction: merges small neighboring segments, and drops deleted rows from the files."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import connect, quote_value
from nagindex.progress import step
from nagindex.storage import segment as segments
from nagindex.storage.commit import commit
from nagindex.storage.disk_errors import writing
from nagindex.storage.manifest import Manifest, SegmentEntry, require_newest
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Segment, SourceSpan
from nagindex.storage.tables import DOCS_ROW_GROUP, scan_sql


def compact(index: Path, manifest: Manifest) -> Manifest:
    """Merge runs of small neighboring segments, without their deleted rows; return the resulting version.

    The order of documents does not change. Segments that another writer changes meanwhile are left alone.
    """
    require_newest(index)
    latest, groups = manifest, _groups(index, manifest)
    with step("merging segments", sum(len(group) for group in groups), "segments") as advance:
        for group in groups:
            latest = _replace(index, group, _merge(index, manifest, group))
            advance(len(group))
    return latest


def _replace(index: Path, group: Sequence[SegmentEntry], merged: SegmentEntry) -> Manifest:
    """Publish a segment in place of those that it was merged from, unless another writer changed them; return the current version."""

    def change(current: Manifest) -> Manifest | None:
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
    if merged not in latest.segments:  # another writer changed a segment of the group
        shutil.rmtree(index / "segments" / merged.id, ignore_errors=True)
    return latest


def _groups(index: Path, manifest: Manifest) -> list[list[SegmentEntry]]:
    """Return runs of neighboring segments to rewrite: several that fit into one segment, or one with deleted rows."""
    groups: list[list[SegmentEntry]] = []
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


def _merge(index: Path, manifest: Manifest, group: Sequence[SegmentEntry]) -> SegmentEntry:
    """Write a segment with the rows of others that are not deleted, in order; return its entry."""
    spec = manifest.fingerprint.spec
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
