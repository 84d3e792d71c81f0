"""The ingest pipeline: windows of documents are encoded, and their codes published in segments."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator, Sequence

from nagindex.corpus.sources import Source
from nagindex.encode.encoder import Encoder, clamp_to_memory
from nagindex.encode.tokenize import PrefixTokenizer
from nagindex.ingest.coverage import JointCoverage
from nagindex.ingest.options import IngestOptions
from nagindex.ingest.prefetch import prefetch_windows
from nagindex.ingest.sharding import shard_bytes
from nagindex.ingest.windows import PreparedWindow, SourceReport
from nagindex.ingest.writer import Destination, IngestReport, SegmentWriter
from nagindex.progress import Progress, log_end
from nagindex.progress import report as report_progress
from nagindex.storage.manifest import COLUMNS_FLAG

STAGE = "encoding documents"


def ingest(
    destinations: Sequence[Destination],
    sources: Sequence[Source],
    options: IngestOptions = IngestOptions(),
) -> Generator[Progress, None, list[IngestReport]]:
    """Encode the rows of sources that the indexes lack, and publish them in segments.

    A generator: reports the progress after each batch, yields it after each window, for another process to report, and
    returns a report for each index. On an interrupt or an error in the sources all complete windows are published before the
    exception is raised.

    Args:
        destinations: indexes of several neuron types of one model, which share its forward passes. The settings of the
            first one say how sources are read, where the options do not.
        sources: in the order to read them.
        options: how to read and add documents.

    Raises:
        BadInputError: a source cannot be read, or holds a value of the wrong type, and `on_error` is `stop`.
        DuplicateIdError: an id occurs twice and `on_duplicate` is `error`.
    """
    first = destinations[0].manifest
    settings = first.settings.reading(options.columns)
    flags = [COLUMNS_FLAG] * (settings.text_column != first.settings.text_column)
    meter = _Meter(shard_bytes(sources, options.shard))
    batch_tokens = clamp_to_memory(options.batch_tokens or first.settings.batch_tokens, destinations[0].backbone)
    encoder = Encoder(
        [each.backbone for each in destinations],
        [each.manifest.fingerprint.spec for each in destinations],
        batch_tokens,
        meter.add_batch,
    )
    writers = [SegmentWriter(each, encoder, sources, options.on_duplicate, flags) for each in destinations]
    prefetched = prefetch_windows(
        sources,
        settings,
        JointCoverage([writer.coverage for writer in writers]),
        options=options,
        prefix_tokenizer=PrefixTokenizer(destinations[0].backbone.tokenizer),
        max_length=first.fingerprint.max_length,
    )
    report = SourceReport()
    report_progress(Progress("reading the corpus", 0, 1, ""))
    try:
        with prefetched as windows:
            for window in meter.waiting(windows):
                report = window.report
                meter.begin(window)
                if window.spans:
                    _encode(window, encoder, writers, meter)
                yield meter.end(writers[0].report.documents)
    finally:
        for writer in writers:
            writer.publish()
        meter.committed = writers[0].report.documents
    finished = meter.finish()
    report_progress(finished)
    yield finished
    return [
        dataclasses.replace(
            writer.report,
            sources=report.read,
            already_in=report.already_in,
            changed=report.changed,
            empty=report.empty,
            unreadable=report.unreadable,
        )
        for writer in writers
    ]


def _encode(window: PreparedWindow, encoder: Encoder, writers: Sequence[SegmentWriter], meter: _Meter) -> None:
    """Encode a window for each index, and publish the segments that are due."""
    for writer, codes in zip(writers, encoder.encode(window.ids), strict=True):
        writer.pending.append((codes, window))
    started = time.monotonic()
    for writer in writers:
        if writer.is_due():
            writer.publish()
    meter.waited += time.monotonic() - started


class _Meter:
    """Measures a run in rows of its windows that are encoded, not in bytes that are read: reading runs far ahead.

    Rows yet to come are estimated from the bytes that the sources still hold, and those that this run's rows took.

    Attributes:
        committed: documents of this run that a published version holds.
        waited: seconds in which the device waited for reading or publishing.
    """

    def __init__(self, bytes_total: int) -> None:
        self.bytes_total, self.started = bytes_total, time.monotonic()
        self.rows = self.rows_of_window = self.texts_of_window = self.texts = self.tokens = self.committed = 0
        self.report, self.waited = SourceReport(), 0.0

    def waiting(self, windows: Iterator[PreparedWindow]) -> Iterator[PreparedWindow]:
        """Yield the windows, adding the time until each arrives to `waited`."""
        while True:
            started = time.monotonic()
            window = next(windows, None)
            self.waited += time.monotonic() - started
            if window is None:
                return
            yield window

    def begin(self, window: PreparedWindow) -> None:
        """Begin a window, of which nothing is encoded yet."""
        self.report, self.texts, self.texts_of_window = window.report, 0, len(window.lengths)
        self.rows_of_window = sum(span.stop - span.start for span in window.spans)
        if window.spans:
            report_progress(self.progress())

    def add_batch(self, texts: int, tokens: int) -> None:
        """Add an encoded batch of the window."""
        self.texts += texts
        self.tokens += tokens
        report_progress(self.progress())

    def end(self, committed: int) -> Progress:
        """End the window and return the progress."""
        self.rows += self.rows_of_window
        self.rows_of_window, self.committed = 0, committed
        return self.progress()

    def progress(self) -> Progress:
        """Return how far the run is; within a window always below the total."""
        known, bytes_known = self.report.rows_known, self.report.bytes_known
        read = self.rows + self.rows_of_window
        bytes_read, bytes_left = self.report.bytes_done - bytes_known, self.bytes_total - self.report.bytes_done
        total = known + read + read * max(bytes_left, 0) // max(bytes_read, 1)
        encoded = max(self.rows_of_window - 1, 0) * self.texts // max(self.texts_of_window, 1)
        done = known + self.rows + encoded
        waited = self.waited / max(time.monotonic() - self.started, 1e-9)
        return Progress(STAGE, done, total, "documents", known, self.tokens, self.committed, waited)

    def finish(self) -> Progress:
        """Return the progress at the end, and log it."""
        log_end(STAGE, self.rows, "documents", time.monotonic() - self.started)
        rows = self.report.rows_known + self.rows
        return dataclasses.replace(self.progress(), done=rows, total=rows)
