"""Drift of an index of relative impact: how far the neurons of appended documents are from those of the documents before."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.storage.snapshot import Snapshot

SAMPLE = 8192
"""Documents drawn from the first ones and from the appended ones."""


@dataclass(frozen=True)
class Drift:
    """Difference in the popularity of neurons between an index's first documents and those that later runs appended.

    Attributes:
        appended: documents that later runs added, deleted ones included.
        moved: share of the codes that would have to change for the popularities to be equal, 0 to 1, mean over the layers.
        by_chance: what that share would be on average if all documents had been drawn alike.
    """

    appended: int
    moved: float
    by_chance: float


def popularity_drift(snapshot: Snapshot) -> Drift | None:
    """Return the drift of a snapshot, from a sample; None where no later run is known to have added documents.

    The first documents are those of the first segments that one run wrote, or that were merged.

    Args:
        snapshot: the version.
    """
    entries = snapshot.manifest.segments
    alike = list(itertools.takewhile(lambda entry: entry.run == entries[0].run, entries))
    start, end = int(snapshot.starts[len(alike)]), int(snapshot.starts[-1])
    groups = [np.arange(start), np.arange(start, end)]
    if not all(len(positions) for positions in groups):
        return None
    sampled = [np.unique(np.linspace(0, len(own) - 1, SAMPLE).astype(np.int64)) for own in groups]
    first, later = (_shares(snapshot, own[chosen]) for own, chosen in zip(groups, sampled, strict=True))
    n, m = (len(chosen) for chosen in sampled)
    together = (n * first + m * later) / (n + m)
    deviation = np.sqrt(together * (1 - together) * (1 / n + 1 / m))
    codes = 2 * first.sum()  # each code that moves is counted where it was and where it is
    moved, by_chance = np.abs(first - later).sum() / codes, deviation.sum() * np.sqrt(2 / np.pi) / codes
    return Drift(len(groups[1]), float(moved), float(by_chance))


def _shares(snapshot: Snapshot, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the share of documents at int64 [m] positions that hold each neuron, float64 [L, max d_l]."""
    spec, codes = snapshot.manifest.fingerprint.spec, snapshot.codes_at(positions)
    counts = [np.bincount(codes[:, layer].reshape(-1), minlength=max(spec.widths)) for layer in range(spec.layers)]
    return np.array(counts) / len(positions)
