"""Compaction: small neighboring segments become one, and deleted rows go for good."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nagindex.corpus.sql import connect, quote_value
from nagindex.storage import segment as segments
from nagindex.storage.files import writing
from nagindex.storage.manifest import Manifest, SegmentEntry, commit
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Segment, SkippedRow, SourceSpan
from nagindex.storage.tables import DOCS_ROW_GROUP, scan_sql


def compact(index: Path, manifest: Manifest) -> Manifest:
    """Merge runs of small neighboring segments and drop deleted rows for good; return the resulting version.

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
    """Return runs of neighboring segments worth merging: together no larger than a segment, or one with deleted rows."""
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
        with writing(folder / "docs.parquet"), connect() as connection:
            connection.register("places", places)
            connection.register("kept", kept)
            connection.execute(
                f"""COPY (SELECT d.* EXCLUDE (filename, file_row_number) FROM kept JOIN places USING (place)
                JOIN {scan} d ON d.filename = places.path AND d.file_row_number = kept.position ORDER BY kept.place, kept.position)
                TO {quote_value(folder / "docs.parquet")} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {DOCS_ROW_GROUP})"""
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
