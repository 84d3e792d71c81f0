"""Parquet sources, read through DuckDB one vector of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nagindex.corpus.columns import format_names
from nagindex.corpus.sources import Position, Source
from nagindex.corpus.sql import connect, quote_name, quote_path, quote_value
from nagindex.errors import BadInputError

ROWS_PER_FETCH = 512
INVALID_ENCODING = "Invalid string encoding"
TEXT_TYPES = ("VARCHAR", "BLOB")
SCALARS_KEPT = {
    "VARCHAR", "BLOB", "BOOLEAN", "DOUBLE", "FLOAT",
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
}  # fmt: skip
"""Types whose values are read as they are; values of others are read as DuckDB writes them as text."""


def column_names(source: Source) -> list[str]:
    """Return the names of a Parquet file's columns."""
    return list(_column_types(source, _scan(source)))


def row_count(source: Source) -> int:
    """Return the number of rows that a Parquet file's footer states."""
    [(count,)] = _query(source, f"SELECT count(*) FROM {_scan(source)}").fetchall()
    return int(count)


def metadata_value(path: Path, key: str) -> str | None:
    """Return a value of a Parquet file's key-value metadata, None where the key or the file is missing."""
    import duckdb

    sql = f"SELECT value FROM parquet_kv_metadata({quote_path(path)}) WHERE key = {quote_value(key)}::BLOB"
    try:
        rows = connect(threads=1).execute(sql).fetchall()
    except duckdb.Error:
        return None
    return rows[0][0].decode(errors="replace") if rows else None


def read_rows(
    source: Source,
    columns: Sequence[str],
    *,
    id_column: str | None,
    start: int,
    position: Position,
    wanted: Callable[[int], bool],
) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield (row, values of `columns`) from row `start` on.

    Numbers, truth values, texts and bytes keep their type; other values, and ids that are no text or bytes, are text
    as DuckDB writes it. A text that is not UTF-8 is bytes. All rows are read, whatever `wanted` says: skipping single
    rows saves nothing.

    Raises:
        BadInputError: the first column is not text, the id column is nested, or the file cannot be read.
    """
    types = _column_types(source, _scan(source))
    if types[columns[0]] not in TEXT_TYPES:
        raise BadInputError(
            f"{source.path}: column {columns[0]!r} is {format_names([types[columns[0]]])}, not text; "
            "name the text column with `text_column`"
        )
    _require_scalar_id(source, types, id_column)
    values_sql = ", ".join(_value_sql(name, types[name], is_id=name == id_column) for name in columns)

    def read_from(first: int, validation: str) -> Iterator[tuple[int, Sequence[Any]]]:
        scan = _scan(source, validation)
        return _fetch(
            source, f"SELECT file_row_number, {values_sql} FROM {scan} WHERE file_row_number >= {first:d}", position
        )

    following = start
    try:
        for row, values in read_from(start, "strict"):
            yield row, values
            following = row + 1
    except BadInputError as error:
        if INVALID_ENCODING not in str(error):
            raise
        # DuckDB refuses a column for one invalid byte. Where a value differs between a reading that replaces such bytes
        # and one that drops them, it is not UTF-8.
        replaced, dropped = read_from(following, "replace"), read_from(following, "ignore")
        for (row, values), (_, others) in zip(replaced, dropped, strict=True):
            yield row, [_mark_invalid(value, other) for value, other in zip(values, others, strict=True)]


def read_records(
    source: Source, names: Container[str], *, id_column: str | None
) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    """Yield (row, id, values by column) of the columns in `names`.

    Nested values are dicts and lists, bytes are text, and ids are text as DuckDB writes it.

    Raises:
        BadInputError: the id column is nested, or the file cannot be read.
    """
    scan = _scan(source, binary_as_string=True)
    types = _column_types(source, scan)
    _require_scalar_id(source, types, id_column)
    selected = [name for name in types if name in names]
    id_sql = "NULL" if id_column is None else _value_sql(id_column, types[id_column], is_id=True)
    columns_sql = ", ".join(["file_row_number", id_sql, *map(quote_name, selected)])
    for row, (identifier, *values) in _fetch(source, f"SELECT {columns_sql} FROM {scan}", Position()):
        yield row, identifier, dict(zip(selected, values, strict=True))


def require_scalar_ids(source: Source, id_column: str) -> None:
    """Raise BadInputError unless a column of a Parquet file holds single values, which can be ids."""
    _require_scalar_id(source, _column_types(source, _scan(source)), id_column, "ids are texts or numbers")


def _require_scalar_id(
    source: Source, types: Mapping[str, str], id_column: str | None, remedy: str = "name the id column with `id_column`"
) -> None:
    kind = types[id_column] if id_column is not None else ""
    if kind.endswith("]") or kind.startswith(("STRUCT(", "MAP(", "UNION(")):
        raise BadInputError(
            f"{source.path}: column {id_column!r} is {format_names([kind])}, not a single value; {remedy}"
        )


def _fetch(source: Source, sql: str, position: Position) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield (row, values) of a query whose first column is the row."""
    count = max(1, row_count(source))
    result = _query(source, sql)
    row = -1
    while True:
        try:
            fetched = result.fetchmany(ROWS_PER_FETCH)
        except Exception as error:
            raise _unreadable(source, error, f"after row {row}") from error
        if not fetched:
            return
        for row, *values in fetched:
            yield row, values
        position.bytes = source.size * row // count


def _mark_invalid(value: Any, other: Any) -> Any:
    """Return a value, as bytes that are not UTF-8 where two readings of it differ."""
    return value.encode() + b"\xff" if isinstance(value, str) and value != other else value


def _column_types(source: Source, scan: str) -> dict[str, str]:
    described = _query(source, f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {scan}").fetchall()
    return {name: kind for name, kind, *_ in described}


def _value_sql(name: str, kind: str, *, is_id: bool) -> str:
    quoted = quote_name(name)
    if kind in TEXT_TYPES or (kind in SCALARS_KEPT and not is_id):
        return quoted
    return f"CAST({quoted} AS VARCHAR)"


def _scan(source: Source, validation: str = "strict", *, binary_as_string: bool = False) -> str:
    binary = f"binary_as_string = {str(binary_as_string).lower()}"
    options = f"file_row_number = true, {binary}, hive_partitioning = false, utf8_validation = '{validation}'"
    return f"read_parquet({quote_path(source.path)}, {options})"


def _query(source: Source, sql: str) -> Any:
    import duckdb

    try:
        return connect(threads=1).execute(sql)
    except duckdb.Error as error:
        raise _unreadable(source, error, "") from error


def _unreadable(source: Source, error: Exception, where: str) -> BadInputError:
    reason = f"{where} " * bool(where) + f"({str(error).splitlines()[0]})"
    remedy = "the file may be truncated or corrupt: replace or remove it"
    if "file_row_number" in str(error).splitlines()[0]:
        remedy = "rename its column file_row_number, a name that DuckDB keeps for itself"
    return BadInputError(f"{source.path}: cannot be read as Parquet {reason}; {remedy}")
