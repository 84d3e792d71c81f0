"""The answer to a query: selected documents in order, as arrays, a DuckDB relation or a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.arguments import checked
from nagindex.corpus.sql import connect, quote_name
from nagindex.errors import BadInputError
from nagindex.query.export import require_format, write_rows
from nagindex.search.plan import Plan
from nagindex.storage.docs import join_documents
from nagindex.storage.files import replacing
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

SCORE_COLUMNS = ("rank", "id", "score")
PLACE_COLUMNS = ("tokens", "file", "row")
OLD_NAMES = {"standardised": "standardized"}
"""Older spellings of columns, which `Selection.column` understands."""
TEXTS_PER_INSERT = 1000


@dataclass(frozen=True)
class Chosen:
    """Chosen documents in no particular order, as arrays [m].

    Attributes:
        positions: int64, positions in the snapshot.
        rankings: int64, number of the ranking that a document was chosen from; rankings follow one another in the selection.
        keys: ranking keys, the best highest.
        scores: float64, similarities.
        columns: further columns, by name.
    """

    positions: npt.NDArray[np.int64]
    rankings: npt.NDArray[np.int64]
    keys: npt.NDArray[Any]
    scores: npt.NDArray[np.float64]
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


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
        chosen: Chosen,
        *,
        snapshot: Snapshot,
        settings: dict[str, Any],
        plan: Plan,
        warnings: Sequence[str] = (),
        dropped: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Order the documents by ranking, descending key and ascending id, and look up their columns.

        Args:
            chosen: at least one document.
            snapshot: the version that was searched.
            settings: see above.
            plan: see above.
            warnings: see above.
            dropped: see above.

        Raises:
            BadInputError: the index keeps a column with the name of one that this selection needs.
        """
        self.settings, self.warnings, self.dropped, self.plan = settings, list(warnings), list(dropped), plan
        kept = snapshot.manifest.settings.keep_columns
        self.columns = (*SCORE_COLUMNS, *chosen.columns, *PLACE_COLUMNS, *kept)
        for name in kept:
            if name in chosen.columns:
                raise BadInputError(
                    f"the index keeps a column {name!r}, a name that this selection needs; rename it in the corpus"
                )
        self._snapshot = snapshot
        self._connection = connect()
        self._create_table(chosen, (*PLACE_COLUMNS, *kept))

    def _create_table(self, chosen: Chosen, document_columns: Sequence[str]) -> None:
        arrays = {
            "_position": chosen.positions,
            "_list": chosen.rankings,
            "_key": chosen.keys,
            "_score": chosen.scores,
            **{f"_extra{i}": values for i, values in enumerate(chosen.columns.values())},
        }
        documents = join_documents(self._connection, self._snapshot, chosen.positions, arrays)
        listed = [f"hits._extra{i} AS {quote_name(name)}" for i, name in enumerate(chosen.columns)]
        listed += [f"d.{quote_name(name)}" for name in document_columns]
        self._connection.execute(
            f"""CREATE TEMP TABLE selection AS SELECT row_number() OVER (PARTITION BY _list ORDER BY _key DESC, d.id) AS rank,
            d.id, _score AS score, {", ".join(listed)}, _position,
            row_number() OVER (ORDER BY _list, _key DESC, d.id) AS _row {documents} ORDER BY _row"""
        )

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM selection").fetchall()[0][0])

    def __repr__(self) -> str:
        return f"<Selection of {len(self)} documents: {', '.join(self.columns)}>"

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
        sql = f"SELECT {quote_name(OLD_NAMES.get(name, name))} AS v FROM selection ORDER BY _row"
        return self._connection.execute(sql).fetchnumpy()["v"]

    def to_duckdb(self) -> DuckDBPyRelation:
        """Return the selection as a DuckDB relation, in order, for further SQL."""
        return self._connection.sql(self._select())

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
        format: str = "parquet",  # noqa: A002 - the word users expect
        with_text: bool = False,
        corpus_root: str | Path | None = None,
    ) -> None:
        """Write the selection, best document first, as a file that appears whole or not at all.

        Parquet files have row groups of 100,000 rows and hold `settings` as JSON under the metadata key `nagindex`.

        Args:
            path: the file; one that exists is replaced.
            format: `parquet` or `jsonl`.
            with_text: whether to add a column `text`, read again from the sources.
            corpus_root: where the sources lie now; by default where they were read.

        Raises:
            BadInputError: there is no such format.
            SourceChangedError: a source is missing or no longer holds what was encoded.
        """
        require_format(format)
        if with_text:
            self._read_texts(corpus_root)
        write_rows(
            self._connection, self._select(with_text=with_text), Path(path), format=format, settings=self.settings
        )

    @checked
    def write_dropped(self, path: str | Path) -> None:
        """Write `dropped` as JSON lines, as a file that appears whole or not at all.

        Args:
            path: the file; one that exists is replaced.
        """
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.dropped)
        with replacing(Path(path)) as temporary:
            temporary.write_text(lines)

    def _select(self, *, with_text: bool = False) -> str:
        columns, table = ", ".join(map(quote_name, self.columns)), "selection"
        if with_text:
            columns, table = f"{columns}, text", "selection JOIN texts USING (_row)"
        return f"SELECT {columns} FROM {table} ORDER BY _row"

    def _read_texts(self, corpus_root: str | Path | None) -> None:
        """Fill a table `texts` (_row, text) beside the selection."""
        self._connection.execute("CREATE OR REPLACE TEMP TABLE texts (_row BIGINT, text VARCHAR)")
        found = self._connection.execute("SELECT _position, _row FROM selection").fetchnumpy()
        rows = found["_row"].tolist()
        batch: list[tuple[int, str]] = []

        def insert() -> None:
            self._connection.execute(
                "INSERT INTO texts SELECT unnest(?::BIGINT[]), unnest(?::VARCHAR[])",
                [[row for row, _ in batch], [text for _, text in batch]],
            )
            batch.clear()

        for index, text in SourceTexts(self._snapshot, corpus_root).read(found["_position"]):
            batch.append((rows[index], text))
            if len(batch) == TEXTS_PER_INSERT:
                insert()
        if batch:
            insert()
