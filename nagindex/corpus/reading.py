"""Sources as a stream of documents: each row with its text, or the reason why it has none."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nagindex.corpus import parquet, streams
from nagindex.corpus.columns import Columns, Fields, SourceColumns
from nagindex.corpus.records import record_id
from nagindex.corpus.sources import Position, Source
from nagindex.errors import BadInputError

NULL_TEXT = "null text"
INVALID_UTF8 = "invalid UTF-8"
EXCLUDED = "excluded"
Value = str | int | float | bool | None


class Document(NamedTuple):
    """One row of a source.

    Attributes:
        row: position in the source from 0: a record's, except in .jsonl where it is the line's.
        id: the document's id, byte for byte; `<source name>:<row>` where the source has none.
        text: the text; None where there is a `problem`.
        tokens: the token count that the source states, None where it states none.
        kept: values of the kept columns, in their order, then of the target column.
        problem: why the row is no document (`null text`, `invalid UTF-8`, or `excluded` by the caller), or None.
    """

    row: int
    id: str
    text: str | None
    tokens: int | None
    kept: tuple[Value, ...]
    problem: str | None


def fields_of(source: Source) -> Fields:
    """Return the columns and nested fields of a source; of JSON those of the first thousand records.

    Raises:
        BadInputError: the file cannot be read.
    """
    return parquet.fields(source) if source.format == "parquet" else streams.fields(source)


def find_columns(source: Source, columns: Columns) -> SourceColumns | None:
    """Return the columns to read of a source; None where it has none, as the last shard of a job that had too many.

    Raises:
        BadInputError: the file cannot be read, or as `Columns.find`.
    """
    if source.format == "txt":  # a file that is one text has no columns to choose or to miss
        return SourceColumns("text", kept=tuple(columns.kept.values()), target=columns.target_column)
    available = fields_of(source).types
    return columns.find(available, where=str(source.path)) if available else None


def read_documents(
    source: Source,
    columns: Columns | SourceColumns | None = Columns(),
    *,
    start: int = 0,
    position: Position | None = None,
    with_tokens: bool = True,
    wanted: Callable[[int], bool] = lambda row: True,
) -> Iterator[Document]:
    """Yield every row of a source in file order, from row `start` on; memory does not grow with the file.

    Args:
        source: the file to read.
        columns: which columns to read, or what `find_columns` found.
        start: the first row to yield.
        position: updated while rows are read.
        with_tokens: whether to read token counts, where the source states them.
        wanted: whether to parse a row; other rows have the problem `excluded`, and neither id nor text.

    Raises:
        BadInputError: the file is truncated, corrupt or lacks a column, or a row holds a value of the wrong type;
            names file and row.
    """
    found = find_columns(source, columns) if isinstance(columns, Columns) else columns
    if found is None:
        return
    if not with_tokens:
        found = dataclasses.replace(found, tokens=None)
    others = [path for path in (found.id, found.tokens) if path is not None]
    module = parquet if source.format == "parquet" else streams
    rows = module.read_rows(
        source,
        [found.text, *others, *found.kept, *([found.target] if found.target is not None else [])],
        id_column=found.id,
        start=start,
        position=position or Position(),
        wanted=wanted,
    )
    at_id = 1 if found.id is not None else None
    at_tokens = len(others) if found.tokens is not None else None
    first_kept = 1 + len(others)
    for row, values in rows:
        if not wanted(row):
            yield Document(row, "", None, None, (), EXCLUDED)
            continue
        where = f"{source.path}, row {row}"
        document_text, problem = _text(values[0], found.text, where)
        document_id = record_id(values[at_id], where) if at_id else None
        if document_id is None:
            document_id = f"{source.name}:{row}"
        if problem is None and not is_utf8(document_id):
            problem = INVALID_UTF8
        if problem is not None:
            document_text, document_id = None, document_id.encode(errors="replace").decode()
        tokens = _tokens(values[at_tokens], found.tokens, where) if at_tokens else None
        kept = tuple(_kept(value) for value in values[first_kept:])
        if source.format in ("csv", "tsv"):
            kept = tuple(value if value is None else streams.Field(value) for value in kept)
        yield Document(row, document_id, document_text, tokens, kept, problem)


def read_texts(source: Source, columns: Columns, skipped: list[str]) -> Iterator[Document]:
    """Yield the rows of a source that hold a text and, where `columns` name a target column, a target.

    Args:
        source: the file to read.
        columns: which columns to read.
        skipped: gets one sentence for each other row, naming file, row and reason, and one for an empty file.

    Raises:
        BadInputError: as `read_documents`.
    """
    texts = 0
    for document in read_documents(source, columns, with_tokens=False):
        if document.problem is not None:
            skipped.append(f"{source.path}, row {document.row}: {document.problem}")
        elif columns.target_column is not None and document.kept[-1] is None:
            skipped.append(f"{source.path}, row {document.row}: no target in column {columns.target_column!r}")
        else:
            texts += 1
            yield document
    if not texts and source.size == 0:
        skipped.append(f"{source.path}: the file is empty")


def _text(value: Any, column: str | None, where: str) -> tuple[str | None, str | None]:
    """Return (text, None), or (None, the problem)."""
    if value is None:
        return None, NULL_TEXT
    if isinstance(value, bytes):
        value = value.decode(errors="surrogateescape")
    if not isinstance(value, str):
        kind = streams.JSON_KINDS.get(type(value), "number")
        raise BadInputError(
            f"{where}: column {column!r} holds {kind}, not text; name the text column with `text_column`"
        )
    return (value, None) if is_utf8(value) else (None, INVALID_UTF8)


def is_utf8(text: str) -> bool:
    """Return whether a text was read from UTF-8; other bytes became lone surrogates, which cannot be encoded."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tokens(value: Any, column: str | None, where: str) -> int | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        count = value if type(value) is int else int(float(value))  # 12.0 and "12" are counts too
        if count < 0 or count != float(value) or isinstance(value, bool):
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise BadInputError(
            f"{where}: token count {value!r} in column {column!r} is not a whole number of tokens; "
            "name the column of token counts with `token_column`"
        ) from None
    return count


def _kept(value: Any) -> Value:
    if isinstance(value, str):
        return value if is_utf8(value) else value.encode(errors="surrogateescape").decode(errors="replace")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return json.dumps(value, ensure_ascii=False, default=str)
