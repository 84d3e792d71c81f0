"""Figures of a ranking of labeled documents: those of `nagindex.search.metrics`, and precision at budgets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nagindex.search.metrics import average_precision, precision_at, ranks_of
from nagindex.search.metrics import random_figures as random_pair

BUDGETS = (0.01, 0.05, 0.1, 0.2)
METRICS = ("average precision", "precision at R", *(f"precision at {budget:.0%}" for budget in BUDGETS))


def figures(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return the figures of a ranking, float64 in the order of `METRICS`; R is the number of relevant documents.

    Args:
        scores: float or int [documents], higher is better.
        relevant: bool [documents], at least one.
    """
    ranks = ranks_of(scores, relevant)
    sizes = [len(ranks), *(max(1, round(budget * len(relevant))) for budget in BUDGETS)]
    return np.array([average_precision(ranks), *(precision_at(ranks, size) for size in sizes)])


def random_figures(relevant: np.ndarray) -> np.ndarray:
    """Return the expected figures of a random order, float64 in the order of `METRICS`."""
    average, share = random_pair(relevant)
    return np.array([average, *[share] * (len(METRICS) - 1)])


def bootstrap(rank: Callable[[np.ndarray], np.ndarray], relevant: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the figures of each resample, float64 [resamples, metrics].

    Args:
        rank: scores of the documents by examples, each taken as often as an int64 [examples] says.
        relevant: bool [documents].
        times: int64 [resamples, examples].
    """
    return np.array([figures(rank(own), relevant) for own in times]).reshape(-1, len(METRICS))
