"""Scorers: functions from codes to the integer sums of several targets, combining compiled loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.search import plain
from nagindex.search.profile import Nearest, Profile, Target
from nagindex.search.view import View

Scorer = Callable[[npt.NDArray[np.uint16], npt.NDArray[np.int64]], None]
"""f(codes uint16 [n, L * K of the index], sums int64 [targets, n]): fills each target's sums."""

TOGETHER_PAYS = 3
"""Targets from which on one pass for all of them is faster than one for each."""
WIDEST = 4
"""Most bytes of a weight in a pass for several targets."""


def scorer_of(targets: Sequence[Target], view: View, *, documents: int | None = None) -> Scorer:
    """Return the scorer of some targets; profiles share a pass over the codes where that is faster.

    Args:
        targets: targets of the view's shape.
        view: the layers and neurons to score.
        documents: how many will be scored: the sums of few are computed without compiled loops. By default many.
    """
    columns, top_k, width = view.columns, view.top_k, max(view.spec.widths)
    profiles = [(number, target) for number, target in enumerate(targets) if isinstance(target, Profile)]
    if documents is not None and _are_few(documents, targets, view):
        groups = [([number], _plain(own.weights, columns, top_k, width)) for number, own in profiles]
    else:
        groups = _compiled(profiles, columns, top_k, width)
    for number, target in enumerate(targets):
        if isinstance(target, Nearest):
            groups.append(([number], _nearest(target, columns)))

    def sum_all(codes: npt.NDArray[np.uint16], sums: npt.NDArray[np.int64]) -> None:
        for numbers, scorer in groups:
            if numbers[-1] - numbers[0] < len(numbers):
                scorer(codes, sums[numbers[0] : numbers[-1] + 1])
            else:
                group_sums = np.empty((len(numbers), len(codes)), np.int64)
                scorer(codes, group_sums)
                sums[numbers] = group_sums

    return sum_all


def needs_loops(targets: Sequence[Target], view: View, *, documents: int) -> bool:
    """Return whether the scorer of so many documents has compiled loops, which have to be loaded; see `scorer_of`."""
    return not _are_few(documents, targets, view) or any(isinstance(target, Nearest) for target in targets)


def _are_few(documents: int, targets: Sequence[Target], view: View) -> bool:
    return documents * view.spec.layers * view.top_k * len(targets) <= plain.FEW


def score(codes: Codes, target: Target, view: View | None = None) -> npt.NDArray[np.int64]:
    """Return the sums of documents, int64 [n]; the scores are the sums divided by `target.scale`.

    Args:
        codes: uint16 [n, L, K].
        target: the target to score by.
        view: the layers and neurons to score; by default all.

    Source: arXiv 2604.15706.
    """
    sums = np.empty((1, len(codes)), np.int64)
    flat = np.ascontiguousarray(codes).reshape(len(codes), codes.shape[1] * codes.shape[2])
    scorer_of([target], view or View.of(target.spec), documents=len(codes))(flat, sums)
    return sums.reshape(-1)


def _compiled(
    profiles: Sequence[tuple[int, Profile]], columns: npt.NDArray[np.int64], top_k: int, width: int
) -> list[tuple[list[int], Scorer]]:
    """Return compiled scorers, each with the numbers of its targets."""
    from nagindex.search.vectors import LANES

    groups: list[tuple[list[int], Scorer]] = []
    for first in range(0, len(profiles), LANES):
        numbers, group = zip(*profiles[first : first + LANES], strict=True)
        together = _eight(group, columns, top_k, width)
        if together is not None:
            groups.append((list(numbers), together))
        else:
            groups += [([n], _one(own.weights, columns, top_k, width)) for n, own in zip(numbers, group, strict=True)]
    return groups


def _plain(weights: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], top_k: int, width: int) -> Scorer:
    table = plain.single_table(weights)
    return lambda codes, sums: plain.sum_one(codes, columns, top_k, table, width, sums[0])


def _one(weights: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], top_k: int, width: int) -> Scorer:
    from nagindex.search import kernels

    kernel, table = kernels.sum_one(top_k), plain.single_table(weights)
    return lambda codes, sums: kernel(codes, columns, table, width, sums[0])


def _eight(profiles: Sequence[Profile], columns: npt.NDArray[np.int64], top_k: int, width: int) -> Scorer | None:
    """Return the scorer that sums for up to eight targets at once; None where single passes are as fast."""
    from nagindex.search import kernels
    from nagindex.search.vectors import LANES

    if len(profiles) < TOGETHER_PAYS:
        return None
    table = kernels.table_of_eight([own.weights for own in profiles])
    if table.itemsize > WIDEST:
        return None
    largest = max(max(-own.low, own.high) for own in profiles)
    kernel, kind = kernels.sum_eight(top_k), np.int32 if largest < 1 << 31 else np.int64

    def sum_eight(codes: npt.NDArray[np.uint16], sums: npt.NDArray[np.int64]) -> None:
        block = np.empty(kernels.BLOCK * LANES, kind)
        kernel(codes.reshape(-1), codes.shape[1], columns, table, width, block, sums)

    return sum_eight


def _nearest(target: Nearest, columns: npt.NDArray[np.int64]) -> Scorer:
    from nagindex.search.nearest import nearest_scorer

    scorer = nearest_scorer(target.codes, target.spec, columns, target.nearest)
    return lambda codes, sums: scorer(codes, sums[0])
