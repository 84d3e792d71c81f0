"""Compiled loops over codes; they release the GIL, so threads run them in parallel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from nagindex.search.plain import single_table
from nagindex.search.vectors import LANES, plus_row, store, zeros_like

LINE = 64
"""Bytes of a cache line."""
BLOCK = 64
"""Documents in a block, whose sums stay in the first-level cache."""

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


@cache
def sum_eight(top_k: int) -> Kernel:
    """Return the loop that sums codes for up to eight targets.

    Its arguments are codes uint16 [n * C], C, columns int64 [L], table of integers [(L*d + PAD) * 8], d, block int32 or int64
    [`BLOCK` * 8], which it overwrites and whose numbers can hold every sum, and sums int64 [targets, n], which it fills.
    """

    def f(codes: Any, row: int, columns: Any, table: Any, width: int, block: Any, sums: Any) -> None:
        depth, (targets, documents) = columns.shape[0], sums.shape
        for start in range(0, documents, BLOCK):
            size = min(documents - start, BLOCK)
            for i in range(size):
                total = zeros_like(block)
                for layer in range(depth):
                    base = np.uint64(layer * width)
                    first = np.uint64((start + i) * row + columns[layer])
                    for k in range(top_k):
                        total = plus_row(table, base + np.uint64(codes[first + np.uint64(k)]), total)
                store(block, i * LANES, total)
            for target in range(targets):
                for i in range(size):
                    sums[target, start + i] = block[i * LANES + target]

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


def table_of_eight(weights: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.integer]:
    """Return up to eight weights [L, d] as the table [(L*d + PAD) * 8] of `sum_eight`, in the narrowest type."""
    tables = [single_table(own) for own in weights]
    table = aligned_zeros((len(tables[0]), LANES), np.result_type(*tables))
    for target, own in enumerate(tables):
        table[:, target] = own
    return table.reshape(-1)


def aligned_zeros(shape: Sequence[int], kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return zeros, aligned to a cache line."""
    size, item = math.prod(shape), np.dtype(kind).itemsize
    padded = np.zeros(size + LINE // item, kind)
    start = -padded.ctypes.data % LINE // item
    return padded[start : start + size].reshape(shape)
