"""Lines over ranks drawn as an SVG image, with nothing but text: readable on light and dark pages, and without scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 300, 64, 44, 210, 46
"""Pixels of a chart, and of its margins; the labels of the lines stand in the right one."""
LINE = 17
"""Pixels between two lines of text."""
LABEL = 26
"""Characters of a label."""
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6bb1", "#7f7f7f")
"""Colors of lines that people who are color-blind tell apart (Okabe and Ito); dashes tell further lines apart."""
STYLE = """
svg { background: #ffffff; font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 15px; }
.grid { stroke: #d0d7de; }
.line { fill: none; stroke-width: 2; }
@media (prefers-color-scheme: dark) { svg { background: #0d1117; fill: #e6edf3; } .grid { stroke: #30363d; } }
"""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Chart:
    """Lines over ranks.

    Attributes:
        title: the heading.
        lines: float64 [m] of each line, by its label.
        percent: whether values are shares, from 0 to 1.
    """

    title: str
    lines: Mapping[str, Numbers]
    percent: bool


def draw(title: str, ranks: npt.NDArray[np.int64], charts: Sequence[Chart]) -> str:
    """Return charts over the same ranks, int64 [m], as an SVG image, one below the other."""
    height = HEIGHT * len(charts)
    placed = [
        f'<g transform="translate(0 {HEIGHT * place})">{_chart(chart.title, ranks, chart.lines, percent=chart.percent)}</g>'
        for place, chart in enumerate(charts)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
            f"<title>{escape(title)}</title><style>{STYLE}</style>",
            *placed,
            "</svg>\n",
        ]
    )


def _chart(title: str, ranks: npt.NDArray[np.int64], lines: Mapping[str, Numbers], *, percent: bool) -> str:
    """Return a chart of lines over ranks, on a logarithmic axis."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    low = 0.0 if percent else min(float(own.min()) for own in lines.values())
    high = 1.0 if percent else max(float(own.max()) for own in lines.values())
    high = high if high > low else low + 1
    decades = max(math.log10(int(ranks[-1])), 1e-9)
    xs = LEFT + np.log10(ranks) / decades * (right - LEFT)
    parts = [_text(LEFT, TOP - 18, title, "title")]
    for tick in np.linspace(low, high, 5).tolist():
        y = _height(tick, low, high)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{tick:.0%}" if percent else f"{tick:.3f}", anchor="end"))
    for power in range(int(math.log10(int(ranks[-1]))) + 1):
        x = LEFT + power / decades * (right - LEFT)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(_text(x, bottom + 18, _short(10**power), anchor="middle"))
    parts.append(_text((LEFT + right) / 2, bottom + 36, "rank", anchor="middle"))
    ends = _spread([_height(float(own[-1]), low, high) for own in lines.values()])
    for place, ((name, own), end) in enumerate(zip(lines.items(), ends, strict=True)):
        points = " ".join(f"{x:.1f},{_height(float(y), low, high):.1f}" for x, y in zip(xs, own, strict=True))
        color = COLORS[place % len(COLORS)]
        dashes = f' stroke-dasharray="{4 + 2 * (place // len(COLORS))} 3"' if place >= len(COLORS) else ""
        parts.append(
            f'<polyline class="line" stroke="{color}"{dashes} points="{points}"><title>{escape(_plain(name))}</title></polyline>'
        )
        parts.append(f'<path class="line" stroke="{color}"{dashes} d="M{right + 6} {end:.1f}h16"/>')
        label = _plain(name)
        parts.append(_text(right + 28, end + 4, label if len(label) <= LABEL else label[: LABEL - 1] + "…"))
    return "".join(parts)


def _height(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)


def _spread(heights: Sequence[float]) -> list[float]:
    """Return heights of labels as near to those of their lines as lets each be read."""
    placed = [0.0] * len(heights)
    order = np.argsort(heights, kind="stable").tolist()
    lowest = float(TOP)
    for number, place in enumerate(order):
        below = LINE * (len(order) - number - 1)
        placed[place] = max(min(heights[place], HEIGHT - BOTTOM - below), lowest)
        lowest = placed[place] + LINE
    return placed


def _text(x: float, y: float, content: str, kind: str = "", *, anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(_plain(content))}</text>'


def _plain(text: str) -> str:
    """Return a text without characters that XML does not allow, or that are no text."""
    return "".join(c if c.isprintable() else " " for c in text)


def _short(count: int) -> str:
    """Return a power of ten such as 100, 10k or 1M."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count // size}{unit}"
    return str(count)
