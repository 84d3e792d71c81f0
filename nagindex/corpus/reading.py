"""Sources as a stream of documents: each row with its position, what is wrong with it, or its text and columns."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nagindex.corpus import parquet, streams
from nagindex.corpus.columns import Columns
from nagindex.corpus.sources import Position, Source
from nagindex.errors import BadInputError

NULL_TEXT = "null text"
INVALID_UTF8 = "invalid UTF-8"
NOT_WANTED = "not wanted"
Value = str | int | float | bool | None


class Document(NamedTuple):
    """One row of a source.

    Attributes:
        row: position in the source from 0: a record's, except in .jsonl where it is the line's.
        id: the document's id, byte for byte; `<source name>:<row>` where the source has none.
        text: the text; None where `problem` says why there is none.
        tokens: the token count the source states, None where it states none.
        kept: values of the kept columns, in their order, and of the target column.
        problem: why the row is no document (`null text`, `invalid UTF-8`, or `not wanted`: it was not looked at), or None.
    """

    row: int
    id: str
    text: str | None
    tokens: int | None
    kept: tuple[Value, ...]
    problem: str | None


def read_documents(
    source: Source,
    columns: Columns = Columns(),
    *,
    start: int = 0,
    position: Position | None = None,
    with_tokens: bool = True,
    wanted: Callable[[int], bool] = lambda row: True,
) -> Iterator[Document]:
    """Yield every row of a source in file order, from row `start` on; memory does not grow with the file.

    Args:
        source: the file to read.
        columns: which columns to read; see `Columns`.
        start: rows before this one are passed over.
        position: told how far reading is.
        with_tokens: whether to read token counts, where the source states them.
        wanted: whether to look at a row; others are passed over fast, and come without id and text.

    Raises:
        BadInputError: the file is truncated, corrupt, lacks a column, or a row holds what it must not; names file and row.
    """
    module = parquet if source.format == "parquet" else streams
    names = module.column_names(source)
    if not names:
        return  # an empty file, such as the last shard of a job that had too many
    # A file that is one text has no columns to choose or to miss.
    whole = Columns(text="text", keep=columns.keep, target=columns.target)
    found = whole if source.format == "txt" else columns.find(names, where=str(source.path))
    if not with_tokens:
        found = dataclasses.replace(found, tokens=None)
    text, *others = [name for name in (found.text, found.id, found.tokens) if name is not None]
    rows = module.read_rows(
        source,
        [text, *others, *found.keep, *([found.target] if found.target is not None else [])],
        id_column=found.id,
        start=start,
        position=position or Position(),
        wanted=wanted,
    )
    at_id = 1 if found.id else None
    at_tokens = 1 + bool(found.id) if found.tokens else None
    first_kept = 1 + len(others)
    for row, values in rows:
        if not wanted(row):
            yield Document(row, "", None, None, (), NOT_WANTED)
            continue
        where = f"{source.path}, row {row}"
        document_text, problem = _text(values[0], found.text, where)
        document_id = _id(values[at_id], where) if at_id else None
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


def _text(value: Any, column: str | None, where: str) -> tuple[str | None, str | None]:
    if value is None:
        return None, NULL_TEXT
    if isinstance(value, bytes):
        value = value.decode(errors="surrogateescape")
    if not isinstance(value, str):
        raise BadInputError(
            f"{where}: column {column!r} holds {_kind(value)}, not text; name the text column with --text-column"
        )
    return (value, None) if is_utf8(value) else (None, INVALID_UTF8)


def _kind(value: Any) -> str:
    return streams.JSON_KINDS.get(type(value), "number")


def is_utf8(text: str) -> bool:
    """Whether the bytes were UTF-8: streams decode others to lone surrogates, which encode to nothing."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _id(value: Any, where: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        found = json.dumps(value, default=str)
        raise BadInputError(f"{where}: the id is {found}, not a text or a whole number; name another with --id-column")
    return str(value)


def _tokens(value: Any, column: str | None, where: str) -> int | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        count = value if type(value) is int else int(float(value))  # 12.0 and "12" are counts too
        if count < 0 or count != float(value) or isinstance(value, bool):
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise BadInputError(
            f"{where}: token count {value!r} in column {column!r} is not a whole number of tokens; name another with --token-column"
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
