"""Parquet tables of a segment, written and read with DuckDB."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nagindex.corpus.reading import Value
from nagindex.corpus.sql import connect, quote_name, quote_path, quote_value
from nagindex.corpus.streams import Field
from nagindex.errors import DamagedIndexError
from nagindex.storage.disk_errors import writing

ROW_GROUP = 100_000
DOCS_ROW_GROUP = 16_384
"""Small, as a lookup of one row reads its row group; whole columns are read as fast as from larger groups."""
NUMPY_TYPES = {"BIGINT": np.int64, "DOUBLE": np.float64, "BOOLEAN": np.bool_}
INT64 = (-(1 << 63), (1 << 63) - 1)


def write_table(path: Path, columns: Mapping[str, tuple[str, Any]]) -> None:
    """Write columns, each (SQL type, sequence or array [n]), as a new Parquet file."""
    names, types = list(columns), [kind for kind, _ in columns.values()]
    data = {f"c{i}": _as_array(kind, values) for i, (kind, values) in enumerate(columns.values())}
    select = ", ".join(
        f"CAST(c{i} AS {kind}) AS {quote_name(name)}" for i, (name, kind) in enumerate(zip(names, types, strict=True))
    )
    with writing(path), connect(threads=1) as connection:
        connection.register("data", data)
        connection.execute(
            f"COPY (SELECT {select} FROM data) TO {quote_value(path)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {DOCS_ROW_GROUP})"
        )


def read_table(path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, Any]:
    """Return columns of a small Parquet file as sequences of Python values.

    Args:
        path: the file.
        columns: their names.
        optional: those among them whose values are None where the file lacks the column.

    Raises:
        DamagedIndexError: the file cannot be read.
    """
    import duckdb

    try:
        with connect(threads=1) as connection:
            table = connection.sql(f"SELECT * FROM read_parquet({quote_path(path)})")
            lacking = {name for name in optional if name not in table.columns}
            rows = table.project(", ".join("NULL" if n in lacking else quote_name(n) for n in columns)).fetchall()
    except duckdb.Error as error:
        raise DamagedIndexError(path, f"cannot be read ({str(error).splitlines()[0]})") from error
    return dict(zip(columns, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(columns, ())


def scan_sql(paths: Sequence[Path], *, extra: str = "") -> str:
    """Return a SQL table expression over Parquet files; a column whose types differ between files gets the wider type."""
    return (
        f"read_parquet([{', '.join(map(quote_path, paths))}], union_by_name = true, hive_partitioning = false{extra})"
    )


def kept_type(values: Sequence[Value]) -> tuple[str, list[Value]]:
    """Return the narrowest SQL type for the values of a kept column, and the values converted to it.

    Booleans become BOOLEAN, integers BIGINT, other numbers DOUBLE, everything else VARCHAR; of different types the widest is taken, in
    this order, as `scan_sql` does between segments. CSV fields are parsed if all of them are numbers, or all are booleans. A column
    without any value is BOOLEAN.
    """
    parsed = {v: _parse_field(str(v)) for v in values if isinstance(v, Field)}
    if parsed and (None not in parsed.values()) and len({type(v) is bool for v in parsed.values()}) == 1:
        values = [parsed[v] if isinstance(v, Field) else v for v in values]
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {bool}:
        return "BOOLEAN", list(values)
    if kinds <= {bool, int} and all(v is None or INT64[0] <= int(v) <= INT64[1] for v in values):
        return "BIGINT", [None if v is None else int(v) for v in values]
    if kinds <= {bool, int, float}:
        with suppress(OverflowError):
            return "DOUBLE", [None if v is None else float(v) for v in values]
    return "VARCHAR", [v if v is None else str(v) if isinstance(v, str) else json.dumps(v) for v in values]


def _parse_field(field: str) -> bool | int | float | None:
    """Return the boolean or number in a CSV field, None for other text; 007 is text."""
    if field.lower() in ("true", "false"):
        return field.lower() == "true"
    try:
        number: int | float = json.loads(field)
    except (ValueError, RecursionError):
        return None
    return number if type(number) in (int, float) and field == field.strip() else None


def _as_array(kind: str, values: Any) -> np.ndarray[Any, Any]:
    """Return values as a typed array, as DuckDB infers the type of Python objects from a sample only."""
    if isinstance(values, np.ndarray):
        return values
    if kind in NUMPY_TYPES:
        missing = [value is None for value in values]
        return np.ma.array([0 if value is None else value for value in values], NUMPY_TYPES[kind], mask=missing)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
