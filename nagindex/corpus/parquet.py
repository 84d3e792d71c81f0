"""Parquet sources, read through DuckDB one vector of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple

from nagindex.corpus.columns import Fields, by_path, format_names
from nagindex.corpus.remote_parquet import connect_to, quote_file, raise_failure, reason_of_failure
from nagindex.corpus.sources import Position, Source, SourcePath
from nagindex.corpus.sql import connect, quote_name, quote_value
from nagindex.errors import BadInputError

ROWS_PER_FETCH = 512
INVALID_ENCODING = "Invalid string encoding"
TEXT_TYPES = ("VARCHAR", "BLOB")
SCALARS_KEPT = {
    "VARCHAR", "BLOB", "BOOLEAN", "DOUBLE", "FLOAT",
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
}  # fmt: skip
"""Types whose values are read as they are; nested values are read as JSON, others as DuckDB writes them as text."""


class _Field(NamedTuple):
    """A column, or a field nested in one: the SQL expression of its values, and DuckDB's type of them."""

    sql: str
    type: Any

    @property
    def kind(self) -> str:
        return str(self.type)


def column_names(source: Source) -> list[str]:
    """Return the names of a Parquet file's columns."""
    return list(_column_types(source, _scan(source)))


def fields(source: Source) -> Fields:
    """Return the columns and nested fields of a Parquet file."""
    names, known = _fields(source, _scan(source))
    return Fields(names, {path: _stored_type(field.kind) for path, field in known.items()})


def row_count(source: Source) -> int:
    """Return the number of rows that a Parquet file's footer states."""
    [(count,)] = _query(source, f"SELECT count(*) FROM {_scan(source)}").fetchall()
    return int(count)


def metadata_value(path: SourcePath, key: str) -> str | None:
    """Return a value of a Parquet file's key-value metadata, None where the key or the file is missing."""
    import duckdb

    sql = f"SELECT value FROM parquet_kv_metadata({quote_file(path)}) WHERE key = {quote_value(key)}::BLOB"
    try:
        rows = connect_to(path).execute(sql).fetchall()
    except duckdb.Error:
        raise_failure(path)
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
    """Yield (row, values at the paths `columns`) from row `start` on; None where there is no such column.

    Numbers, truth values, texts and bytes keep their type; nested values are JSON; other values, and ids that are no text or
    bytes, are text as DuckDB writes it. A text that is not UTF-8 is bytes. All rows are read, whatever `wanted` says: skipping single
    rows saves nothing.

    Raises:
        BadInputError: the first column is not text, the id column is nested, or the file cannot be read.
    """
    _, known = _fields(source, _scan(source))
    if (kind := known[columns[0]].kind) not in TEXT_TYPES:
        raise BadInputError(
            f"{source.path}: column {columns[0]!r} is {format_names([kind])}, not text; "
            "name the text column with `text_column`"
        )
    if id_column is not None:
        _require_scalar_id(source, id_column, known[id_column].kind)
    values_sql = ", ".join(
        _value_sql(known[path], is_id=path == id_column) if path in known else "NULL" for path in columns
    )

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
    if id_column is not None:
        _require_scalar_id(source, id_column, types[id_column])
    selected = [name for name in types if name in names]
    id_sql = "NULL" if id_column is None else _id_sql(quote_name(id_column), types[id_column])
    columns_sql = ", ".join(["file_row_number", id_sql, *map(quote_name, selected)])
    for row, (identifier, *values) in _fetch(source, f"SELECT {columns_sql} FROM {scan}", Position()):
        yield row, identifier, dict(zip(selected, values, strict=True))


def require_scalar_ids(source: Source, id_column: str) -> None:
    """Raise BadInputError unless a column of a Parquet file holds single values, which can be ids."""
    _require_scalar_id(source, id_column, _column_types(source, _scan(source))[id_column], "ids are texts or numbers")


def _require_scalar_id(
    source: Source, id_column: str, kind: str, remedy: str = "name the id column with `id_column`"
) -> None:
    if _is_nested(kind):
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
            position.bytes = source.size * (row + 1) // count
            yield row, values


def _mark_invalid(value: Any, other: Any) -> Any:
    """Return a value, as bytes that are not UTF-8 where two readings of it differ."""
    return value.encode() + b"\xff" if isinstance(value, str) and value != other else value


def _column_types(source: Source, scan: str) -> dict[str, str]:
    described = _query(source, f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {scan}").fetchall()
    return {name: kind for name, kind, *_ in described}


def _fields(source: Source, scan: str) -> tuple[list[str], dict[str, _Field]]:
    """Return the names of the columns, and the columns and the fields of their structs by path."""
    import duckdb

    try:
        relation = connect(threads=1).sql(f"SELECT * EXCLUDE (file_row_number) FROM {scan}")
    except duckdb.Error as error:
        raise _unreadable(source, error, "") from error
    columns = zip(relation.columns, relation.types, strict=True)
    by_name = {name: _Field(quote_name(name), kind) for name, kind in columns}
    return list(by_name), by_path(by_name.items(), _members)


def _members(field: _Field) -> list[tuple[str, _Field]]:
    """Return the fields of a struct; none of another type."""
    if field.type.id != "struct":
        return []
    return [
        (name, _Field(f"struct_extract({field.sql}, {quote_value(name)})", kind)) for name, kind in field.type.children
    ]


def _is_nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT(", "MAP(", "UNION("))


def _stored_type(kind: str) -> str:
    """Return the type of a kept column that holds values of a type."""
    if kind == "BOOLEAN":
        return kind
    if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL("):
        return "DOUBLE"
    return "BIGINT" if kind in SCALARS_KEPT and kind not in TEXT_TYPES else "VARCHAR"


def _value_sql(field: _Field, *, is_id: bool) -> str:
    if is_id:
        return _id_sql(field.sql, field.kind)
    if field.kind in SCALARS_KEPT:
        return field.sql
    if field.kind.startswith("DECIMAL("):
        return f"CAST({field.sql} AS DOUBLE)"
    return f"CAST({f'to_json({field.sql})' if _is_nested(field.kind) else field.sql} AS VARCHAR)"


def _id_sql(sql: str, kind: str) -> str:
    return sql if kind in TEXT_TYPES else f"CAST({sql} AS VARCHAR)"


def _scan(source: Source, validation: str = "strict", *, binary_as_string: bool = False) -> str:
    binary = f"binary_as_string = {str(binary_as_string).lower()}"
    options = f"file_row_number = true, {binary}, hive_partitioning = false, utf8_validation = '{validation}'"
    return f"read_parquet({quote_file(source.path)}, {options})"


def _query(source: Source, sql: str) -> Any:
    import duckdb

    try:
        return connect(threads=1).execute(sql)
    except duckdb.Error as error:
        raise _unreadable(source, error, "") from error


def _unreadable(source: Source, error: Exception, where: str) -> BadInputError:
    told = reason_of_failure(error, source.path)
    reason = f"{where} " * bool(where) + f"({told})"
    remedy = "the file may be truncated or corrupt: replace or remove it"
    if "file_row_number" in told:
        remedy = "rename its column file_row_number, a name that DuckDB keeps for itself"
    return BadInputError(f"{source.path}: cannot be read as Parquet {reason}; {remedy}")
