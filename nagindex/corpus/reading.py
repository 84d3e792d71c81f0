"""Sources as a stream of documents: each row with its text, or the reason why it has none."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nagindex.corpus import parquet, streams
from nagindex.corpus.columns import Columns, Fields, SourceColumns
from nagindex.corpus.records import record_id
from nagindex.corpus.sources import OnError, Paths, Position, Source, find_sources, require_readable
from nagindex.errors import BadInputError

NULL_TEXT = "null text"
INVALID_UTF8 = "invalid UTF-8"
EXCLUDED = "excluded"
BAD_ROW = "bad row"
Value = str | int | float | bool | None


class Document(NamedTuple):
    """One row of a source.

    Attributes:
        row: position in the source from 0: a record's, except in .jsonl where it is the line's.
        id: the document's id, byte for byte; `<source name>:<row>` where the source has none.
        text: the text; None where there is a `problem`.
        tokens: the token count that the source states, None where it states none.
        kept: values of the kept columns, in their order, then of the target column.
        problem: why the row is no document (`null text`, `invalid UTF-8`, `bad row: ` and what is wrong with it, or `excluded`
            by the caller), or None.
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


def find_columns(source: Source, columns: Columns, *, on_error: OnError | None = None) -> SourceColumns | None:
    """Return the columns to read of a source; None where it has none, as the last shard of a job that had too many.

    Args:
        source: the source.
        columns: the columns that are named.
        on_error: as in `read_documents`.

    Raises:
        BadInputError: the file cannot be read, or as `Columns.find`.
    """
    if source.format == "txt":  # a file that is one text has no columns to choose or to miss
        return SourceColumns("text", kept=tuple(columns.kept.values()), target=columns.target_column)
    with naming_skip(on_error):
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
    on_error: OnError | None = None,
) -> Iterator[Document]:
    """Yield every row of a source in file order, from row `start` on; memory does not grow with the file.

    Args:
        source: the file to read.
        columns: which columns to read, or what `find_columns` found.
        start: the first row to yield.
        position: updated while rows are read.
        with_tokens: whether to read token counts, where the source states them.
        wanted: whether to parse a row; other rows have the problem `excluded`, and neither id nor text.
        on_error: `skip` yields a row that holds what is no record, text, id or count with the problem `bad row`; `stop` raises
            for it, and names `skip` as a remedy; None, where the caller cannot skip, raises too.

    Raises:
        BadInputError: the file is truncated, corrupt or lacks a column, or a row holds a value of the wrong type;
            names file and row.
    """
    found = find_columns(source, columns, on_error=on_error) if isinstance(columns, Columns) else columns
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
    with naming_skip(on_error):
        for row, values in rows:
            if not wanted(row):
                yield Document(row, "", None, None, (), EXCLUDED)
                continue
            try:
                document = _document(source, found, row, values)
            except BadInputError as error:
                if on_error != "skip":
                    raise
                document = Document(
                    row, f"{source.name}:{row}", None, None, (), f"{BAD_ROW}: {reason_of(error, source)}"
                )
            yield document


def corpus_sources(corpus: Paths, *, root: str | Path | None, on_error: OnError) -> list[Source]:
    """Return the sources of a corpus, sorted by name; under `skip` those that cannot be read too, each with its `problem`.

    Raises:
        InputNotFoundError, BadInputError: as `find_sources`.
    """
    sources = find_sources(corpus, root=root, on_error="skip").sources
    if on_error == "stop":
        with naming_skip(on_error):
            for source in sources:
                require_readable(source)
    return sources


@contextmanager
def naming_skip(on_error: OnError | None) -> Iterator[None]:
    """Context in which errors name `on_error="skip"` as a remedy, if the caller has that option and has not chosen it."""
    try:
        yield
    except BadInputError as error:
        if on_error != "stop":
            raise
        raise BadInputError(f'{error}, or pass over it with `on_error="skip"`') from None


def reason_of(error: BadInputError, source: Source) -> str:
    """Return what an error of a source says is wrong, without the file's path and the remedy."""
    said = str(error).removeprefix(str(source.path)).lstrip(",: ").rpartition("; ")[0]
    return re.sub(r"^row \d+: ", "", said)


def _document(source: Source, columns: SourceColumns, row: int, values: Sequence[Any] | BadInputError) -> Document:
    """Return a row as a document.

    Args:
        source: the file.
        columns: those that were read.
        row: the row's position.
        values: of the text, id and token columns as far as there are any, the kept columns and the target column.

    Raises:
        BadInputError: the row is no record, or holds a value of the wrong type.
    """
    if isinstance(values, BadInputError):
        raise values
    where = f"{source.path}, row {row}"
    rest = iter(values)
    document_text, problem = _text(next(rest), columns.text, where)
    document_id = record_id(next(rest), where) if columns.id is not None else None
    if document_id is None:
        document_id = f"{source.name}:{row}"
    if problem is None and not is_utf8(document_id):
        problem = INVALID_UTF8
    if problem is not None:
        document_text, document_id = None, document_id.encode(errors="replace").decode()
    tokens = _tokens(next(rest), columns.tokens, where) if columns.tokens is not None else None
    kept = tuple(map(_kept, rest))
    if source.format in ("csv", "tsv"):
        kept = tuple(value if value is None else streams.Field(value) for value in kept)
    return Document(row, document_id, document_text, tokens, kept, problem)


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
