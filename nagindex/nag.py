"""Neuron-Activated Graphs (NAGs): their shape, the selection of their neurons, and the overlap of two."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint16]
"""NAGs of n documents, uint16 [n, L, K]: neuron indices per layer in descending order of impact."""

CODE_DTYPE = np.dtype("<u2")
FLOOR = np.float32(0.1)
"""Share of a layer's average mean impact that is added to each neuron's mean, for neurons that are nearly always silent."""
MAX_WIDTH = 1 << 16
MAX_NEURONS = 1 << 24
"""Maximum of L times the widest layer's width: the size of a padded table of one weight a neuron."""


def default_top_k(width: int) -> int:
    """Return the default K for a layer of `width` neurons: 0.3 % of the width in tens.

    At least 10, at most `width`. This is the paper's table: 6144 -> 20, 8192 -> 20, 11008 -> 30, 3072 -> 10.

    Source: the values of K used in arXiv 2604.15706.
    """
    return min(width, max(10, round(0.003 * width / 10) * 10))


def default_relative_top_k(width: int) -> int:
    """Return the default K for relative impact in a layer of `width` neurons: 0.3 % of the width, at least 5."""
    return min(width, max(5, round(0.003 * width)))


def clip_top_k(top_k: int, widths: Sequence[int]) -> int:
    """Return K clipped to the narrowest layer's width.

    K is the same in all layers, so no layer can keep more neurons than the narrowest one has. A caller that takes K
    from a user reports it when the result is below the requested value.

    Args:
        top_k: requested number of neurons kept of each layer.
        widths: neurons d_l of each layer, at least one layer.
    """
    return min(top_k, *widths)


@dataclass(frozen=True)
class NagSpec:
    """Shape of an index's NAGs: neuron type, layer widths and K.

    Attributes:
        neuron_type: name of the projection whose output columns are the neurons, e.g. `up`.
        widths: neurons d_l of each layer, length L.
        top_k: number of neurons K kept of each layer, the same in all layers.
        numbers: numbers of the layers in the backbone, ascending; None for all of its layers, 0 to L - 1.

    Raises:
        ValueError: no layers, a width or their total out of range, K not in 1 to the narrowest width, or numbers that are not
            ascending or not one a layer.
    """

    neuron_type: str
    widths: tuple[int, ...]
    top_k: int
    numbers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or max(self.widths) > MAX_WIDTH:
            raise ValueError(f"a layer has 1 to {MAX_WIDTH} neurons, got widths {self.widths}")
        if len(self.widths) * max(self.widths) > MAX_NEURONS:
            raise ValueError(
                f"{len(self.widths)} layers of up to {max(self.widths)} neurons exceed {MAX_NEURONS} in total"
            )
        if not 1 <= self.top_k <= min(self.widths):
            raise ValueError(f"top_k must be 1 to {min(self.widths)}, got {self.top_k}")
        if self.numbers is not None:
            ascending = all(a < b for a, b in itertools.pairwise((-1, *self.numbers)))
            if len(self.numbers) != len(self.widths) or not ascending:
                raise ValueError(f"{len(self.widths)} layers with the numbers {self.numbers}")

    @property
    def layers(self) -> int:
        """Number of layers L."""
        return len(self.widths)

    @property
    def layer_numbers(self) -> tuple[int, ...]:
        """Numbers of the layers in the backbone, ascending."""
        return tuple(range(self.layers)) if self.numbers is None else self.numbers

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (L, K) of one document's NAG."""
        return self.layers, self.top_k

    @property
    def bytes_per_document(self) -> int:
        """Size of one document's codes in bytes."""
        return self.layers * self.top_k * CODE_DTYPE.itemsize

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Offset of each layer's first neuron in the concatenation of all layers, int64 [L + 1]."""
        return np.concatenate([[0], np.cumsum(self.widths)]).astype(np.int64)


def top_k(impacts: npt.NDArray[np.floating[Any]], k: int) -> Codes:
    """Return the k neurons of largest impact, uint16 [..., k], impact-descending, ties to the lower index.

    Args:
        impacts: float [..., d], impact of each of a layer's d neurons.
        k: number of neurons to keep, 1 to d.

    Source: arXiv 2604.15706.
    """
    return np.argsort(-impacts, axis=-1, kind="stable")[..., :k].astype(CODE_DTYPE)


def impact_divisors(means: npt.NDArray[np.float32], widths: Sequence[int]) -> list[npt.NDArray[np.float32]]:
    """Return what impacts are divided by to become relative, float32 [d_l] of each layer.

    A neuron's divisor is its mean impact plus `FLOOR` times the average of the layer's means; 1 in a layer whose means are all 0.

    Args:
        means: float32 [L, max d_l], mean impact of each neuron over a calibration sample.
        widths: neurons d_l of each layer.
    """
    divisors = []
    for layer, width in zip(means, widths, strict=True):
        own = layer[:width].astype(np.float32)
        divisor = own + FLOOR * np.float32(own.mean(dtype=np.float64))
        divisors.append(np.where(divisor > 0, divisor, np.float32(1)).astype(np.float32))
    return divisors


def dice(a: Codes, b: Codes) -> float:
    """Return the Dice overlap of two NAGs, averaged over layers, from 0 to 1.

    Args:
        a: NAG of one document, uint16 [L, K].
        b: NAG of another document, uint16 [L, K].

    Source: arXiv 2604.15706.
    """
    return float(np.mean([len(np.intersect1d(x, y)) / len(x) for x, y in zip(a, b, strict=True)]))


def invalid_rows(codes: Codes, spec: NagSpec) -> npt.NDArray[np.int64]:
    """Return the positions, int64 [m], of NAGs with a repeated or an out-of-range neuron.

    Args:
        codes: uint16 [n, L, K].
        spec: layer widths to check against.
    """
    ordered = np.sort(codes, axis=-1)
    repeated = (ordered[..., 1:] == ordered[..., :-1]).any(axis=-1)
    too_large = ordered[..., -1] >= np.asarray(spec.widths)
    return np.flatnonzero((repeated | too_large).any(axis=-1))
