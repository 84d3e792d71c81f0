"""The loop that summed codes for six targets before vector instructions did, as a peer: sums of several targets lie in one 64-bit word.

Three of 21 bits, or two of 32 where weights are large; layer by layer over blocks of documents. Where a layer's sum does not fit either,
targets are summed one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from nagindex.search.kernels import Kernel, compiled
from nagindex.search.plain import PAD
from nagindex.search.profile import Profile, largest_sums
from nagindex.search.scorers import Scorer, scorer_of
from nagindex.search.view import View

TARGETS = 6
BLOCK = 512
NARROW, WIDE = 3, 2


def former_scorer(profiles: Sequence[Profile], view: View) -> Scorer:
    """Return the scorer of six profiles."""
    least = [np.minimum(own.weights.min(axis=1), 0) for own in profiles]
    shifted = [own.weights - low[:, None] for own, low in zip(profiles, least, strict=True)]
    layer_sum = max(int(largest_sums(own, view.top_k).max()) for own in shifted)
    lanes = NARROW if layer_sum < 1 << 21 else WIDE
    if layer_sum >= 1 << 32:
        alone = [scorer_of([own], view) for own in profiles]

        def one_by_one(codes: Any, sums: Any) -> None:
            for target, own in enumerate(alone):
                own(codes, sums[target : target + 1])

        return one_by_one
    table = np.zeros((shifted[0].size + PAD, TARGETS // lanes), np.uint64)
    for target, own in enumerate(shifted):
        table[: own.size, target // lanes] |= own.astype(np.uint64).reshape(-1) << np.uint64(
            target % lanes * (64 // lanes)
        )
    kernel, layers, width = (
        _sum_six(view.top_k, lanes),
        ((1 << 64 // lanes) - 1) // max(layer_sum, 1),
        max(view.spec.widths),
    )
    added = np.array([view.top_k * int(low.sum()) for low in least])[:, None]

    def scorer(codes: Any, sums: Any) -> None:
        kernel(codes, view.columns, table, width, layers, sums)
        sums += added

    return scorer


@cache
def _sum_six(top_k: int, lanes: int) -> Kernel:
    """Return the loop; its arguments are codes, columns, table, width of a layer, layers whose sums fit together, and sums [6, n]."""
    words, bits, mask, three = (
        TARGETS // lanes,
        np.uint64(64 // lanes),
        np.uint64((1 << 64 // lanes) - 1),
        lanes == WIDE,
    )

    def f(codes: Any, columns: Any, table: Any, width: int, layers: int, sums: Any) -> None:
        depth = columns.shape[0]
        block = np.empty((BLOCK, words), np.uint64)
        for start in range(0, codes.shape[0], BLOCK):
            stop = min(codes.shape[0], start + BLOCK)
            sums[:, start:stop] = 0
            for top in range(0, depth, layers):
                block[:] = 0
                for layer in range(top, min(depth, top + layers)):
                    base = np.uint64(layer * width)
                    first = np.uint64(columns[layer])
                    for i in range(start, stop):
                        a = np.uint64(0)
                        b = np.uint64(0)
                        c = np.uint64(0)
                        for k in range(top_k):
                            neuron = base + np.uint64(codes[i, first + np.uint64(k)])
                            a += table[neuron, 0]
                            b += table[neuron, 1]
                            if three:
                                c += table[neuron, 2]
                        block[i - start, 0] += a
                        block[i - start, 1] += b
                        if three:
                            block[i - start, 2] += c
                for i in range(start, stop):
                    for word in range(words):
                        for lane in range(lanes):
                            value = (block[i - start, word] >> (np.uint64(lane) * bits)) & mask
                            sums[lanes * word + lane, i] += np.int64(value)

    return compiled(f)
