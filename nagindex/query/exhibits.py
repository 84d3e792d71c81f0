"""Documents that a report shows one by one: the best, those at the cut, random ones, near misses; and rows of a selection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import connect, quote_name
from nagindex.errors import SourceChangedError
from nagindex.query.explain import Explanation
from nagindex.report.figures import Table
from nagindex.report.target_figures import Exhibit
from nagindex.storage.docs import join_documents
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts

SHOWN, FEWEST = 20, 1
"""Documents of each group, and of a group if there are many targets."""
SHOWN_IN_ALL = 160
"""Documents of all groups of all targets, about."""
TEXTS_SIZE = 700_000
"""Bytes of all texts together, escaped."""
TEXT_SIZE = 4_000
"""Bytes of a text at most."""
BEGINNING = 160
"""Characters of a text in a table, of a passage and of an example."""
NEURONS, EXAMPLES = 5, 2
"""Neurons and examples of an explanation."""
TABLE_SIZE = 1_000_000
"""Bytes of a table's rows, escaped."""
TABLE_TEXTS = 2_000
"""Rows of a table that show the beginnings of their texts."""
TABLE_ROWS = 20_000
CELL = 100
"""Characters of a cell."""


@dataclass(frozen=True)
class Found:
    """A document's columns: id, tokens, and its labels (kept columns, file and row)."""

    id: str
    tokens: int
    labels: Mapping[str, Any]


def documents_at(snapshot: Snapshot, positions: npt.NDArray[np.int64]) -> dict[int, Found]:
    """Return documents by their positions, int64 [m]."""
    kept = snapshot.manifest.settings.keep_columns
    if not len(positions):
        return {}
    listed = "".join(f", d.{quote_name(name)}" for name in (*kept, "file", "row"))
    with connect() as connection:
        documents = join_documents(connection, snapshot, positions, {"_at": positions})
        rows = connection.execute(f"SELECT hits._at, d.id, d.tokens{listed} {documents}").fetchall()
    return {
        at: Found(one, tokens, dict(zip((*kept, "file", "row"), own, strict=True))) for at, one, tokens, *own in rows
    }


def read_texts(
    snapshot: Snapshot, positions: npt.NDArray[np.int64], corpus_root: Any, notes: list[str]
) -> dict[int, str]:
    """Return texts by position; where sources have changed, those that could be read before that, and a note.

    Args:
        snapshot: the version of the index.
        positions: int64 [m], of the documents, each once.
        corpus_root: where the sources lie now; None where they were read.
        notes: gets a sentence about texts that cannot be read.
    """
    found: dict[int, str] = {}
    try:
        for index, text in SourceTexts(snapshot, corpus_root, hashed=False).read(positions):
            found[int(positions[index])] = text
    except SourceChangedError as error:
        notes.append(f"shown without texts: {error}")
    return found


def documents_of_group(targets: int) -> int:
    """Return how many documents each group shows, by the number of targets."""
    return max(FEWEST, min(SHOWN, SHOWN_IN_ALL // (4 * targets)))


def exhibit(
    found: Found,
    explanation: Explanation,
    *,
    rank: int | None,
    text: str | None,
    size: int,
    why: str = "",
    with_texts: bool = True,
) -> Exhibit:
    """Return a document as a page shows it.

    Args:
        found: its columns.
        explanation: what its score is made of.
        rank: its rank; None if it was not selected.
        text: its text, if it is known.
        size: bytes of the text that are shown, escaped.
        why: why it was not selected.
        with_texts: whether texts of examples are shown.
    """
    told = explanation.to_json(neurons=NEURONS, examples=EXAMPLES)
    for one in told["examples"]:
        one["text"] = beginning(one["text"]) if with_texts else None
    shown = None if text is None else _fitted(text, size)
    return Exhibit(
        found.id,
        rank,
        explanation.score,
        found.tokens,
        found.labels,
        shown,
        text is not None and shown is not None and len(shown) < len(text),
        why,
        told,
    )


def beginning(text: str | None) -> str | None:
    """Return the beginning of a text, on one line."""
    if text is None:
        return None
    line = " ".join(text[: 2 * BEGINNING].split())
    return f"{line[:BEGINNING]}…" if len(line) > BEGINNING or len(text) > 2 * BEGINNING else line


def table_of(names: Sequence[str], rows: Sequence[Sequence[Any]], texts: Sequence[str | None], total: int) -> Table:
    """Return as many of the first rows as fit a page.

    Args:
        names: names of the columns.
        rows: values by column, best document first.
        texts: the beginnings of the first rows' texts; empty to show none.
        total: documents of the selection.
    """
    columns = [*names, "text"] if texts else [*names]
    fitting: list[list[Any]] = []
    room, room_of_texts = TABLE_SIZE, TABLE_SIZE // 2  # so that long texts do not crowd out rows
    for number, row in enumerate(rows):
        cells = [_cell(value) for value in row]
        if texts:
            text = texts[number] or "" if number < len(texts) else ""
            room_of_texts -= escaped_size(text)
            cells.append(text if room_of_texts >= 0 else "")
        room -= escaped_size(json.dumps(cells, ensure_ascii=False)) + 1
        if room < 0:
            break
        fitting.append(cells)
    numeric = [all(row[c] is None or isinstance(row[c], (int, float)) for row in fitting) for c in range(len(columns))]
    return Table(columns, numeric, fitting, total)


def _fitted(text: str, size: int) -> str:
    """Return the beginning of a text that takes at most so many bytes once it is escaped."""
    text = text[:size]
    while (length := escaped_size(text)) > size:
        text = text[: min(len(text) - 1, len(text) * size // length)]
    return text


def escaped_size(text: str) -> int:
    """Return an upper bound on the bytes of a text whose markup is escaped, in HTML or JSON."""
    return len(text.encode()) + 5 * sum(map(text.count, "<>&'\""))


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value if value is None else str(value).lower()
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    if isinstance(value, int):
        return value
    text = str(value)
    return text if len(text) <= CELL else f"{text[:CELL]}…"
