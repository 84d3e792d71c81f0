"""Selections as folders: Parquet parts whose rows follow one another, and `_metadata` with the row groups of all and the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex.corpus.sql import quote_path, run_within
from nagindex.query.export import parquet_options
from nagindex.storage.files import replacing
from nagindex.storage.part_folders import METADATA, part_name, part_paths

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


def scan_of(path: Path) -> str:
    """Return the SQL table expression of a selection's rows: its columns, and `_row`, the number of a row from 0.

    Args:
        path: its file, or its folder.

    Raises:
        BadInputError: parts of a folder are missing.
    """
    listed = ", ".join(map(quote_path, part_paths(path) if path.is_dir() else [path]))
    # Rows come in the order of the files.
    return f"(SELECT *, row_number() OVER () - 1 AS _row FROM read_parquet([{listed}], hive_partitioning = false))"
