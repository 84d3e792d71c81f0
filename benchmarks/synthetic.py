"""Synthetic pools: NAGs with topics and skewed popularity, similar to a real model's, written as an index.

A neuron's popularity falls with its rank in its layer, and each layer has a different ranking. Each document has a topic with a
ranking of its own, from which some of the document's neurons are drawn. With 28 layers and K = 20 the similarity of documents to a
profile of 200 examples of one topic has a mean near 0.50 and a standard deviation near 0.035, as on real text.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes, NagSpec
from nagindex.storage.fingerprint import Fingerprint, installed_libraries
from nagindex.storage.manifest import Manifest, Settings, now, publish, read_latest
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Rows, SourceSpan, write_segment

SPEC = NagSpec("up", (6144,) * 28, 20)
TOPICS = 64
SOURCES = 20
SKEW = 3.0
OWN_SHARE = 0.12
RESOLUTION = 1 << 16
ROWS_PER_TASK = 8192


@numba.njit(nogil=True)
def _fill(codes, ranks, orders, topic_orders, topics, own_share, seed):
    np.random.seed(seed)
    n, layers, top_k = codes.shape
    for i in range(n):
        share = own_share * np.random.random() * 2
        for layer in range(layers):
            filled = 0
            while filled < top_k:
                rank = ranks[np.random.randint(0, ranks.shape[0])]
                own = np.random.random() < share
                neuron = topic_orders[topics[i], layer, rank] if own else orders[layer, rank]
                fresh = True
                for k in range(filled):
                    if codes[i, layer, k] == neuron:
                        fresh = False
                if fresh:
                    codes[i, layer, filled] = neuron
                    filled += 1


def make_codes(n: int, *, seed: int = 0, topic: int | None = None, spec: NagSpec = SPEC) -> Codes:
    """Return the NAGs of n synthetic documents, uint16 [n, L, K]; all of one topic if `topic` is given."""
    world = np.random.default_rng(12345)  # the model does not depend on the seed
    width = spec.widths[0]
    popularity = 1 / (np.arange(width) + 4.0) ** SKEW
    ranks = np.searchsorted(np.cumsum(popularity / popularity.sum()), (np.arange(RESOLUTION) + 0.5) / RESOLUTION)
    orders = np.stack([world.permutation(width) for _ in range(spec.layers)]).astype(np.uint16)
    own = np.stack([[world.permutation(width) for _ in range(spec.layers)] for _ in range(TOPICS)]).astype(np.uint16)
    topics = np.random.default_rng(seed).integers(0, TOPICS, n) if topic is None else np.full(n, topic)
    codes = np.empty((n, *spec.shape), np.uint16)

    def fill(first: int) -> None:
        rows = slice(first, first + ROWS_PER_TASK)
        _fill(codes[rows], np.minimum(ranks, width - 1), orders, own, topics[rows], OWN_SHARE, seed + first)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, range(0, n, ROWS_PER_TASK)))
    return codes


def write_pool(path: Path, documents: int, *, seed: int = 0, spec: NagSpec = SPEC, quality: bool = False) -> None:
    """Write an index of synthetic documents from 20 sources, up to 2,000 tokens each, in full segments, with a quality of 0 to 1."""
    for name in ("manifests", "segments"):
        (path / name).mkdir(parents=True)
    fingerprint = Fingerprint("synthetic", "0" * 64, "0" * 64, spec, 120, "float32", "sdpa", installed_libraries())
    keep = ("quality",) if quality else ()
    publish(path, Manifest(1, "create", now(), fingerprint, Settings(keep_columns=keep)))
    tokens = np.random.default_rng(seed)
    for start in range(0, documents, SEGMENT_DOCUMENTS):
        count = min(SEGMENT_DOCUMENTS, documents - start)
        numbers = range(start, start + count)
        rows = Rows(
            [f"doc-{i:010d}" for i in numbers],
            [f"synthetic-{i % SOURCES:02d}.parquet" for i in numbers],
            list(numbers),
            tokens.integers(50, 2000, count).tolist(),
            [(value,) for value in tokens.random(count).tolist()] if quality else [()] * count,
        )
        span = SourceSpan("synthetic.parquet", "nowhere", 0, "0" * 64, start, start + count, start + count == documents)
        entry = write_segment(
            path,
            spec,
            codes=[make_codes(count, seed=seed * 100_003 + start, spec=spec)],
            rows=rows,
            keep=keep,
            spans=[span],
            skipped=[],
            libraries=fingerprint.libraries,
        )
        current = read_latest(path)
        publish(path, current.following("append", (*current.segments, entry)))


def similarities(codes: Codes, examples: Codes, spec: NagSpec = SPEC) -> npt.NDArray[np.float64]:
    """Return each document's similarity to the profile of some examples, float64 [n]."""
    from nagindex.search.profile import profile_of
    from nagindex.search.scorers import score

    profile = profile_of(examples, spec)
    return score(codes, profile) / profile.scale
