"""The rows of a selection, in order: as arrays, dicts, a DuckDB relation or a data frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.arguments import checked
from nagindex.corpus.sql import open_database, quote_name
from nagindex.errors import BadInputError, require_package
from nagindex.query.html import table
from nagindex.query.rows import PLACE_COLUMNS, Batches, create_rows
from nagindex.query.totals import Totals, totals_by_target, whole_of
from nagindex.storage.docs import kept_types
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.workers.cpus import available_cpus

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


SCORE_COLUMNS = ("rank", "id", "score")
OLD_NAMES = {"standardised": "standardized"}
"""Older spellings of columns, which `Selection.column` understands."""
TEXTS_PER_INSERT, BYTES_PER_INSERT = 1000, 1 << 26
THREADS = 8
"""Most threads of the database that holds a selection; each selection has its own."""
ROWS_PER_FETCH = 10_000
ROWS_SHOWN = 10
"""Rows that a notebook shows."""


class SelectedRows:
    """Documents of an index in an order, best first, with their columns.

    Attributes:
        columns: names of the columns.
    """

    def __init__(
        self,
        chosen: Batches,
        snapshot: Snapshot,
        columns: Sequence[str],
        limits: Sequence[int] | None = None,
        *,
        lazy: bool = False,
    ) -> None:
        """Order the documents by ranking, descending key and ascending id, and look up their columns.

        Args:
            chosen: at least one document.
            snapshot: the version that they are of.
            columns: names of the batches' further columns.
            limits: of each ranking, how many of its documents are selected, the first ones; by default all.
            lazy: whether to look them up when a row is asked for, and not now.

        Raises:
            BadInputError: the index keeps a column with the name of one of these.
        """
        kept = snapshot.manifest.settings.keep_columns
        self.columns = (*SCORE_COLUMNS, *columns, *PLACE_COLUMNS, *kept)
        for name in kept:
            if name in columns:
                raise BadInputError(
                    f"the index keeps a column {name!r}, a name that this selection needs; rename it in the corpus"
                )
        self._snapshot, self._extra, self._limits = snapshot, tuple(columns), limits
        self._chosen = chosen
        self._totals: Totals | None = None
        if not lazy:
            _ = self._table
            del self._chosen  # what the documents were chosen from is not kept

    @cached_property
    def _table(self) -> tuple[DuckDBPyConnection, int]:
        """A connection to the table `selection`, and its length."""
        connection = open_database(threads=min(THREADS, available_cpus()))
        length = create_rows(
            connection,
            self._chosen,
            self._snapshot,
            columns=self._extra,
            kept=kept_types(self._snapshot),
            limits=self._limits,
        )
        return connection, length

    @property
    def _connection(self) -> DuckDBPyConnection:
        return self._table[0]

    def __len__(self) -> int:
        return self._table[1]

    def totals(self) -> Totals:
        """Return how many documents there are, their tokens, and the best and the worst score, of all and of each target."""
        if self._totals is None:
            several = "target" in self._extra
            own, distinct = totals_by_target(self._connection, several=several), None
            if several:
                [(distinct,)] = self._connection.execute("SELECT count(DISTINCT id) FROM selection").fetchall()
            self._totals = whole_of(own, distinct)
        return replace(self._totals, targets=dict(self._totals.targets))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the documents, best first, each as its values by column."""
        for first in range(0, len(self), ROWS_PER_FETCH):
            yield from self._rows(f"_row > {first} AND _row <= {first + ROWS_PER_FETCH}")

    @checked
    def head(
        self, n: int = 10, *, with_text: bool = False, corpus_root: str | Path | None = None
    ) -> list[dict[str, Any]]:
        """Return the best documents, of each target if there are several, each as its values by column.

        Texts are read up to these documents: sources above 64 MiB are compared by size, and not by content as `write` does.

        Args:
            n: number of documents of each target.
            with_text: whether to add the value `text`, read again from the sources.
            corpus_root: where the sources lie now; by default where they were read.

        Raises:
            SourceChangedError: a source is missing or no longer holds what was encoded.
        """
        best = f"rank <= {int(n)}"
        if with_text:
            self._read_texts(corpus_root, best, hashed=False)
        return self._rows(best, with_text=with_text)

    def _rows(self, condition: str, *, with_text: bool = False) -> list[dict[str, Any]]:
        names = (*self.columns, "text") if with_text else self.columns
        rows = self._connection.execute(self._select(with_text=with_text, condition=condition)).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def __repr__(self) -> str:
        count = len(self)
        return f"<Selection of {count:,} {'document' if count == 1 else 'documents'}: {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        """Return the first rows as an HTML table, for notebooks."""
        rows = [list(row.values()) for row in self.head(ROWS_SHOWN)]
        more = len(self) - len(rows)
        rest = f"<p>and {more:,} more</p>" if more else ""
        return table(self.columns, rows) + rest

    @property
    def ids(self) -> npt.NDArray[np.object_]:
        """Ids of the documents, str [n]."""
        ids: npt.NDArray[np.object_] = self.column("id")
        return ids

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Similarities to the target, float64 [n]; by the plain profile, 1 minus the paper's distance."""
        scores: npt.NDArray[np.float64] = self.column("score")
        return scores

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Tokens of the documents, int64 [n]."""
        tokens: npt.NDArray[np.int64] = self.column("tokens")
        return tokens

    @checked
    def column(self, name: str) -> Any:
        """Return one column, best document first, as an array [n]; missing values are masked, or None among texts.

        Args:
            name: one of `columns`.
        """
        if (name := OLD_NAMES.get(name, name)) not in self.columns:
            raise BadInputError(f"no column {name!r} in the selection; there are {', '.join(self.columns)}")
        sql = f"SELECT {quote_name(name)} AS v FROM selection"
        return self._connection.execute(sql).fetchnumpy()["v"]

    def to_duckdb(self) -> DuckDBPyRelation:
        """Return the selection as a DuckDB relation, in order, for further SQL."""
        return self._connection.sql(self._select())

    def to_arrow(self) -> pyarrow.Table:
        """Return the selection as an Arrow table, in order.

        Raises:
            MissingDependencyError: pyarrow is not installed.
        """
        require_package("pyarrow", "arrow", "pyarrow is not installed")
        return self.to_duckdb().to_arrow_table()

    def to_pandas(self) -> pandas.DataFrame:
        """Return the selection as a pandas data frame, in order.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        require_package("pandas", "pandas", "pandas is not installed")
        return self.to_duckdb().df()

    def to_polars(self) -> polars.DataFrame:
        """Return the selection as a Polars data frame, in order.

        Raises:
            MissingDependencyError: polars or pyarrow is not installed.
        """
        require_package("polars", "polars", "polars is not installed")
        require_package("pyarrow", "polars", "pyarrow is not installed")
        return self.to_duckdb().pl()

    def _select(self, *, with_text: bool = False, condition: str = "true") -> str:
        columns = ", ".join(map(quote_name, self.columns))
        if with_text:
            return f"SELECT {columns}, text FROM selection JOIN texts USING (_row) WHERE {condition} ORDER BY _row"
        return f"SELECT {columns} FROM selection WHERE {condition}"

    def _read_texts(self, corpus_root: str | Path | None, condition: str = "true", *, hashed: bool = True) -> None:
        """Fill a table `texts` (_row, text) beside the selection, for the rows that meet a SQL condition."""
        self._connection.execute("CREATE OR REPLACE TEMP TABLE texts (_row BIGINT, text VARCHAR)")
        found = self._connection.execute(f"SELECT _position, _row FROM selection WHERE {condition}").fetchnumpy()
        rows = found["_row"].tolist()
        batch: list[tuple[int, str]] = []
        size = 0

        def insert() -> None:
            self._connection.execute(
                "INSERT INTO texts SELECT unnest(?::BIGINT[]), unnest(?::VARCHAR[])",
                [[row for row, _ in batch], [text for _, text in batch]],
            )
            batch.clear()

        for index, text in SourceTexts(self._snapshot, corpus_root, hashed=hashed).read(found["_position"]):
            batch.append((rows[index], text))
            size += len(text)
            if len(batch) == TEXTS_PER_INSERT or size >= BYTES_PER_INSERT:
                insert()
                size = 0
        if batch:
            insert()
