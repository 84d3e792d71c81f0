"""Sources as a stream of records with nested values, and the ids of records."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple

from nagindex.corpus import parquet, streams
from nagindex.corpus.columns import ID_COLUMNS, format_names
from nagindex.corpus.sources import Source
from nagindex.errors import BadInputError


class Record(NamedTuple):
    """One record of a source.

    Attributes:
        where: file and row, for messages.
        id: the record's id; `<source name>:<row>` where it has none.
        values: values by column; of a Parquet file only those that were named.
        columns: the names of all of the record's columns.
    """

    where: str
    id: str
    values: dict[str, Any]
    columns: Sequence[str]


def read_records(source: Source, names: Container[str], *, id_column: str | None = None) -> Iterator[Record]:
    """Yield the records of a source in file order.

    Args:
        source: the file to read, in any format.
        names: the columns that are needed; of a Parquet file only these are read.
        id_column: column of the ids; by default id, docid or doc_id.

    Raises:
        BadInputError: the id column is missing or holds what is no id, or the file cannot be read.
    """
    module = parquet if source.format == "parquet" else streams
    available = module.column_names(source)
    if not available:
        return  # an empty file
    if id_column is not None and id_column not in available:
        raise BadInputError(
            f"{source.path}: no column {id_column!r} (`id_column`); available columns are {format_names(available)}"
        )
    id_column = id_column or next((name for name in ID_COLUMNS if name in available), None)
    records_differ = source.format in ("json", "jsonl")  # each JSON record has columns of its own
    for row, value, values in module.read_records(source, names, id_column=id_column):
        where = f"{source.path}, row {row}"
        columns = list(values) if records_differ else available
        yield Record(where, record_id(value, where) or f"{source.name}:{row}", values, columns)


def record_id(value: Any, where: str) -> str | None:
    """Return the id that a source states, as text; None where it is null or empty.

    Args:
        value: a text, bytes or a whole number; bytes that are not UTF-8 become lone surrogates.
        where: file and row, for the message.

    Raises:
        BadInputError: it is of another type.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        written = json.dumps(value, default=str)
        raise BadInputError(
            f"{where}: the id is {written}, not a text or a whole number; name the id column with `id_column`"
        )
    return str(value)
