"""DuckDB: the connection that a process shares, and quoting of names, paths and values in SQL."""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex.workers.cpus import available_cpus

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def connect(*, threads: int | None = None) -> DuckDBPyConnection:
    """Return a connection to the in-memory database that this process shares.

    Create only temporary tables and views: those belong to one connection, others would be seen by all.

    Args:
        threads: of the database; by default one a CPU. With one thread a scan holds one row group of a file at a time.
    """
    return _database(os.getpid(), threads).cursor()  # a forked child must not use its parent's database


def open_database(*, threads: int | None = None) -> DuckDBPyConnection:
    """Return a connection to a new in-memory database, which spills to the system's temporary folder.

    Args:
        threads: of the database; by default one a CPU.
    """
    import duckdb

    # DuckDB creates and removes the folder. Each database needs its own: spilled files have the same names in all.
    spill = Path(tempfile.gettempdir(), f"nagindex-{secrets.token_hex(8)}")
    config: dict[str, Any] = {"temp_directory": str(spill), "preserve_insertion_order": True}
    return duckdb.connect(config=config | {"threads": threads or available_cpus()})


def run_within(connection: DuckDBPyConnection, memory: int, sql: str) -> None:
    """Run a statement in little memory: its database spills beyond a limit, and gets twice as much where the statement needs more.

    Args:
        connection: of a database of its own, whose limit is most of the machine's memory afterwards, as before.
        memory: the first limit, in bytes for each of its threads.
        sql: a statement that leaves nothing behind if it fails.

    Raises:
        duckdb.Error: the statement cannot be run, or the machine's memory is too small for it.
    """
    import duckdb

    [(threads,)] = connection.execute("SELECT current_setting('threads')").fetchall()
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    limit = min(memory * threads, most // 2)
    try:
        while limit < most:
            with suppress(duckdb.OutOfMemoryException):
                connection.execute(f"SET memory_limit = '{limit}B'")
                connection.execute(sql).fetchall()
                return
            limit *= 2
    finally:
        connection.execute("RESET memory_limit")
    connection.execute(sql).fetchall()


def quote_name(name: str) -> str:
    """Return a column's name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_path(path: object) -> str:
    """Return a path as a SQL string in which glob characters are escaped, since DuckDB expands globs."""
    return quote_value("".join(f"[{c}]" if c in "*?[" else c for c in str(path)))


def quote_value(value: object) -> str:
    """Return the text of a value as a SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


@atexit.register
def _close_databases() -> None:
    _database.cache_clear()


@cache
def _database(_process: int, threads: int | None) -> DuckDBPyConnection:
    return open_database(threads=threads)  # takes 25 ms, a cursor 25 microseconds
