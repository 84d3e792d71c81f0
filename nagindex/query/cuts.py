"""A target's scores over the pool: their distribution, and what the ranking holds down to other cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import connect, quote_name
from nagindex.query.pool import Passes, score_targets
from nagindex.report.counts import Histogram
from nagindex.report.target_figures import CutAt, Cuts
from nagindex.search.profile import Target
from nagindex.search.scan import KeptSums, sums_from_codes
from nagindex.search.scorers import scorer_of
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.options import QueryOptions
from nagindex.storage.docs import join_documents, tokens_of
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet

BINS = 40
TIMES = ((1, 4), (1, 2), (1, 1), (2, 1), (4, 1))
"""Sizes of other selections, in times of this one."""
VALUES = 6
"""Values of a column whose shares are followed down the ranking."""


@dataclass(frozen=True)
class PoolScores:
    """The scores of all candidates for all targets.

    Attributes:
        targets: what documents are scored by.
        sums: int32 or int64 [targets, stored documents]; a score is a sum divided by its target's scale.
        alive: bool [stored documents], whether each is a candidate.
        tokens: int64 [stored documents].
    """

    targets: Sequence[Target]
    sums: npt.NDArray[np.int64]
    alive: npt.NDArray[np.bool_]
    tokens: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        candidates: Candidates,
        targets: Sequence[TargetSet],
        view: View,
        options: QueryOptions,
        *,
        threads: int | None = None,
    ) -> PoolScores:
        """Return the scores of candidates for target sets, by the options of a query.

        Args:
            candidates: the candidates.
            targets: the encoded target sets.
            view: the codes that count.
            options: of them, `score`, `weights` and `background` count.
            threads: threads of the scan; by default one for each CPU.
        """
        snapshot = candidates.snapshot
        scored = score_targets(candidates, targets, view, options, passes=Passes(threads))
        parts = candidates.parts(tokens=False)
        scorer = scorer_of(scored, view, documents=sum(part.documents for part in parts))
        sums_of = sums_from_codes(scorer, len(scored))
        largest = max(max(-target.low, target.high) for target in scored)
        kept = KeptSums(parts, sums_of, targets=len(scored), largest=largest, threads=threads)
        numbers = range(len(snapshot.segments))
        return cls(
            scored,
            kept.sums,
            np.concatenate([candidates.alive(number) for number in numbers]),
            np.concatenate([tokens_of(segment) for segment in snapshot.segments]),
        )

    def at(self, target: int, positions: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float64]:
        """Return the scores of documents at positions, int64 [m], as float64 [m]; by default of all candidates."""
        where = self.alive if positions is None else positions
        scores: npt.NDArray[np.float64] = self.sums[target][where] / self.targets[target].scale
        return scores

    def reach(self, target: int, score: float) -> npt.NDArray[np.bool_]:
        """Return which stored documents are candidates with at least a score, bool [stored documents]."""
        reached: npt.NDArray[np.bool_] = self.alive & (self.sums[target] / self.targets[target].scale >= score)
        return reached

    def best(self, target: int, count: int, among: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        """Return the positions of the best documents, best first, int64 [at most count]; ties in the order of positions.

        Args:
            target: number of the target.
            count: how many.
            among: bool [stored documents], those that are ranked; by default the candidates.
        """
        positions = np.flatnonzero(self.alive if among is None else among)
        sums = self.sums[target][positions]
        if count < len(positions):
            least = np.partition(sums, len(sums) - count)[len(sums) - count]
            kept = sums >= least
            positions, sums = positions[kept], sums[kept]
        order: npt.NDArray[np.int64] = positions[np.argsort(-sums.astype(np.int64), kind="stable")][:count]
        return order


def score_histogram(pool: npt.NDArray[np.float64], selected: npt.NDArray[np.float64]) -> Histogram:
    """Return documents by score, in bins of equal width.

    Args:
        pool: float64 [candidates], scores of the candidates.
        selected: float64 [n], scores of the selected documents.
    """
    low, high = float(pool.min()), float(pool.max())
    edges = np.linspace(low, high if high > low else low + 1e-9, BINS + 1)
    of_pool, of_selected = (
        np.histogram(np.clip(own, edges[0], edges[-1]), edges)[0].astype(np.int64) for own in (pool, selected)
    )
    return Histogram(edges, of_pool, of_selected)


def cuts_of(snapshot: Snapshot, pool: PoolScores, target: int, selected: int, column: str | None) -> Cuts:
    """Return what a ranking holds down to a quarter, half, twice and four times a number of documents.

    Args:
        snapshot: the version of the index.
        pool: the scores.
        target: number of the target.
        selected: the number of documents that the selection holds for it.
        column: the column whose values are counted.
    """
    size = int(pool.alive.sum())
    ranks = sorted({min(max(1, selected * up // down), size) for up, down in TIMES})
    ranked = pool.best(target, ranks[-1])
    tokens = np.cumsum(pool.tokens[ranked])
    scores = pool.at(target, ranked)
    values, shares = ([], []) if column is None else _shares(snapshot, ranked, ranks, column)
    rows = [
        CutAt(rank, float(scores[rank - 1]), int(tokens[rank - 1]), [own[number] / rank for own in shares])
        for number, rank in enumerate(ranks)
    ]
    return Cuts(column, values, rows, ranks.index(min(selected, size)))


def _shares(
    snapshot: Snapshot, ranked: npt.NDArray[np.int64], ranks: Sequence[int], column: str
) -> tuple[list[str], list[list[int]]]:
    """Return a column's commonest values among ranked documents, and for each its documents down to each rank."""
    counts = ", ".join(f"count(*) FILTER (hits._rank < {rank})" for rank in ranks)
    with connect() as connection:
        documents = join_documents(connection, snapshot, ranked, {"_rank": np.arange(len(ranked))})
        rows = connection.execute(
            f"""SELECT coalesce(d.{quote_name(column)}::VARCHAR, '(none)') AS value, {counts} {documents}
            GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {VALUES}"""
        ).fetchall()
    return [value for value, *_ in rows], [list(own) for _, *own in rows]
