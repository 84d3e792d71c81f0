"""Runs of all arms, and their figures set against those of a base arm, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.pretrain.inputs import RANDOM, WHOLE
from benchmarks.pretrain.intervals import Interval, t_interval
from benchmarks.pretrain.runs import Outcome, Run

GENERAL = "general mix"
Values = dict[str, dict[str, np.ndarray]]
"""A figure for each arm and target by seed, float64 [seeds]."""


def run_of(target: str, arm: str, seed: int) -> Run:
    """Return the run that tells an arm's figures of a target."""
    return Run(None if arm in (RANDOM, WHOLE) else target, arm, seed)


def runs_of(targets: Sequence[str], arms: Sequence[str], seeds: int) -> list[Run]:
    """Return the runs of some arms, all of a seed before those of the next."""
    every = [run_of(target, arm, seed) for seed in range(seeds) for arm in arms for target in targets]
    return list(dict.fromkeys(every))


def values_of(
    found: dict[Run, Outcome],
    targets: Sequence[str],
    arms: Sequence[str],
    seeds: int,
    figure: Callable[[Outcome, str], float],
) -> Values:
    """Return a figure of each arm, target and seed."""
    return {
        arm: {
            target: np.array([figure(found[run_of(target, arm, seed)], target) for seed in range(seeds)])
            for target in targets
        }
        for arm in arms
    }


def means(values: Values) -> dict[str, dict[str, float]]:
    """Return the mean over seeds by arm and target, after the mean over targets."""
    return {
        arm: {"mean": float(np.mean(list(own.values()))), **{target: float(row.mean()) for target, row in own.items()}}
        for arm, own in values.items()
    }


def differences(values: Values, base: str) -> dict[str, dict[str, Interval]]:
    """Return each arm's figures less those of a base arm of the same seed, with 95 % t intervals.

    The first, "mean", is over seeds and targets as if all were independent: targets are few and seeds share their texts,
    so the interval is one of these targets, not of targets at large.
    """
    rows: dict[str, dict[str, Interval]] = {}
    for arm, own in values.items():
        if arm != base:
            paired = {target: row - values[base][target] for target, row in own.items()}
            every = t_interval(np.concatenate(list(paired.values())))
            rows[arm] = {"mean": every} | {target: t_interval(row) for target, row in paired.items()}
    return rows
