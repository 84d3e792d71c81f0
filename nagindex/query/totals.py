"""Totals of a selection: documents, tokens and scores, of all of it and of each target, added up from any parts of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Total:
    """Of some selected documents: how many, their tokens, and the best and the worst score."""

    documents: int
    tokens: int
    best: float
    worst: float


@dataclass(frozen=True)
class Totals(Total):
    """Of all documents of a selection: how many, their tokens, and the best and the worst score.

    Attributes:
        distinct: how many different documents; fewer than `documents` where several targets have some in common.
        targets: of each target that has documents, by its name; empty where there is one target.
    """

    distinct: int
    targets: Mapping[str, Total]


def totals_by_target(connection: DuckDBPyConnection, *, several: bool) -> dict[str, Total]:
    """Return the totals of a table `selection` for each target; of one target, or one without a name, under ''.

    Args:
        connection: where the table is.
        several: whether it has a column `target`.
    """
    target = "target" if several else "''"
    sql = f"SELECT {target}, count(*), coalesce(sum(tokens), 0)::BIGINT, max(score), min(score) FROM selection GROUP BY 1 ORDER BY 1"
    return {str(name): Total(*values) for name, *values in connection.execute(sql).fetchall()}


def added(totals: Iterable[Mapping[str, Total]]) -> dict[str, Total]:
    """Return the totals by target of parts as those of the whole."""
    found: dict[str, Total] = {}
    for own in totals:
        for name, total in own.items():
            found[name] = _sum([found[name], total]) if name in found else total
    return found


def whole_of(totals: Mapping[str, Total], distinct: int | None) -> Totals:
    """Return the totals of a selection.

    Args:
        totals: those of each target.
        distinct: number of distinct documents; None where there is one target.
    """
    whole = _sum([*totals.values()])
    if distinct is None:
        return Totals(**vars(whole), distinct=whole.documents, targets={})
    return Totals(**vars(whole), distinct=distinct, targets=totals)


def _sum(totals: list[Total]) -> Total:
    return Total(
        sum(own.documents for own in totals),
        sum(own.tokens for own in totals),
        max(own.best for own in totals),
        min(own.worst for own in totals),
    )
