"""Geometry of a page's charts: where bars, ticks and lines stand. The template draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.report.counts import Histogram

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 30, 36
"""Room beside the bars, in the units of the drawing."""
POOL_WIDE, SELECTED_WIDE = 0.94, 0.5
"""Widths of bars as shares of their bins: a bar of the selection stands within that of the pool."""


@dataclass(frozen=True)
class Bar:
    """A bar, its label in words and whether it is the selection's."""

    x: float
    y: float
    width: float
    height: float
    label: str
    selected: bool


@dataclass(frozen=True)
class Tick:
    """A place on an axis with its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A histogram, drawn.

    Attributes:
        bars: those of the pool, then those of the selection.
        across: ticks of the horizontal axis.
        up: ticks of the vertical axis.
        line: where the cutoff stands; None without one.
        line_label: what stands beside it.
    """

    bars: Sequence[Bar]
    across: Sequence[Tick]
    up: Sequence[Tick]
    line: float | None
    line_label: str

    width, height = WIDTH, HEIGHT
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM


def histogram_chart(
    histogram: Histogram, *, show: Callable[[float], str], cut: float | None = None, logarithmic: bool = False
) -> Chart:
    """Return a histogram of shares of the pool and of the selection, drawn over one another.

    Args:
        histogram: the documents.
        show: a number of the horizontal axis as text.
        cut: where a line is drawn.
        logarithmic: whether the horizontal axis is.
    """
    scale = np.log if logarithmic else np.asarray
    edges = scale(histogram.edges)
    low, span = float(edges[0]), float(edges[-1] - edges[0]) or 1.0

    def across(value: float) -> float:
        return LEFT + (float(scale(np.float64(value))) - low) / span * (WIDTH - LEFT - RIGHT)

    shares = {name: _shares(own) for name, own in (("pool", histogram.pool), ("selection", histogram.selected))}
    highest = max(float(own.max()) for own in shares.values()) or 1.0
    room = HEIGHT - TOP - BOTTOM
    places = [across(edge) for edge in histogram.edges]
    bars = [
        Bar(
            places[i] + (places[i + 1] - places[i]) * (1 - wide) / 2,
            HEIGHT - BOTTOM - share / highest * room,
            (places[i + 1] - places[i]) * wide,
            share / highest * room,
            f"{show(histogram.edges[i])} to {show(histogram.edges[i + 1])}: {share:.1%} of the {name}",
            name == "selection",
        )
        for (name, own), wide in zip(shares.items(), (POOL_WIDE, SELECTED_WIDE), strict=True)
        for i, share in enumerate(own.tolist())
        if share
    ]
    step = max(1, len(places) // 8)
    ticks = [Tick(places[i], show(histogram.edges[i])) for i in range(0, len(places), step)]
    up = [Tick(HEIGHT - BOTTOM - share / highest * room, f"{share:.0%}") for share in _round_steps(highest)]
    inside = cut is not None and histogram.edges[0] <= cut <= histogram.edges[-1]
    return Chart(bars, ticks, up, across(cut) if cut is not None and inside else None, "" if cut is None else show(cut))


def _shares(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = counts / max(int(counts.sum()), 1)
    return shares


def _round_steps(highest: float) -> list[float]:
    """Return three to six round numbers from 0 to a highest value."""
    power = 10.0 ** math.floor(math.log10(highest))
    step = next(power * factor for factor in (0.1, 0.2, 0.5, 1, 2) if highest / (power * factor) <= 5)
    return [step * i for i in range(int(highest / step) + 1)]
