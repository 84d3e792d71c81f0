"""Building and appending: windows of documents become NAGs, and NAGs become published segments."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagindex.corpus.sources import Source
from nagindex.encode.encoder import Encoder, clamp_to_memory
from nagindex.encode.tokenize import PrefixTokenizer
from nagindex.ingest.coverage import JointCoverage
from nagindex.ingest.prefetch import feed
from nagindex.ingest.windows import Prepared, Shard, SourceReport, shared_bytes
from nagindex.ingest.writer import Destination, IngestReport, SegmentWriter

if TYPE_CHECKING:
    pass

SEGMENT_SECONDS = 300.0


@dataclass
class EncodingProgress:
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


def ingest(
    destinations: Sequence[Destination],
    sources: Sequence[Source],
    *,
    shard: Shard = Shard(),
    on_duplicate: str = "skip",
    workers: int | None = None,
    batch_tokens: int | None = None,
    report: Callable[[EncodingProgress], None] = lambda progress: None,
) -> Generator[EncodingProgress, None, list[IngestReport]]:
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
    progress, started = EncodingProgress(bytes_total=shared_bytes(sources, shard)), time.monotonic()

    def on_batch(texts: int, tokens: int) -> None:
        progress.documents += texts
        progress.tokens += tokens
        progress.busy = time.monotonic() - started - progress.waited
        report(progress)

    encoder = Encoder(
        [d.backbone for d in destinations],
        [d.manifest.fingerprint.spec for d in destinations],
        clamp_to_memory(batch_tokens or first.settings.batch_tokens, destinations[0].backbone),
        on_batch,
    )
    runs = [SegmentWriter(destination, encoder, sources, on_duplicate) for destination in destinations]
    reading = feed(
        sources,
        first.settings,
        JointCoverage([run.coverage for run in runs]),
        shard=shard,
        prefix_tokenizer=PrefixTokenizer(destinations[0].backbone.tokenizer),
        max_length=first.fingerprint.max_length,
        workers=workers,
    )
    seen = SourceReport()
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


def _timed(windows: Iterator[Prepared], progress: EncodingProgress) -> Iterator[Prepared]:
    """Yield the windows, counting the time until each comes."""
    while True:
        asked = time.monotonic()
        prepared = next(windows, None)
        progress.waited += time.monotonic() - asked
        if prepared is None:
            return
        yield prepared


def _encode(prepared: Prepared, encoder: Encoder, runs: Sequence[SegmentWriter], progress: EncodingProgress) -> None:
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
