"""Near misses: the best candidates of a query that it did not choose, found by asking again for more than there was room for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nagindex.corpus.sql import connect, quote_value
from nagindex.errors import BadInputError
from nagindex.query.parts import scan_of
from nagindex.query.selection import Selection
from nagindex.select.options import QueryOptions
from nagindex.select.recorded import recorded_options
from nagindex.targets.given import EncodeKeywords, Targets, rewritten


@dataclass(frozen=True)
class Asked:
    """The ranking that a selection was chosen from, as its record tells: the query without its budget and its rules.

    Attributes:
        targets: the targets.
        encoding: how they are read.
        options: the options of the ranking: those of the score and of the candidates.
        shared: whether a document is chosen once at most, whatever the number of targets.
    """

    targets: Targets
    encoding: EncodeKeywords
    options: QueryOptions
    shared: bool

    @classmethod
    def of(cls, record: Mapping[str, Any], path: Path) -> Asked:
        """Return the ranking of a record.

        Args:
            record: the settings of a selection.
            path: the selection's file, for messages.

        Raises:
            BadInputError: the record does not name its targets.
        """
        query = record.get("query")
        query = query if isinstance(query, Mapping) else {}
        if not query.get("targets") and not query.get("text"):
            raise BadInputError(
                f"{path}: its record names no file of targets, as it was made from codes; query again for more"
            )
        targets, encoding = rewritten(query)
        recorded = recorded_options(query)
        options = dataclasses.replace(
            recorded,
            mix="max" if recorded.mix == "max" else "merge",
            target_weights={},
            cap={},
            dedup=None,
            decontamination=None,
            min_score=None,
            approx=False,
        )
        return cls(targets, encoding, options, recorded.mix != "merge")


def chosen_ids(path: Path) -> dict[str, set[str]]:
    """Return the ids of a selection's Parquet file, or folder, by target; of a single one, or of one list for all, under ''."""
    with connect() as connection:
        scan = scan_of(path)
        columns = [name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()]
        target = "target" if "target" in columns and "standardized" not in columns else "''"
        found: dict[str, set[str]] = {}
        for name, one in connection.execute(f"SELECT {target}, id FROM {scan}").fetchall():
            found.setdefault(name, set()).add(one)
        return found


def documents_to_ask(chosen: Mapping[str, set[str]], asked: Asked, count: int, targets: int) -> int:
    """Return a budget that reaches `count` documents past those that were chosen, for each target."""
    most = len(set().union(*chosen.values())) if asked.shared else max(map(len, chosen.values()), default=0)
    return (most + count) * (1 if asked.options.mix == "max" else targets)


def not_chosen(ranking: Selection, chosen: Mapping[str, set[str]], asked: Asked, count: int) -> list[dict[str, Any]]:
    """Return the best documents of a ranking that are not among the chosen, `count` of each target.

    Args:
        ranking: the documents of each target in order, without the rules of the selection.
        chosen: ids by target.
        asked: what the ranking is of.
        count: number of documents.
    """
    by_target = "target" in ranking.columns and asked.options.mix != "max"
    ids, ranks = ranking.ids.tolist(), ranking.column("rank").tolist()
    names: Sequence[str] = ranking.column("target").tolist() if by_target else [""] * len(ids)
    everything = set().union(*chosen.values())
    taken: dict[str, list[int]] = {}
    for name, one, rank in zip(names, ids, ranks, strict=True):
        own = taken.setdefault(name, [])
        if len(own) < count and one not in (everything if asked.shared else chosen.get(name, everything)):
            own.append(rank)
    places = [
        f"({f'target = {quote_value(name)} AND ' if by_target else ''}rank IN ({', '.join(map(str, own))}))"
        for name, own in taken.items()
        if own
    ]
    if not places:
        return []
    found = ranking.to_duckdb().filter(" OR ".join(places)).fetchall()
    rows = [dict(zip(ranking.columns, row, strict=True)) for row in found]
    order = list(taken)
    return sorted(rows, key=lambda row: (order.index(row["target"] if by_target else ""), row["rank"]))
