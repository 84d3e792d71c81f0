"""Building and appending: sources become windows, windows become NAGs, NAGs become published segments.

A window is a fixed number of rows of the input. Batches are formed inside a window and segments end where a window ends, so
a run that was killed goes on at a window's start and repeats the same batches, and with them the same rounding.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nagindex.corpus import Columns, Document, Source, content_hash, read_documents
from nagindex.corpus.sources import Position
from nagindex.encode import encode_ids, tokenise
from nagindex.errors import SourceChangedError
from nagindex.nag import Codes
from nagindex.storage.duplicates import ON_DUPLICATE, find_duplicates
from nagindex.storage.manifest import Manifest, Settings, commit
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Rows, Segment, SkippedRow, SourceSpan, write_segment

if TYPE_CHECKING:
    from nagindex.backbone import Backbone

SEGMENT_SECONDS = 300.0
NO_TOKENS = "no tokens"
DUPLICATE = "duplicate id"

__all__ = ["ON_DUPLICATE", "IngestReport", "Progress", "ingest"]


@dataclass
class Progress:
    """How far a run is; the counts are of this run alone.

    Attributes:
        documents, tokens: encoded so far.
        committed: documents that a published version holds.
        bytes_done, bytes_total: of the source files on disk.
    """

    documents: int = 0
    tokens: int = 0
    committed: int = 0
    bytes_done: int = 0
    bytes_total: int = 0


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
        version: the index's version afterwards.
    """

    documents: int = 0
    tokens: int = 0
    replaced: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    sources: int = 0
    already_in: int = 0
    changed: list[str] = field(default_factory=list)
    version: int = 0


@dataclass
class Window:
    """A window's rows of the input: first read, then encoded."""

    documents: list[tuple[str, Document]] = field(default_factory=list)
    spans: list[SourceSpan] = field(default_factory=list)


@dataclass
class Encoded:
    """A window's documents with their NAGs, uint16 [n, L, K], and what became of its other rows."""

    codes: Codes
    rows: Rows
    spans: list[SourceSpan]
    skipped: list[SkippedRow]


Coverage = dict[tuple[str, str], SourceSpan]
"""The last span of each source, by its name and content hash."""


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
    try:
        for window in _windows(sources, manifest.settings, run, progress):
            run.pending.append(_encode(backbone, window, manifest))
            progress.documents += len(run.pending[-1].rows)
            progress.tokens += sum(run.pending[-1].rows.tokens)
            if run.is_due():
                run.publish()
            progress.committed = run.report.documents
            report(progress)
    finally:
        run.publish()
        progress.committed = run.report.documents
        report(progress)
    return run.report


class _Run:
    """The state of one build or append: encoded windows that no version holds yet, and what the versions hold."""

    def __init__(self, index: Path, backbone: Backbone, manifest: Manifest, on_duplicate: str) -> None:
        self.index, self.manifest, self.on_duplicate = index, manifest, on_duplicate
        self.libraries = backbone.fingerprint().libraries
        self.pending: list[Encoded] = []
        self.covered: Coverage = {}
        self.known_segments: set[str] = set()
        self.learn(manifest)
        self.names = {name for name, _ in self.covered}
        self.last_publication = time.monotonic()
        self.report = IngestReport(version=manifest.version)

    def learn(self, manifest: Manifest) -> None:
        """Take in which rows of which sources a version's segments account for."""
        for entry in manifest.segments:
            if entry.id not in self.known_segments:
                self.known_segments.add(entry.id)
                for span in Segment(self.index, entry, manifest.fingerprint.spec).spans():
                    key = span.name, span.sha256
                    if key not in self.covered or (span.stop, span.complete) > (self.covered[key].stop, self.covered[key].complete):
                        self.covered[key] = span

    def is_due(self) -> bool:
        """Whether the next window would overfill the segment, or five minutes have passed."""
        documents = sum(len(encoded.rows) for encoded in self.pending)
        return documents + self.manifest.settings.window > SEGMENT_DOCUMENTS or time.monotonic() - self.last_publication >= SEGMENT_SECONDS

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
        self.learn(current)
        rows = Rows()
        for encoded in self.pending:
            rows.extend(encoded.rows)
        spans = [span for encoded in self.pending for span in encoded.spans]
        hashes = {span.name: span.sha256 for span in spans}
        spans = [span for span in spans if not self._holds(span)]
        if not spans:
            return IngestReport(), None
        fresh = np.array([row >= self._covered_rows(name, hashes[name]) for name, row in zip(rows.files, rows.rows, strict=True)], bool)
        found = find_duplicates(self.index, current, rows, considered=fresh, on_duplicate=self.on_duplicate)
        skipped = [s for encoded in self.pending for s in encoded.skipped if s.row >= self._covered_rows(s.file, hashes[s.file])]
        skipped += [SkippedRow(rows.files[p], rows.rows[p], rows.ids[p], DUPLICATE) for p in found.dropped]
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

    def _holds(self, span: SourceSpan) -> bool:
        known = self.covered.get((span.name, span.sha256))
        return known is not None and (known.stop, known.complete) >= (span.stop, span.complete)

    def _covered_rows(self, name: str, sha256: str) -> int:
        known = self.covered.get((name, sha256))
        return known.stop if known else 0


