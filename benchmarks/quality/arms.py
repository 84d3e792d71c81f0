"""Ways to rank documents by NAGs: each scores all documents by a target's examples, taken as often as it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Protocol

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LogisticRegression

from benchmarks.quality.codes import KINDS, Encoded
from benchmarks.quality.impacts import PREFIXES
from nagindex.nag import Codes, NagSpec
from nagindex.search.scorers import score
from nagindex.search.view import View
from nagindex.search.weights import Weighting

NEAREST = 10
SPARE = 64
"""Nearest examples kept of each document, of which a resample leaves at least ten with near certainty."""
WEIGHTS = {
    "plain": "frequency",
    "log-ratio": "log-ratio:40",
    "log-odds": "log-odds:40",
    "contrast 0.5": "contrast:0.5",
    "contrast 1": "contrast:1",
}
TOP_K = (20, 10, 5)
EXTREME_K = (40, 3)
CLUSTERS = (2, 4, 8)
STRENGTHS = (1, 10, 100)
PRIORS = (5, 20, 80, 320)


class Arm(Protocol):
    """A way to rank documents for one target.

    Attributes:
        refits: whether a model is fitted to each set of examples, too slowly to do it again for halves and resamples.
    """

    refits: ClassVar[bool]

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the scores of all documents, higher is better.

        Args:
            times: int64 [examples], how often each example is taken.
        """


@dataclass(frozen=True)
class ProfileArm:
    """Sum of a document's neuron weights, as `nagindex query` scores by the mean.

    Attributes:
        pool: uint16 [documents, L, K].
        examples: uint16 [examples, L, K].
        view: layers and neurons that count.
        background: int64 [layers, width], documents of the pool with each neuron of the view.
        weighting: how neurons are weighed.
    """

    refits: ClassVar[bool] = False
    pool: Codes
    examples: Codes
    view: View
    background: np.ndarray
    weighting: Weighting

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the integer sums of all documents."""
        taken = np.repeat(self.view(self.examples), times, axis=0)
        profile = self.weighting.profile_of(taken, self.background, len(self.pool), self.view.spec)
        return score(self.pool, profile, self.view)


@dataclass(frozen=True)
class NearestArm:
    """Mean of a document's largest similarities to examples.

    Attributes:
        numbers: int [documents, SPARE], the most similar examples of each document, descending.
        similarities: float32 [documents, SPARE].
        nearest: how many of them count.
    """

    refits: ClassVar[bool] = False
    numbers: np.ndarray
    similarities: np.ndarray
    nearest: int = NEAREST

    @classmethod
    def of(cls, similarities: np.ndarray, nearest: int = NEAREST) -> NearestArm:
        """Return the arm of similarities [documents, examples]."""
        numbers = np.argsort(-similarities, axis=1, kind="stable")[:, :SPARE]
        return cls(numbers, np.take_along_axis(similarities, numbers, axis=1), nearest)

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the means of all documents."""
        count = min(self.nearest, int(times.sum()))
        until = np.minimum(np.cumsum(times[self.numbers], axis=1), count)
        return np.asarray((np.diff(until, axis=1, prepend=0) * self.similarities).sum(axis=1) / count)


@dataclass(frozen=True)
class MeanArm:
    """Mean of a document's similarities to all examples.

    Attributes:
        similarities: float [documents, examples].
    """

    refits: ClassVar[bool] = False
    similarities: np.ndarray

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the means of all documents."""
        return np.asarray(self.similarities @ times.astype(np.float64) / times.sum())


@dataclass(frozen=True)
class SumArm:
    """Sum of the standardized scores of several arms."""

    refits: ClassVar[bool] = False
    arms: Sequence[Arm]

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the sums of all documents."""
        parts = [arm.scores(times).astype(np.float64) for arm in self.arms]
        return np.asarray(sum((part - part.mean()) / (part.std() or 1.0) for part in parts))


