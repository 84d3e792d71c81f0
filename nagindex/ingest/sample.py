"""A sample of a corpus's documents, drawn by a seed and the sources' sizes alone: the same in every process that builds from it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from nagindex.corpus import parquet
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import OnError, Position, Source
from nagindex.errors import BadInputError
from nagindex.progress import step

SMALL_CORPUS = 16 << 20
"""Bytes of a corpus up to which all of it is read, and documents are drawn with equal chances."""
BYTES_READ = 1 << 30
"""Bytes read of a larger corpus, of each source that documents are drawn from an equal share, but `LEAST_READ` at least."""
LEAST_READ = 1 << 20
BYTES_COUNTED = 1 << 20
"""Bytes of a text source from which its number of rows is estimated."""
ROWS_COUNTED = 1000
"""Rows that are counted for it at least: a compressed file is read many rows at a time."""


def sample_texts(
    sources: Sequence[Source], columns: Columns, *, count: int, seed: int = 0, on_error: OnError = "stop"
) -> list[str]:
    """Return the texts of some documents, at most `count`, drawn over all sources.

    Of a corpus of up to 16 MB all documents have the same chance. Of a larger one, a source gives documents in proportion to its bytes,
    from the part of it that is read.

    Args:
        sources: the corpus, in the order of their names.
        columns: which columns to read.
        count: number of documents to draw.
        seed: seed of the draw.
        on_error: what happens to a row or source that cannot be read: `stop` raises, `skip` passes over it.

    Raises:
        BadInputError: no document could be drawn, or under `stop` a row or source cannot be read.
    """
    columns = dataclasses.replace(columns, keep_columns=(), token_column=None)
    files = [source for source in sources if source.problem is None and source.path.is_file() and source.size]
    total = sum(source.size for source in files)
    random = np.random.default_rng(seed)
    texts: list[str] = []
    problems: list[BadInputError] = []

    def take(source: Source, rows: Callable[[], frozenset[int] | None], limit: int) -> None:
        try:
            for text in _texts(source, columns, rows(), limit, on_error):
                texts.append(text)  # of a source that cannot be read to its end, what precedes that
        except BadInputError as error:
            if on_error == "stop":
                raise
            problems.append(error)

    with step("drawing a sample", len(files), "sources") as advance:
        if total <= SMALL_CORPUS:
            for source in files:
                take(source, lambda: None, SMALL_CORPUS)
                advance(1)
            chosen = np.sort(random.permutation(len(texts))[:count])
            texts = [texts[number] for number in chosen.tolist()]
        else:
            places = (np.arange(count) + random.random()) * total / count
            edges = np.searchsorted(places, np.cumsum([0, *(source.size for source in files)]))
            drawn = sum(a < b for a, b in pairwise(edges.tolist()))
            limit = max(LEAST_READ, BYTES_READ // max(1, drawn))
            for source, (first, last) in zip(files, pairwise(edges.tolist()), strict=True):
                if first < last:
                    take(source, partial(_draw_rows, source, columns, last - first, limit, seed, on_error), limit)
                advance(1)
    if not texts:
        raise (
            problems[0]
            if problems
            else BadInputError(
                "no document to calibrate on: the sources hold no text, or are no regular files; name the text column with "
                "`text_column`, or give a `calibration` to the build"
            )
        )
    return texts


def _draw_rows(
    source: Source, columns: Columns, count: int, limit: int, seed: int, on_error: OnError
) -> frozenset[int]:
    """Return the numbers of the rows to take of a source, from its first bytes."""
    if source.format == "parquet":
        rows = parquet.row_count(source)
    else:
        position, rows = Position(), 0
        for _ in read_documents(source, columns, position=position, wanted=lambda row: False, on_error=on_error):
            rows += 1
            if position.bytes > BYTES_COUNTED and rows >= ROWS_COUNTED:
                break
        if 0 < position.bytes < source.size:
            rows = int(rows * source.size / position.bytes)
    readable = max(1, int(rows * min(1.0, limit / source.size)))
    digest = hashlib.sha256(source.name.encode()).digest()
    random = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    return frozenset(random.choice(readable, min(count, readable), replace=False).tolist())


def _texts(
    source: Source, columns: Columns, rows: frozenset[int] | None, limit: int, on_error: OnError
) -> Iterator[str]:
    """Yield the texts of some rows in the first bytes of a source, of all rows where none are named."""
    position, last = Position(), None if rows is None else max(rows)
    wanted = (lambda row: True) if rows is None else rows.__contains__
    for document in read_documents(source, columns, position=position, wanted=wanted, on_error=on_error):
        if document.text and (rows is None or document.row in rows):
            yield document.text
        if (last is not None and document.row >= last) or position.bytes > limit:
            return
