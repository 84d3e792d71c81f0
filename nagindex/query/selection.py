"""The answer to a query: selected documents in order, as arrays, a DuckDB relation or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import Columns
from nagindex.corpus.sql import connect, quote_name
from nagindex.errors import BadInputError
from nagindex.search.plan import Plan
from nagindex.storage.docs import places_of
from nagindex.storage.segment import Segment
from nagindex.storage.source_texts import Texts

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

OWN_COLUMNS = ("rank", "id", "score")
PLACE_COLUMNS = ("tokens", "file", "row")


@dataclass(frozen=True)
class Chosen:
    """Chosen documents in no particular order, as arrays [m].

    Attributes:
        positions: int64, in the concatenation of the segments' documents.
        lists: int64, the list that a document was chosen from; lists follow one another in the selection.
        keys: what a list is ordered by, the best highest.
        scores: float64, similarities.
        extra: further columns, by name.
    """

    positions: npt.NDArray[np.int64]
    lists: npt.NDArray[np.int64]
    keys: npt.NDArray[Any]
    scores: npt.NDArray[np.float64]
    extra: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


class Selection:
    """Selected documents, best first; where there are several targets, one target's after the other's.

    Attributes:
        settings: what the query asked, of which index, as JSON values: enough to make the selection again.
        warnings: what the user should know about it.
        dropped: documents left out for what they share with evaluation texts, and examples that share it, as JSON values.
        plan: which engine found the documents, why, and what it took.
        columns: names of the columns.
    """

    def __init__(
        self,
        chosen: Chosen,
        *,
        segments: Sequence[Segment],
        keep: Sequence[str],
        settings: dict[str, Any],
        plan: Plan,
        warnings: Sequence[str] = (),
        dropped: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Order the documents by list, falling key and id, and look them up.

        Args:
            chosen: at least one document.
            segments: of the version that was searched, in order.
            keep: names of the kept columns.
            settings: see above.
            warnings: see above.
            dropped: see above.
            plan: see above.
        """
        self.settings, self.warnings, self.dropped, self.plan = settings, list(warnings), list(dropped), plan
        self.columns = (*OWN_COLUMNS, *chosen.extra, *PLACE_COLUMNS, *keep)
        taken = [name for name in keep if name in chosen.extra]
        if taken:
            raise BadInputError(
                f"the index keeps a column {taken[0]!r}, a name that this selection needs; rename it in the corpus"
            )
        self._segments = segments
        self._connection = connect()
        arrays = {
            "_position": chosen.positions,
            "_list": chosen.lists,
            "_key": chosen.keys,
            "_score": chosen.scores,
            **{f"_extra{i}": values for i, values in enumerate(chosen.extra.values())},
        }
        rows = places_of(self._connection, segments, chosen.positions, arrays)
        listed = [f"hits._extra{i} AS {quote_name(name)}" for i, name in enumerate(chosen.extra)]
        listed += [f"d.{quote_name(name)}" for name in (*PLACE_COLUMNS, *keep)]
        self._connection.execute(
            f"""CREATE TEMP TABLE selection AS SELECT row_number() OVER (PARTITION BY _list ORDER BY _key DESC, d.id) AS rank,
            d.id, _score AS score, {", ".join(listed)}, _position,
            row_number() OVER (ORDER BY _list, _key DESC, d.id) AS _row {rows} ORDER BY _row"""
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

    def column(self, name: str) -> Any:
        """Return one column, best document first, as an array [n]; missing values are masked, or None among texts."""
        return self._connection.execute(f"SELECT {quote_name(name)} AS v FROM selection ORDER BY _row").fetchnumpy()[
            "v"
        ]

    def to_duckdb(self) -> DuckDBPyRelation:
        """Return the selection as a DuckDB relation, in order, for further SQL."""
        return self._connection.sql(f"SELECT {self._listed()} FROM selection ORDER BY _row")

    def to_parquet(self, path: str | Path, *, with_text: bool = False, corpus_root: str | Path | None = None) -> None:
        """Write the selection as a Parquet file that appears whole or not at all; see `export.write`."""
        from nagindex.query.export import write

        write(self, path, format="parquet", with_text=with_text, corpus_root=corpus_root)

    def to_jsonl(self, path: str | Path, *, with_text: bool = False, corpus_root: str | Path | None = None) -> None:
        """Write the selection as JSON lines, as `to_parquet` does."""
        from nagindex.query.export import write

        write(self, path, format="jsonl", with_text=with_text, corpus_root=corpus_root)

    def texts(self, corpus_root: str | Path | None = None) -> Texts:
        """Return what reads texts of the index again, from where the sources lie now."""
        columns = Columns(self.settings["corpus"]["text_column"], self.settings["corpus"]["id_column"])
        return Texts(self._segments, columns, corpus_root)

    def _listed(self) -> str:
        return ", ".join(map(quote_name, self.columns))
