"""The writer of segments: encoded windows are collected, and published with the next version."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sources import Source
from nagindex.encode.encoder import Encoder
from nagindex.ingest.coverage import Coverage
from nagindex.ingest.duplicates import DUPLICATE, DuplicateRows, SourceOrder, find_duplicates
from nagindex.ingest.windows import UNREADABLE, PreparedWindow
from nagindex.nag import Codes
from nagindex.storage.commit import commit
from nagindex.storage.fingerprint import installed_libraries
from nagindex.storage.manifest import Manifest, SegmentEntry
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Rows, SkippedRow, SourceSpan, write_segment
from nagindex.storage.settings import Settings

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

SEGMENT_SECONDS = 300.0


@dataclass
class IngestReport:
    """What a build or append did.

    Attributes:
        documents, tokens: added to the index.
        replaced: documents of the index that newer ones replaced.
        skipped: number of rows that became no document, and of sources newly listed as unreadable, by reason.
        sources: source files read.
        already_in: source files that the index held completely.
        changed: names of source files that the index holds with other content, which they do not merely continue.
        empty: names of source files without a row.
        unreadable: names of sources that could not be read, each with the reason.
        version: the index's version afterwards.
        warnings: sentences for the user.
    """

    documents: int = 0
    tokens: int = 0
    replaced: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    sources: int = 0
    already_in: int = 0
    changed: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    version: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Destination:
    """An index to add documents to.

    Attributes:
        index: the index's folder.
        manifest: its version at the start of the run.
        backbone: the model that encodes as the index does, whose projections are those of the index's neuron type.
    """

    index: Path
    manifest: Manifest
    backbone: Backbone


class SegmentWriter:
    """Collects encoded windows of one index and publishes them.

    Attributes:
        pending: (codes, window) that no version holds yet.
        coverage: the rows that versions account for, as of the last publication.
        report: what was published so far.
    """

    def __init__(
        self,
        destination: Destination,
        encoder: Encoder,
        sources: Sequence[Source],
        on_duplicate: str,
        flags: Collection[str] = (),
    ) -> None:
        """Start with nothing pending; `flags` are the features of the format that the versions to come have."""
        self.flags = flags
        self.index, self.manifest, self.on_duplicate = destination.index, destination.manifest, on_duplicate
        self.encoder, self.initial_batch_tokens = encoder, encoder.batch_tokens
        self.order = SourceOrder.of(sources)
        self.sources = {source.name: source for source in sources}
        self.libraries = installed_libraries()
        self.coverage = Coverage(self.index, self.manifest)
        self.pending: list[tuple[Codes, PreparedWindow]] = []
        self.last_publication = time.monotonic()
        self.report = IngestReport(version=self.manifest.version)

    def is_due(self) -> bool:
        """Return whether one more window could overfill the segment, or five minutes have passed."""
        documents = sum(len(codes) for codes, _ in self.pending)
        return (
            documents + self.manifest.settings.window > SEGMENT_DOCUMENTS
            or time.monotonic() - self.last_publication >= SEGMENT_SECONDS
        )

    def publish(self) -> None:
        """Publish the pending windows as one segment of the next version."""
        if self.pending:
            added = IngestReport()

            def extend(current: Manifest) -> Manifest | None:
                nonlocal added
                added, following = self._extend(current)
                return following

            try:
                self.report.version = commit(self.index, extend).version
            except Exception:
                self.pending = []  # an error is not retried when the run ends; an interrupt is
                raise
            self.pending = []
            self.report.documents += added.documents
            self.report.tokens += added.tokens
            self.report.replaced += added.replaced
            self.report.skipped += added.skipped
        self.last_publication = time.monotonic()

    def _extend(self, current: Manifest) -> tuple[IngestReport, Manifest | None]:
        """Return what the pending windows add to a version, and the version after it, None if they add nothing."""
        current.fingerprint.require(self.manifest.fingerprint, where=str(self.index))
        current.settings.require(self.manifest.settings, where=str(self.index))
        self.coverage.update(current)
        spans = [span for _, window in self.pending for span in window.spans if not self.coverage.covers_span(span)]
        if not spans:
            return IngestReport(), None
        rows = Rows()
        for _, window in self.pending:
            rows.extend(window.rows)
        rows.ids = self._distinct_ids(rows)
        missing = self._missing(rows.files, rows.rows)
        duplicates = find_duplicates(
            self.index, current, rows, considered=missing, on_duplicate=self.on_duplicate, order=self.order
        )
        skipped = self._skipped(rows, duplicates)
        added = missing.copy()
        added[duplicates.dropped] = False
        entry = write_segment(
            self.index,
            current.fingerprint.spec,
            codes=_take([codes for codes, _ in self.pending], added),
            rows=rows.take(np.flatnonzero(added)),
            keep=current.settings.keep_columns,
            spans=_join_spans(spans),
            skipped=skipped,
            libraries=self.libraries,
        )
        segments = (
            *duplicates.delete_replaced(self.index, current),
            dataclasses.replace(entry, run=self.order.id),
        )
        flags = tuple(sorted({*current.flags, *self.flags}))
        following = current.following("append", segments, settings=self._settings(current.settings), flags=flags)
        return _count(entry, duplicates, skipped), following

    def _missing(self, files: Sequence[str], rows: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Return whether each pending row is still to be added, bool [n]: another writer may have been faster."""
        hashes = self._hashes()
        covered = (self.coverage.covers_row((file, hashes[file]), row) for file, row in zip(files, rows, strict=True))
        return ~np.fromiter(covered, bool, len(files))

    def _hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each pending source, by name."""
        return {span.name: span.sha256 for _, window in self.pending for span in window.spans}

    def _distinct_ids(self, rows: Rows) -> list[str]:
        """Return the ids of pending rows; an id made of file and row names the content too, where the file had another before.

        So documents without ids never pass for others by accident. The version decides which content came first, so a
        run that goes on after a kill makes the same ids. Under `replace` the newer documents take the older ones' ids.
        """
        if self.on_duplicate == "replace":
            return rows.ids
        tags = {name: self.coverage.id_tag(self.sources[name], sha256) for name, sha256 in self._hashes().items()}
        return [
            f"{file}{tags[file]}:{row}" if tags[file] and made == f"{file}:{row}" else made
            for made, file, row in zip(rows.ids, rows.files, rows.rows, strict=True)
        ]

    def _skipped(self, rows: Rows, duplicates: DuplicateRows) -> list[SkippedRow]:
        """Return the rows that the segment lists as skipped, in the order of the sources."""
        hashes = self._hashes()
        pending = [
            row
            for _, window in self.pending
            for row in window.skipped
            if row.kind != UNREADABLE or not self.coverage.lists_unread(row.file, hashes[row.file])
        ]
        missing = self._missing([row.file for row in pending], [row.row for row in pending])
        skipped = [row for row, is_missing in zip(pending, missing, strict=True) if is_missing]
        skipped += [SkippedRow(rows.files[p], rows.rows[p], rows.ids[p], DUPLICATE) for p in duplicates.dropped]
        skipped += duplicates.overtaken
        return sorted(skipped, key=lambda row: (self.order.places[row.file], row.row))

    def _settings(self, current: Settings) -> Settings:
        """Return the index's settings, with the batch size that memory turned out to suffice for."""
        if self.encoder.batch_tokens < self.initial_batch_tokens:
            return dataclasses.replace(current, batch_tokens=self.encoder.batch_tokens)
        return current


