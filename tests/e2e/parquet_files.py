"""Parquet files for the tests of the command line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import duckdb


def parquet(path: Path, select: str) -> Path:
    """Write the result of a SELECT and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    return path


def read(path: Path | io.BytesIO, columns: str = "*") -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM read_parquet('{path}')").fetchall()


def types(path: Path) -> dict[str, str]:
    with duckdb.connect() as connection:
        rows = connection.execute(f"DESCRIBE SELECT * FROM read_parquet('{path}')").fetchall()
    return {row[0]: row[1] for row in rows}


def rows(path: str) -> list[dict[str, object]]:
    """Return the rows of a file, by column."""
    with duckdb.connect() as connection:
        result = connection.execute(f"SELECT * FROM read_parquet('{path}')")
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
