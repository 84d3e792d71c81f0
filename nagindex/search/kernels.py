"""The compiled loops of the exact scan; they release the GIL, so threads run them side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

TOGETHER = 6
"""Targets whose sums one pass makes: three 21-bit sums in each of two 64-bit words, for twice the time of one target."""
LANE_BITS = 21
LANE_MAX = (1 << LANE_BITS) - 1
BLOCK = 512
"""Documents whose sums are kept in the first-level cache while a layer's table is passed over."""

PAD = 1 << 16
"""Zeros behind every table: a damaged code may name a neuron that no layer has, and must not reach other memory."""

Kernel = Callable[..., None]


def compiled(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    """Return a function compiled on its first call, without the GIL, and kept on disk for other processes."""
    try:
        return numba.njit(nogil=True, cache=True, **settings)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder that numba could keep compiled code in
        return numba.njit(nogil=True, **settings)(function)  # type: ignore[no-any-return]


@cache
def sum_one(top_k: int) -> Kernel:
    """Return f(codes uint16 [n, C], columns int64 [L], table int [L*d + PAD], d, sums int64 [n]) for one target.

    Layer l's neurons are the K codes from its column on. K is a constant of the compiled loop: unrolled, it runs a third faster
    than with K as an argument.
    """

    def f(codes: Any, columns: Any, table: Any, width: int, sums: Any) -> None:
        for i in range(codes.shape[0]):
            total = np.int64(0)
            for layer in range(columns.shape[0]):
                base = np.uint64(layer * width)
                first = np.uint64(columns[layer])  # of a signed index it would be asked whether it is negative
                for k in range(top_k):
                    total += np.int64(table[base + np.uint64(codes[i, first + np.uint64(k)])])
            sums[i] = total

    return compiled(f)


@cache
def sum_six(top_k: int) -> Kernel:
    """Return f(codes uint16 [n, C], columns int64 [L], table uint64 [L*d + PAD, 2], d, layers, sums int64 [6, n]) for six targets.

    A lane holds the sums of at most `layers` layers, which the caller chooses so that no lane overflows.
    """

    def f(codes: Any, columns: Any, table: Any, width: int, layers: int, sums: Any) -> None:
        depth = columns.shape[0]
        words = np.empty((BLOCK, 2), np.uint64)
        for start in range(0, codes.shape[0], BLOCK):
            stop = min(codes.shape[0], start + BLOCK)
            sums[:, start:stop] = 0
            for top in range(0, depth, layers):
                words[:] = 0
                for layer in range(top, min(depth, top + layers)):
                    base = np.uint64(layer * width)
                    first = np.uint64(columns[layer])
                    for i in range(start, stop):
                        a = np.uint64(0)
                        b = np.uint64(0)
                        for k in range(top_k):
                            neuron = base + np.uint64(codes[i, first + np.uint64(k)])
                            a += table[neuron, 0]
                            b += table[neuron, 1]
                        words[i - start, 0] += a
                        words[i - start, 1] += b
                for i in range(start, stop):
                    for word in range(2):
                        for lane in range(3):
                            value = (words[i - start, word] >> np.uint64(lane * LANE_BITS)) & np.uint64(LANE_MAX)
                            sums[3 * word + lane, i] += np.int64(value)

    return compiled(f)


@compiled
def bins_of(keys: Any, low: float, bins_per_unit: float, last: int, bins: Any) -> None:
    """Fill int32 [n] `bins` with the bins, 0 to `last`, of int64 or float64 [n] keys; a larger key has no smaller bin."""
    for i in range(keys.shape[0]):  # damaged codes can sum to what no NAG does
        bins[i] = np.int32(min(max((np.float64(keys[i]) - low) * bins_per_unit, 0.0), np.float64(last)))


@compiled
def collect(bins: Any, alive: Any, weights: Any, threshold: int, histogram: Any, rows: Any) -> int:
    """Note the living rows whose bin reaches a threshold; return how many there are.

    Args:
        bins: int32 [n], each row's bin.
        alive: bool [n], rows that may be selected.
        weights: int64 [n], what each row takes of the budget.
        threshold: lowest bin that can still be selected.
        histogram: int64 [bins], grows by the weights of the rows noted.
        rows: int64 [>= n], filled with their positions.
    """
    found = 0
    for i in range(bins.shape[0]):
        if alive[i] and bins[i] >= threshold:
            histogram[bins[i]] += weights[i]
            rows[found] = i
            found += 1
    return found


@compiled
def count(codes: Any, columns: Any, top_k: int, alive: Any, counts: Any) -> None:
    """Add to int64 [L, d] `counts` the living rows of codes uint16 [n, C] that hold each neuron."""
    for i in range(codes.shape[0]):
        if alive[i]:
            for layer in range(columns.shape[0]):
                for k in range(top_k):
                    neuron = codes[i, columns[layer] + k]
                    if neuron < counts.shape[1]:
                        counts[layer, neuron] += 1


@compiled
def multiply_integers(values: Any, weights: Any, products: Any) -> None:
    """Fill int32 [n] `products` with the inner products of int8 [n, d] values and int16 [d] weights."""
    for i in range(values.shape[0]):
        total = np.int32(0)
        for j in range(values.shape[1]):
            total += np.int32(values[i, j]) * np.int32(weights[j])
        products[i] = total


@partial(compiled, fastmath={"reassoc", "contract"})  # any order of summation is within the bound on rounding
def multiply_halves(values: Any, weights: Any, products: Any) -> None:
    """Fill float32 [n] `products` with the inner products of float16 [n, d] values, as uint16, and float32 [d] weights * 2^112."""
    for i in range(values.shape[0]):
        total = np.float32(0)
        for j in range(values.shape[1]):
            half = np.uint32(values[i, j])
            bits = ((half & np.uint32(0x7FFF)) << np.uint32(13)) | ((half & np.uint32(0x8000)) << np.uint32(16))
            total += np.uint32(bits).view(np.float32) * weights[j]
        products[i] = total


def single_table(counts: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return counts [L, d] as the [L*d + PAD] that `sum_one` takes, in the narrowest type: it should stay in the cache."""
    low, high = int(counts.min(initial=0)), int(counts.max(initial=0))
    kind = (
        np.min_scalar_type(high) if low >= 0 else np.result_type(np.min_scalar_type(low), np.min_scalar_type(-high - 1))
    )
    return np.pad(counts.astype(kind).reshape(-1), (0, PAD))


def packed_table(counts: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.uint64]:
    """Return the counts of up to six targets, each [L, d], as the uint64 [L*d + PAD, 2] that `sum_six` takes."""
    table = np.zeros((counts[0].size + PAD, 2), np.uint64)
    for target, count in enumerate(counts):
        table[: count.size, target // 3] |= count.astype(np.uint64).reshape(-1) << np.uint64(target % 3 * LANE_BITS)
    return table
