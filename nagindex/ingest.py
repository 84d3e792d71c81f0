"""Building and appending: windows of documents become NAGs, and NAGs become published segments."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus import Source
from nagindex.encode import Encoder, affordable
from nagindex.feed import feed
from nagindex.fingerprint import installed_libraries
from nagindex.nag import Codes
from nagindex.storage.coverage import Coverage, JointCoverage
from nagindex.storage.duplicates import DUPLICATE, Run, find_duplicates
from nagindex.storage.manifest import Manifest, commit
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Rows, SkippedRow, SourceSpan, write_segment
from nagindex.tokenise import Tokeniser
from nagindex.windows import Prepared, Shard, SourcesSeen, shared_bytes

if TYPE_CHECKING:
    from nagindex.backbone import Backbone

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


@dataclass
class Progress:
    """How far a run is; the counts are of this run alone.

    Attributes:
        documents, tokens: encoded so far; tokens as the backbone read them, of each document its first `max_length`.
        committed: documents that a published version holds.
        bytes_done, bytes_total: of the source files on disk.
        bytes_known: of those done, what versions accounted for before the run.
        waited, busy: seconds in which the device had nothing to work on (reading, publishing), and in which it worked.
    """

    documents: int = 0
    tokens: int = 0
    committed: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_known: int = 0
    waited: float = 0.0
    busy: float = 0.0


@dataclass(frozen=True)
class Destination:
    """An index that a run adds to, its version at the run's start, and the view of the backbone that encodes as it does."""

    index: Path
    manifest: Manifest
    backbone: Backbone


def ingest(
    destinations: Sequence[Destination],
    sources: Sequence[Source],
    *,
    shard: Shard = Shard(),
    on_duplicate: str = "skip",
    workers: int | None = None,
    batch_tokens: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Generator[Progress, None, list[IngestReport]]:
    """Encode what the indexes do not hold of some sources and publish it in segments.

    A generator: yields the progress after each window and returns what was done, a report for each index. On an interrupt or an
    error in the input, all complete windows are published before the exception goes on.

    Args:
        destinations: indexes of several neuron types of one model, which one forward pass serves; the first one's settings count.
        sources: in the order to read them.
        shard: which part of the sources is this process's.
        on_duplicate: what happens to a document whose id is in already: `skip`, `error` or `replace`.
        workers: see `feed.feed`.
        batch_tokens: padded tokens in a batch; by default the index's.
        report: called with the progress after each batch too.

    Raises:
        BadInputError: a source holds what it must not.
        DuplicateIdError: an id occurs twice and `on_duplicate` is `error`.
    """
    first = destinations[0].manifest
    progress, started = Progress(bytes_total=shared_bytes(sources, shard)), time.monotonic()

    def on_batch(texts: int, tokens: int) -> None:
        progress.documents += texts
        progress.tokens += tokens
        progress.busy = time.monotonic() - started - progress.waited
        report(progress)

    encoder = Encoder(
        [d.backbone for d in destinations],
        [d.manifest.fingerprint.spec for d in destinations],
        affordable(batch_tokens or first.settings.batch_tokens, destinations[0].backbone),
        on_batch,
    )
    runs = [_Run(destination, encoder, sources, on_duplicate) for destination in destinations]
    reading = feed(
        sources,
        first.settings,
        JointCoverage([run.coverage for run in runs]),
        shard=shard,
        tokeniser=Tokeniser(destinations[0].backbone.tokenizer),
        max_length=first.fingerprint.max_length,
        workers=workers,
    )
    seen = SourcesSeen()
    try:
        with reading as windows:
            for prepared in _timed(windows, progress):
                seen = prepared.seen
                progress.bytes_done, progress.bytes_known = seen.bytes_done, seen.bytes_known
                _encode(prepared, encoder, runs, progress)
                progress.committed = runs[0].report.documents
                yield progress
    finally:
        for run in runs:
            run.publish()
        progress.committed = runs[0].report.documents
        report(progress)
    return [
        dataclasses.replace(
            run.report, sources=seen.read, already_in=seen.already_in, changed=seen.changed, empty=seen.empty
        )
        for run in runs
    ]


def _timed(windows: Iterator[Prepared], progress: Progress) -> Iterator[Prepared]:
    """Yield the windows, counting the time until each comes."""
    while True:
        asked = time.monotonic()
        prepared = next(windows, None)
        progress.waited += time.monotonic() - asked
        if prepared is None:
            return
        yield prepared


def _encode(prepared: Prepared, encoder: Encoder, runs: Sequence[_Run], progress: Progress) -> None:
    """Encode a window and add it to what each index is to get, publishing what is due."""
    if not prepared.spans:
        return
    for run, codes in zip(runs, encoder.encode(prepared.ids), strict=True):
        run.pending.append((codes, prepared))
    encoded = time.monotonic()
    for run in runs:
        if run.is_due():
            run.publish()
    progress.waited += time.monotonic() - encoded


class _Run:
    """One index's state in a run: encoded windows that no version holds yet, and what the versions hold."""

    def __init__(
        self, destination: Destination, encoder: Encoder, sources: Sequence[Source], on_duplicate: str
    ) -> None:
        self.index, self.manifest, self.on_duplicate = destination.index, destination.manifest, on_duplicate
        self.encoder, self.first_budget, self.run = encoder, encoder.batch_tokens, Run.of(sources)
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
            self.index, current, rows, considered=fresh, on_duplicate=self.on_duplicate, run=self.run
        )
        skipped = [s for _, window in self.pending for s in window.skipped if is_fresh(s.file, s.row)]
        skipped += [SkippedRow(rows.files[p], rows.rows[p], rows.ids[p], DUPLICATE) for p in found.dropped]
        skipped += found.overtaken
        skipped.sort(key=lambda row: (self.run.order[row.file], row.row))
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
        entry = dataclasses.replace(entry, run=self.run.id)
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
