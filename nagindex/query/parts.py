"""Selections as folders: Parquet parts whose rows follow one another, and `_metadata` with the row groups of all and the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex.corpus.sql import connect, quote_path, run_within
from nagindex.errors import BadInputError, InputNotFoundError
from nagindex.query.export import parquet_options
from nagindex.storage.files import replacing
from nagindex.storage.part_folders import METADATA, is_parts, part_name, part_paths

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyarrow.parquet import FileMetaData


def write_part(
    connection: DuckDBPyConnection, select: str, place: str, number: int, *, settings: dict[str, Any], memory: int
) -> FileMetaData:
    """Write the rows of a SELECT statement as a part, which appears whole or not at all; return its footer, for `write_metadata`.

    Args:
        connection: where the statement runs.
        select: the statement.
        place: the folder, or its URL.
        number: of the part, from 0.
        settings: the selection's record.
        memory: bytes for each thread that the statement gets first; see `run_within`.
    """
    from pyarrow.parquet import read_metadata

    name = part_name(number)
    with replacing(f"{place}/{name}") as temporary:
        run_within(connection, memory, f"COPY ({select}) TO {quote_path(temporary)} ({parquet_options(settings)})")
        footer = read_metadata(temporary)
    footer.set_file_path(name)
    return footer


def write_metadata(place: str, footers: Sequence[FileMetaData]) -> None:
    """Write the file that makes a folder a selection.

    Args:
        place: the folder, or its URL, which holds all parts.
        footers: of the parts, in order, at least one.
    """
    whole, *others = footers
    for own in others:
        whole.append_row_groups(own)
    with replacing(f"{place}/{METADATA}") as temporary:
        whole.write_metadata_file(temporary)


def require_selection(path: Path) -> None:
    """Raise InputNotFoundError unless a file, or a folder of parts, is there."""
    if not (path.is_file() or is_parts(path)):
        fault = f"a folder without {METADATA}" if path.is_dir() else "no such file"
        raise InputNotFoundError(f"{path}: {fault}; name a selection that was written as Parquet")


def scan_of(path: Path) -> str:
    """Return the SQL table expression of a selection's rows: its columns, and `_row`, the number of a row from 0.

    Args:
        path: its file, or its folder.

    Raises:
        BadInputError: parts of a folder are missing.
    """
    if not path.is_dir():
        return (
            f"(SELECT * RENAME (file_row_number AS _row) FROM read_parquet({quote_path(path)}, file_row_number = true))"
        )
    selects, first = [], 0
    with connect() as connection:
        for part in part_paths(path):
            rows = f"read_parquet({quote_path(part)}, file_row_number = true)"
            selects.append(f"SELECT * REPLACE (file_row_number + {first} AS file_row_number) FROM {rows}")
            first += _rows_of(connection, part)
        stated = _rows_of(connection, path / METADATA)
    if first != stated:
        raise BadInputError(f"{path}: its parts have {first:,} rows, and {METADATA} states {stated:,}; select again")
    return f"(SELECT * RENAME (file_row_number AS _row) FROM ({' UNION ALL '.join(selects)}))"


def _rows_of(connection: DuckDBPyConnection, path: Path) -> int:
    import duckdb

    try:
        [(rows,)] = connection.execute(f"SELECT num_rows FROM parquet_file_metadata({quote_path(path)})").fetchall()
    except duckdb.Error as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"{path}: not readable as a part of a selection ({reason}); select again") from error
    return int(rows)
