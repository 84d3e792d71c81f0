"""Draw docs/nag.svg, the figure of the README: from two texts to their NAGs and the overlap of these.

    python docs/scripts/figure.py > docs/nag.svg

The neurons are made up; the overlap is counted from what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable

WIDTHS, TOP_K = (20, 20, 20, 20), 4
EXAMPLE = ("Why do plants open their", "stomata by day, although", "they lose water?")
DOCUMENT = ("Mangroves stand where few", "trees can: in salty, airless", "mud flooded twice a day.")
OF_EXAMPLE = ({2, 7, 11, 16}, {0, 5, 13, 18}, {3, 4, 10, 17}, {1, 8, 12, 19})
OF_DOCUMENT = ({2, 7, 14, 19}, {5, 9, 13, 15}, {3, 8, 10, 17}, {6, 9, 12, 18})
BLUE, ORANGE, GREEN, PALE, INK, FAINT = "#2166ac", "#d6604d", "#1b7837", "#dde1e6", "#1f2328", "#59636e"
STEP, ROW = 13, 26


def text(x: float, y: float, line: str, *, size: int = 14, color: str = INK, bold: bool = False) -> str:
    """Return a line of text that starts at (x, y)."""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}"{weight}>{line}</text>'


def box(x: float, y: float, lines: Iterable[str], color: str) -> list[str]:
    """Return a framed text of three lines, 200 wide and 84 high."""
    frame = f'<rect x="{x}" y="{y}" width="200" height="84" rx="6" fill="none" stroke="{color}" stroke-width="2"/>'
    return [frame, *(text(x + 12, y + 26 + 20 * i, line) for i, line in enumerate(lines))]


def arrow(x: float, y: float, length: float) -> str:
    """Return an arrow to the right."""
    return f'<path d="M{x} {y} h{length} m-7 -5 l7 5 l-7 5" fill="none" stroke="{FAINT}" stroke-width="2"/>'


def neurons(x: float, y: float, colors: Iterable[dict[int, str]]) -> list[str]:
    """Return one row of dots a layer; those with a color are in the NAG."""
    return [
        f'<circle cx="{x + STEP * k}" cy="{y + ROW * layer}" r="{5 if k in colored else 4}" fill="{colored.get(k, PALE)}"/>'
        for layer, (width, colored) in enumerate(zip(WIDTHS, colors, strict=True))
        for k in range(width)
    ]


def layers(x: float, y: float) -> list[str]:
    """Return the labels of the rows of dots."""
    return [text(x, y + ROW * layer + 4, f"layer {layer}", size=12, color=FAINT) for layer in range(len(WIDTHS))]


def graph(y: float, nag: Iterable[set[int]], color: str) -> list[str]:
    """Return the NAG of one text, layer by layer."""
    return [*layers(258, y), *neurons(312, y, [dict.fromkeys(layer, color) for layer in nag])]


def figure() -> str:
    """Return the SVG."""
    shared = [a & b for a, b in zip(OF_EXAMPLE, OF_DOCUMENT, strict=True)]
    count, total = sum(map(len, shared)), TOP_K * len(WIDTHS)
    title = f"Two texts, the {TOP_K} strongest neurons of each layer, and their overlap of {count} of {total}"
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 350" font-family="Helvetica, Arial, sans-serif" role="img">',
        f"<title>{title}</title>",
        '<rect width="920" height="350" rx="8" fill="#ffffff"/>',
        text(16, 32, "Text", bold=True),
        text(258, 32, f"NAG: the K = {TOP_K} most active neurons of each layer", bold=True),
        text(630, 32, "Overlap", bold=True),
        text(16, 66, "an example of the task", size=12, color=FAINT),
        *box(16, 76, EXAMPLE, BLUE),
        arrow(222, 118, 26),
        *graph(80, OF_EXAMPLE, BLUE),
        text(16, 212, "a document of the pool", size=12, color=FAINT),
        *box(16, 222, DOCUMENT, ORANGE),
        arrow(222, 264, 26),
        *graph(226, OF_DOCUMENT, ORANGE),
        f'<path d="M572 119 h16 v146 h-16 M588 192 h26 m-7 -5 l7 5 l-7 5" fill="none" stroke="{FAINT}" stroke-width="2"/>',
        *neurons(630, 153, [dict.fromkeys(layer, GREEN) for layer in shared]),
        text(630, 272, f"{count} of {total} neurons are shared: {count / total:.2f}", color=GREEN, bold=True),
        text(630, 294, "A document's score is the mean", size=12, color=FAINT),
        text(630, 311, "of its overlaps with all examples.", size=12, color=FAINT),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(figure(), end="")
