"""The writer of one index's segments: encoded windows that wait to be published, and their publication."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sources import Source
from nagindex.encode.encoder import Encoder
from nagindex.ingest.coverage import Coverage
from nagindex.ingest.duplicates import DUPLICATE, SourceOrder, find_duplicates
from nagindex.ingest.windows import Prepared
from nagindex.nag import Codes
from nagindex.storage.fingerprint import installed_libraries
from nagindex.storage.manifest import Manifest, commit
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Rows, SkippedRow, SourceSpan, write_segment

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

SEGMENT_SECONDS = 300.0


@dataclass
class IngestReport:
    """What a build or append did.

    Attributes:
        documents, tokens: added to the index.
        replaced: documents of the index that newer ones took the place of.
        skipped: rows that became no document, by reason.
        sources: source files read.
        already_in: source files that the index held whole.
        changed: names of source files that the index holds with other content.
        empty: names of source files without a row.
        version: the index's version afterwards.
    """

    documents: int = 0
    tokens: int = 0
    replaced: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    sources: int = 0
    already_in: int = 0
    changed: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    version: int = 0


@dataclass(frozen=True)
class Destination:
    """An index that a run adds to, its version at the run's start, and the view of the backbone that encodes as it does."""

    index: Path
    manifest: Manifest
    backbone: Backbone


class SegmentWriter:
    """One index's state in a run: encoded windows that no version holds yet, and what the versions hold."""

    def __init__(
        self, destination: Destination, encoder: Encoder, sources: Sequence[Source], on_duplicate: str
    ) -> None:
        self.index, self.manifest, self.on_duplicate = destination.index, destination.manifest, on_duplicate
        self.encoder, self.first_budget, self.order = encoder, encoder.batch_tokens, SourceOrder.of(sources)
        self.libraries = installed_libraries()
        self.coverage = Coverage(self.index, self.manifest)
        self.pending: list[tuple[Codes, Prepared]] = []
        self.last_publication = time.monotonic()
        self.report = IngestReport(version=self.manifest.version)

    def is_due(self) -> bool:
        """Whether the next window would overfill the segment, or five minutes have passed."""
        documents = sum(len(codes) for codes, _ in self.pending)
        return (
            documents + self.manifest.settings.window > SEGMENT_DOCUMENTS
            or time.monotonic() - self.last_publication >= SEGMENT_SECONDS
        )

    def publish(self) -> None:
        """Publish the pending windows as one segment of the next version."""
        if self.pending:
            done = IngestReport()

            def with_pending(current: Manifest) -> Manifest | None:
                nonlocal done
                done, following = self._with_pending(current)
                return following

            try:
                self.report.version = commit(self.index, with_pending).version
            except Exception:
                self.pending = []  # what failed once must not be tried again on the way out; an interrupt may be
                raise
            self.pending = []
            self.report.documents += done.documents
            self.report.tokens += done.tokens
            self.report.replaced += done.replaced
            self.report.skipped += done.skipped
        self.last_publication = time.monotonic()

    def _with_pending(self, current: Manifest) -> tuple[IngestReport, Manifest | None]:
        """Return what the pending windows add to `current`, and the version that holds them (None: others hold it all)."""
        current.fingerprint.require(self.manifest.fingerprint, where=str(self.index))
        current.settings.require(self.manifest.settings, where=str(self.index))
        self.coverage.learn(current)
        rows = Rows()
        for _, window in self.pending:
            rows.extend(window.rows)
        spans = [span for _, window in self.pending for span in window.spans]
        hashes = {span.name: span.sha256 for span in spans}
        spans = [span for span in spans if not self.coverage.holds(span)]
        if not spans:
            return IngestReport(), None

        def is_fresh(name: str, row: int) -> bool:
            return not self.coverage.covers((name, hashes[name]), row)

        fresh = np.array([is_fresh(name, row) for name, row in zip(rows.files, rows.rows, strict=True)], bool)
        found = find_duplicates(
            self.index, current, rows, considered=fresh, on_duplicate=self.on_duplicate, order=self.order
        )
        skipped = [s for _, window in self.pending for s in window.skipped if is_fresh(s.file, s.row)]
        skipped += [SkippedRow(rows.files[p], rows.rows[p], rows.ids[p], DUPLICATE) for p in found.dropped]
        skipped += found.overtaken
        skipped.sort(key=lambda row: (self.order.places[row.file], row.row))
        fresh[found.dropped] = False
        entry = write_segment(
            self.index,
            current.fingerprint.spec,
            codes=_taken([codes for codes, _ in self.pending], fresh),
            rows=rows.take(np.flatnonzero(fresh)),
            keep=current.settings.keep_columns,
            spans=_joined(spans),
            skipped=skipped,
            libraries=self.libraries,
        )
        overtaken = found.replaced if found.overtaken else []  # counted already, by the process that stored them
        done = IngestReport(
            entry.documents - len(overtaken),
            entry.tokens - sum(stored.tokens for stored in overtaken),
            len(found.replaced) - len(found.overtaken),
            Counter(s.reason for s in skipped),
        )
        settings = current.settings
        if self.encoder.batch_tokens < self.first_budget:  # the next run starts with what memory sufficed for
            settings = dataclasses.replace(settings, batch_tokens=self.encoder.batch_tokens)
        entry = dataclasses.replace(entry, run=self.order.id)
        segments = (*found.delete_replaced(self.index, current), entry)
        return done, current.following("append", segments, settings=settings)


def _taken(parts: Sequence[Codes], keep: npt.NDArray[np.bool_]) -> list[Codes]:
    """Return the parts of a concatenation without the rows that are not kept."""
    edges = np.cumsum([0, *map(len, parts)])
    return [part[keep[start:stop]] for part, start, stop in zip(parts, edges[:-1], edges[1:], strict=True)]


def _joined(spans: Sequence[SourceSpan]) -> list[SourceSpan]:
    """Return the spans with those that follow each other in a source made one."""
    joined: list[SourceSpan] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last is not None and (last.name, last.sha256, last.stop) == (span.name, span.sha256, span.start):
            joined[-1] = dataclasses.replace(span, start=last.start)
        else:
            joined.append(span)
    return joined
