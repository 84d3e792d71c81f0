"""Metrics of a ranking, by documents known to be relevant or by further examples, and their intervals over resampled examples.

Equal scores are ordered by position, the lower one first: with documents in ascending order of id, as a query orders them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt


def ranks_of(scores: npt.NDArray[Any], relevant: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the ranks of the relevant documents, counted from 1 and ascending, int64 [relevant documents].

    Args:
        scores: float or int [documents], higher is better.
        relevant: bool [documents].
    """
    order = np.argsort(-scores, kind="stable")
    ranks: npt.NDArray[np.int64] = np.flatnonzero(relevant[order]) + 1
    return ranks


def average_precision(ranks: npt.NDArray[np.int64]) -> float:
    """Return the mean, over the relevant documents, of the precision at their ranks.

    Args:
        ranks: int64, at least one, as `ranks_of` returns them.
    """
    return float((np.arange(1, len(ranks) + 1) / ranks).mean())


def precision_at(ranks: npt.NDArray[np.int64], documents: int) -> float:
    """Return the share of relevant documents among the best ones.

    Args:
        ranks: int64, as `ranks_of` returns them.
        documents: how many documents are the best ones, at least 1.
    """
    return float(np.searchsorted(ranks, documents, side="right") / documents)


def figures(scores: npt.NDArray[Any], relevant: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the average precision of a ranking, and its precision at R, the number of relevant documents.

    Args:
        scores: float or int [documents], higher is better.
        relevant: bool [documents], at least one.
    """
    ranks = ranks_of(scores, relevant)
    return average_precision(ranks), precision_at(ranks, len(ranks))


def random_figures(relevant: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the expected average precision and precision at R of a random order."""
    documents, count = len(relevant), int(relevant.sum())
    first = float((1 / np.arange(1, documents + 1)).mean())  # the share that a relevant document's own place adds
    others = (count - 1) / (documents - 1) if documents > 1 else 0.0
    return first + (1 - first) * others, count / documents


def shares_above(scores: npt.NDArray[Any], examples: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the share of documents with a higher score than each example, those with the same score counted half.

    Args:
        scores: float or int [documents], at least one.
        examples: scores of the examples, float or int [n].

    Returns:
        Shares from 0 to 1, float64 [n].
    """
    ordered = np.sort(scores)
    below, up_to = (np.searchsorted(ordered, examples, side=side) for side in ("left", "right"))
    shares: npt.NDArray[np.float64] = 1 - (below + up_to) / (2 * len(ordered))
    return shares


def resamples(examples: int, count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return how often each example is drawn in bootstrap resamples, int64 [count, examples]."""
    return np.random.default_rng(seed).multinomial(examples, np.full(examples, 1 / examples), size=count)


def bootstrap(
    rank: Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]],
    relevant: npt.NDArray[np.bool_],
    times: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return the figures of each resample, float64 [resamples, 2].

    Args:
        rank: scores of the documents by examples, each taken as often as an int64 [examples] says.
        relevant: bool [documents].
        times: int64 [resamples, examples].
    """
    return np.array([figures(rank(own), relevant) for own in times]).reshape(-1, 2)


def half_interval(resampled: npt.NDArray[np.float64]) -> float:
    """Return half the width of a 95 % interval: 1.96 standard deviations of the resampled figures, at least two."""
    return 1.96 * float(np.std(resampled, ddof=1))


def interval(value: float, resampled: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of a figure: 1.96 standard deviations of the resampled figures on either side.

    Quantiles would lie too low: a resample has fewer different examples than the target, and so ranks worse.
    """
    half = half_interval(resampled)
    return value - half, value + half
