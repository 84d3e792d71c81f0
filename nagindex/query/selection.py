"""The answer to a query: selected documents in order, as arrays, rows, a DuckDB relation, a data frame or a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.arguments import checked
from nagindex.corpus.sql import open_database, quote_name
from nagindex.errors import BadInputError, MissingDependencyError
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.query.export import format_of, write_rows
from nagindex.query.html import table
from nagindex.query.rows import MEMORY, Chosen, create_rows
from nagindex.search.plan import Plan
from nagindex.select.recorded import recorded_options
from nagindex.storage.docs import kept_types
from nagindex.storage.files import replacing
from nagindex.storage.places import check_output, check_output_beside
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.workers.cpus import available_cpus

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    from duckdb import DuckDBPyRelation

    from nagindex.query.explain import Explanation
    from nagindex.query.report_targets import Selected
    from nagindex.targets.saved import TargetSet

SCORE_COLUMNS = ("rank", "id", "score")
PLACE_COLUMNS = ("tokens", "file", "row")
OLD_NAMES = {"standardised": "standardized"}
"""Older spellings of columns, which `Selection.column` understands."""
TEXTS_PER_INSERT, BYTES_PER_INSERT = 1000, 1 << 26
THREADS = 8
"""Most threads of the database that holds a selection; each selection has its own."""
MEMORY_WITH_TEXTS = 1 << 30
"""Bytes for each thread in which rows are written with their texts; see `run_within`."""
ROWS_PER_FETCH = 10_000
ROWS_SHOWN = 10
"""Rows that a notebook shows."""


class Selection:
    """Selected documents, best first; with several targets, one target's after another's.

    Attributes:
        settings: the query, the index's version and the targets, as JSON values: enough to make the selection again.
        warnings: sentences for the user.
        dropped: documents left out because they share an n-gram with evaluation texts, and examples that do, as JSON values.
        plan: the engine that found the documents, the reason for it, and what it read.
        columns: names of the columns.
    """

    def __init__(
        self,
        chosen: Iterable[Chosen],
        *,
        columns: Sequence[str] = (),
        snapshot: Snapshot,
        settings: dict[str, Any],
        plan: Plan,
        targets: Callable[[], Sequence[TargetSet]],
        warnings: Sequence[str] = (),
        dropped: Sequence[dict[str, Any]] | None = (),
    ) -> None:
        """Order the documents by ranking, descending key and ascending id, and look up their columns.

        Args:
            chosen: at least one document, in batches.
            columns: names of the batches' further columns.
            snapshot: the version that was searched.
            settings: see above.
            plan: see above.
            targets: encodes the target sets again, or returns them.
            warnings: see above.
            dropped: see above; None where it is not known.

        Raises:
            BadInputError: the index keeps a column with the name of one that this selection needs.
        """
        self.settings, self.warnings, self.dropped, self.plan = settings, list(warnings), list(dropped or ()), plan
        self._targets, self._knows_dropped, self._extra = targets, dropped is not None, tuple(columns)
        kept = snapshot.manifest.settings.keep_columns
        self.columns = (*SCORE_COLUMNS, *columns, *PLACE_COLUMNS, *kept)
        for name in kept:
            if name in columns:
                raise BadInputError(
                    f"the index keeps a column {name!r}, a name that this selection needs; rename it in the corpus"
                )
        self._snapshot = snapshot
        self._connection = open_database(threads=min(THREADS, available_cpus()))
        self._length = create_rows(
            self._connection, chosen, snapshot, columns=columns, places=PLACE_COLUMNS, kept=kept_types(snapshot)
        )

    def __len__(self) -> int:
        return self._length

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

    @checked
    @reports_progress
    def explain(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[Explanation]:
        """Return what the scores of documents are made of, by the query's own targets and options: for each, one explanation a target.

        Args:
            ids: ids of documents, selected or not, or one id; by default those of the best document of each target.
            threads: threads that count neurons; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: an id is not in the index.
        """
        from nagindex.query.explain import explain

        wanted = [row["id"] for row in self.head(1)] if ids is None else [ids] if isinstance(ids, str) else list(ids)
        options = recorded_options(self.settings["query"])
        return explain(self._snapshot, list(dict.fromkeys(wanted)), self._targets(), options, threads=threads)

    @checked
    @reports_progress
    def report(
        self,
        path: str | Path,
        *,
        title: str | None = None,
        with_text: bool = True,
        corpus_root: str | Path | None = None,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Write a page about the selection: one HTML file that loads nothing, and appears whole or not at all.

        It shows what was asked, what came out against the pool, scores and other cuts, layers and neurons, documents with their texts and
        explanations, and the selection as a table. All candidates are scored again for it.

        Args:
            path: the file, whose name ends in .html; one that exists is replaced, unless it is an input or a source of the index.
            title: the page's title; by default one of its size and targets.
            with_text: whether to show texts of documents and examples; where sources have changed, texts are left out with a note.
            corpus_root: where the sources lie now; by default where they were read.
            threads: threads of the scan; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: the name does not end in .html, or the file must not be overwritten.
            InputNotFoundError: a file of excluded ids or scores is gone.
        """
        from nagindex.query.reports import report_of
        from nagindex.report.render import render

        file = Path(path)
        if file.suffix.lower() not in (".html", ".htm"):
            raise BadInputError(f"{file}: a report is a page; name a file that ends in .html")
        check_output(file, inputs=self._inputs())
        check_output_beside(file, self._snapshot, corpus_root)
        selected = self._selected()
        page = report_of(selected, title=title, with_texts=with_text, corpus_root=corpus_root, threads=threads)
        with replacing(file) as temporary:
            temporary.write_text(render(page), encoding="utf-8")

    def _selected(self) -> Selected:
        """Return the selection as a report takes it."""
        from nagindex.query.report_targets import Selected

        targets = list(self._targets())
        extra = "".join(f", {quote_name(name)}" for name in self._extra)
        found = self._connection.execute(f"SELECT _position, rank, score{extra} FROM selection").fetchnumpy()
        numbers = {target.name: number for number, target in enumerate(targets)}
        owners = np.zeros(len(found["rank"]), np.int64)
        if len(targets) > 1 and "target" in found:
            owners = np.array([numbers[name] for name in found["target"]], np.int64)
        return Selected(
            snapshot=self._snapshot,
            settings=self.settings,
            options=recorded_options(self.settings["query"]).for_targets(len(targets)),
            targets=targets,
            positions=found["_position"],
            ranks=found["rank"],
            scores=found["score"],
            owners=owners,
            columns={name: found[name] for name in self._extra},
            warnings=self.warnings,
            dropped=self.dropped if self._knows_dropped else None,
        )

    def to_duckdb(self) -> DuckDBPyRelation:
        """Return the selection as a DuckDB relation, in order, for further SQL."""
        return self._connection.sql(self._select())

    def to_arrow(self) -> pyarrow.Table:
        """Return the selection as an Arrow table, in order.

        Raises:
            MissingDependencyError: pyarrow is not installed.
        """
        _require("pyarrow", "arrow")
        return self.to_duckdb().to_arrow_table()

    def to_pandas(self) -> pandas.DataFrame:
        """Return the selection as a pandas data frame, in order.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        _require("pandas", "pandas")
        return self.to_duckdb().df()

    def to_polars(self) -> polars.DataFrame:
        """Return the selection as a Polars data frame, in order.

        Raises:
            MissingDependencyError: polars or pyarrow is not installed.
        """
        _require("polars", "polars")
        _require("pyarrow", "polars")
        return self.to_duckdb().pl()

    @checked
    def to_parquet(self, path: str | Path, *, with_text: bool = False, corpus_root: str | Path | None = None) -> None:
        """Write the selection as Parquet.

        Args:
            path: as in `write`, like the following.
            with_text: see there.
            corpus_root: see there.
        """
        self.write(path, format="parquet", with_text=with_text, corpus_root=corpus_root)

    @checked
    def to_jsonl(self, path: str | Path, *, with_text: bool = False, corpus_root: str | Path | None = None) -> None:
        """Write the selection as JSON lines.

        Args:
            path: as in `write`, like the following.
            with_text: see there.
            corpus_root: see there.
        """
        self.write(path, format="jsonl", with_text=with_text, corpus_root=corpus_root)

    @checked
    def write(
        self,
        path: str | Path,
        *,
        format: str | None = None,  # noqa: A002 - the word users expect
        with_text: bool = False,
        corpus_root: str | Path | None = None,
    ) -> None:
        """Write the selection, best document first, as a file that appears whole or not at all.

        Parquet files have row groups of 100,000 rows and hold `settings` as JSON under the metadata key `nagindex`.

        Args:
            path: the file; one that exists is replaced, unless it is a source of the index or lies in an index.
            format: `parquet`, `jsonl`, `csv` or `ids` (one a line); by default as the name ends: .parquet, .jsonl, .csv or .txt, the
                last three also with .gz or .zst.
            with_text: whether to add a column `text`, read again from the sources.
            corpus_root: where the sources lie now; by default where they were read.

        Raises:
            BadInputError: there is no such format, the name tells none, an id does not fit a line of ids, or the file must not be
                overwritten.
            SourceChangedError: a source is missing or no longer holds what was encoded.
        """
        kind, _ = format_of(path, format)
        if with_text and kind == "ids":
            raise BadInputError(f"{path}: a file of ids has no texts; leave `with_text` out, or use another format")
        check_output(path, inputs=self._inputs())
        check_output_beside(path, self._snapshot, corpus_root)
        if with_text:
            self._read_texts(corpus_root)
        select = self._select(with_text=with_text)
        memory = MEMORY_WITH_TEXTS if with_text else MEMORY
        write_rows(self._connection, select, Path(path), format=format, settings=self.settings, memory=memory)

    @checked
    def write_dropped(self, path: str | Path) -> None:
        """Write `dropped` as JSON lines, as a file that appears whole or not at all.

        Args:
            path: the file; one that exists is replaced.
        """
        check_output_beside(path, self._snapshot)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.dropped)
        with replacing(Path(path)) as temporary:
            temporary.write_text(lines)

    def _inputs(self) -> list[str]:
        """Return the files that the query read: targets, and those that its options name."""
        query = self.settings["query"]
        files = [target.rpartition("=")[2] for target in query.get("targets", ())]
        options = [*query.get("exclude", ()), *query.get("decontaminate", ()), query.get("scores")]
        return [*files, *filter(None, options)]

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


def _require(package: str, extra: str) -> None:
    """Raise MissingDependencyError unless a package is installed."""
    if find_spec(package) is None:
        raise MissingDependencyError(f"{package} is not installed; run: pip install 'nagindex[{extra}]'")
