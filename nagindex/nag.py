"""What a Neuron-Activated Graph is: its shape, the choice of its neurons, and the overlap of two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint16]
"""NAGs of n documents, uint16 [n, L, K]; each row of K is ordered by falling impact."""

CODE_DTYPE = np.dtype("<u2")
MAX_WIDTH = 1 << 16
MAX_NEURONS = 1 << 24
"""In all layers together, each counted as the widest: what a target's weights are kept for in memory."""


def default_top_k(width: int) -> int:
    """Return the neurons kept of a layer with `width` neurons: 0.3 % in tens, at least ten, at most all.

    This is the paper's table: 6144 -> 20, 8192 -> 20, 11008 -> 30, 3072 -> 10.

    Source: the values of K used in arXiv 2604.15706.
    """
    return min(width, max(10, round(0.003 * width / 10) * 10))


@dataclass(frozen=True)
class NagSpec:
    """The shape of an index's NAGs: which neurons were looked at and how many of them are kept.

    Attributes:
        neuron_type: the projection whose output columns are the neurons, e.g. `up`.
        widths: neurons d_l of each layer, length L.
        top_k: neurons K kept of each layer, the same in all layers.
    """

    neuron_type: str
    widths: tuple[int, ...]
    top_k: int

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or max(self.widths) > MAX_WIDTH:
            raise ValueError(f"a layer has 1 to {MAX_WIDTH} neurons, got widths {self.widths}")
        if len(self.widths) * max(self.widths) > MAX_NEURONS:
            raise ValueError(f"{len(self.widths)} layers of up to {max(self.widths)} neurons are above {MAX_NEURONS}")
        if not 1 <= self.top_k <= min(self.widths):
            raise ValueError(f"top_k must be 1 to {min(self.widths)}, got {self.top_k}")

    @property
    def layers(self) -> int:
        """Number of layers L."""
        return len(self.widths)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (L, K) of one document's NAG."""
        return self.layers, self.top_k

    @property
    def bytes_per_document(self) -> int:
        """Bytes of one document's codes."""
        return self.layers * self.top_k * CODE_DTYPE.itemsize

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Position of each layer's first neuron in the concatenation of all layers, int64 [L + 1]."""
        return np.concatenate([[0], np.cumsum(self.widths)]).astype(np.int64)


def top_k(impacts: npt.NDArray[np.floating[Any]], k: int) -> Codes:
    """Return the k neurons of largest impact, uint16 [..., k], ordered by falling impact, ties to the lower index.

    Args:
        impacts: float [..., d], the impact of each of a layer's d neurons.
        k: how many to keep, 1 to d.

    Source: arXiv 2604.15706.
    """
    return np.argsort(-impacts, axis=-1, kind="stable")[..., :k].astype(CODE_DTYPE)


def dice(a: Codes, b: Codes) -> float:
    """Return the mean over layers of the Dice overlap of two NAGs, 0 to 1.

    Args:
        a: uint16 [L, K], a document's NAG.
        b: uint16 [L, K], another's.

    Source: arXiv 2604.15706.
    """
    return float(np.mean([len(np.intersect1d(x, y)) / len(x) for x, y in zip(a, b, strict=True)]))


def invalid_rows(codes: Codes, spec: NagSpec) -> npt.NDArray[np.int64]:
    """Return the positions, int64 [m], of NAGs that hold a neuron twice or one that the layer does not have.

    Args:
        codes: uint16 [n, L, K].
        spec: the shape they must have.
    """
    ordered = np.sort(codes, axis=-1)
    repeated = (ordered[..., 1:] == ordered[..., :-1]).any(axis=-1)
    too_large = ordered[..., -1] >= np.asarray(spec.widths)
    return np.flatnonzero((repeated | too_large).any(axis=-1))
