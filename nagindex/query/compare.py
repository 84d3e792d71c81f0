"""Comparisons of two selections: what they share, how alike they order it, and what only one of them has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nagindex.corpus.sql import open_database, quote_name
from nagindex.errors import BadInputError
from nagindex.query.html import table
from nagindex.select.id_files import load_ids, load_values
from nagindex.storage.docs import open_docs
from nagindex.storage.locations import location
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PARTS = {
    "a": "in_a",
    "b": "in_b",
    "both": "in_a AND in_b",
    "only_a": "in_a AND NOT in_b",
    "only_b": "in_b AND NOT in_a",
}
"""The parts of two selections, each with the SQL condition of its documents."""
GROUPS = ("both", "only_a", "only_b")
"""Those of which no two share a document."""
COUNTED = ("a", "b", "only_a", "only_b")
"""Those that are counted for each value of a column."""
VALUES, EXAMPLES = 10, 3
"""Values of a column, and ids of each group, that a comparison gives."""


@dataclass(frozen=True)
class Comparison:
    """Two selections of one index, A and B.

    Attributes:
        documents, tokens: of A and B (`a`, `b`), of `both`, `only_a`, `only_b`, and of the whole `pool`.
        rank_correlation: Spearman's, of the scores of the documents that both have; None where a file has no scores or names a document
            twice, fewer than two documents are in both, or the scores of one do not differ.
        columns: for each kept column and `file`, its commonest values: the value as text (None for documents without one), its documents
            in the pool, in A and B, and in only one of these (`only_a`, `only_b`).
        examples: ids of each group, by A's order, B's for what only B has, where there are scores, else by id.
        missing: number of ids that are in no document of the index.
    """

    documents: Mapping[str, int]
    tokens: Mapping[str, int]
    rank_correlation: float | None
    columns: Mapping[str, Sequence[Mapping[str, Any]]]
    examples: Mapping[str, Sequence[str]]
    missing: int

    @property
    def overlap(self) -> float:
        """Documents in both, as a share of those in either (Jaccard index); 1 if both are empty."""
        either = sum(self.documents[group] for group in GROUPS)
        return self.documents["both"] / either if either else 1.0

    def _repr_html_(self) -> str:
        """Return the sizes, and the values of the columns, as HTML tables, for notebooks."""
        sizes = [[group, self.documents[group], self.tokens[group]] for group in self.documents]
        values = [
            [column, row["value"], row["pool"], *(row[part] for part in COUNTED)]
            for column, rows in self.columns.items()
            for row in rows
        ]
        shown = table(("", "documents", "tokens"), sizes), table(("column", "value", "pool", *COUNTED), values)
        return f"<p>Jaccard index {self.overlap:.3f}</p>{''.join(shown)}"

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {"overlap": self.overlap, **vars(self)}


def compare(
    snapshot: Snapshot, a: Path, b: Path, *, columns: Sequence[str] | None = None, values: int = VALUES
) -> Comparison:
    """Return a comparison of two selections.

    Args:
        snapshot: the version of the index that both are selections of.
        a: a file with a column of ids, such as a selection, or a .txt with one id a line.
        b: another.
        columns: kept columns, or `file`; by default all of these.
        values: number of values of each.

    Raises:
        InputNotFoundError, BadInputError: a file is not there, cannot be read or has no column of ids; or there is no such column.
    """
    known = [*snapshot.manifest.settings.keep_columns, "file"]
    chosen = known if columns is None else list(columns)
    for name in chosen:
        if name not in known:
            raise BadInputError(f"no column {name!r} in {location(snapshot.path)}; there are {', '.join(known)}")
    database = open_database()
    scored = [_load(database, name, path) for name, path in (("a", a), ("b", b))]
    connection = open_docs(snapshot, database=database)
    numbered = {name: f"c{number}" for number, name in enumerate(dict.fromkeys(chosen))}  # columns may have any names
    listed = "".join(f", docs.{quote_name(name)} AS {own}" for name, own in numbered.items())
    connection.execute(
        f"""CREATE TEMP TABLE chosen AS SELECT docs.id, docs.tokens{listed}, either.in_a, either.in_b FROM docs JOIN (
        SELECT coalesce(a.id, b.id) AS id, a.id IS NOT NULL AS in_a, b.id IS NOT NULL AS in_b FROM a FULL JOIN b USING (id)) either
        USING (id)"""
    )
    listed = ", ".join(
        f"count(*) FILTER ({condition}), coalesce(sum(tokens) FILTER ({condition}), 0)::BIGINT"
        for condition in PARTS.values()
    )
    [found] = connection.execute(f"SELECT {listed} FROM chosen").fetchall()
    [(named,)] = connection.execute("SELECT count(*) FROM (SELECT id FROM a UNION SELECT id FROM b)").fetchall()
    documents = dict(zip(PARTS, found[::2], strict=True))
    return Comparison(
        documents=documents | {"pool": snapshot.manifest.documents},
        tokens=dict(zip(PARTS, found[1::2], strict=True)) | {"pool": snapshot.manifest.tokens},
        rank_correlation=_rank_correlation(connection) if all(scored) else None,
        columns={name: _commonest(connection, name, own, values) for name, own in numbered.items()},
        examples={
            group: _examples(connection, PARTS[group], "b" if group == "only_b" else "a", scored) for group in GROUPS
        },
        missing=named - sum(documents[group] for group in GROUPS),
    )


def _load(database: DuckDBPyConnection, name: str, path: Path) -> bool:
    """Make a table (id) of a file's ids, and a table (id, value) of its scores; return whether it has scores, one a document."""
    load_ids(database, name, [str(path)])
    try:
        load_values(database, f"{name}_scores", path, "score")
    except BadInputError:  # no scores, or several of a document
        database.execute(f"CREATE OR REPLACE TABLE {name}_scores (id VARCHAR, value DOUBLE)")
        return False
    return True


