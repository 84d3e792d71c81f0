"""Views of NAGs: some of an index's layers, and the K' strongest neurons of each."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from nagindex.arguments import layer_ranges
from nagindex.errors import BadInputError
from nagindex.nag import Codes, NagSpec

FIRST_PARTS = {"first-quarter": Fraction(1, 4), "first-third": Fraction(1, 3), "first-half": Fraction(1, 2)}
"""Shares of the layers, from the first one on, by name; the number of layers is rounded up."""


@dataclass(frozen=True)
class View:
    """Some layers of NAGs and the first K' neurons of each, as encoded with these settings.

    Codes are in order of descending impact, so the first K' of a layer are its strongest.

    Attributes:
        whole: shape of the index's NAGs.
        layers: places of the view's layers in the index, ascending.
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
            layers: such as `last`, `first`, `0-13`, `0,2`, `0-3,last` or `first-third`, in the backbone's numbers; by default all.
            top_k: neurons K'; by default all K that the index keeps.

        Raises:
            BadInputError: a layer is out of range, or the index keeps fewer neurons than `top_k`.
        """
        if top_k is not None and not 1 <= top_k <= spec.top_k:
            raise BadInputError(
                f"top-k {top_k}: the index keeps the {spec.top_k} strongest neurons of a layer; ask for 1 to {spec.top_k}"
            )
        numbers = layers_of(layers, spec.layer_numbers)
        chosen = tuple(place for place, number in enumerate(spec.layer_numbers) if number in set(numbers))
        return cls(spec, chosen, spec.top_k if top_k is None else top_k)

    @property
    def spec(self) -> NagSpec:
        """Shape of the NAGs in this view."""
        numbers = self.whole.numbers and tuple(self.whole.numbers[layer] for layer in self.layers)
        widths = tuple(self.whole.widths[layer] for layer in self.layers)
        return NagSpec(self.whole.neuron_type, widths, self.top_k, numbers)

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        """Columns of each layer's first code in flattened codes [n, L * K] of the index, int64 [layers]."""
        return np.array(self.layers, np.int64) * self.whole.top_k

    def __call__(self, codes: Codes) -> Codes:
        """Return the view of codes, uint16 [n, L, K], as uint16 [n, layers, K']."""
        if len(self.layers) == self.whole.layers:
            return codes[:, :, : self.top_k]
        return codes[:, list(self.layers), : self.top_k]


def layers_of(written: str | None, numbers: Sequence[int], *, what: str = "the index") -> tuple[int, ...]:
    """Parse a list of layers: numbers, ranges, `first`, `last` and first parts such as `first-third`, separated by commas.

    Args:
        written: the list; None or `all` for all layers.
        numbers: numbers of the layers that there are, ascending.
        what: what has these layers, for messages.

    Returns:
        Layer numbers, ascending.

    Raises:
        BadInputError: the list cannot be parsed, or a layer is out of range.
    """
    if written is None or written.strip() == "all":
        return tuple(numbers)
    chosen: set[int] = set()
    for part in written.replace(" ", "").split(","):
        if part in FIRST_PARTS:
            chosen.update(numbers[: math.ceil(FIRST_PARTS[part] * len(numbers))])
            continue
        match = re.fullmatch(r"(first|last|[0-9]+)(?:-(first|last|[0-9]+))?", part)
        if match is None:
            raise BadInputError(f"layers {written!r}: write last, first, all, 0-13, 0,2,5 or {', '.join(FIRST_PARTS)}")
        ends = {"first": numbers[0], "last": numbers[-1]}
        low, high = (int(ends.get(end, end)) for end in (match[1], match[2] or match[1]))
        if low > high:
            raise BadInputError(f"layers {written!r}: the range {part} is descending; write {high}-{low}")
        inside = [number for number in numbers if low <= number <= high]
        if high > numbers[-1] or low not in numbers or high not in numbers:
            raise BadInputError(f"layers {written!r}: {what} has layers {layer_ranges(numbers).replace('-', ' to ')}")
        chosen.update(inside)
    return tuple(sorted(chosen))