def _windows(sources: Sequence[Source], settings: Settings, run: _Run, progress: Progress) -> Iterator[Window]:
    """Yield windows over the rows that no version accounts for, in order, the last one short."""
    columns = Columns(settings.text_column, settings.id_column, settings.token_column, settings.keep_columns)
    window = Window()
    bytes_before = 0
    for source in sources:
        before, sha256, position = _state(source), content_hash(source.path), Position()
        known = run.covered.get((source.name, sha256))
        start = row = known.stop if known else 0

        origin = (source.name, source.root, source.size, sha256)
        if known and known.complete:
            run.report.already_in += 1
        else:
            run.report.sources += 1
            if not known and source.name in run.names:
                run.report.changed.append(source.name)
            for document in read_documents(source, columns, start=start, position=position):
                window.documents.append((source.name, document))
                row = document.row + 1
                if len(window.documents) == settings.window:
                    window.spans.append(SourceSpan(*origin, start, row, complete=False))
                    progress.bytes_done = bytes_before + position.bytes
                    yield window
                    window, start = Window(), row
            if _state(source) != before:
                raise SourceChangedError(f"{source.path}: changed while it was read; run the same command again when nothing writes to it")
            window.spans.append(SourceSpan(*origin, start, row, complete=True))
        bytes_before += source.size
        progress.bytes_done = bytes_before
    if window.spans:
        yield window


def _state(source: Source) -> tuple[int, int]:
    found = source.path.stat()
    return found.st_size, found.st_mtime_ns


def _encode(backbone: Backbone, window: Window, manifest: Manifest) -> Encoded:
    """Return a window's documents with their NAGs."""
    fingerprint = manifest.fingerprint
    readable = [(name, d) for name, d in window.documents if d.problem is None]
    tokens = tokenise(backbone, [d.text or "" for _, d in readable], max_length=fingerprint.max_length)
    rows = Rows()
    skipped = [SkippedRow(name, d.row, d.id, d.problem) for name, d in window.documents if d.problem is not None]
    ids = []
    for (name, document), prefix, count in zip(readable, tokens.ids, tokens.counts.tolist(), strict=True):
        if count == 0:
            skipped.append(SkippedRow(name, document.row, document.id, NO_TOKENS))
            continue
        ids.append(prefix)
        rows.ids.append(document.id)
        rows.files.append(name)
        rows.rows.append(document.row)
        rows.tokens.append(count if document.tokens is None else document.tokens)
        rows.kept.append(document.kept)
    codes = encode_ids(backbone, ids, fingerprint.spec, batch_tokens=manifest.settings.batch_tokens)
    return Encoded(codes, rows, window.spans, skipped)


def _taken(parts: Sequence[Codes], keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Codes]:
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
