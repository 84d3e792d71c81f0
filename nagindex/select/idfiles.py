"""Files that name documents by id, with or without a value for each, as tables beside the documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex.corpus import Source, find_sources, parquet, streams
from nagindex.corpus.columns import ID_COLUMNS
from nagindex.corpus.parquet import quote_name, quote_path
from nagindex.corpus.sources import Position
from nagindex.errors import BadInputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

VALUE_COLUMNS = ("value", "score", "quality")
ROWS_PER_INSERT = 10_000


def load_ids(connection: DuckDBPyConnection, table: str, paths: Sequence[str]) -> None:
    """Make a table (id VARCHAR) of the different ids that files name: a selection's or any file's id column, or lines of a .txt.

    Raises:
        InputNotFoundError, BadInputError: a file is not there, cannot be read or has no column of ids.
    """
    connection.execute(f"CREATE TABLE {table}_read (id VARCHAR)")
    for source in find_sources(list(paths)).sources:
        if source.format == "txt":
            lines = source.path.read_text().split("\n")
            _insert(connection, f"{table}_read", ([line] for line in lines if line), 1)
        else:
            _load(connection, f"{table}_read", source, [_column(source, ID_COLUMNS, None)])
    connection.execute(f"CREATE TABLE {table} AS SELECT DISTINCT id FROM {table}_read WHERE id IS NOT NULL")
    connection.execute(f"DROP TABLE {table}_read")


def load_values(connection: DuckDBPyConnection, table: str, path: Path, column: str | None) -> None:
    """Make a table (id VARCHAR, value DOUBLE) of a file's column of numbers.

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
    for source in find_sources([str(path)]).sources:
        if source.format == "txt":
            raise BadInputError(
                f"{source.path}: values are read from .parquet, .jsonl, .csv and the like, with an id for each"
            )
        _load(
            connection,
            f"{table}_read",
            source,
            [_column(source, ID_COLUMNS, None), _column(source, VALUE_COLUMNS, column)],
        )
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


def _column(source: Source, usual: Sequence[str], named: str | None) -> str:
    """Return the column of a file that has one of the usual names, or the one that was named.

    Raises:
        BadInputError: it is not there; lists the columns.
    """
    names = (parquet if source.format == "parquet" else streams).column_names(source)
    found = next((name for name in ([named] if named is not None else usual) if name in names), None)
    if found is None:
        wanted = repr(named) if named is not None else " or ".join(usual)
        raise BadInputError(f"{source.path}: no column {wanted}; its columns are {', '.join(names) or 'none'}")
    return found


def _load(connection: DuckDBPyConnection, table: str, source: Source, columns: Sequence[str]) -> None:
    if source.format == "parquet":
        listed = ", ".join(f"CAST({quote_name(name)} AS VARCHAR)" for name in columns)
        connection.execute(f"INSERT INTO {table} SELECT {listed} FROM read_parquet({quote_path(source.path)})")
        return
    rows = streams.read_rows(
        source, columns, id_column=columns[0], start=0, position=Position(), wanted=lambda row: True
    )
    _insert(connection, table, (values for _, values in rows), len(columns))


def _insert(connection: DuckDBPyConnection, table: str, rows: Iterator[Sequence[Any]], width: int) -> None:
    batch: list[list[str | None]] = []

    def insert() -> None:
        listed = ", ".join("unnest(?::VARCHAR[])" for _ in range(width))
        connection.execute(
            f"INSERT INTO {table} SELECT {listed}", [list(column) for column in zip(*batch, strict=True)]
        )
        batch.clear()

    for values in rows:
        batch.append([None if value is None else str(value) for value in values])
        if len(batch) == ROWS_PER_INSERT:
            insert()
    if batch:
        insert()
