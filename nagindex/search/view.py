"""What a query looks at of an index's NAGs: some of the layers, and the strongest neurons of each."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import Codes, NagSpec


@dataclass(frozen=True)
class View:
    """Some layers of NAGs and the first K' neurons of each: what encoding with these settings would have given.

    Codes stand in order of falling impact, so the K' strongest of a layer are its first.

    Attributes:
        whole: shape of the index's NAGs.
        layers: the layers looked at, ascending.
        top_k: neurons K' looked at in each.
    """

    whole: NagSpec
    layers: tuple[int, ...]
    top_k: int

    @classmethod
    def of(cls, spec: NagSpec, layers: str | None = None, top_k: int | None = None) -> View:
        """Return the view that a query asks for.

        Args:
            spec: shape of the index's NAGs.
            layers: such as `last`, `first`, `0-13`, `0,2` or `0-3,last`; by default all.
            top_k: by default all that the index keeps.

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
        """Shape of the NAGs as this view shows them."""
        return NagSpec(self.whole.neuron_type, tuple(self.whole.widths[layer] for layer in self.layers), self.top_k)

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        """Column of each layer's first code in a row of the index's codes, [L * K] each; int64 [layers]."""
        return np.array(self.layers, np.int64) * self.whole.top_k

    def __call__(self, codes: Codes) -> Codes:
        """Return what is looked at of codes, uint16 [n, L, K] to [n, layers, K']."""
        if len(self.layers) == self.whole.layers:
            return codes[:, :, : self.top_k]
        return codes[:, list(self.layers), : self.top_k]


def layers_of(written: str | None, count: int) -> tuple[int, ...]:
    """Return the layers, ascending, that are written as numbers, ranges, `first` and `last` with commas between them.

    Raises:
        BadInputError: it is written otherwise, or one of `count` layers is meant that does not exist.
    """
    if written is None or written.strip() == "all":
        return tuple(range(count))
    found: set[int] = set()
    for part in written.replace(" ", "").split(","):
        match = re.fullmatch(r"(first|last|[0-9]+)(?:-(first|last|[0-9]+))?", part)
        if match is None:
            raise BadInputError(f"layers {written!r}: write last, first, all, 0-13, or 0,2,5")
        ends = {"first": 0, "last": count - 1}
        low, high = (int(ends.get(end, end)) for end in (match[1], match[2] or match[1]))
        if low > high:
            raise BadInputError(f"layers {written!r}: the range {part} falls; write {high}-{low}")
        if high >= count:
            raise BadInputError(f"layers {written!r}: the index has layers 0 to {count - 1}")
        found.update(range(low, high + 1))
    return tuple(sorted(found))
