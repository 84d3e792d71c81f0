"""A target set as counts: how many of its examples hold each neuron of each layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes, NagSpec


@dataclass(frozen=True)
class Profile:
    """What a target set looks like to the backbone.

    Attributes:
        counts: int64 [L, max d_l], examples whose NAG holds the neuron; 0 beyond a layer's width.
        examples: size of the target set.
        spec: shape of the NAGs counted.
    """

    counts: npt.NDArray[np.int64]
    examples: int
    spec: NagSpec

    @property
    def scale(self) -> int:
        """What a document's summed counts are divided by to give its similarity: L * K * examples."""
        return self.spec.layers * self.spec.top_k * self.examples

    def weights(self) -> npt.NDArray[np.float64]:
        """Return the share of examples that hold each neuron, float64 [L, max d_l].

        Source: arXiv 2604.15706.
        """
        return self.counts / self.examples


def profile_of(codes: Codes, spec: NagSpec) -> Profile:
    """Return the profile of a target set.

    Args:
        codes: uint16 [n, L, K], the NAGs of its examples, n at least 1.
        spec: their shape.

    Raises:
        ValueError: there is no example.
    """
    if not len(codes):
        raise ValueError("a profile needs at least one example")
    width = max(spec.widths)
    counts = np.stack([np.bincount(codes[:, layer].ravel(), minlength=width) for layer in range(spec.layers)])
    return Profile(counts.astype(np.int64), len(codes), spec)