def _rank_correlation(connection: DuckDBPyConnection) -> float | None:
    from scipy.stats import rankdata

    pairs = connection.execute(
        "SELECT a_scores.value, b_scores.value FROM a_scores JOIN b_scores USING (id)"
    ).fetchall()
    ranks = [rankdata(own) for own in zip(*pairs, strict=True)]
    if len(pairs) < 2 or any((own == own[0]).all() for own in ranks):
        return None
    return float(np.corrcoef(ranks)[0, 1])


def _commonest(connection: DuckDBPyConnection, column: str, own: str, count: int) -> list[dict[str, Any]]:
    """Return the values of a column, `own` in the table `chosen`, that most chosen documents have, with numbers of documents."""
    counted = ", ".join(f"count(*) FILTER ({PARTS[part]}) AS {part}" for part in COUNTED)
    rows = connection.execute(
        f"""WITH own AS (SELECT {own} AS value, {counted} FROM chosen
        GROUP BY value ORDER BY count(*) DESC, value::VARCHAR LIMIT {int(count)}),
        pool AS (SELECT docs.{quote_name(column)} AS value FROM docs)
        SELECT own.value::VARCHAR, count(*), {", ".join(COUNTED)} FROM pool JOIN own ON own.value IS NOT DISTINCT FROM pool.value
        GROUP BY own.value, {", ".join(COUNTED)} ORDER BY a + b DESC, own.value::VARCHAR"""
    ).fetchall()
    return [dict(zip(("value", "pool", *COUNTED), row, strict=True)) for row in rows]


def _examples(connection: DuckDBPyConnection, condition: str, by: str, scored: Sequence[bool]) -> list[str]:
    order = "value DESC, id" if scored["ab".index(by)] else "id"
    rows = connection.execute(
        f"SELECT id FROM chosen LEFT JOIN {by}_scores USING (id) WHERE {condition} ORDER BY {order} LIMIT {EXAMPLES}"
    ).fetchall()
    return [one for (one,) in rows]
