"""Selections as files, Parquet or JSON lines, with the documents' texts read again from their sources on demand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex.corpus.sql import connect, quote_path, quote_value
from nagindex.errors import BadInputError
from nagindex.storage.files import replacing
from nagindex.storage.tables import ROW_GROUP

if TYPE_CHECKING:
    from nagindex.query.selection import Selection

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

    Columns: those of the selection, and with `with_text` the text. Parquet files have row
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
        columns, source = columns + ", text", "selection JOIN texts USING (_row)"
    metadata = json.dumps(selection.settings, ensure_ascii=False)
    options = (
        f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}, KV_METADATA {{{METADATA_KEY}: {quote_value(metadata)}}}"
        if format == "parquet"
        else "FORMAT json, ARRAY false, COMPRESSION none"
    )
    with replacing(target) as temporary:
        connection.execute(
            f"COPY (SELECT {columns} FROM {source} ORDER BY _row) TO {quote_value(temporary)} ({options})"
        )


def settings_of(path: Path) -> dict[str, Any]:
    """Return what a selection's Parquet file records: the settings that it was made with.

    Raises:
        BadInputError: the file is not a selection.
    """
    import duckdb

    sql = f"SELECT value FROM parquet_kv_metadata({quote_path(path)}) WHERE key = {quote_value(METADATA_KEY)}::BLOB"
    try:
        with connect(threads=1) as connection:
            rows = connection.execute(sql).fetchall()
    except duckdb.Error:
        rows = []
    if not rows:
        raise BadInputError(f"{path}: not a selection of nagindex; its metadata has no settings")
    settings: dict[str, Any] = json.loads(rows[0][0])
    return settings


def _read_texts(selection: Selection, corpus_root: Path | None) -> None:
    """Fill a table `texts` (_row, text) beside the selection."""
    connection = selection._connection
    connection.execute("CREATE OR REPLACE TEMP TABLE texts (_row BIGINT, text VARCHAR)")
    found = connection.execute("SELECT _position, _row FROM selection").fetchnumpy()
    batch: list[tuple[int, str]] = []

    def insert() -> None:
        connection.execute(
            "INSERT INTO texts SELECT unnest(?::BIGINT[]), unnest(?::VARCHAR[])",
            [[row for row, _ in batch], [text for _, text in batch]],
        )
        batch.clear()

    numbers = found["_row"].tolist()
    for at, text in selection.texts(corpus_root).read(found["_position"]):
        batch.append((numbers[at], text))
        if len(batch) == TEXTS_PER_INSERT:
            insert()
    if batch:
        insert()
