"""The codes that layouts are measured on, and their neurons ranked by popularity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.search.kernels import single_table

ROOM = 1 << 20
"""Bytes of codes that are decoded at a time."""


@dataclass(frozen=True)
class Pool:
    """Codes, popularity ranks of their neurons in each layer, and the tables of a scan.

    Attributes:
        codes: uint16 [n, L, K], mapped from a file.
        width: neurons of a layer.
        ranks: uint16 [L, d], each neuron's rank by descending popularity.
        neurons: uint16 [L, d], the neuron of each rank.
        frequencies: float64 [L, d], popularity: the share of documents with each neuron.
        tables: the counts that a scan sums, indexed by neurons and by ranks.
    """

    codes: Codes
    width: int
    ranks: npt.NDArray[np.uint16]
    neurons: npt.NDArray[np.uint16]
    frequencies: npt.NDArray[np.float64]
    tables: tuple[npt.NDArray[Any], npt.NDArray[Any]]


def make_pool(codes: Codes, width: int, path: Path) -> Pool:
    """Return a pool whose codes are mapped from a new file; the tables are the profile of its first 200 documents."""
    np.save(path, codes)
    mapped = np.load(path, mmap_mode="r")
    layers = codes.shape[1]
    counts = np.stack([np.bincount(codes[:, layer].reshape(-1), minlength=width) for layer in range(layers)])
    neurons = np.argsort(-counts, axis=1, kind="stable")
    ranks = np.argsort(neurons, axis=1).astype(np.uint16)
    examples = codes[:200]
    weights = np.stack([np.bincount(examples[:, layer].reshape(-1), minlength=width) for layer in range(layers)])
    tables = single_table(weights), single_table(np.take_along_axis(weights, neurons, axis=1))
    return Pool(mapped, width, ranks, neurons.astype(np.uint16), counts / len(codes), tables)


def mapped_to(values: Codes, names: npt.NDArray[np.uint16]) -> Codes:
    """Return names[layer, value] for values [m, L, K]."""
    return np.take(names.reshape(-1), values + (np.arange(len(names)) * names.shape[1])[:, None])


def room_of(pool: Pool) -> int:
    """Return the number of documents decoded at a time."""
    return 1 << int(math.log2(ROOM / pool.codes[0].nbytes) + 0.5)
