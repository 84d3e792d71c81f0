"""Selections as files, Parquet or JSON lines, with the documents' texts read again from their sources on demand."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.corpus import Columns, Source, content_hash, read_documents
from nagindex.corpus.sources import format_of
from nagindex.errors import BadInputError, SourceChangedError
from nagindex.storage.files import replacing
from nagindex.storage.segment import SourceSpan
from nagindex.storage.tables import ROW_GROUP, quote_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nagindex.selection import Selection

FORMATS = ("parquet", "jsonl")
METADATA_KEY = "nagindex"
TEXTS_PER_INSERT = 1000


def write(
    selection: Selection,
    path: str | Path,
    *,
    format: str = "parquet",  # noqa: A002 - the word users expect
    with_text: bool = False,
    corpus_root: str | Path | None = None,
) -> None:
    """Write a selection, best document first, as a file that appears whole or not at all.

    Columns: rank (from 1), id, score, tokens, file, row, the kept columns, and with `with_text` the text. Parquet files have row
    groups of 100,000 rows and hold the query's settings as JSON under the metadata key `nagindex`.

    Args:
        selection: what to write.
        path: the file; one that exists is replaced.
        format: `parquet` or `jsonl`.
        with_text: whether to read the texts again from their sources.
        corpus_root: where the sources lie now, if not where they were read.

    Raises:
        SourceChangedError: a source is missing or no longer holds what was read.
    """
    if format not in FORMATS:
        raise BadInputError(f"format {format!r}: selections are written as {' or '.join(FORMATS)}")
    target = Path(path)
    connection, columns, source = selection._connection, selection._listed(), "selection"
    if with_text:
        _read_texts(selection, None if corpus_root is None else Path(corpus_root))
        columns, source = columns + ", text", "selection JOIN texts USING (rank)"
    metadata = json.dumps(selection.settings, ensure_ascii=False)
    options = (
        f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}, KV_METADATA {{{METADATA_KEY}: {quote_sql(metadata)}}}"
        if format == "parquet"
        else "FORMAT json, ARRAY false, COMPRESSION none"
    )
    with replacing(target) as temporary:
        connection.execute(f"COPY (SELECT {columns} FROM {source} ORDER BY rank) TO {quote_sql(temporary)} ({options})")


def _read_texts(selection: Selection, corpus_root: Path | None) -> None:
    """Fill a table `texts` (rank, text) beside the selection."""
    connection = selection._connection
    connection.execute("CREATE OR REPLACE TEMP TABLE texts (rank BIGINT, text VARCHAR)")
    found = connection.execute(
        "SELECT _segment, file, list(row ORDER BY row), list(rank ORDER BY row) FROM selection GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    wanted: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    spans: dict[tuple[str, str], SourceSpan] = {}
    known: dict[int, dict[str, SourceSpan]] = {}
    for position, name, rows, ranks in found:
        if position not in known:
            known[position] = {span.name: span for span in selection._segments[position].spans()}
        span = known[position][name]
        wanted[name, span.sha256].update(zip(rows, ranks, strict=True))
        spans[name, span.sha256] = span
    columns = Columns(selection.settings["corpus"]["text_column"], selection.settings["corpus"]["id_column"])
    for key, rank_of_row in wanted.items():
        _insert_texts(connection, _located(spans[key], corpus_root), columns, rank_of_row)


def _located(span: SourceSpan, corpus_root: Path | None) -> Source:
    """Return where a source lies now, proven to hold what was read.

    Raises:
        SourceChangedError: it is missing or differs.
    """
    path = (corpus_root or Path(span.root)) / span.name
    kind = format_of(path)
    if kind is None or not path.is_file():
        raise SourceChangedError(
            f"{path}: the source is not there any more; name the folder it lies in with --corpus-root, or leave out --with-text"
        )
    source = Source(span.name, path, kind[0], kind[1], path.stat().st_size)
    if source.size != span.bytes or content_hash(path) != span.sha256:
        remedy = "restore it, name another folder with --corpus-root, or leave out --with-text"
        raise SourceChangedError(f"{path}: the source has changed since it was encoded; {remedy}")
    return source


def _insert_texts(
    connection: DuckDBPyConnection, source: Source, columns: Columns, rank_of_row: dict[int, int]
) -> None:
    batch: list[tuple[int, str]] = []
    last = max(rank_of_row)

    def insert() -> None:
        connection.execute(
            "INSERT INTO texts SELECT unnest(?::BIGINT[]), unnest(?::VARCHAR[])",
            [[r for r, _ in batch], [t for _, t in batch]],
        )
        batch.clear()

    for document in read_documents(source, columns, start=min(rank_of_row), with_tokens=False):
        if document.row in rank_of_row:
            batch.append((rank_of_row[document.row], document.text or ""))
            if len(batch) == TEXTS_PER_INSERT:
                insert()
        if document.row == last:
            break
    if batch:
        insert()
