"""HTML tables of notebooks: short, and with every value escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

LONGEST = 200
"""Characters of a value that are shown."""
ROWS = 30
"""Rows that are shown of results that may have many."""


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as an HTML table; None is an empty cell, a float has four decimals, and a long text is cut."""
    head = "".join(f"<th>{escape(name)}</th>" for name in headings)
    lines = ["".join(f"<td>{_cell(value)}</td>" for value in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def records(rows: Sequence[Mapping[str, Any]], leave_out: Sequence[str] = ()) -> str:
    """Return the first rows of one kind as an HTML table, whose headings are their names, and how many more there are."""
    names = [name for name in rows[0] if name not in leave_out] if rows else []
    more = f"<p>and {len(rows) - ROWS:,} more</p>" if len(rows) > ROWS else ""
    return table(names, [[row[name] for name in names] for row in rows[:ROWS]]) + more


def _cell(value: Any) -> str:
    if value is None:
        return ""
    shown = f"{value:.4f}" if isinstance(value, float) else str(value)
    return escape(shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}...")
