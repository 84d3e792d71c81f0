"""The Parquet tables of a segment, written and read through DuckDB."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nagindex.corpus.parquet import quote_name, quote_path
from nagindex.corpus.reading import Value
from nagindex.corpus.streams import Field
from nagindex.errors import DamagedIndexError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROW_GROUP = 100_000
INT64 = (-(1 << 63), (1 << 63) - 1)


def connect(*, threads: int | None = None) -> DuckDBPyConnection:
    """Return a connection to a private in-memory database; what it spills goes to the system's temporary folder."""
    import duckdb

    # A folder of its own, which DuckDB makes and removes: two databases must not spill to the same names.
    spill = Path(tempfile.gettempdir(), f"nagindex-{secrets.token_hex(8)}")
    config: dict[str, Any] = {"temp_directory": str(spill), "preserve_insertion_order": True}
    return duckdb.connect(config=config | ({"threads": threads} if threads else {}))


def write_table(path: Path, columns: Mapping[str, tuple[str, Any]]) -> None:
    """Write columns, each (SQL type, sequence or array [n]), as a Parquet file; the name must be new."""
    names, types = list(columns), [kind for kind, _ in columns.values()]
    data = {f"c{i}": _as_array(kind, values) for i, (kind, values) in enumerate(columns.values())}
    select = ", ".join(
        f"CAST(c{i} AS {kind}) AS {quote_name(name)}" for i, (name, kind) in enumerate(zip(names, types, strict=True))
    )
    with connect(threads=1) as connection:
        connection.register("data", data)
        connection.execute(
            f"COPY (SELECT {select} FROM data) TO {quote_sql(path)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )


def read_table(path: Path, columns: Sequence[str]) -> dict[str, Any]:
    """Return columns of a Parquet file of an index as lists of Python values.

    Raises:
        DamagedIndexError: the file cannot be read.
    """
    import duckdb

    wanted = ", ".join(quote_name(name) for name in columns)
    try:
        with connect(threads=1) as connection:
            rows = connection.execute(f"SELECT {wanted} FROM read_parquet({quote_path(path)})").fetchall()
    except duckdb.Error as error:
        raise DamagedIndexError(path, f"cannot be read ({str(error).splitlines()[0]})") from error
    return dict(zip(columns, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(columns, ())


def scan_sql(paths: Sequence[Path], *, extra: str = "") -> str:
    """Return a SQL table expression over Parquet files; columns whose types differ between files widen."""
    return (
        f"read_parquet([{', '.join(map(quote_path, paths))}], union_by_name = true, hive_partitioning = false{extra})"
    )


def quote_sql(value: object) -> str:
    """Return a value's text as a SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def kept_type(values: Sequence[Value]) -> tuple[str, list[Value]]:
    """Return the narrowest SQL type that holds a kept column's values, and the values as that type.

    Whole numbers become BIGINT, other numbers DOUBLE, true/false BOOLEAN, everything else VARCHAR; a segment whose values are
    all missing is BOOLEAN, which every other type widens.
    """
    present = [v for v in values if v is not None]
    if all(isinstance(v, bool) for v in present):
        return "BOOLEAN", list(values)
    if all(isinstance(v, Field) for v in present):
        numbers = [None if v is None else _number(str(v)) for v in values]
        if sum(n is not None for n in numbers) == len(present):
            return kept_type(numbers)
    elif all(isinstance(v, int) and not isinstance(v, bool) and INT64[0] <= v <= INT64[1] for v in present):
        return "BIGINT", list(values)
    elif all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in present):
        return "DOUBLE", [None if v is None else float(v) for v in values]
    return "VARCHAR", [v if v is None else str(v) if isinstance(v, str) else json.dumps(v) for v in values]


def _number(field: str) -> int | float | None:
    try:
        number: int | float = json.loads(field)
    except (ValueError, RecursionError):
        return None
    return number if type(number) in (int, float) and field == field.strip() else None


def _as_array(kind: str, values: Any) -> np.ndarray[Any, Any]:
    if isinstance(values, np.ndarray):
        return values
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
