"""Scorers: functions from codes to the integer sums of several targets, combining compiled loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.search.profile import Nearest, Profile, Target
from nagindex.search.view import View

Scorer = Callable[[npt.NDArray[np.uint16], npt.NDArray[np.int64]], None]
"""f(codes uint16 [n, L * K of the index], sums int64 [targets, n]): fills each target's sums."""


def scorer_of(targets: Sequence[Target], view: View) -> Scorer:
    """Return the scorer of some targets; profiles share a pass over the codes where that is faster.

    Args:
        targets: targets of the view's shape.
        view: the layers and neurons to score.
    """
    from nagindex.search import kernels

    columns, top_k, width = view.columns, view.top_k, max(view.spec.widths)
    groups: list[tuple[list[int], Scorer]] = []
    profiles = [number for number, target in enumerate(targets) if isinstance(target, Profile)]
    for first in range(0, len(profiles), kernels.TOGETHER):
        group = profiles[first : first + kernels.TOGETHER]
        weights = [target.weights for target in (targets[number] for number in group) if isinstance(target, Profile)]
        layer_sum = top_k * max(int(w.max(initial=0)) for w in weights)
        if len(group) > 2 and 0 < layer_sum <= kernels.LANE_MAX and min(int(w.min(initial=0)) for w in weights) >= 0:
            groups.append((group, _six(weights, columns, top_k, width, kernels.LANE_MAX // layer_sum)))
        else:
            groups += [([n], _one(w, columns, top_k, width)) for n, w in zip(group, weights, strict=True)]
    for number, target in enumerate(targets):
        if isinstance(target, Nearest):
            groups.append(([number], _nearest(target, columns)))

    def sum_all(codes: npt.NDArray[np.uint16], sums: npt.NDArray[np.int64]) -> None:
        for numbers, scorer in groups:
            group_sums = np.empty((len(numbers), len(codes)), np.int64)
            scorer(codes, group_sums)
            sums[numbers] = group_sums

    return sum_all


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
    scorer_of([target], view or View.of(target.spec))(flat, sums)
    return sums.reshape(-1)


def _one(weights: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], top_k: int, width: int) -> Scorer:
    from nagindex.search import kernels

    kernel, table = kernels.sum_one(top_k), kernels.single_table(weights)
    return lambda codes, sums: kernel(codes, columns, table, width, sums[0])


def _six(
    weights: list[npt.NDArray[np.int64]], columns: npt.NDArray[np.int64], top_k: int, width: int, layers: int
) -> Scorer:
    from nagindex.search import kernels

    kernel, table = kernels.sum_six(top_k), kernels.packed_table(weights)

    def sum_six(codes: npt.NDArray[np.uint16], sums: npt.NDArray[np.int64]) -> None:
        six = np.empty((kernels.TOGETHER, len(codes)), np.int64)
        kernel(codes, columns, table, width, layers, six)
        sums[:] = six[: len(sums)]

    return sum_six


def _nearest(target: Nearest, columns: npt.NDArray[np.int64]) -> Scorer:
    from nagindex.search.nearest import nearest_scorer

    scorer = nearest_scorer(target.codes, target.spec, columns, target.nearest)
    return lambda codes, sums: scorer(codes, sums[0])
