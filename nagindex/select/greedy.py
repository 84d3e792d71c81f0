"""Greedy constrained selection: documents taken from rankings one by one, since each choice limits the following ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.progress import step

if TYPE_CHECKING:
    from nagindex.select.near_duplicates import NearDuplicates


@dataclass(frozen=True)
class RankedPrefix:
    """The first documents of a ranking, best first.

    Attributes:
        positions: int64 [m], positions of the documents.
        weights: int64 [m], what each takes of the budget.
        groups: int64 [caps, m], which value of each capped column a document has.
        complete: whether the ranking ends here.
    """

    positions: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    complete: bool


@dataclass(frozen=True)
class GreedyChoice:
    """The documents chosen from one ranking.

    Attributes:
        indices: int64 [n], their indices in the ranking.
        exhausted: whether the ranking ended before its share of the budget was used.
        ended_by: index of the document that did not fit and ended the ranking; None if there is none.
    """

    indices: npt.NDArray[np.int64]
    exhausted: bool
    ended_by: int | None


@dataclass
class _Progress:
    """How far the selection from one ranking has come."""

    ranking: RankedPrefix
    share: int
    limits: Sequence[int]
    taken: set[int]
    used_by_group: list[dict[int, int]]
    near_duplicates: NearDuplicates | None
    next: int = 0
    used: int = 0
    chosen: list[int] = field(default_factory=list)
    done: bool = False
    ran_out: bool = False
    ended_by: int | None = None


def select_greedily(
    rankings: Sequence[RankedPrefix],
    shares: Sequence[int],
    *,
    caps: Sequence[Callable[[int], int]] = (),
    together: bool = False,
    near_duplicates: Callable[[], NearDuplicates] | None = None,
    codes_of: Callable[[int], Codes],
) -> list[GreedyChoice] | None:
    """Select documents from each ranking in order, skipping those that violate a constraint.

    The rankings take turns, one document each. The first document of a ranking that violates no constraint is always taken; a
    ranking ends with the first one that does not fit its share of the budget.

    Args:
        rankings: the rankings, each with as many documents as have been fetched.
        shares: each ranking's share of the budget.
        caps: for each capped column, f(budget): how much of it documents with the same value may take.
        together: whether the rankings make one selection: no document twice, caps and near-duplicates counted over all of them.
        near_duplicates: makes an empty set of chosen NAGs to compare with.
        codes_of: f(position): the codes that overlaps are counted on, uint16 [L, K].

    Returns:
        A choice for each ranking; None if a truncated ranking ran out before its share was used: fetch more of it and retry.
    """

    def nothing_chosen() -> tuple[set[int], list[dict[int, int]], NearDuplicates | None]:
        return set(), [{} for _ in caps], near_duplicates() if near_duplicates else None

    common = nothing_chosen()
    states = []
    for ranking, share in zip(rankings, shares, strict=True):
        taken, used_by_group, chosen_nags = common if together else nothing_chosen()
        limits = [cap(sum(shares) if together else share) for cap in caps]
        states.append(_Progress(ranking, share, limits, taken, used_by_group, chosen_nags))
    with step("choosing documents", sum(shares)) as advance:
        while any(not state.done for state in states):
            for state in states:
                if not state.done:
                    before = state.used
                    _take_next(state, codes_of)
                    if state.ran_out and not state.ranking.complete:
                        return None
                    advance(state.used - before)
    return [GreedyChoice(np.array(s.chosen, np.int64), s.ran_out and s.used < s.share, s.ended_by) for s in states]


def _take_next(state: _Progress, codes_of: Callable[[int], Codes]) -> None:
    """Choose a ranking's next document, or end the ranking."""
    ranking, near_duplicates = state.ranking, state.near_duplicates
    while state.next < len(ranking.positions):
        index = state.next
        position, weight = int(ranking.positions[index]), int(ranking.weights[index])
        state.next += 1
        if position in state.taken or _exceeds_cap(state, index, weight):
            continue
        codes = None if near_duplicates is None else codes_of(position)
        if near_duplicates is not None and codes is not None and near_duplicates.overlaps(codes):
            continue
        fits = state.used + weight <= state.share
        if fits or not state.chosen:
            state.chosen.append(index)
            state.taken.add(position)
            state.used += weight
            for used, groups in zip(state.used_by_group, ranking.groups, strict=True):
                used[int(groups[index])] = used.get(int(groups[index]), 0) + weight
            if near_duplicates is not None and codes is not None:
                near_duplicates.add(codes)
        state.done, state.ended_by = not fits, None if fits else index
        return
    state.done = state.ran_out = True


def _exceeds_cap(state: _Progress, index: int, weight: int) -> bool:
    return any(
        used.get(int(groups[index]), 0) + weight > limit
        for used, groups, limit in zip(state.used_by_group, state.ranking.groups, state.limits, strict=True)
    )
