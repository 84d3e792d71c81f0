"""Pictures of maps: points by label, each label's name where most of its points are."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.analysis.points import POOL
from nagindex.errors import require_package

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import BboxBase

COLORED = 20
"""Labels with a color of their own; others share the last one."""
OTHERS, GRAY = "others", "#b8b8b8"
LONGEST = 32
"""Characters of a label that are shown."""


def draw(places: npt.NDArray[np.float64], labels: Sequence[str | None], examples: int, path: Path, kind: str) -> None:
    """Write a picture of points; examples of targets are larger and lie above the pool.

    Args:
        places: float64 [n, 2].
        labels: n labels, None for a point without one.
        examples: number of examples, which come first.
        path: the file.
        kind: `svg` or `png`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_package("matplotlib", "map", "maps need matplotlib, which is not installed")
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure

    names, colors = _colors(labels, colormaps["tab20"](np.arange(COLORED)))
    shown = np.array([label if label in colors else OTHERS for label in labels])
    above = np.arange(len(labels)) < examples
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.add_subplot()
    size = float(np.clip(30_000 / len(labels), 3, 40))
    for name in names:
        for mine, scale in ((~above, 1.0), (above, 2.0)):
            own = (shown == name) & mine
            if own.any():
                x, y = places[own].T
                edge = {"edgecolors": "black", "linewidths": 0.4} if scale > 1 else {"linewidths": 0}
                axes.scatter(
                    x, y, s=size * scale, color=colors[name], alpha=0.55 + 0.35 * (scale > 1), zorder=1 + scale,
                    label=f"{_written(name)} ({own.sum():,})", **edge,
                )  # fmt: skip
    names_at: list[Text] = []
    for name in names:
        if name not in (POOL, OTHERS):
            x, y = np.median(places[shown == name], axis=0)
            backed = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
            names_at.append(
                axes.text(x, y, _written(name), ha="center", va="center", fontsize=9, zorder=9, bbox=backed)
            )
    axes.set(xticks=[], yticks=[], aspect="equal", title="t-SNE of NAGs, distance 1 - overlap")
    figure.legend(loc="outside right center", frameon=False, fontsize=9, markerscale=1.5)
    plain = {"svg.hashsalt": "nagindex", "svg.fonttype": "none"}
    dated = {"Date": None} if kind == "svg" else {}
    with rc_context(plain), warnings.catch_warnings(action="ignore", category=UserWarning):  # fonts lack some scripts
        _move_apart(figure, axes, names_at)
        figure.savefig(path, format=kind, dpi=150, metadata=dated)


def _move_apart(figure: Figure, axes: Axes, texts: Sequence[Text]) -> None:
    """Move texts down, by their height at a time, until none overlaps one before it."""
    figure.draw_without_rendering()
    taken: list[BboxBase] = []
    for text in texts:
        box = text.get_window_extent()
        while any(box.overlaps(other) for other in taken):
            box = box.translated(0, -box.height)
        taken.append(box)
        x, y = axes.transData.inverted().transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
        text.set_position((float(x), float(y)))


def _colors(labels: Sequence[str | None], palette: npt.NDArray[np.float64]) -> tuple[list[str], dict[str, object]]:
    """Return the labels to show, the most frequent first, and their colors."""
    counts = Counter(label for label in labels if label not in (None, POOL))
    most = [str(label) for label, _ in sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:COLORED]]
    order = [*palette[::2], *palette[1::2]]  # tab20 has each color dark and then light
    colors = dict(zip(most, order, strict=False)) | {POOL: GRAY, OTHERS: GRAY}
    hidden = [OTHERS] if len(counts) > len(most) or None in labels else []
    return [*([POOL] if POOL in labels else []), *hidden, *most], colors


def _written(label: str) -> str:
    """Return a label as matplotlib shows it as it is, on one line and of bounded length."""
    text = " ".join("".join(c if c.isprintable() else " " for c in label).split())
    return (text if len(text) <= LONGEST else text[: LONGEST - 1] + "…").replace("$", r"\$")
