"""Files of ids, with or without a value for each, read into tables of a DuckDB connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex.corpus import parquet, streams
from nagindex.corpus.columns import ID_COLUMNS
from nagindex.corpus.reading import is_utf8
from nagindex.corpus.remote_parquet import quote_file, reason_of_failure
from nagindex.corpus.sources import Position, Source, find_sources
from nagindex.corpus.sql import quote_name
from nagindex.corpus.text_files import read_lines
from nagindex.errors import BadInputError
from nagindex.storage.part_folders import is_parts, part_paths
from nagindex.stores.urls import is_remote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

VALUE_COLUMNS = ("value", "score", "quality")
ROWS_PER_INSERT = 10_000


def load_ids(connection: DuckDBPyConnection, table: str, paths: Sequence[str]) -> None:
    """Create a table (id VARCHAR) of the distinct ids in files: the id column of a selection or another file, or the lines of a .txt.

    Raises:
        InputNotFoundError, BadInputError: a file is not there, cannot be read or has no column of ids.
    """
    connection.execute(f"CREATE TABLE {table}_read (id VARCHAR)")
    for source in _sources(paths):
        if source.format == "txt":
            _insert(connection, f"{table}_read", source, ((row, [line]) for row, line in read_lines(source) if line), 1)
        elif names := _columns(source):
            _load(connection, f"{table}_read", source, [_column(source, names, ID_COLUMNS, None)])
    connection.execute(f"CREATE TABLE {table} AS SELECT DISTINCT id FROM {table}_read WHERE id IS NOT NULL")
    connection.execute(f"DROP TABLE {table}_read")


def load_values(connection: DuckDBPyConnection, table: str, path: Path, column: str | None) -> None:
    """Create a table (id VARCHAR, value DOUBLE) of the ids and a column of numbers of a file.

    Args:
        connection: where.
        table: its name.
        path: the file.
        column: of the numbers; by default value, score or quality.

    Raises:
        InputNotFoundError, BadInputError: the file is not there, lacks a column, names an id twice or holds no number.
    """
    import duckdb

    connection.execute(f"CREATE TABLE {table}_read (id VARCHAR, value VARCHAR)")
    for source in _sources([str(path)]):
        if source.format == "txt":
            raise BadInputError(
                f"{source.path}: values are read from .parquet, .jsonl, .csv and the like, with an id for each"
            )
        if names := _columns(source):
            wanted = [_column(source, names, ID_COLUMNS, None), _column(source, names, VALUE_COLUMNS, column)]
            _load(connection, f"{table}_read", source, wanted)
    if connection.execute(f"SELECT 1 FROM {table}_read WHERE id IS NULL LIMIT 1").fetchall():
        raise BadInputError(f"{path}: a row has a value and no id; name the document that it is for")
    twice = connection.execute(f"SELECT id FROM {table}_read GROUP BY id HAVING count(*) > 1 LIMIT 1").fetchall()
    if twice:
        raise BadInputError(f"{path}: the id {twice[0][0]!r} has two values; leave one row for each id")
    try:
        connection.execute(f"CREATE TABLE {table} AS SELECT id, value::DOUBLE AS value FROM {table}_read")
    except duckdb.Error:
        [(identifier, value)] = connection.execute(
            f"SELECT id, value FROM {table}_read WHERE value IS NOT NULL AND TRY_CAST(value AS DOUBLE) IS NULL LIMIT 1"
        ).fetchall()
        raise BadInputError(f"{path}: the value {value!r} of the id {identifier!r} is no number") from None
    connection.execute(f"DROP TABLE {table}_read")


def _sources(paths: Sequence[str]) -> Sequence[Source]:
    """Return the files of some paths; a folder that is a selection must have all its parts."""
    for path in paths:
        if not is_remote(path) and is_parts(Path(path)):
            part_paths(Path(path))
    return find_sources(list(paths)).sources


def _columns(source: Source) -> list[str]:
    """Return the columns of a file; none if it is empty, like the last shard of a job that had too many."""
    return parquet.column_names(source) if source.format == "parquet" else streams.column_names(source)


def _column(source: Source, names: Sequence[str], usual: Sequence[str], named: str | None) -> str:
    """Return the named column of a file, by default the first of the usual names that it has.

    Raises:
        BadInputError: it is not there; lists the columns.
    """
    found = next((name for name in ([named] if named is not None else usual) if name in names), None)
    if found is None:
        wanted = repr(named) if named is not None else " or ".join(usual)
        raise BadInputError(f"{source.path}: no column {wanted}; its columns are {', '.join(names) or 'none'}")
    return found


def _load(connection: DuckDBPyConnection, table: str, source: Source, columns: Sequence[str]) -> None:
    import duckdb

    if source.format == "parquet":
        parquet.require_scalar_ids(source, columns[0])
        listed = ", ".join(f"CAST({quote_name(name)} AS VARCHAR)" for name in columns)
        file = quote_file(source.path, connection)
        try:
            connection.execute(
                f"INSERT INTO {table} SELECT {listed} FROM read_parquet({file}, hive_partitioning = false)"
            )
        except duckdb.Error as error:
            reason = reason_of_failure(error, source.path)
            raise BadInputError(f"{source.path}: cannot be read as Parquet ({reason}); replace or remove it") from None
        return
    rows = streams.read_rows(
        source, columns, id_column=columns[0], start=0, position=Position(), wanted=lambda row: True
    )
    _insert(connection, table, source, streams.raise_errors(rows), len(columns))


def _insert(
    connection: DuckDBPyConnection, table: str, source: Source, rows: Iterator[tuple[int, Sequence[Any]]], width: int
) -> None:
    batch: list[list[str | None]] = []

    def insert() -> None:
        listed = ", ".join("unnest(?::VARCHAR[])" for _ in range(width))
        connection.execute(
            f"INSERT INTO {table} SELECT {listed}", [list(column) for column in zip(*batch, strict=True)]
        )
        batch.clear()

    for row, values in rows:
        batch.append([None if v is None else str(int(v)) if isinstance(v, bool) else str(v) for v in values])
        if any(value is not None and not is_utf8(value) for value in batch[-1]):
            raise BadInputError(f"{source.path}, row {row}: not UTF-8; mend or remove the row")
        if len(batch) == ROWS_PER_INSERT:
            insert()
    if batch:
        insert()
