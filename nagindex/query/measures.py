"""Measures of a setting for one target: where relevant documents rank, or where held-out examples rank among the documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError, plural
from nagindex.nag import Codes
from nagindex.query.settings import Setting
from nagindex.search.metrics import average_precision, precision_at, random_figures, ranks_of, resamples, shares_above
from nagindex.search.profile import Target
from nagindex.search.scorers import score
from nagindex.targets.given import OTHERS
from nagindex.targets.saved import TargetSet

BUDGETS = (0.01, 0.05, 0.1)
"""Shares of the candidates at which precision is computed."""
WITHIN = (0.01, 0.1)
"""Best shares of the candidates in which held-out examples are counted."""

Figures = dict[str, float]
Scored = Iterator[tuple[npt.NDArray[Any], Target]]
"""The candidates' sums by each set of examples, int [candidates] in ascending order of id, and what they are scored by."""


@dataclass(frozen=True)
class Measured:
    """A setting's figures for one target.

    Attributes:
        figures: the figures.
        resampled: the first of them for each resample, float64 [resamples].
        by_id: how much of the average precision is due to the order of ids alone, among documents with equal scores.
    """

    figures: Figures
    resampled: npt.NDArray[np.float64]
    by_id: float = 0.0


@dataclass(frozen=True)
class ByLabels:
    """A target whose relevant documents are known.

    Attributes:
        target: its examples.
        relevant: bool [candidates], in ascending order of id.
        times: int64 [resamples, examples], how often each example is taken.
    """

    target: TargetSet
    relevant: npt.NDArray[np.bool_]
    times: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, target: TargetSet, relevant: Mapping[str, npt.NDArray[np.bool_]], resampled: int, seed: int
    ) -> ByLabels:
        """Return the measure of a target, from which documents are relevant to each.

        Raises:
            BadInputError: the target has no labels.
        """
        own = relevant.get(target.name, relevant.get(OTHERS))
        if own is None:
            raise BadInputError(
                f"target {target.name}: no relevant documents are named for it, only for {', '.join(relevant)}; "
                "name some with `relevant`"
            )
        return cls(target, own, resamples(len(target.codes), resampled, seed))

    @property
    def about(self) -> dict[str, Any]:
        """The number of examples and of relevant documents, and the average precision of a random order."""
        found = {"examples": len(self.target.codes), "relevant": int(self.relevant.sum())}
        return found | {"random": random_figures(self.relevant)[0]}

    @property
    def sets(self) -> list[Codes]:
        """The examples, then each resample of them."""
        return [self.target.codes, *(np.repeat(self.target.codes, own, axis=0) for own in self.times)]

    def measured(self, scored: Scored, setting: Setting) -> Measured:
        """Return the figures, from the documents' sums by each set."""
        sums, _ = next(scored)
        ranks, other = ranks_of(sums, self.relevant), ranks_of(sums[::-1], self.relevant[::-1])
        found = {"average_precision": average_precision(ranks), "precision_at_r": precision_at(ranks, len(ranks))}
        for share in BUDGETS:
            found[f"precision_at_{share:.0%}"] = precision_at(ranks, max(1, round(share * len(self.relevant))))
        again = [average_precision(ranks_of(next(scored)[0], self.relevant)) for _ in self.times]
        return Measured(found, np.array(again), abs(average_precision(ranks) - average_precision(other)))


@dataclass(frozen=True)
class HeldOut:
    """A target whose halves are ranked among the pool by each other.

    Attributes:
        target: its examples.
        halves: int64, the places of the examples in each half.
        times: int64 [resamples, examples], how often each example is taken.
    """

    target: TargetSet
    halves: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    times: npt.NDArray[np.int64]

    @classmethod
    def of(cls, target: TargetSet, resampled: int, seed: int) -> HeldOut:
        """Return the measure of a target, halved by a seed.

        Raises:
            BadInputError: there are fewer than two examples.
        """
        count = len(target.codes)
        if count < 2:
            raise BadInputError(
                f"target {target.name} has {plural(count, 'example')}: halves need at least 2; give more examples, or labels with "
                "`relevant`"
            )
        mixed = np.random.default_rng(seed).permutation(count)
        halves = np.sort(mixed[: count // 2]), np.sort(mixed[count // 2 :])
        return cls(target, halves, resamples(count, resampled, seed))

    @property
    def about(self) -> dict[str, Any]:
        """The number of examples."""
        return {"examples": len(self.target.codes)}

    @property
    def sets(self) -> list[Codes]:
        """Both halves."""
        return [self.target.codes[half] for half in self.halves]

    def measured(self, scored: Scored, setting: Setting) -> Measured:
        """Return the figures, from the documents' sums by each half; the other half is scored here."""
        above = np.empty(len(self.target.codes))
        for other in reversed(self.halves):
            sums, by = next(scored)
            above[other] = shares_above(sums, score(self.target.codes[other], by, setting.view))
        found = {"median_share_above": float(np.median(above))}
        found |= {f"within_{share:.0%}": float((above <= share).mean()) for share in WITHIN}
        return Measured(found, np.array([np.median(np.repeat(above, own)) for own in self.times]))
