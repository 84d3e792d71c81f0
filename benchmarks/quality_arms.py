"""Ways to rank documents for quality.py: each scores all documents by a target's examples, taken as often as it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from quality_codes import KINDS, Encoded

from nagindex.nag import Codes, NagSpec
from nagindex.search.profile import Profile
from nagindex.search.scorers import score
from nagindex.search.view import View
from nagindex.search.weights import log_ratio, rounded_logs

NEAREST = 10
SPARE = 64
"""Nearest examples kept of each document, of which a resample leaves at least ten with near certainty."""


class Arm(Protocol):
    """A way to rank documents for one target."""

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the scores of all documents, higher is better.

        Args:
            times: int64 [examples], how often each example is taken.
        """


@dataclass(frozen=True)
class ProfileArm:
    """Sum of a document's neuron weights, from how many examples hold each neuron.

    Attributes:
        pool: uint16 [documents, L, K].
        examples: uint16 [examples, L, K].
        view: layers and neurons that count.
        background: int64 [layers, width], documents of the pool with each neuron of the view; None for plain counts.
        prior: examples that the background counts for.
    """

    pool: Codes
    examples: Codes
    view: View
    background: np.ndarray | None = None
    prior: float = 40

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the integer sums of all documents."""
        weights = neuron_counts(self.view(self.examples), self.view.spec, times)
        if self.background is not None:
            examples, documents = int(times.sum()), len(self.pool)
            weights = rounded_logs(log_ratio, weights, self.background, examples, documents, Fraction(self.prior))
        return score(self.pool, Profile(weights, 1, self.view.spec), self.view)


@dataclass(frozen=True)
class NearestArm:
    """Mean of a document's ten largest similarities to examples.

    Attributes:
        numbers: int [documents, SPARE], the most similar examples of each document, descending.
        similarities: float32 [documents, SPARE].
    """

    numbers: np.ndarray
    similarities: np.ndarray

    @classmethod
    def of(cls, similarities: np.ndarray) -> NearestArm:
        """Return the arm of similarities [documents, examples]."""
        numbers = np.argsort(-similarities, axis=1, kind="stable")[:, :SPARE]
        return cls(numbers, np.take_along_axis(similarities, numbers, axis=1))

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the means of all documents."""
        count = min(NEAREST, int(times.sum()))
        until = np.minimum(np.cumsum(times[self.numbers], axis=1), count)
        return np.asarray((np.diff(until, axis=1, prepend=0) * self.similarities).sum(axis=1) / count)


@dataclass(frozen=True)
class CentroidArm:
    """Similarity to the mean of the examples' vectors."""

    pool: np.ndarray
    examples: np.ndarray

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the products of all documents with the centroid."""
        return np.asarray(self.pool @ (times.astype(np.float32) @ self.examples))


def neuron_counts(codes: Codes, spec: NagSpec, times: np.ndarray | None = None) -> np.ndarray:
    """Return how many texts hold each neuron, int64 [L, max d_l].

    Args:
        codes: uint16 [n, L, K].
        spec: their shape.
        times: int64 [n], how often each text counts; once by default.
    """
    width = max(spec.widths)
    weights = None if times is None else np.repeat(times, codes.shape[2])
    layers = [np.bincount(codes[:, layer].ravel(), weights, width) for layer in range(spec.layers)]
    return np.stack(layers).astype(np.int64)


def views_of(spec: NagSpec, top_k: Sequence[int] = (20, 10, 5)) -> Iterator[tuple[str, View]]:
    """Yield views by name: each K of a third, half, two thirds and all of the layers, from the first one on."""
    layers = spec.layers
    for count in dict.fromkeys([layers, 2 * layers // 3, layers // 2, layers // 3]):
        for k in top_k:
            yield (
                f"K = {k}, {'all' if count == layers else f'first {count}'} layers",
                View(spec, tuple(range(count)), k),
            )


def nag_arms(codes: Encoded, target: str, prior: float) -> Iterator[tuple[str, Arm]]:
    """Yield the rankings by NAGs: absolute and relative, plain and log-ratio, of each view."""
    for name, view in views_of(codes.spec):
        for kind in KINDS:
            pool, examples = codes.pool[kind], codes.targets[target][kind]
            background = neuron_counts(view(pool), view.spec)
            yield f"{kind}, plain, {name}", ProfileArm(pool, examples, view)
            yield f"{kind}, log-ratio, {name}", ProfileArm(pool, examples, view, background, prior)
