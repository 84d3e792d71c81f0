"""Metrics of a ranking of labeled documents, and their intervals over resampled examples.

Equal scores are ordered by position, the lower one first: documents come in ascending order of id, as nagindex orders them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

BUDGETS = (0.01, 0.05, 0.1, 0.2)
METRICS = ("average precision", "precision at R", *(f"precision at {budget:.0%}" for budget in BUDGETS))


def figures(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return the figures of a ranking, float64 in the order of `METRICS`.

    Average precision is the mean, over the R relevant documents, of the precision at their ranks; precision at R or at a budget is
    the share of relevant documents among the best R, or among that share of the pool.

    Args:
        scores: float or int [documents], higher is better.
        relevant: bool [documents], at least one.
    """
    order = np.argsort(-scores, kind="stable")
    found = relevant[order]
    ranks = np.flatnonzero(found) + 1
    average = (np.arange(1, len(ranks) + 1) / ranks).mean()
    sizes = [len(ranks), *(max(1, round(budget * len(found))) for budget in BUDGETS)]
    return np.array([average, *(found[:size].mean() for size in sizes)])


def random_figures(relevant: np.ndarray) -> np.ndarray:
    """Return the expected figures of a random order, float64 in the order of `METRICS`."""
    documents, count = len(relevant), int(relevant.sum())
    first = float((1 / np.arange(1, documents + 1)).mean())  # the share that a relevant document's own place adds
    others = (count - 1) / (documents - 1) if documents > 1 else 0.0
    return np.array([first + (1 - first) * others, *[count / documents] * (len(METRICS) - 1)])


def resamples(examples: int, count: int, seed: int = 0) -> np.ndarray:
    """Return how often each example is drawn in bootstrap resamples, int64 [count, examples]."""
    return np.random.default_rng(seed).multinomial(examples, np.full(examples, 1 / examples), size=count)


def bootstrap(rank: Callable[[np.ndarray], np.ndarray], relevant: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the figures of each resample, float64 [resamples, metrics].

    Args:
        rank: scores of the documents by examples, each taken as often as an int64 [examples] says.
        relevant: bool [documents].
        times: int64 [resamples, examples].
    """
    return np.array([figures(rank(own), relevant) for own in times]).reshape(-1, len(METRICS))


def interval(value: float, resampled: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a figure: 1.96 standard deviations of the resampled figures on either side.

    Quantiles would lie too low: a resample has fewer different examples than the target, and so ranks worse.
    """
    half = 1.96 * float(np.std(resampled, ddof=1))
    return value - half, value + half
