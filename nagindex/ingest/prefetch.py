"""The feed of a run: prepared windows from this process, or from a worker process that reads and tokenizes ahead of the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nagindex.corpus.sources import Source
from nagindex.encode.tokenize import PrefixTokenizer
from nagindex.ingest.coverage import Coverage, JointCoverage
from nagindex.ingest.windows import Prepared, Shard, prepared_windows, shared_bytes
from nagindex.storage.manifest import Settings
from nagindex.workers.parent import Child

SMALL_CORPUS = 16 << 20  # starting a process takes longer than reading this
WINDOWS_AHEAD = 4


@contextmanager
def feed(
    sources: Sequence[Source],
    settings: Settings,
    coverage: Coverage | JointCoverage,
    *,
    shard: Shard,
    prefix_tokenizer: PrefixTokenizer,
    max_length: int,
    workers: int | None,
) -> Iterator[Iterator[Prepared]]:
    """Yield the prepared windows of a run as an iterator; see `windows.prepared_windows`.

    Args:
        sources: in the order to read them.
        settings: which columns to read, and how many rows make a window.
        coverage: what is accounted for; what it learns later is seen only without a worker.
        shard: which of the windows are wanted.
        prefix_tokenizer: the backbone's.
        max_length: token ids to keep of each document.
        workers: 1 reads ahead in a process of its own, 0 does not; by default where the corpus is worth one.
    """
    if workers is None:
        workers = int(shared_bytes(sources, shard) >= SMALL_CORPUS)
    if not workers or not prefix_tokenizer.portable:
        yield prepared_windows(sources, settings, coverage, shard, prefix_tokenizer, max_length)
        return
    job = (list(sources), settings, coverage, shard, prefix_tokenizer.to_json(), max_length)
    with Child("nagindex.ingest.windows:prepared_windows", *job, ahead=WINDOWS_AHEAD) as child:
        yield iter(child)
