"""Building and appending: windows of documents become NAGs, and NAGs become published segments."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus import Source
from nagindex.nag import Codes
from nagindex.storage.coverage import Coverage
from nagindex.storage.duplicates import find_duplicates
from nagindex.storage.manifest import Manifest, commit
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Rows, SkippedRow, SourceSpan, write_segment
from nagindex.windows import Encoded, Progress, SourcesSeen, encode_window, read_windows

if TYPE_CHECKING:
    from nagindex.backbone import Backbone

SEGMENT_SECONDS = 300.0
DUPLICATE = "duplicate id"


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


def ingest(
    index: Path,
    backbone: Backbone,
    sources: Sequence[Source],
    *,
    manifest: Manifest,
    on_duplicate: str = "skip",
    report: Callable[[Progress], None] = lambda progress: None,
) -> IngestReport:
    """Encode what the index does not hold of some sources and publish it in segments; return what was done.

    On an interrupt or an error in the input, all complete windows are published before the exception goes on.

    Args:
        index: the index's folder.
        backbone: the model, which must encode as the index does.
        sources: in the order to read them.
        manifest: the index's current version.
        on_duplicate: what happens to a document whose id is in already: `skip`, `error` or `replace`.
        report: called after each window.

    Raises:
        BadInputError: a source holds what it must not.
        DuplicateIdError: an id occurs twice and `on_duplicate` is `error`.
    """
    run = _Run(index, backbone, manifest, on_duplicate)
    progress = Progress(bytes_total=sum(source.size for source in sources))
    seen = SourcesSeen()
    try:
        for window in read_windows(sources, manifest.settings, run.coverage, progress, seen):
            encoded = encode_window(backbone, window, manifest)
            run.pending.append(encoded)
            progress.documents += len(encoded.rows)
            progress.tokens += sum(encoded.rows.tokens)
            if run.is_due():
                run.publish()
            progress.committed = run.report.documents
            report(progress)
    finally:
        run.publish()
        progress.committed = run.report.documents
        report(progress)
    return dataclasses.replace(
        run.report, sources=seen.read, already_in=seen.already_in, changed=seen.changed, empty=seen.empty
    )


class _Run:
    """The state of one build or append: encoded windows that no version holds yet, and what the versions hold."""

    def __init__(self, index: Path, backbone: Backbone, manifest: Manifest, on_duplicate: str) -> None:
        self.index, self.manifest, self.on_duplicate = index, manifest, on_duplicate
        self.libraries = backbone.fingerprint().libraries
        self.coverage = Coverage(index, manifest)
        self.pending: list[Encoded] = []
        self.last_publication = time.monotonic()
        self.report = IngestReport(version=manifest.version)

    def is_due(self) -> bool:
        """Whether the next window would overfill the segment, or five minutes have passed."""
        documents = sum(len(encoded.rows) for encoded in self.pending)
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
        for encoded in self.pending:
            rows.extend(encoded.rows)
        spans = [span for encoded in self.pending for span in encoded.spans]
        hashes = {span.name: span.sha256 for span in spans}
        spans = [span for span in spans if not self.coverage.holds(span)]
        if not spans:
            return IngestReport(), None
        covered = {name: self.coverage.rows(name, sha256) for name, sha256 in hashes.items()}
        fresh = np.array([row >= covered[name] for name, row in zip(rows.files, rows.rows, strict=True)], bool)
        found = find_duplicates(self.index, current, rows, considered=fresh, on_duplicate=self.on_duplicate)
        skipped = [s for encoded in self.pending for s in encoded.skipped if s.row >= covered[s.file]]
        skipped += [SkippedRow(rows.files[p], rows.rows[p], rows.ids[p], DUPLICATE) for p in found.dropped]
        order = {name: place for place, name in enumerate(hashes)}
        skipped.sort(key=lambda row: (order[row.file], row.row))
        fresh[found.dropped] = False
        entry = write_segment(
            self.index,
            current.fingerprint.spec,
            codes=_taken([encoded.codes for encoded in self.pending], fresh),
            rows=rows.take(np.flatnonzero(fresh)),
            keep=current.settings.keep_columns,
            spans=_joined(spans),
            skipped=skipped,
            libraries=self.libraries,
        )
        done = IngestReport(entry.documents, entry.tokens, len(found.replaced), Counter(s.reason for s in skipped))
        return done, current.following("append", (*found.delete_replaced(self.index, current), entry))


def _taken(parts: Sequence[Codes], keep: npt.NDArray[np.bool_]) -> list[Codes]:
    """Return the parts of a concatenation without the rows that are not kept."""
    edges = np.cumsum([0, *map(len, parts)])
    return [part[keep[start:stop]] for part, start, stop in zip(parts, edges[:-1], edges[1:], strict=True)]


def _joined(spans: Sequence[SourceSpan]) -> list[SourceSpan]:
    """Return the spans with those of one source made one."""
    joined: dict[tuple[str, str], SourceSpan] = {}
    for span in spans:
        before = joined.setdefault((span.name, span.sha256), span)
        joined[span.name, span.sha256] = dataclasses.replace(span, start=min(before.start, span.start))
    return list(joined.values())
