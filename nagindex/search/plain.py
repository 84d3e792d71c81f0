"""The compiled loops in numpy, for few codes: loading numba and compiled code takes longer than a second, these nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FEW = 1 << 26
"""Most codes that are read here, in 0.2 to 0.3 s; compiled loops are 3 to 6 times as fast."""
PAD = 1 << 16
"""Zeros after every table, which damaged codes beyond a layer's width read."""
BLOCK = 512
"""Documents in a block, whose gathered weights stay in the cache."""
COUNTED = 8192
"""Documents whose neurons are counted at once."""

Codes = npt.NDArray[np.uint16]
Integers = npt.NDArray[np.int64]


def single_table(weights: Integers) -> npt.NDArray[np.integer]:
    """Return weights [L, d] as the table [L*d + PAD] of `sum_one`, in the narrowest type."""
    low, high = int(weights.min(initial=0)), int(weights.max(initial=0))
    kind = (
        np.min_scalar_type(high) if low >= 0 else np.result_type(np.min_scalar_type(low), np.min_scalar_type(-high - 1))
    )
    return np.pad(weights.astype(kind).reshape(-1), (0, PAD))


def sum_one(
    codes: Codes, columns: Integers, top_k: int, table: npt.NDArray[np.integer], width: int, sums: Integers
) -> None:
    """Fill int64 [n] `sums` with the sums of codes, uint16 [n, C]; arguments as of the compiled `sum_one`."""
    bases = (np.arange(len(columns), dtype=np.int32) * width).repeat(top_k)
    places = (columns[:, None] + np.arange(top_k)).reshape(-1)
    for first in range(0, len(codes), BLOCK):
        neurons = codes[first : first + BLOCK][:, places] + bases
        np.take(table, neurons).sum(axis=1, dtype=np.int64, out=sums[first : first + BLOCK])


def count(codes: Codes, columns: Integers, top_k: int, alive: npt.NDArray[np.bool_], counts: Integers) -> None:
    """Add to int64 [L, d] `counts` the number of living rows that hold each neuron; arguments as of the compiled `count`."""
    width = counts.shape[1]
    for start in range(0, len(codes), COUNTED):
        living = codes[start : start + COUNTED][alive[start : start + COUNTED]]
        for layer, first in enumerate(columns.tolist()):
            counts[layer] += np.bincount(living[:, first : first + top_k].reshape(-1), minlength=width)[:width]
