"""The ingest pipeline: windows of documents are encoded, and their codes published in segments."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from nagindex.corpus.sources import Source
from nagindex.encode.encoder import Encoder, clamp_to_memory
from nagindex.encode.tokenize import PrefixTokenizer
from nagindex.ingest.coverage import JointCoverage
from nagindex.ingest.options import IngestOptions
from nagindex.ingest.prefetch import prefetch_windows
from nagindex.ingest.windows import PreparedWindow, SourceReport, shard_bytes
from nagindex.ingest.writer import Destination, IngestReport, SegmentWriter
from nagindex.storage.manifest import COLUMNS_FLAG


@dataclass
class EncodingProgress:
    """How far a run is; the counts are of this run alone.

    Attributes:
        documents, tokens: encoded so far; tokens as the backbone read them, of each document the first `max_length`.
        committed: documents that a published version holds.
        bytes_done, bytes_total: of the source files on disk.
        bytes_known: of those done, bytes that versions accounted for before the run.
        waited, busy: seconds in which the device waited for reading or publishing, and in which it worked.
    """

    documents: int = 0
    tokens: int = 0
    committed: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_known: int = 0
    waited: float = 0.0
    busy: float = 0.0


def ingest(
    destinations: Sequence[Destination],
    sources: Sequence[Source],
    options: IngestOptions = IngestOptions(),
    *,
    on_batch: Callable[[EncodingProgress], None] = lambda progress: None,
) -> Generator[EncodingProgress, None, list[IngestReport]]:
    """Encode the rows of sources that the indexes lack, and publish them in segments.

    A generator: yields the progress after each window and returns a report for each index. On an interrupt or an error
    in the sources all complete windows are published before the exception is raised.

    Args:
        destinations: indexes of several neuron types of one model, which share its forward passes. The settings of the
            first one say how sources are read, where the options do not.
        sources: in the order to read them.
        options: how to read and add documents.
        on_batch: called with the progress after each batch.

    Raises:
        BadInputError: a source cannot be read, or holds a value of the wrong type.
        DuplicateIdError: an id occurs twice and `on_duplicate` is `error`.
    """
    first = destinations[0].manifest
    settings = first.settings.reading(options.columns)
    flags = [COLUMNS_FLAG] * (settings.text_column != first.settings.text_column)
    progress = EncodingProgress(bytes_total=shard_bytes(sources, options.shard))
    encoder = _encoder(destinations, options.batch_tokens, progress, on_batch)
    writers = [SegmentWriter(each, encoder, sources, options.on_duplicate, flags) for each in destinations]
    prefetched = prefetch_windows(
        sources,
        settings,
        JointCoverage([writer.coverage for writer in writers]),
        shard=options.shard,
        prefix_tokenizer=PrefixTokenizer(destinations[0].backbone.tokenizer),
        max_length=first.fingerprint.max_length,
        workers=options.workers,
    )
    report = SourceReport()
    try:
        with prefetched as windows:
            for window in _time_waiting(windows, progress):
                report = window.report
                progress.bytes_done, progress.bytes_known = report.bytes_done, report.bytes_known
                if window.spans:
                    _encode(window, encoder, writers, progress)
                progress.committed = writers[0].report.documents
                yield progress
    finally:
        for writer in writers:
            writer.publish()
        progress.committed = writers[0].report.documents
        on_batch(progress)
    return [
        dataclasses.replace(
            writer.report,
            sources=report.read,
            already_in=report.already_in,
            changed=report.changed,
            empty=report.empty,
        )
        for writer in writers
    ]


def _encoder(
    destinations: Sequence[Destination],
    batch_tokens: int | None,
    progress: EncodingProgress,
    on_batch: Callable[[EncodingProgress], None],
) -> Encoder:
    """Return the encoder of all destinations, which updates and reports the progress after each batch."""
    started = time.monotonic()

    def update(texts: int, tokens: int) -> None:
        progress.documents += texts
        progress.tokens += tokens
        progress.busy = time.monotonic() - started - progress.waited
        on_batch(progress)

    first = destinations[0]
    return Encoder(
        [each.backbone for each in destinations],
        [each.manifest.fingerprint.spec for each in destinations],
        clamp_to_memory(batch_tokens or first.manifest.settings.batch_tokens, first.backbone),
        update,
    )


def _time_waiting(windows: Iterator[PreparedWindow], progress: EncodingProgress) -> Iterator[PreparedWindow]:
    """Yield the windows, adding the time until each arrives to `progress.waited`."""
    while True:
        started = time.monotonic()
        window = next(windows, None)
        progress.waited += time.monotonic() - started
        if window is None:
            return
        yield window


def _encode(
    window: PreparedWindow, encoder: Encoder, writers: Sequence[SegmentWriter], progress: EncodingProgress
) -> None:
    """Encode a window for each index, and publish the segments that are due."""
    for writer, codes in zip(writers, encoder.encode(window.ids), strict=True):
        writer.pending.append((codes, window))
    started = time.monotonic()
    for writer in writers:
        if writer.is_due():
            writer.publish()
    progress.waited += time.monotonic() - started
