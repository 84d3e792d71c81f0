"""The documents of a snapshot in SQL: the read-only view `docs`, and lookups by position."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import connect, open_database, quote_name, quote_path, quote_value
from nagindex.errors import BadInputError, DamagedIndexError
from nagindex.storage.segment import Segment
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.tables import scan_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROWS_LISTED = 1000
SELECTS_AT_ONCE = 8


def open_docs(snapshot: Snapshot, *, database: DuckDBPyConnection | None = None) -> DuckDBPyConnection:
    """Return a connection with a view `docs` of the documents that are not deleted, locked: it reads the index's segments only.

    Columns: id, file, row, tokens, the kept columns, and `_segment` and `_position`: a document's segment and its row there.

    Args:
        snapshot: the version.
        database: a database of the caller's, with further tables, to which the view is added; by default a new one.
    """
    import duckdb

    index, keep = snapshot.path, snapshot.manifest.settings.keep_columns
    connection = database or open_database()
    connection.execute("CREATE TABLE _places (path VARCHAR, segment INTEGER)")
    connection.execute("CREATE TABLE _deleted (segment INTEGER, position BIGINT)")
    used = [(number, segment) for number, segment in enumerate(snapshot.segments) if segment.entry.documents]
    for number, segment in used:
        connection.execute("INSERT INTO _places VALUES (?, ?)", [str(segment.docs_path), number])
        rows = segment.deleted()
        if len(rows):
            connection.register("rows", {"position": rows.astype(np.int64)})
            connection.execute(f"INSERT INTO _deleted SELECT {number}, position FROM rows")
            connection.unregister("rows")
    columns = ["id", "file", "row", "tokens", *keep]
    if used:
        scan = scan_sql([segment.docs_path for _, segment in used], extra=", filename = true, file_row_number = true")
        listed = ", ".join(f"d.{quote_name(name)}" for name in columns)
        try:
            connection.execute(
                f"""CREATE VIEW docs AS SELECT {listed}, p.segment AS _segment, d.file_row_number AS _position
                FROM {scan} d JOIN _places p ON d.filename = p.path
                ANTI JOIN _deleted x ON x.segment = p.segment AND x.position = d.file_row_number"""
            )
        except duckdb.Error as error:
            raise _other_columns(snapshot, error) from error
    else:
        kinds = {"row": "BIGINT", "tokens": "BIGINT"}
        listed = ", ".join(f"NULL::{kinds.get(name, 'VARCHAR')} AS {quote_name(name)}" for name in columns)
        connection.execute(f"CREATE VIEW docs AS SELECT {listed}, 0 AS _segment, 0::BIGINT AS _position LIMIT 0")
    connection.execute(
        f"SET allowed_directories = [{quote_value(index / 'segments')}, {quote_path(index / 'segments')}]"
    )
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def run_select(connection: DuckDBPyConnection, sql: str) -> DuckDBPyConnection:
    """Run one statement that only reads, and return the connection with its result.

    Raises:
        BadInputError: it is not one such statement, or DuckDB refuses it.
    """
    import duckdb

    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type.name.removesuffix("_STATEMENT") != "SELECT":
            raise BadInputError("one SELECT statement is needed: an index is read-only to SQL; the view is called docs")
        text = statements[0].query.strip().rstrip(";")
        # Only what reads can stand in a subquery: no COPY, whose files might be the index's own, in any disguise.
        connection.execute(f"EXPLAIN SELECT * FROM (\n{text}\n)")
        return connection.execute(text)
    except (duckdb.Error, ValueError, TypeError) as error:  # such as text that is no UTF-8
        if isinstance(error, BadInputError):
            raise
        raise _refused(connection, error) from error


def rows_where(connection: DuckDBPyConnection, condition: str) -> dict[str, npt.NDArray[Any]]:
    """Return the places and tokens of the documents that a SQL condition holds for: _segment, _position, tokens, [m] each.

    Raises:
        BadInputError: it is not one expression, or DuckDB refuses it.
    """
    import duckdb

    try:  # a relation's filter takes one expression, so no text can close it and go on with another statement
        found: dict[str, Any] = (
            connection.view("docs").filter(condition).project("_segment, _position, tokens").fetchnumpy()
        )
    except duckdb.Error as error:
        raise _refused(connection, error) from error
    return found


def select_candidates(
    connection: DuckDBPyConnection, condition: str | None, value: str, *, scores: bool, excluded: bool
) -> tuple[int, int, int]:
    """Make a table `candidates` (segment, position, value), in that order, of the documents that a query may select.

    Args:
        connection: with the view `docs`.
        condition: a SQL expression that they meet, None for no condition.
        value: SQL of the value of a document `d`; documents without one are no candidates.
        scores: whether values come from a table `_values` (id, value).
        excluded: whether a table `_excluded` (id) lists documents that are no candidates.

    Returns:
        Candidates, their tokens, and documents that only lack a value.

    Raises:
        BadInputError: the condition is not one expression, or DuckDB refuses it.
    """
    import duckdb

    joins = " LEFT JOIN _values USING (id)" * scores + " ANTI JOIN _excluded USING (id)" * excluded
    try:  # a relation's filter takes one expression; see rows_where
        docs = connection.view("docs")
        found = docs if condition is None else docs.filter(condition)
        found.query(
            "d",
            f"""CREATE TABLE met AS SELECT d._segment::INTEGER AS segment, d._position::INTEGER AS position,
            {value} AS value, d.tokens FROM d{joins}""",
        )
    except duckdb.Error as error:
        raise _refused(connection, error) from error
    [(documents, tokens, without)] = connection.execute(
        """SELECT count(value), coalesce(sum(tokens) FILTER (value IS NOT NULL), 0)::BIGINT, count(*) FILTER (value IS NULL)
        FROM met"""
    ).fetchall()
    connection.execute(
        """CREATE TABLE candidates AS SELECT segment, position, value::DOUBLE AS value FROM met
        WHERE value IS NOT NULL ORDER BY segment, position; DROP TABLE met"""
    )
    return documents, tokens, without


def columns_of(connection: DuckDBPyConnection) -> dict[str, str]:
    """Return the columns of the view `docs` and their types, without the places of documents."""
    described = connection.execute("DESCRIBE docs").fetchall()
    return {name: kind for name, kind, *_ in described if name not in ("_segment", "_position")}


def kept_types(snapshot: Snapshot) -> dict[str, str]:
    """Return the types of the kept columns by name, of all segments the widest."""
    import duckdb

    names = snapshot.manifest.settings.keep_columns
    paths = [segment.docs_path for segment in snapshot.segments]
    if not names or not paths:
        return {}
    listed = ", ".join(map(quote_name, names))
    with connect() as connection:
        try:
            described = connection.execute(f"DESCRIBE SELECT {listed} FROM {scan_sql(paths)}").fetchall()
        except duckdb.Error as error:
            raise _other_columns(snapshot, error) from error
    return {name: kind for name, kind, *_ in described}


def _other_columns(snapshot: Snapshot, error: Exception) -> DamagedIndexError:
    reason = " ".join(str(error).split())
    return DamagedIndexError(
        snapshot.path / "segments", f"tables without the columns that the manifest names ({reason})"
    )


def _refused(connection: DuckDBPyConnection, error: Exception) -> BadInputError:
    reason = " ".join(re.split(r"LINE \d+:", str(error))[0].split())
    return BadInputError(f"SQL: {reason}; the columns of docs are {', '.join(columns_of(connection))}")


def ids_at(snapshot: Snapshot, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    """Return the ids, str [m], of documents at positions, int64 [m].

    A few rows of a segment are looked up by row group; many are picked from all of its ids, one segment at a time.
    """
    few: list[str] = []
    ids = np.empty(len(positions), dtype=object)
    with connect() as connection:
        for number, places, rows in snapshot.by_segment(positions):
            scan = scan_sql([snapshot.segments[number].docs_path], extra=", file_row_number = true")
            if len(rows) <= ROWS_LISTED:
                listed = ", ".join(map(str, rows.tolist()))
                position = f"file_row_number + {snapshot.starts[number]} AS position"
                few.append(f"SELECT {position}, id FROM {scan} WHERE file_row_number IN ({listed})")
            else:
                all_ids = connection.execute(f"SELECT id FROM {scan} ORDER BY file_row_number").fetchnumpy()["id"]
                ids[places] = all_ids[rows]
        if few:
            found: dict[int, str] = {}
            for first in range(0, len(few), SELECTS_AT_ONCE):
                found |= dict(connection.execute(" UNION ALL ".join(few[first : first + SELECTS_AT_ONCE])).fetchall())
            for place in np.flatnonzero([identifier is None for identifier in ids]).tolist():
                ids[place] = found[int(positions[place])]
    return ids


def positions_of(snapshot: Snapshot, ids: Sequence[str]) -> dict[str, int]:
    """Return the positions of documents by their ids, without those that are in no living document."""
    with open_docs(snapshot) as connection:
        rows = connection.execute(
            "SELECT id, _segment, _position FROM docs WHERE id IN (SELECT unnest(?::VARCHAR[]))", [list(ids)]
        ).fetchall()
    return {identifier: int(snapshot.starts[segment]) + row for identifier, segment, row in rows}


def require_ids(snapshot: Snapshot, ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the positions of documents, int64 [m].

    Raises:
        BadInputError: an id is not in the index.
    """
    positions = positions_of(snapshot, ids)
    for one in ids:
        if one not in positions:
            raise BadInputError(f"{one}: no document of {snapshot.path} has this id")
    return np.array([positions[one] for one in ids], np.int64)


