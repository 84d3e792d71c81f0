"""Prefetching: windows are read and tokenized in this process, or ahead of the device in a worker process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nagindex.corpus.sources import Source
from nagindex.encode.tokenize import PrefixTokenizer
from nagindex.ingest.coverage import Coverage, JointCoverage
from nagindex.ingest.options import IngestOptions
from nagindex.ingest.sharding import shard_bytes
from nagindex.ingest.windows import PreparedWindow, prepare_windows
from nagindex.storage.settings import Settings
from nagindex.workers.parent import Child

SMALL_CORPUS = 16 << 20  # starting a process takes longer than reading this
WINDOWS_AHEAD = 4


@contextmanager
def prefetch_windows(
    sources: Sequence[Source],
    settings: Settings,
    coverage: Coverage | JointCoverage,
    *,
    options: IngestOptions,
    prefix_tokenizer: PrefixTokenizer,
    max_length: int,
) -> Iterator[Iterator[PreparedWindow]]:
    """Yield an iterator over the prepared windows of a shard; see `prepare_windows`.

    Args:
        sources: in the order to read them.
        settings: which columns to read, and how many rows make a window.
        coverage: the rows that need not be read; a worker process does not see what is added to it later.
        options: how to read; with `workers` 1 a worker process reads, by default only where a corpus is above 16 MiB.
        prefix_tokenizer: the backbone's.
        max_length: token ids to keep of each document.
    """
    workers = options.workers
    if workers is None:
        workers = int(shard_bytes(sources, options.shard) >= SMALL_CORPUS)
    if not workers or not prefix_tokenizer.portable:
        yield prepare_windows(sources, settings, coverage, options, prefix_tokenizer, max_length)
        return
    arguments = (list(sources), settings, coverage, options, prefix_tokenizer.to_json(), max_length)
    with Child("nagindex.ingest.windows:prepare_windows", *arguments, ahead=WINDOWS_AHEAD) as child:
        yield iter(child)
