"""Parquet sources, read through DuckDB one vector of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nagindex.corpus.sources import Position, Source
from nagindex.errors import BadInputError

ROWS_PER_FETCH = 512
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


def read_rows(
    source: Source, columns: Sequence[str], *, id_column: str | None, start: int, position: Position
) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield (row, values of `columns`) from row `start` on; ids of other types come as DuckDB writes them."""
    types = _column_types(source)
    if types[columns[0]] not in ("VARCHAR", "BLOB"):
        raise BadInputError(
            f"{source.path}: column {columns[0]!r} is {types[columns[0]]}, not text; name the text column with --text-column"
        )
    wanted = ", ".join(_as_value(name, types[name], is_id=name == id_column) for name in columns)
    result = _query(source, f"SELECT file_row_number, {wanted} FROM {_scan(source)} WHERE file_row_number >= {start:d}")
    count = max(1, row_count(source))
    row = start
    while True:
        try:
            rows = result.fetchmany(ROWS_PER_FETCH)
        except Exception as error:
            raise _unreadable(source, error, f"after row {row}") from error
        if not rows:
            return
        for row, *values in rows:
            yield row, values
        position.bytes = source.size * row // count


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


def _scan(source: Source) -> str:
    return f"read_parquet({quote_path(source.path)}, file_row_number = true, binary_as_string = false, hive_partitioning = false)"


def quote_name(name: str) -> str:
    """Return a column's name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_path(path: object) -> str:
    """Return a path as a SQL string that DuckDB takes literally, with no character read as a glob."""
    literal = "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
    return "'" + literal.replace("'", "''") + "'"


def _query(source: Source, sql: str) -> Any:
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    try:
        return connection.execute(sql)
    except duckdb.Error as error:
        raise _unreadable(source, error, "") from error


def _unreadable(source: Source, error: Exception, where: str) -> BadInputError:
    reason = f"{where} " * bool(where) + f"({str(error).splitlines()[0]})"
    remedy = "the file may be truncated or corrupt: replace or remove it"
    return BadInputError(f"{source.path}: cannot be read as Parquet {reason}; {remedy}")
