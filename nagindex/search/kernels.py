"""Compiled loops over codes; they release the GIL, so threads run them in parallel."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from nagindex.search.plain import PAD

TOGETHER = 6
"""Targets summed in one pass, for twice the time of one."""
NARROW, WIDE = 3, 2
"""Sums in a 64-bit word: three of 21 bits, or two of 32 bits where weights are large."""
BLOCK = 512
"""Documents in a block, whose sums stay in the first-level cache while a layer's table is read."""

Kernel = Callable[..., None]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call, without the GIL and cached on disk."""
    try:
        return numba.njit(nogil=True, cache=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # numba finds no folder for its cache
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


@cache
def sum_one(top_k: int) -> Kernel:
    """Return the loop that sums codes for one target.

    Its arguments are codes uint16 [n, C], columns int64 [L], table int [L*d + PAD], d, and sums int64 [n], which it
    fills.

    Layer l's neurons are the K codes from its column on. K is a constant of the compiled loop: unrolled, it runs a
    third faster than with K as an argument.
    """

    def f(codes: Any, columns: Any, table: Any, width: int, sums: Any) -> None:
        for i in range(codes.shape[0]):
            total = np.int64(0)
            for layer in range(columns.shape[0]):
                base = np.uint64(layer * width)
                first = np.uint64(columns[layer])  # numba would test whether a signed index counts from the end
                for k in range(top_k):
                    total += np.int64(table[base + np.uint64(codes[i, first + np.uint64(k)])])
            sums[i] = total

    return compiled(f)


def lane_max(lanes: int) -> int:
    """Return the largest sum that fits into a word of this many sums."""
    return (1 << 64 // lanes) - 1


@cache
def sum_six(top_k: int, lanes: int) -> Kernel:
    """Return the loop that sums codes for six targets, `lanes` (2 or 3) in each of 6 / `lanes` words.

    Its arguments are codes uint16 [n, C], columns int64 [L], table uint64 [L*d + PAD, words], d, layers, and sums int64 [6,
    n].

    A lane holds the sums of at most `layers` layers; the caller chooses it so that no lane overflows.
    """
    words, bits, mask, three = TOGETHER // lanes, np.uint64(64 // lanes), np.uint64(lane_max(lanes)), lanes == WIDE

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


@compiled
def count(codes: Any, columns: Any, top_k: int, alive: Any, counts: Any) -> None:
    """Add to int64 [L, d] `counts` the number of living rows of codes uint16 [n, C] that hold each neuron."""
    for i in range(codes.shape[0]):
        if alive[i]:
            for layer in range(columns.shape[0]):
                for k in range(top_k):
                    neuron = codes[i, columns[layer] + k]
                    if neuron < counts.shape[1]:
                        counts[layer, neuron] += 1


@compiled
def sum_vectors(codes: Any, offsets: Any, top_k: int, vectors: Any, sums: Any) -> None:
    """Fill float32 [n, d] `sums` with the sums of the vectors of each document's neurons.

    Args:
        codes: uint16 [n, L * K]; a code that its layer does not have counts as the layer's last neuron.
        offsets: int64 [L + 1], each layer's first neuron.
        top_k: codes K in a layer.
        vectors: float32 [neurons * d].
        sums: float32 [n, d], filled.
    """
    nnz, d = codes.shape[1], np.uint64(sums.shape[1])
    at = np.empty(nnz, np.uint64)  # unsigned: numba would test whether a signed index counts from the end
    for i in range(codes.shape[0]):
        for layer in range(offsets.shape[0] - 1):
            first, last = offsets[layer], offsets[layer + 1] - 1
            for k in range(layer * top_k, (layer + 1) * top_k):
                at[k] = np.uint64(min(first + np.int64(codes[i, k]), last)) * d
        total = sums[i]
        total[:] = np.float32(0)
        for k in range(0, nnz - 7, 8):  # eight vectors for each load and store of the sum
            a, b, c, e, f, g, h, m = at[k], at[k + 1], at[k + 2], at[k + 3], at[k + 4], at[k + 5], at[k + 6], at[k + 7]
            for j in range(d):
                low = (vectors[a + j] + vectors[b + j]) + (vectors[c + j] + vectors[e + j])
                total[j] += low + ((vectors[f + j] + vectors[g + j]) + (vectors[h + j] + vectors[m + j]))
        for k in range(nnz - nnz % 8, nnz):
            for j in range(d):
                total[j] += vectors[at[k] + j]


def packed_table(weights: list[npt.NDArray[np.int64]], lanes: int) -> npt.NDArray[np.uint64]:
    """Return up to six weights [L, d], none negative, as the table uint64 [L*d + PAD, 6 / `lanes`] of `sum_six`."""
    table = np.zeros((weights[0].size + PAD, TOGETHER // lanes), np.uint64)
    for target, own in enumerate(weights):
        shift = np.uint64(target % lanes * (64 // lanes))
        table[: own.size, target // lanes] |= own.astype(np.uint64).reshape(-1) << shift
    return table
