"""95 % intervals: bootstrap over held-out examples, and Student's t over runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from nagindex.search.metrics import half_interval, resamples


@dataclass(frozen=True)
class Interval:
    """A figure and half of its 95 % interval; NaN where one observation tells none."""

    value: float
    half: float

    def __str__(self) -> str:
        return f"{self.value:+.3f}" + ("" if np.isnan(self.half) else f" ± {self.half:.3f}")

    def as_dict(self) -> dict[str, float | None]:
        """Return value, low and high; None for ends that are unknown."""
        if np.isnan(self.half):
            return {"value": self.value, "low": None, "high": None}
        return {"value": self.value, "low": self.value - self.half, "high": self.value + self.half}


def t_interval(values: np.ndarray) -> Interval:
    """Return the mean of independent values, float [n], with its interval by Student's t of n - 1 degrees."""
    values = np.asarray(values, np.float64).ravel()
    if len(values) < 2:
        return Interval(float(values.mean()), float("nan"))
    error = values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean()), float(student.ppf(0.975, len(values) - 1) * error))


def resampled_ratios(amounts: np.ndarray, units: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return the ratio of two sums over examples, then that of each bootstrap resample, float64 [1 + count].

    Equal seeds draw equal resamples, so that ratios of two models over the same examples are paired.

    Args:
        amounts: for example bits of each example, float [examples].
        units: for example tokens of each example, int [examples].
        count: resamples.
        seed: draws the resamples.
    """
    times = np.vstack([np.ones(len(amounts), np.int64), resamples(len(amounts), count, seed)])
    return (times @ amounts) / (times @ units)


def bootstrap_interval(ratios: np.ndarray) -> Interval:
    """Return a figure and 1.96 standard deviations of its resamples, from float64 [1 + resamples]."""
    return Interval(float(ratios[0]), half_interval(ratios[1:]) if len(ratios) > 2 else float("nan"))
