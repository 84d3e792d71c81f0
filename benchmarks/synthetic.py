"""Synthetic pools with the statistics of real NAGs, written as an index; synthetic_fit.py shows how well they agree.

Two kinds, as a build makes them: `absolute` and `relative` impact. Constants below were fitted once to NAGs of a real decoder (30
layers of 1,536 neurons, 3,663 documents of 18 sources, six target sets). A document belongs to a source and has two topics. In each
layer it has the K neurons of largest log weight plus Gumbel noise. The log weight is that of the background, which falls with the
neuron's rank, plus the document's share of normal deviations that its source and its topics have for each neuron. Shares vary between
documents and sources.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt

from nagindex.arguments import parse_count
from nagindex.nag import Codes, NagSpec
from nagindex.storage.commit import publish
from nagindex.storage.fingerprint import Fingerprint, installed_libraries
from nagindex.storage.manifest import Manifest, Settings, now, read_latest
from nagindex.storage.segment import SEGMENT_DOCUMENTS, Rows, SourceSpan, write_segment

Kind = Literal["absolute", "relative"]
SPEC = NagSpec("up", (6144,) * 28, 20)
FITTED_WIDTH = 1536
SOURCES, TOPICS, TARGETS = 20, 96, 6
FIRST_TARGET = 4
"""Source of the pool that resembles the first target; the others follow."""
ROWS_PER_TASK = 4096
MOST_ABSOLUTE = 384
"""Neurons of a layer that absolute impact ranks: the background leaves next to nothing to others."""
NOISE = 1 << 14
"""Values of noise that are drawn for a block; each document takes a run of them for each layer."""


@dataclass(frozen=True)
class World:
    """How a kind of NAGs is distributed; fitted to real ones.

    Attributes:
        skew, shift, fall: log weight of rank r of the background: -skew * log(r + shift) - r / fall.
        source_spread, topic_spread: standard deviations of a source's and of a topic's log weights.
        own, shape: mean and shape of the gamma distribution of documents' shares of these.
        source_share: part of the share that is the source's; the rest is the topics'.
        unevenness: standard deviation of the log of the sources' factors of their documents' shares.
        size_skew: source s is chosen with a probability proportional to (s + 1) ** -size_skew.
        inside: for each target, the part of its examples that are of a source of the pool, and not of one of its own.
        target_own: factor of the shares of targets' examples.
    """

    skew: float
    shift: float
    fall: float
    source_spread: float
    topic_spread: float
    own: float
    shape: float
    source_share: float
    unevenness: float
    size_skew: float
    inside: tuple[float, ...]
    target_own: float


WORLDS: dict[tuple[str, int], World] = {
    ("absolute", 20): World(
        3.8, 4.29, 769.0, 2.7, 2.15, 0.8, 5.35, 0.953, 0.124, 0.0, (0.81, 0.6, 0.43, 0.53, 0.42, 0.29), 1.31
    ),
    ("relative", 20): World(
        0.264, 4.84, 397.0, 2.62, 0.882, 1.11, 2.18, 0.919, 0.284, 0.409, (0.65, 0.45, 0.4, 0.3, 0.35, 0.4), 1.17
    ),
    ("relative", 10): World(
        0.379, 5.18, 345.0, 2.9, 0.939, 1.15, 1.93, 0.9, 0.205, 0.63, (0.7, 0.45, 0.4, 0.3, 0.35, 0.4), 1.11
    ),
    ("relative", 5): World(
        0.545, 5.54, 300.0, 3.2, 1.0, 1.19, 1.71, 0.882, 0.147, 0.972, (0.82, 0.45, 0.4, 0.35, 0.4, 0.5), 1.05
    ),
}


@dataclass(frozen=True)
class _Factors:
    """What documents are made from.

    Attributes:
        logs: log weights of neurons, float32 [L, components, m]: of the background, the sources, the targets and the topics.
        neurons: these neurons, uint16 [L, m].
        strength: factor of the shares of each source's documents, float64 [SOURCES].
    """

    logs: npt.NDArray[np.float32]
    neurons: npt.NDArray[np.uint16]
    strength: npt.NDArray[np.float64]


def world_of(kind: Kind, top_k: int) -> World:
    """Return the fitted constants of a kind, of the nearest K that was fitted."""
    fitted = [k for name, k in WORLDS if name == kind]
    return WORLDS[kind, min(fitted, key=lambda k: abs(k - top_k))]


@lru_cache(2)
def _factors(world: World, kind: Kind, spec: NagSpec) -> _Factors:
    """Return what the documents of a world are made from; it depends on no seed of a pool."""
    random = np.random.default_rng(12345)
    width = spec.widths[0]
    # Relative impact spreads over the whole width, absolute impact over as many neurons whatever the width.
    most = width if kind == "relative" else min(MOST_ABSOLUTE, width)
    ranks = np.arange(most) * (FITTED_WIDTH / width if kind == "relative" else 1.0)
    spread = np.repeat([0.0, world.source_spread, world.topic_spread], [1, SOURCES + TARGETS, TOPICS])[:, None]
    logs = np.empty((spec.layers, len(spread), most), np.float32)
    neurons = np.empty((spec.layers, most), np.uint16)
    strength = np.exp(world.unevenness * random.standard_normal(SOURCES))
    for layer in range(spec.layers):
        logs[layer] = random.standard_normal(logs[layer].shape, np.float32) * spread
        logs[layer, 0] = -world.skew * np.log(ranks + world.shift) - ranks / world.fall
        neurons[layer] = random.permutation(width)[:most]
    return _Factors(logs, neurons, strength / strength.mean())


@numba.njit(nogil=True, cache=True, fastmath=True)
def _rank(codes, logs, neurons, components, shares, seed):
    """Fill codes, uint16 [n, L, K], with the neurons of largest log weight plus Gumbel noise, largest first.

    The log weights are the background's and those of the components, [n, 3], times the document's shares of them, [n, 3].
    """
    np.random.seed(seed)
    n, layers, top_k = codes.shape
    most = logs.shape[2]
    noise = np.empty(NOISE + most, np.float32)
    for k in range(NOISE + most):
        noise[k] = -np.log(-np.log(np.random.random() + 1e-12) + 1e-12)
    weights = np.empty(most, np.float32)
    best, where = np.empty(top_k, np.float32), np.empty(top_k, np.int64)
    for layer in range(layers):
        background = logs[layer, 0]
        for i in range(n):
            one, two = logs[layer, components[i, 0]], logs[layer, components[i, 1]]
            three, own = logs[layer, components[i, 2]], shares[i]
            start = np.random.randint(0, NOISE)
            for k in range(most):
                weights[k] = background[k] + own[0] * one[k] + own[1] * two[k] + own[2] * three[k] + noise[start + k]
            best[:] = np.float32(-1e30)
            for k in range(most):
                value = weights[k]
                if value > best[top_k - 1]:
                    at = top_k - 1
                    while at > 0 and best[at - 1] < value:
                        best[at], where[at] = best[at - 1], where[at - 1]
                        at -= 1
                    best[at], where[at] = value, k
            for k in range(top_k):
                codes[i, layer, k] = neurons[layer, where[k]]


def sources_of(n: int, *, seed: int, world: World) -> npt.NDArray[np.int64]:
    """Return the sources of the documents that `make_codes` makes with a seed, int64 [n]."""
    sizes = np.arange(1.0, SOURCES + 1) ** -world.size_skew
    return np.random.default_rng([seed, 1]).choice(SOURCES, n, p=sizes / sizes.sum())


def make_codes(
    n: int,
    *,
    seed: int = 0,
    topic: int | None = None,
    spec: NagSpec = SPEC,
    kind: Kind = "absolute",
    world: World | None = None,
) -> Codes:
    """Return the NAGs of n synthetic documents, uint16 [n, L, K].

    Args:
        n: number of documents.
        seed: seed of the documents; the distributions that they are drawn from do not depend on it.
        topic: instead of documents of the pool, examples of this target, 0 to 5.
        spec: shape of the NAGs; all layers have one width.
        kind: whether NAGs are like those of absolute or of relative impact.
        world: other constants than the fitted ones.
    """
    world = world or world_of(kind, spec.top_k)
    factors = _factors(world, kind, spec)
    random = np.random.default_rng(seed)
    source = sources_of(n, seed=seed, world=world) if topic is None else np.full(n, FIRST_TARGET + topic % TARGETS)
    own = world.own * factors.strength[source] * random.gamma(world.shape, 1 / world.shape, n)
    topics = np.minimum(random.gamma(1.0, 0.25, (n, 2)) * TOPICS, TOPICS - 1).astype(np.int64)
    source_of, first = 1 + source, 1 + SOURCES + TARGETS
    if topic is not None:
        own *= world.target_own
        outside = random.random(n) >= world.inside[topic % TARGETS]
        source_of = np.where(outside, 1 + SOURCES + topic % TARGETS, source_of)
    parts = np.array([world.source_share, 0.65 * (1 - world.source_share), 0.35 * (1 - world.source_share)])
    shares = (own[:, None] * parts).astype(np.float32)
    components = np.stack([source_of, first + topics[:, 0], first + topics[:, 1]], axis=1)
    codes = np.empty((n, *spec.shape), np.uint16)

    def fill(start: int) -> None:
        rows = slice(start, start + ROWS_PER_TASK)
        _rank(codes[rows], factors.logs, factors.neurons, components[rows], shares[rows], (seed + start) % (1 << 31))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, range(0, n, ROWS_PER_TASK)))
    return codes


POOL_OPTIONS: dict[str, dict[str, Any]] = {
    "documents": {"type": parse_count, "default": 10_000_000, "help": "documents of the pool that is made"},
    "distinct": {
        "type": parse_count,
        "help": "documents after which the NAGs repeat, with other ids; by default none do",
    },
    "index": {"type": Path, "help": "an index of synthetic documents, instead of one that is made"},
}
"""Options of the scripts that take a large pool."""


def pool_of(arguments: argparse.Namespace, folder: Path, *, quick: int) -> Path:
    """Return the index that the options name, or one that is made in a folder; under --quick of so many documents."""
    if arguments.index is not None:
        return Path(arguments.index)
    documents = quick if arguments.quick else arguments.documents
    write_pool(folder / "pool.nagindex", documents, distinct=arguments.distinct)
    return folder / "pool.nagindex"


def write_pool(
    path: Path,
    documents: int,
    *,
    seed: int = 0,
    spec: NagSpec = SPEC,
    quality: bool = False,
    kind: Kind = "absolute",
    codes: Codes | None = None,
    distinct: int | None = None,
) -> None:
    """Write an index of synthetic documents from 20 sources, up to 2,000 tokens each, in full segments, with a quality of 0 to 1.

    Their NAGs may be given, uint16 [documents, L, K], or repeat after about so many `distinct` documents, in whole segments.
    """
    for name in ("manifests", "segments"):
        (path / name).mkdir(parents=True)
    model = f"synthetic-{kind}"
    fingerprint = Fingerprint(model, "0" * 64, "0" * 64, spec, 120, "float32", "sdpa", installed_libraries())
    keep = ("quality",) if quality else ()
    publish(path, Manifest(1, "create", now(), fingerprint, Settings(keep_columns=keep)))
    tokens, world = np.random.default_rng(seed), world_of(kind, spec.top_k)
    segments = -(-(distinct or documents) // SEGMENT_DOCUMENTS)
    period = segments * SEGMENT_DOCUMENTS
    codes_of = lru_cache(segments if distinct else 0)(partial(make_codes, spec=spec, kind=kind))
    for start in range(0, documents, SEGMENT_DOCUMENTS):
        count = min(SEGMENT_DOCUMENTS, documents - start)
        numbers, own_seed = range(start, start + count), seed * 100_003 + start % period
        made = codes_of(count, seed=own_seed) if codes is None else codes[start : start + count]
        rows = Rows(
            [f"doc-{i:010d}" for i in numbers],
            [f"synthetic-{source:02d}.parquet" for source in sources_of(count, seed=own_seed, world=world)],
            list(numbers),
            tokens.integers(50, 2000, count).tolist(),
            [(value,) for value in tokens.random(count).tolist()] if quality else [()] * count,
        )
        span = SourceSpan("synthetic.parquet", "nowhere", 0, "0" * 64, start, start + count, start + count == documents)
        entry = write_segment(
            path,
            spec,
            codes=[made],
            rows=rows,
            keep=keep,
            spans=[span],
            skipped=[],
            libraries=fingerprint.libraries,
        )
        current = read_latest(path)
        publish(path, current.following("append", (*current.segments, entry)))


def kind_of(model: str) -> Kind:
    """Return the kind of a pool from the name of its model, as `write_pool` writes it."""
    return "relative" if model.endswith("relative") else "absolute"
