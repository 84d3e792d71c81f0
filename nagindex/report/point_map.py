"""The map of a report: its points as plain data, and where they stand in the drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, EDGE = 1000, 620, 14
"""The drawing and its margin, in its own units."""
MANY = 5_000
"""Points from which on they are drawn small."""
COLORS = 6
"""Targets with a color of their own; the others share one."""

Kind = Literal["pool", "selected", "examples"]


@dataclass(frozen=True)
class PointGroup:
    """Documents that were not selected, or one target's selected documents or examples.

    Attributes:
        kind: which of these.
        target: the target's number; None for the pool.
        name: the group in words.
        places: float64 [m, 2], x and y of those that are drawn.
        total: how many there are.
        ids: the ids of the first points, as many as fit a page, some of them cut.
        labels: for each of these, the number of its value in `PointMap.values`; None without one.
        near: of the points nearest to one of the group, the mean share that each kind has.
    """

    kind: Kind
    target: int | None
    name: str
    places: npt.NDArray[np.float64]
    total: int
    ids: Sequence[str]
    labels: Sequence[int | None]
    near: dict[Kind, float]


@dataclass(frozen=True)
class PointMap:
    """A map of documents and examples.

    Attributes:
        groups: the groups with points, in the order in which they are drawn.
        column: the kept column of the labels; None where the index keeps none.
        values: its values among the points.
        nearest: how many nearest others of a point `PointGroup.near` is about.
    """

    groups: Sequence[PointGroup]
    column: str | None
    values: Sequence[str]
    nearest: int

    @property
    def points(self) -> int:
        """Number of points."""
        return sum(len(own.places) for own in self.groups)

    @property
    def names(self) -> dict[str, object]:
        """What the page's script shows of points, as JSON values."""
        return {
            "column": self.column,
            "values": self.values,
            "groups": [{"name": own.name, "ids": own.ids, "labels": own.labels} for own in self.groups],
        }


@dataclass(frozen=True)
class MapChart:
    """A map, drawn: of each group the data of an SVG path whose round line ends are the points."""

    paths: Sequence[str]
    many: bool

    width, height = WIDTH, HEIGHT


def map_chart(found: PointMap) -> MapChart:
    """Return a map, drawn with one scale for both directions, the longer of which goes across: they have no meaning of their own."""
    everything = np.concatenate([own.places for own in found.groups])
    across_first = slice(None) if np.ptp(everything[:, 0]) >= np.ptp(everything[:, 1]) else slice(None, None, -1)
    everything = everything[:, across_first]
    low, high = everything.min(axis=0), everything.max(axis=0)
    room = np.array([WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE])
    scale = float((room / np.maximum(high - low, 1e-12)).min())
    middle = (low + high) / 2
    drawn = [
        np.rint((own.places[:, across_first] - middle) * scale + (WIDTH / 2, HEIGHT / 2)).astype(int).tolist()
        for own in found.groups
    ]
    return MapChart(["".join(f"M{x} {y}h0" for x, y in own) for own in drawn], found.points > MANY)
