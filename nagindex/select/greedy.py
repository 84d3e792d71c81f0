"""Going down ranked lists one document at a time, for what depends on the documents that were chosen before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.select.near_duplicates import NearDuplicates


@dataclass(frozen=True)
class Ranked:
    """The beginning of a list, best document first.

    Attributes:
        positions: int64 [m], of the documents in the pool.
        weights: int64 [m], what each takes of the budget.
        groups: int64 [caps, m], which value of each capped column a document has.
        complete: whether no document follows.
    """

    positions: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    complete: bool


@dataclass(frozen=True)
class Walk:
    """How far a list went.

    Attributes:
        places: int64 [n], places in the list that are chosen.
        exhausted: whether the list ended before its share was met.
    """

    places: npt.NDArray[np.int64]
    exhausted: bool


@dataclass
class _State:
    """How far one list has come."""

    ranked: Ranked
    share: int
    limits: Sequence[int]
    taken: set[int]
    used_by_group: list[dict[int, int]]
    neighbors: NearDuplicates | None
    at: int = 0
    used: int = 0
    chosen: list[int] = field(default_factory=list)
    done: bool = False
    ended: bool = False


def walk(
    lists: Sequence[Ranked],
    shares: Sequence[int],
    *,
    caps: Sequence[Callable[[int], int]] = (),
    together: bool = False,
    neighbors: Callable[[], NearDuplicates] | None = None,
    codes_at: Callable[[int], Codes],
) -> list[Walk] | None:
    """Return what is chosen of each list; None where a list that goes on ended too early to tell.

    The lists take turns, one document each. A list skips documents that the constraints rule out, takes the first one always, and
    ends with the first one that its share has no room for.

    Args:
        lists: the lists.
        shares: each list's part of the budget.
        caps: for each capped column, how much of a budget its documents of one value may take.
        together: whether the lists make one selection: no document twice, caps and near duplicates counted over all.
        neighbors: makes what finds near duplicates.
        codes_at: from a position in the pool to the codes that overlaps are counted on.
    """
    common: tuple[Any, ...] = (set(), [{} for _ in caps], neighbors() if neighbors else None)
    states = []
    for ranked, share in zip(lists, shares, strict=True):
        taken, used_by_group, near = (
            common if together else (set(), [{} for _ in caps], neighbors() if neighbors else None)
        )
        limits = [cap(sum(shares) if together else share) for cap in caps]
        states.append(_State(ranked, share, limits, taken, used_by_group, near))
    while any(not state.done for state in states):
        for state in states:
            if not state.done:
                _take_one(state, codes_at)
                if state.ended and not state.ranked.complete:
                    return None
    return [Walk(np.array(s.chosen, np.int64), s.ended and s.used < s.share) for s in states]


def _take_one(state: _State, codes_at: Callable[[int], Codes]) -> None:
    """Choose a list's next document, or end the list."""
    ranked = state.ranked
    while state.at < len(ranked.positions):
        at = state.at
        position, weight = int(ranked.positions[at]), int(ranked.weights[at])
        state.at += 1
        if position in state.taken or _over_cap(state, at, weight):
            continue
        near = state.neighbors
        if near is not None and near.overlaps(codes_at(position)):
            continue
        fits = state.used + weight <= state.share
        if fits or not state.chosen:
            state.chosen.append(at)
            state.taken.add(position)
            state.used += weight
            for used, groups in zip(state.used_by_group, ranked.groups, strict=True):
                used[int(groups[at])] = used.get(int(groups[at]), 0) + weight
            if near is not None:
                near.add(codes_at(position))
        state.done = not fits
        return
    state.done = state.ended = True


def _over_cap(state: _State, at: int, weight: int) -> bool:
    return any(
        used.get(int(groups[at]), 0) + weight > limit
        for used, groups, limit in zip(state.used_by_group, state.ranked.groups, state.limits, strict=True)
    )
