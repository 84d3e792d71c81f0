"""What a selection is made of, against the pool: values of kept columns, source files, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import open_database, quote_name
from nagindex.report.counts import LEVELS, ColumnNumbers, ColumnValues, Histogram, ValueCount
from nagindex.storage.docs import columns_of, open_docs
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

VALUES = 12
"""Values of a column that are listed."""
LISTED_NUMBERS = 24
"""Different numbers up to which a column's values are listed one by one."""
NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE")
LENGTH_BINS = 32


@dataclass(frozen=True)
class Pool:
    """The candidates of a query, and which of them were selected for which target.

    Attributes:
        snapshot: the version of the index.
        candidates: bool [stored documents]; None if all living documents are candidates.
        positions: int64 [n], positions of the selected documents.
        owners: int64 [n], numbers of their targets.
        targets: the numbers that occur among them.
    """

    snapshot: Snapshot
    candidates: npt.NDArray[np.bool_] | None
    positions: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]
    targets: Sequence[int]

    def open(self) -> DuckDBPyConnection:
        """Return a connection with views `pool` of candidates, and `chosen` of selected documents with the number of their `target`."""
        database = open_database()
        numbers, rows = self.snapshot.locate(self.positions)
        database.register("given", {"_segment": numbers, "_position": rows, "target": self.owners})
        database.execute("CREATE TABLE _chosen AS SELECT * FROM given")
        if self.candidates is not None:
            numbers, rows = self.snapshot.locate(np.flatnonzero(self.candidates))
            database.register("given", {"_segment": numbers, "_position": rows})
            database.execute("CREATE TABLE _candidates AS SELECT * FROM given")
        database.unregister("given")
        connection = open_docs(self.snapshot, database=database)
        narrowed = "" if self.candidates is None else " SEMI JOIN _candidates USING (_segment, _position)"
        connection.execute(f"CREATE VIEW pool AS SELECT * FROM docs{narrowed}")
        connection.execute("CREATE VIEW chosen AS SELECT * FROM docs JOIN _chosen USING (_segment, _position)")
        return connection


def columns_of_pool(pool: Pool) -> list[ColumnValues | ColumnNumbers]:
    """Return the kept columns and the sources: the commonest values, or quantiles where there are many different numbers."""
    with pool.open() as connection:
        kinds = columns_of(connection)
        found: list[ColumnValues | ColumnNumbers] = []
        for name in (*pool.snapshot.manifest.settings.keep_columns, "file"):
            numeric = kinds[name] in NUMBERS and _distinct(connection, name) > LISTED_NUMBERS
            found.append(_numbers(connection, name) if numeric else _values(connection, name, pool.targets))
        return found


def _distinct(connection: DuckDBPyConnection, name: str) -> int:
    [(count,)] = connection.execute(f"SELECT count(DISTINCT {quote_name(name)}) FROM pool").fetchall()
    return int(count)


def _numbers(connection: DuckDBPyConnection, name: str) -> ColumnNumbers:
    column = f"quantile_cont({quote_name(name)}::DOUBLE, {list(LEVELS)})"
    [(of_pool,)], [(of_chosen,)] = (
        connection.execute(f"SELECT {column} FROM {table}").fetchall() for table in ("pool", "chosen")
    )
    return ColumnNumbers(name, of_pool or [], of_chosen or [])


def _values(connection: DuckDBPyConnection, name: str, targets: Sequence[int]) -> ColumnValues:
    value = f"{quote_name(name)}::VARCHAR"
    owners = "".join(f", count(*) FILTER (target = {own})" for own in targets)
    found = connection.execute(f"SELECT {value}, count(*){owners} FROM chosen GROUP BY ALL").fetchall()
    chosen: dict[str | None, list[int]] = {own: counts for own, *counts in found}
    rows = connection.execute(f"SELECT {value}, count(*) FROM pool GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
    none = [0] * (1 + len(targets))
    counts = [ValueCount(own, of_pool, (c := chosen.get(own, none))[0], c[1:]) for own, of_pool in rows]
    counts.sort(key=lambda own: -own.selected)
    listed, rest = counts[:VALUES], counts[VALUES:]
    by_target = [sum(own.by_target[number] for own in rest) for number in range(len(targets))]
    return ColumnValues(
        name,
        listed,
        len(rest),
        ValueCount(None, sum(own.pool for own in rest), sum(own.selected for own in rest), by_target),
    )


def lengths_of(pool: npt.NDArray[np.int64], selected: npt.NDArray[np.int64]) -> Histogram | None:
    """Return documents by tokens, in bins of equal width on a logarithmic scale; None where no tokens were counted.

    Args:
        pool: int64 [candidates], tokens of each.
        selected: int64 [n], those of the selected documents.
    """
    if not pool.any():
        return None
    low, high = max(int(pool.min()), 1), int(pool.max()) + 1
    edges = np.unique(np.round(np.geomspace(low, high, min(LENGTH_BINS, high - low) + 1))).astype(np.float64)
    clipped = [np.clip(own, low, None) for own in (pool, selected)]
    of_pool, of_selected = (np.histogram(own, edges)[0].astype(np.int64) for own in clipped)
    return Histogram(edges, of_pool, of_selected)