def _count(entry: SegmentEntry, duplicates: DuplicateRows, skipped: Sequence[SkippedRow]) -> IngestReport:
    """Return what a segment adds to the index."""
    # Documents that replace overtaken ones were counted by the process that stored those.
    overtaken = duplicates.replaced if duplicates.overtaken else []
    return IngestReport(
        documents=entry.documents - len(overtaken),
        tokens=entry.tokens - sum(stored.tokens for stored in overtaken),
        replaced=len(duplicates.replaced) - len(duplicates.overtaken),
        skipped=Counter(row.kind for row in skipped),
    )


def _take(parts: Sequence[Codes], keep: npt.NDArray[np.bool_]) -> list[Codes]:
    """Return the parts of a concatenation without the rows that are not kept."""
    edges = np.cumsum([0, *map(len, parts)])
    return [part[keep[start:stop]] for part, start, stop in zip(parts, edges[:-1], edges[1:], strict=True)]


def _join_spans(spans: Sequence[SourceSpan]) -> list[SourceSpan]:
    """Return the spans, with consecutive ones of a source joined."""
    joined: list[SourceSpan] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last is not None and (last.name, last.sha256, last.stop) == (span.name, span.sha256, span.start):
            joined[-1] = dataclasses.replace(span, start=last.start)
        else:
            joined.append(span)
    return joined