def join_documents(
    connection: DuckDBPyConnection,
    snapshot: Snapshot,
    positions: npt.NDArray[np.int64],
    columns: Mapping[str, npt.NDArray[Any]],
) -> str:
    """Return the FROM clause that joins documents `d` to columns of values; the connection gets views `hits` and `places`.

    Args:
        connection: gets views `hits` (_segment, _row and `columns`) and `places`.
        snapshot: the version.
        positions: int64 [m], of the documents; one may occur twice.
        columns: arrays [m] that become columns of `hits`.
    """
    numbers, rows = snapshot.locate(positions)
    distinct = np.unique(numbers)
    used = [snapshot.segments[number] for number in distinct]
    paths = np.array([str(segment.docs_path) for segment in used], dtype=object)
    connection.register("hits", {"_segment": numbers, "_row": rows, **columns})
    connection.register("places", {"_segment": distinct, "path": paths})
    docs = scan_sql([segment.docs_path for segment in used], extra=", filename = true, file_row_number = true")
    return f"""FROM hits JOIN places USING (_segment)
        JOIN {docs} d ON d.filename = places.path AND d.file_row_number = hits._row"""


def tokens_of(segment: Segment) -> npt.NDArray[np.int64]:
    """Return the tokens of a segment's documents, int64 [documents]."""
    with connect(threads=1) as connection:
        found = connection.execute(
            f"SELECT tokens FROM {scan_sql([segment.docs_path], extra=', file_row_number = true')} ORDER BY file_row_number"
        ).fetchnumpy()
    tokens = np.ascontiguousarray(found["tokens"], np.int64)
    if len(tokens) != segment.entry.documents:
        stated = f"segment {segment.entry.id} has {segment.entry.documents}"
        raise DamagedIndexError(segment.docs_path, f"{len(tokens)} rows where {stated}")
    return tokens