@dataclass(frozen=True)
class ClusterArm:
    """Largest of a document's mean similarities to clusters of the examples (k-means of their codes).

    Attributes:
        pool: ones at each document's neurons, float32 [documents, neurons].
        examples: the same of the examples.
        clusters: number of clusters.
    """

    refits: ClassVar[bool] = True
    pool: sparse.csr_array
    examples: sparse.csr_array
    clusters: int

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the largest means of all documents."""
        taken = self.examples[np.repeat(np.arange(len(times)), times)]
        reduced = TruncatedSVD(min(50, taken.shape[0] - 1), random_state=0).fit_transform(taken)
        own = KMeans(self.clusters, n_init=4, random_state=0).fit_predict(reduced)
        means = np.stack([taken[own == number].mean(axis=0) for number in range(self.clusters)])
        return np.asarray((self.pool @ means.T).max(axis=1))


@dataclass(frozen=True)
class RegressionArm:
    """Weights of neurons learned by logistic regression of the examples against the whole pool.

    Attributes:
        pool: ones at each document's neurons, float32 [documents, neurons].
        examples: the same of the examples.
        strength: inverse strength of the L2 penalty.
    """

    refits: ClassVar[bool] = True
    pool: sparse.csr_array
    examples: sparse.csr_array
    strength: float

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the logits of all documents."""
        vectors = sparse.vstack([self.examples, self.pool]).tocsr()
        labels = np.repeat([1, 0], [self.examples.shape[0], self.pool.shape[0]])
        balance = self.pool.shape[0] / times.sum()
        weights = np.concatenate([times * balance, np.ones(self.pool.shape[0])])
        taken = weights > 0
        model = LogisticRegression(C=self.strength / self.pool.shape[0], max_iter=100)
        model.fit(vectors[taken], labels[taken], sample_weight=weights[taken])
        return np.asarray(self.pool @ model.coef_[0])


def neuron_counts(codes: Codes, spec: NagSpec) -> np.ndarray:
    """Return how many texts hold each neuron, int64 [L, max d_l].

    Args:
        codes: uint16 [n, L, K].
        spec: their shape.
    """
    width = max(spec.widths)
    return np.stack([np.bincount(codes[:, layer].ravel(), minlength=width) for layer in range(spec.layers)])


def overlaps(pool: Codes, examples: Codes, spec: NagSpec) -> np.ndarray:
    """Return the similarities of documents and examples, float32 [documents, examples]: shared neurons over L K."""
    a, b = (members(codes, spec) for codes in (pool, examples))
    return np.asarray((a @ b.T).toarray() / (spec.layers * spec.top_k), dtype=np.float32)


def members(codes: Codes, spec: NagSpec) -> sparse.csr_array:
    """Return the neurons of each text as ones, float32 [n, all neurons]."""
    columns = (codes + spec.offsets[:-1, None]).reshape(len(codes), -1)
    rows = np.arange(len(codes) + 1) * columns.shape[1]
    ones = np.ones(columns.size, np.float32)
    return sparse.csr_array((ones, columns.ravel(), rows), shape=(len(codes), int(spec.offsets[-1])))


