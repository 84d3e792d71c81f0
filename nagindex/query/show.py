"""Selections read back from their files: some of the documents, with all that the file says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.arguments import checked
from nagindex.corpus import parquet, streams
from nagindex.corpus.sources import Source
from nagindex.corpus.sql import connect, quote_name, quote_path, quote_value
from nagindex.errors import BadInputError
from nagindex.query.export import format_of
from nagindex.query.parts import scan_of
from nagindex.storage.part_folders import file_with_metadata

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NUMBERS = {
    **dict.fromkeys(("rank", "tokens", "row"), int),
    **dict.fromkeys(("score", "standardized", "quality_value", "combined"), float),
}
"""Columns of numbers that a query writes, and their types."""
LONGEST = 1 << 26
"""Bytes of the longest line of a JSON or CSV file that is read."""
RANKS = (1, 20)
"""Ranks that are read by default."""


@dataclass(frozen=True)
class SelectedDocuments:
    """Some documents of a selection's file, in its order.

    Attributes:
        rows: the documents, each as its values by column; of a CSV file all but the columns that a query writes are text.
        documents: documents in the file, of the targets that were asked for.
        targets: names of the targets in the file, in its order; empty where it has no column `target`.
    """

    rows: list[dict[str, Any]]
    documents: int
    targets: list[str]


@checked
def selected_documents(
    path: str | Path,
    *,
    ranks: tuple[int, int] | None = None,
    last: int | None = None,
    sample: int | None = None,
    targets: Sequence[str] = (),
    seed: int = 0,
) -> SelectedDocuments:
    """Return some documents of a selection's file: by default those of ranks 1 to 20, of each target if there are several.

    Other tables with a column `id` can be read, too; without a column `rank`, a document's rank is its row's number from 1.

    Args:
        path: a file that `Selection.write` wrote as Parquet, JSON lines or CSV, or a folder of parts.
        ranks: the first and the last rank, of each target.
        last: the number of last documents, of each target, in place of ranks.
        sample: the number of documents drawn at random, of all targets together, in place of ranks.
        targets: only documents of these targets.
        seed: of the sample.

    Raises:
        InputNotFoundError: there is no such file.
        BadInputError: it cannot be read, has no column `id`, or has no such target; or a number is out of range.
    """
    if sum(given is not None for given in (ranks, last, sample)) > 1:
        raise BadInputError("ranks, last and sample are three choices of documents; give one of them")
    first, final = ranks or RANKS
    if not 1 <= first <= final:
        raise BadInputError(f"ranks {first} to {final}: ranks count from 1, the first before the last")
    for name, number in (("last", last), ("sample", sample)):
        if number is not None and number < 1:
            raise BadInputError(f"{name} {number}: at least one document must be asked for")
    with connect() as connection:
        table = _Table.of(connection, Path(path))
        found = table.targets()
        condition = _of_targets(table, targets, found)
        documents = table.count(condition)
        if sample is not None:
            places = table.places(condition)
            drawn = np.random.default_rng(seed).choice(len(places), min(sample, len(places)), replace=False)
            places = np.sort(places[drawn])
        elif last is not None:
            by_target = "PARTITION BY target" if found else ""
            places = table.places(f"{condition} QUALIFY rank > max(rank) OVER ({by_target}) - {int(last)}")
        else:
            places = table.places(f"{condition} AND rank BETWEEN {int(first)} AND {int(final)}")
        return SelectedDocuments(table.rows(places), documents, found)


def _of_targets(table: _Table, wanted: Sequence[str], found: Sequence[str]) -> str:
    """Return the SQL condition of the documents of some targets, of all if none is named."""
    for name in wanted:
        if name not in found:
            there = f"there are {', '.join(found)}" if found else "it is of one target"
            raise BadInputError(f"{table.path}: no target {name!r}; {there}")
    return f"target IN ({', '.join(map(quote_value, wanted))})" if wanted else "true"


@dataclass(frozen=True)
class _Table:
    """A selection's file as a DuckDB table.

    Attributes:
        connection: reads it.
        path: the file.
        columns: its columns.
        scan: SQL of a table of the columns, and `_row`, the row's number from 0.
        as_text: SQL of a value as text, with {} for its column.
        parse: f(column, value as fetched): its value.
    """

    connection: DuckDBPyConnection
    path: Path
    columns: Sequence[str]
    scan: str
    as_text: str
    parse: Callable[[str, Any], Any]

    @classmethod
    def of(cls, connection: DuckDBPyConnection, path: Path) -> _Table:
        """Return the table of a file.

        Raises:
            InputNotFoundError, BadInputError: it is not there, cannot be read or has no column `id`.
        """
        source = _source(path)
        if source.format == "parquet":
            columns, table = parquet.column_names(source), scan_of(path)
            as_text, parse = "{}::VARCHAR", lambda column, value: value
        else:
            columns = streams.column_names(source)
            compression = f"compression = '{source.compression}'"
            if source.format == "csv":
                kinds = ", ".join(f"{quote_value(name)}: 'VARCHAR'" for name in columns)
                options = f"header = true, auto_detect = false, delim = ',', quote = '\"', columns = {{{kinds}}}, "
                options += f"parallel = false, max_line_size = {LONGEST}"
                scan = f"read_csv({quote_path(path)}, {options}, {compression})"
                as_text, parse = "{}", _parsed
            else:
                kinds = ", ".join(f"{quote_value(name)}: 'JSON'" for name in columns)
                options = f"format = 'newline_delimited', columns = {{{kinds}}}, maximum_object_size = {LONGEST}"
                scan = f"read_json({quote_path(path)}, {options}, {compression})"
                as_text, parse = "({} ->> '$')", lambda column, value: None if value is None else json.loads(value)
            table = f"(SELECT row_number() OVER () - 1 AS _row, * FROM {scan})" if columns else ""
        if "id" not in columns:
            raise BadInputError(
                f"{path}: no column 'id', so no selection; its columns are {', '.join(columns) or 'none'}"
            )
        return cls(connection, path, columns, table, as_text, parse)

    @property
    def _ranked(self) -> str:
        """SQL of a table of `_row`, `rank` and, where there are several targets, `target`."""
        rank = f"{self.as_text.format('rank')}::BIGINT" if "rank" in self.columns else "_row + 1"
        target = f", {self.as_text.format('target')} AS target" if "target" in self.columns else ""
        return f"(SELECT _row, {rank} AS rank{target} FROM {self.scan})"

    def targets(self) -> list[str]:
        """Return the names of the targets, in the order of their first documents."""
        if "target" not in self.columns:
            return []
        rows = self._fetch(f"SELECT target FROM {self._ranked} GROUP BY target ORDER BY min(_row)")
        return [str(name) for (name,) in rows]

    def count(self, condition: str) -> int:
        """Return the number of documents that meet a condition."""
        return int(self._fetch(f"SELECT count(*) FROM {self._ranked} WHERE {condition}")[0][0])

    def places(self, condition: str) -> npt.NDArray[np.int64]:
        """Return the numbers of the rows that meet a condition, int64 [m], ascending."""
        sql = f"SELECT _row FROM (SELECT * FROM {self._ranked} WHERE {condition}) ORDER BY _row"
        return np.asarray(self._run(sql).fetchnumpy()["_row"], np.int64)

    def rows(self, places: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return rows by their numbers, each as its values by column, with a rank."""
        listed = ", ".join(map(quote_name, self.columns))
        sql = f"SELECT _row, {listed} FROM {self.scan} WHERE _row IN (SELECT unnest(?::BIGINT[])) ORDER BY _row"
        return [
            {"rank": place + 1} | {name: self.parse(name, own) for name, own in zip(self.columns, values, strict=True)}
            for place, *values in self._fetch(sql, [places.tolist()])
        ]

    def _fetch(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._run(sql, values).fetchall()

    def _run(self, sql: str, values: Sequence[Any] = ()) -> DuckDBPyConnection:
        """Run a statement, whose result is complete when it returns.

        Raises:
            BadInputError: the file is not what its name says.
        """
        import duckdb

        try:
            return self.connection.execute(sql, list(values))
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise BadInputError(f"{self.path}: cannot be read as a selection ({reason}); write it again") from None


def _source(path: Path) -> Source:
    """Return a selection's file, or that with the metadata of its parts, by whose name its format is known.

    Raises:
        InputNotFoundError, BadInputError: it is not there, or of another format.
    """
    path = file_with_metadata(path)
    try:
        kind, compression = format_of(path)
    except BadInputError:
        kind, compression = "", ""
    if kind in ("", "ids"):
        raise BadInputError(
            f"{path}: a selection is read from .parquet, .jsonl or .csv; other files, such as ids, have no ranks and scores"
        )
    return Source(path.name, path, kind, compression, path.stat().st_size)


def _parsed(column: str, value: str | None) -> Any:
    """Return a value of a CSV file: numbers in the columns that a query writes, else text."""
    kind = NUMBERS.get(column)
    try:
        return value if kind is None or value is None else kind(value)
    except ValueError:
        return value
