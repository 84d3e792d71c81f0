"""The answer to a query: selected documents in order, as arrays, a DuckDB relation or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.parquet import quote_name
from nagindex.storage.segment import Segment
from nagindex.storage.tables import connect, scan_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from nagindex.search.scan import Hits

OWN_COLUMNS = ("rank", "id", "score", "tokens", "file", "row")


class Selection:
    """Selected documents, best first.

    Attributes:
        settings: what the query asked, of which index, as JSON values: enough to make the selection again.
        warnings: what the user should know about it.
    """

    def __init__(
        self,
        hits: Hits,
        *,
        scale: int,
        segments: Sequence[Segment],
        keep: Sequence[str],
        settings: dict[str, Any],
        warnings: Sequence[str] = (),
    ) -> None:
        """Order the hits by falling sum, then id, and look their documents up.

        Args:
            hits: at least one; positions in the concatenation of the segments' documents, and their summed counts.
            scale: what sums are divided by to give scores.
            segments: of the version that was searched, in order.
            keep: names of the kept columns.
            settings: see above.
            warnings: see above.
        """
        self.settings, self.warnings, self.columns = settings, list(warnings), (*OWN_COLUMNS, *keep)
        self._segments = segments
        self._connection = connect()
        starts = np.cumsum([0, *(segment.entry.documents for segment in segments)])
        of = np.searchsorted(starts, hits.positions, side="right") - 1
        used = [segments[number] for number in np.unique(of)]
        paths = np.array([str(segment.docs_path) for segment in used], dtype=object)
        self._connection.register("hits", {"_segment": of, "_position": hits.positions - starts[of], "_sum": hits.sums})
        self._connection.register("places", {"_segment": np.unique(of), "path": paths})
        docs = scan_sql([segment.docs_path for segment in used], extra=", filename = true, file_row_number = true")
        listed = ", ".join(f"d.{quote_name(name)}" for name in ("tokens", "file", "row", *keep))
        self._connection.execute(
            f"""CREATE TEMP TABLE selection AS SELECT row_number() OVER (ORDER BY _sum DESC, d.id) AS rank, d.id,
            _sum / {scale}::DOUBLE AS score, {listed}, _segment
            FROM hits JOIN places USING (_segment)
            JOIN {docs} d ON d.filename = places.path AND d.file_row_number = hits._position
            ORDER BY rank"""
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
        """Similarities to the target, float64 [n], falling; 1 minus the paper's distance."""
        scores: npt.NDArray[np.float64] = self.column("score")
        return scores

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Tokens of the documents, int64 [n]."""
        tokens: npt.NDArray[np.int64] = self.column("tokens")
        return tokens

    def column(self, name: str) -> Any:
        """Return one column, best document first, as an array [n]; missing values are masked, or None among texts."""
        return self._connection.execute(f"SELECT {quote_name(name)} AS v FROM selection ORDER BY rank").fetchnumpy()[
            "v"
        ]

    def to_duckdb(self) -> DuckDBPyRelation:
        """Return the selection as a DuckDB relation, in order, for further SQL."""
        return self._connection.sql(f"SELECT {self._listed()} FROM selection ORDER BY rank")

    def to_parquet(self, path: str | Path, *, with_text: bool = False, corpus_root: str | Path | None = None) -> None:
        """Write the selection as a Parquet file that appears whole or not at all; see `export.write`."""
        from nagindex.export import write

        write(self, path, format="parquet", with_text=with_text, corpus_root=corpus_root)

    def to_jsonl(self, path: str | Path, *, with_text: bool = False, corpus_root: str | Path | None = None) -> None:
        """Write the selection as JSON lines, as `to_parquet` does."""
        from nagindex.export import write

        write(self, path, format="jsonl", with_text=with_text, corpus_root=corpus_root)

    def _listed(self) -> str:
        return ", ".join(map(quote_name, self.columns))
