"""Views of NAGs: some of an index's layers, and the K' strongest neurons of each."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import Codes, NagSpec


@dataclass(frozen=True)
class View:
    """Some layers of NAGs and the first K' neurons of each, as encoded with these settings.

    Codes are in order of descending impact, so the first K' of a layer are its strongest.

    Attributes:
        whole: shape of the index's NAGs.
        layers: the layers of the view, ascending.
        top_k: neurons K' in each layer.
    """

    whole: NagSpec
    layers: tuple[int, ...]
    top_k: int

    @classmethod
    def of(cls, spec: NagSpec, layers: str | None = None, top_k: int | None = None) -> View:
        """Return the view with these layers and this K'.

        Args:
            spec: shape of the index's NAGs.
            layers: such as `last`, `first`, `0-13`, `0,2` or `0-3,last`; by default all.
            top_k: neurons K'; by default all K that the index keeps.

        Raises:
            BadInputError: a layer is out of range, or the index keeps fewer neurons than `top_k`.
        """
        if top_k is not None and not 1 <= top_k <= spec.top_k:
            raise BadInputError(
                f"top-k {top_k}: the index keeps the {spec.top_k} strongest neurons of a layer; ask for 1 to {spec.top_k}"
            )
        return cls(spec, layers_of(layers, spec.layers), spec.top_k if top_k is None else top_k)

    @property
    def spec(self) -> NagSpec:
        """Shape of the NAGs in this view."""
        return NagSpec(self.whole.neuron_type, tuple(self.whole.widths[layer] for layer in self.layers), self.top_k)

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        """Columns of each layer's first code in flattened codes [n, L * K] of the index, int64 [layers]."""
        return np.array(self.layers, np.int64) * self.whole.top_k

    def __call__(self, codes: Codes) -> Codes:
        """Return the view of codes, uint16 [n, L, K], as uint16 [n, layers, K']."""
        if len(self.layers) == self.whole.layers:
            return codes[:, :, : self.top_k]
        return codes[:, list(self.layers), : self.top_k]


def layers_of(written: str | None, count: int) -> tuple[int, ...]:
    """Parse a list of layers: numbers, ranges, `first` and `last`, separated by commas.

    Args:
        written: the list; None or `all` for all layers.
        count: number of layers of the index.

    Returns:
        Layer numbers, ascending.

    Raises:
        BadInputError: the list cannot be parsed, or a layer is out of range.
    """
    if written is None or written.strip() == "all":
        return tuple(range(count))
    chosen: set[int] = set()
    for part in written.replace(" ", "").split(","):
        match = re.fullmatch(r"(first|last|[0-9]+)(?:-(first|last|[0-9]+))?", part)
        if match is None:
            raise BadInputError(f"layers {written!r}: write last, first, all, 0-13, or 0,2,5")
        ends = {"first": 0, "last": count - 1}
        low, high = (int(ends.get(end, end)) for end in (match[1], match[2] or match[1]))
        if low > high:
            raise BadInputError(f"layers {written!r}: the range {part} is descending; write {high}-{low}")
        if high >= count:
            raise BadInputError(f"layers {written!r}: the index has layers 0 to {count - 1}")
        chosen.update(range(low, high + 1))
    return tuple(sorted(chosen))