def parts_of(layers: int) -> dict[str, tuple[int, ...]]:
    """Return sets of layers by name: first parts, the last third and the last one."""
    return {
        "first two thirds": tuple(range(2 * layers // 3)),
        "first half": tuple(range(layers // 2)),
        "first third": tuple(range(layers // 3)),
        "last third": tuple(range(layers - layers // 3, layers)),
        "last layer": (layers - 1,),
    }


def profile_arm(
    codes: Encoded, target: str, kind: str, written: str, layers: tuple[int, ...], top_k: int
) -> ProfileArm:
    """Return the ranking by one weighting, as `Weighting.parse` takes it, of some layers and K of the paper's impact."""
    view = View(codes.spec, layers, top_k)
    pool, examples = codes.codes("pool", kind), codes.codes(target, kind)
    return ProfileArm(pool, examples, view, neuron_counts(view(pool), view.spec), Weighting.parse(written))


def nag_arms(codes: Encoded, target: str) -> Iterator[tuple[str, Arm]]:
    """Yield the main rankings by NAGs of all layers, K = 20 and 5: plain, by logarithms, and by nearest examples."""
    every = tuple(range(codes.spec.layers))
    most, least = max(TOP_K), min(TOP_K)
    for kind in KINDS:
        for top_k, name in product((most, least), ("plain", "log-ratio", "log-odds")):
            yield f"{kind}, {name}, K = {top_k}", profile_arm(codes, target, kind, WEIGHTS[name], every, top_k)
        view = View(codes.spec, every, most)
        shared = overlaps(view(codes.codes("pool", kind)), view(codes.codes(target, kind)), view.spec)
        yield f"{kind}, nearest example, K = {most}", NearestArm.of(shared, 1)
        yield f"{kind}, {NEAREST} nearest, K = {most}", NearestArm.of(shared)


def setting_arms(codes: Encoded, target: str) -> Iterator[tuple[str, Arm]]:
    """Yield rankings by other settings of NAGs: further weights, m, K and sets of layers."""
    every = tuple(range(codes.spec.layers))
    most, least = max(TOP_K), min(TOP_K)
    for kind in KINDS:
        for top_k, name in product(TOP_K, WEIGHTS):
            if top_k not in (most, least) or "contrast" in name:
                yield f"{kind}, {name}, K = {top_k}", profile_arm(codes, target, kind, WEIGHTS[name], every, top_k)
        for prior in PRIORS:
            arm = profile_arm(codes, target, kind, f"log-ratio:{prior}", every, most)
            yield f"{kind}, log-ratio, m = {prior}, K = {most}", arm
        for top_k, name in product([k for k in EXTREME_K if k <= codes.spec.top_k], ("plain", "log-ratio")):
            yield f"{kind}, {name}, K = {top_k}", profile_arm(codes, target, kind, WEIGHTS[name], every, top_k)
        for (part, layers), top_k, name in product(parts_of(len(every)).items(), (most, least), ("plain", "log-ratio")):
            arm = profile_arm(codes, target, kind, WEIGHTS[name], layers, top_k)
            yield f"{kind}, {name}, K = {top_k}, {part}", arm


def trial_arms(codes: Encoded, target: str, top_k: int = 20) -> Iterator[tuple[str, Arm]]:
    """Yield rankings by relative impact that nagindex does not offer: examples in clusters, weights learned by regression."""
    view = View(codes.spec, tuple(range(codes.spec.layers)), top_k)
    pool, examples = (view(codes.codes(part, "relative")) for part in ("pool", target))
    own = [members(part, view.spec) for part in (pool, examples)]
    for clusters in CLUSTERS:
        yield f"relative, best of {clusters} clusters' profiles", ClusterArm(*own, clusters)
    for strength in STRENGTHS:
        yield f"relative, logistic regression, C = {strength:g}", RegressionArm(*own, strength)


def impact_arms(codes: Encoded, target: str, top_k: int = 20) -> Iterator[tuple[str, Arm]]:
    """Yield rankings by each impact that there are codes of, plain and by log-ratio weights."""
    view = View(codes.spec, tuple(range(codes.spec.layers)), top_k)
    for impact in codes.names:
        for kind in KINDS:
            pool, examples = codes.codes("pool", kind, impact), codes.codes(target, kind, impact)
            background = neuron_counts(view(pool), view.spec)
            for weights in ("plain", "log-ratio"):
                weighting = Weighting.parse(WEIGHTS[weights])
                yield f"{impact}: {kind}, {weights}", ProfileArm(pool, examples, view, background, weighting)
    for tokens in (n for n in PREFIXES if f"up, {n} tokens" in codes.names):
        short = codes.codes("pool", "relative", f"up, {tokens} tokens")
        arm = ProfileArm(
            codes.codes("pool", "relative"),
            codes.codes(target, "relative"),
            view,
            neuron_counts(view(short), view.spec),
            Weighting.parse(WEIGHTS["log-ratio"]),
        )
        yield f"up: relative, log-ratio against the pool's first {tokens} tokens", arm
