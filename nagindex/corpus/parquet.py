"""Parquet sources, read through DuckDB one vector of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nagindex.corpus.sources import Position, Source
from nagindex.corpus.sql import connect, quote_name, quote_path, quote_value
from nagindex.errors import BadInputError

ROWS_PER_FETCH = 512
INVALID_ENCODING = "Invalid string encoding"
PASSED_THROUGH = {
    "VARCHAR", "BLOB", "BOOLEAN", "DOUBLE", "FLOAT",
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
}  # fmt: skip


def column_names(source: Source) -> list[str]:
    """Return the names of a Parquet file's columns."""
    return list(_column_types(source))


def row_count(source: Source) -> int:
    """Return the number of rows that a Parquet file's footer states."""
    [(count,)] = _query(source, f"SELECT count(*) FROM {_scan(source)}").fetchall()
    return int(count)


def metadata_value(path: Path, key: str) -> str | None:
    """Return a value of a Parquet file's key-value metadata, None where there is no such key, or no such file."""
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
    """Yield (row, values of `columns`) from row `start` on; ids of other types come as DuckDB writes them; all are read, wanted or not."""
    types = _column_types(source)
    if types[columns[0]] not in ("VARCHAR", "BLOB"):
        raise BadInputError(
            f"{source.path}: column {columns[0]!r} is {types[columns[0]]}, not text; name the text column with --text-column"
        )
    values_sql = ", ".join(_as_value(name, types[name], is_id=name == id_column) for name in columns)

    def rows(first: int, validation: str) -> Iterator[tuple[int, Sequence[Any]]]:
        scan = _scan(source, validation)
        return _fetch(
            source, f"SELECT file_row_number, {values_sql} FROM {scan} WHERE file_row_number >= {first:d}", position
        )

    following = start
    try:
        for row, values in rows(start, "strict"):
            yield row, values
            following = row + 1
    except BadInputError as error:
        if INVALID_ENCODING not in str(error):
            raise
        # DuckDB refuses a column for one invalid byte; where it replaces such bytes and where it drops them, values differ.
        for (row, values), (_, other) in zip(rows(following, "replace"), rows(following, "ignore"), strict=True):
            yield row, [_doubted(value, twin) for value, twin in zip(values, other, strict=True)]


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


def _doubted(value: Any, other: Any) -> Any:
    """Return a value, as bytes that are not UTF-8 where the other reading shows that it is not."""
    return value.encode() + b"\xff" if isinstance(value, str) and value != other else value


def _column_types(source: Source) -> dict[str, str]:
    return {
        name: kind
        for name, kind, *_ in _query(
            source, f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {_scan(source)}"
        ).fetchall()
    }


def _as_value(name: str, kind: str, *, is_id: bool) -> str:
    quoted = quote_name(name)
    if kind in ("VARCHAR", "BLOB") or (kind in PASSED_THROUGH and not is_id):
        return quoted
    return f"CAST({quoted} AS VARCHAR)"


def _scan(source: Source, validation: str = "strict") -> str:
    options = f"binary_as_string = false, hive_partitioning = false, utf8_validation = '{validation}'"
    return f"read_parquet({quote_path(source.path)}, file_row_number = true, {options})"


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
