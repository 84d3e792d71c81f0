"""Scorers: functions from codes to the integer sums of several targets, combining compiled loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.search import plain
from nagindex.search.profile import Nearest, Profile, Target, largest_sums
from nagindex.search.view import View

Scorer = Callable[[npt.NDArray[np.uint16], npt.NDArray[np.int64]], None]
"""f(codes uint16 [n, L * K of the index], sums int64 [targets, n]): fills each target's sums."""

WIDE_PAYS = 10
"""Neurons K in a layer from which on three targets of large weights are summed faster at once than one by one."""


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
    from nagindex.search import kernels

    groups: list[tuple[list[int], Scorer]] = []
    for first in range(0, len(profiles), kernels.TOGETHER):
        numbers, group = zip(*profiles[first : first + kernels.TOGETHER], strict=True)
        together = _six(group, columns, top_k, width)
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


def _six(profiles: Sequence[Profile], columns: npt.NDArray[np.int64], top_k: int, width: int) -> Scorer | None:
    """Return the scorer that sums for up to six targets at once; None where single passes are as fast.

    Words hold non-negative sums: from weights of a layer its least one is subtracted, and added again for each of the K neurons.
    """
    from nagindex.search import kernels

    least = [np.minimum(own.weights.min(axis=1), 0) for own in profiles]
    shifted = [own.weights - low[:, None] for own, low in zip(profiles, least, strict=True)]
    layer_sum = max(int(largest_sums(own, top_k).max()) for own in shifted)
    lanes = kernels.NARROW if layer_sum <= kernels.lane_max(kernels.NARROW) else kernels.WIDE
    fewest = 3 if lanes == kernels.NARROW or top_k >= WIDE_PAYS else 5
    if len(profiles) < fewest or not 0 < layer_sum <= kernels.lane_max(lanes):
        return None
    layers = kernels.lane_max(lanes) // layer_sum
    kernel, table = kernels.sum_six(top_k, lanes), kernels.packed_table(shifted, lanes)
    added = np.array([top_k * int(low.sum()) for low in least])[:, None]

    def sum_six(codes: npt.NDArray[np.uint16], sums: npt.NDArray[np.int64]) -> None:
        six = np.empty((kernels.TOGETHER, len(codes)), np.int64)
        kernel(codes, columns, table, width, layers, six)
        np.add(six[: len(sums)], added, out=sums)

    return sum_six


def _nearest(target: Nearest, columns: npt.NDArray[np.int64]) -> Scorer:
    from nagindex.search.nearest import nearest_scorer

    scorer = nearest_scorer(target.codes, target.spec, columns, target.nearest)
    return lambda codes, sums: scorer(codes, sums[0])
