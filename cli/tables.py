"""Tables of text, as wide as they are or as wide as the terminal."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence

NARROWEST = 6
"""Characters that a cut cell keeps."""
WORD = 16
"""Characters that the last column keeps before others are cut."""
CUT = "..."


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Callable[[int], bool] = lambda column: column > 0,
    width: int | None = None,
) -> str:
    """Return rows as aligned text.

    Args:
        headings: names of the columns.
        rows: cells, one for each column.
        right: f(column), whether its cells stand to the right; by default all but those of the first column do.
        width: largest width of a line: cells of the widest columns that stand to the left are cut to keep it.
    """
    cells = [[printable(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(_width(row[c]) for row in cells) for c in range(len(headings))]
    if width is not None:
        widths = _fitted(widths, [c for c in range(len(headings)) if not right(c)], width)
    lines = [
        "  ".join(_aligned(cell, w, right(c)) for c, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * max(map(_width, lines)), *lines[1:]])


def terminal_width() -> int | None:
    """Return the width of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(text: str, width: int, lines: int | None = None) -> list[str]:
    """Return a text as lines of words, without characters that act on a terminal.

    Args:
        text: the text.
        width: columns of a line, at least two.
        lines: number of lines after which the rest is left out, and three dots stand for it; None for all, with the text's own line ends.
    """
    if lines is None:
        return [line for own in text.splitlines() for line in _wrapped(printable(own), width) or [""]]
    beginning = text[: 4 * width * lines]  # a long text is not looked at to its end
    found = _wrapped(printable(beginning), width)
    if len(found) <= lines:
        return found if len(beginning) == len(text) else [*found, CUT][:lines]
    last = " ".join(found[lines - 1 : lines + 1])
    return [*found[: lines - 1], _aligned(last, width, False)]


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        for piece in _pieces(word, width):
            joined = f"{lines[-1]} {piece}".lstrip()
            if _width(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(piece)
    return lines if lines != [""] else []


def _pieces(word: str, width: int) -> Iterator[str]:
    """Yield the parts of a word that fit a line each."""
    piece = ""
    for character in word:
        if _width(piece + character) > width:
            yield piece
            piece = ""
        piece += character
    yield piece


def _fitted(widths: list[int], cuttable: Sequence[int], limit: int) -> list[int]:
    """Return widths whose sum with the gaps keeps a limit, the widest cuttable ones reduced first."""
    widths = list(widths)
    while sum(widths) + 2 * (len(widths) - 1) > limit:
        widest = max(cuttable, key=lambda c: widths[c], default=None)
        if widest is None or widths[widest] <= NARROWEST:
            break
        # The last column, such as a text, gives room first, until it is as narrow as a word.
        widest = cuttable[-1] if widths[cuttable[-1]] > WORD else widest
        widths[widest] -= 1
    return widths


def _aligned(cell: str, width: int, right: bool) -> str:
    if _width(cell) > width:
        while _width(cell) > width - len(CUT):
            cell = cell[:-1]
        cell += CUT
    gap = " " * (width - _width(cell))
    return gap + cell if right else cell + gap


def printable(text: str) -> str:
    """Return a text on one line, without characters that act on a terminal."""
    return text if text.isprintable() else " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
