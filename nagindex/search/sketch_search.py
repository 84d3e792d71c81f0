"""The sketch engine: exact answers that read the codes of few documents.

A first pass over the sketches ranks documents by estimated score; the exact scores of the best ones give a threshold
that every document of the answer reaches. A second pass finds all documents whose upper bound reaches the threshold;
the answer is among them. Both passes run over blocks on several threads, in memory that grows with the answer and not
with the pool.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.search.rescore import rescore
from nagindex.search.scan import PARTS_OPEN, Part, Ranking, Sums, SumsOf, scan, sums_from_codes, sweep
from nagindex.search.scorers import Scorer
from nagindex.search.sketch import ProjectedQuery, Sketch
from nagindex.search.top_n import Hits, concatenate

ROWS_PER_TASK = 32_768
SMALL_SAMPLE, SAMPLE, RUN = 4096, 16_384, 8
"""Sketches sampled to predict the number of candidates, first and then, and the length of the runs they are read in."""
SURELY_MORE = 1.5
"""Factor of a limit above which the share in a small sample shows that the whole pool's is above the limit, too."""

NO_THRESHOLD = -(1 << 63)

SketchOf = Callable[[Part], Sketch | None]
"""f(part): opens the sketches of a part; None where it has none."""


@dataclass
class Reading:
    """What a search read.

    Attributes:
        candidates: documents scored exactly, summed over the targets.
        codes: documents whose codes were read.
        complete: whether the search finished; if not, there were too many candidates and the pool has to be scanned.
    """

    candidates: int = 0
    codes: int = 0
    complete: bool = True


@dataclass(frozen=True)
class SketchTarget:
    """One target of a search with sketches.

    Attributes:
        query: the target's weights, projected onto the basis.
        scorer: sums codes for this target alone.
        ranking: the list to make, whose keys are the target's sums.
        share: share of the pool, 0 to 1, that the budget is expected to take.
    """

    query: ProjectedQuery
    scorer: Scorer
    ranking: Ranking
    share: float


@dataclass(frozen=True)
class Admitted:
    """Documents of a block whose upper bound for one query reaches its threshold.

    Attributes:
        rows: int64 [m], ascending, counted from the part's first document.
        estimates: estimated scores, float64 [m]; empty if they were not requested.
    """

    rows: npt.NDArray[np.int64]
    estimates: npt.NDArray[np.float64]


def search(
    parts: Sequence[Part],
    sketch_of: SketchOf,
    targets: Sequence[SketchTarget],
    *,
    threads: int | None = None,
    limit: float,
) -> tuple[list[Hits], Reading]:
    """Return the hits of each target's ranking, equal to those of a scan, and what was read to find them.

    Args:
        parts: the pool.
        sketch_of: opens a part's sketches; parts without sketches are scored from their codes.
        targets: the targets.
        threads: number of threads; by default one per available core.
        limit: share of the pool, 0 to 1, that candidates may make up; beyond it the search stops, returns no hits, and
            its reading is not complete.
    """
    reading = Reading()
    estimates = [
        dataclasses.replace(
            target.ranking,
            key=partial(_key_of, number),
            cut=partial(cut_by_position, budget=target.ranking.budget),
            minimum=-math.inf,  # the keys are estimates here
        )
        for number, target in enumerate(targets)
    ]
    best = scan(parts, _estimated_scores(sketch_of, targets), estimates, threads=threads, rows=ROWS_PER_TASK)
    scored = [_rescored(parts, hits, target, threads) for hits, target in zip(best, targets, strict=True)]
    thresholds = [_threshold(hits, target.ranking) for hits, target in zip(scored, targets, strict=True)]
    allowed = limit * sum(part.documents for part in parts) * len(targets)
    others = _other_candidates(
        parts, sketch_of, targets, thresholds, [hits.positions for hits in scored], allowed, threads
    )
    if others is None:
        return [], Reading(complete=False)
    answers = []
    for target, first, more, threshold in zip(targets, scored, others, thresholds, strict=True):
        hits = concatenate([first, _rescored(parts, more, target, threads)])
        reading.candidates += len(hits.keys)
        answers.append(target.ranking.cut(hits.take(hits.keys >= threshold)))
    everything = [own.positions for hits in zip(scored, others, strict=True) for own in hits]
    reading.codes = len(np.unique(np.concatenate(everything))) if len(targets) > 1 else reading.candidates
    return answers, reading


def admitted_share(
    parts: Sequence[Part], sketch_of: SketchOf, targets: Sequence[SketchTarget], *, limit: float = 1.0
) -> float:
    """Predict the share of the pool, 0 to 1, that the bounds admit, from a sample of the sketches.

    The share is that of the target for which it is largest; 1 if there are no sketches. A small sample is tried first;
    if it already admits well over `limit`, its share is returned.
    """
    for size in (SMALL_SAMPLE, SAMPLE):
        share = _admitted_share(parts, sketch_of, targets, size)
        if share > limit * SURELY_MORE:
            break
    return share


def _admitted_share(parts: Sequence[Part], sketch_of: SketchOf, targets: Sequence[SketchTarget], size: int) -> float:
    """Predict that share from about `size` sketches."""
    pool = sum(part.documents for part in parts)
    stride = max(1, pool // size) * RUN
    sampled = []
    for part in parts:
        sketch = sketch_of(part)
        if sketch is not None:
            rows = np.arange(0, len(sketch), stride)[:, None] + np.arange(RUN)
            sampled.append((sketch, sketch.values[rows[rows < len(sketch)]]))
    if not sampled:
        return 1.0
    shares = []
    for target in targets:
        estimated = np.concatenate([target.query.estimator(sketch).scores(values) for sketch, values in sampled])
        bound = np.concatenate([target.query.upper_bound(sketch).scores(values) for sketch, values in sampled])
        rank = len(estimated) - 1 - int(len(estimated) * min(target.share, 1.0))
        threshold = np.partition(estimated, rank)[rank] if rank >= 0 else -np.inf
        shares.append(float((bound >= threshold).mean()))
    return max(shares)


def documents_above_bound(
    parts: Sequence[Part],
    sketch_of: SketchOf,
    queries: Sequence[ProjectedQuery],
    thresholds: Sequence[float],
    take: Callable[[Part, list[Admitted]], None],
    *,
    estimated: bool = False,
    threads: int | None = None,
) -> None:
    """Find the documents whose upper bound reaches a threshold, block by block.

    Documents of parts without sketches are all admitted, with the threshold as their estimated score.

    Args:
        parts: the pool.
        sketch_of: opens a part's sketches.
        queries: projected queries.
        thresholds: one score for each query.
        take: called from several threads, in no order, with a part and what each query admits of one of its blocks.
        estimated: whether to compute the estimated scores of the admitted documents.
        threads: number of threads; by default one per available core.
    """

    def open_part(part: Part) -> Callable[[slice], list[Admitted]]:
        sketch = sketch_of(part)
        if sketch is None:
            return lambda rows: [_whole_block(part, rows, threshold) for threshold in thresholds]
        scorers = [(query.upper_bound(sketch), query.estimator(sketch)) for query in queries]

        def read_block(rows: slice) -> list[Admitted]:
            values = sketch.values[rows]
            admitted = []
            for (bound, estimator), threshold in zip(scorers, thresholds, strict=True):
                chosen = bound.reaching(values, threshold)
                estimates = estimator.scores(values[chosen]) if estimated else np.zeros(0)
                admitted.append(Admitted(chosen + rows.start, estimates))
            return admitted

        return read_block

    sweep(
        [part for part in parts if part.documents],
        open_part,
        lambda part, rows, admitted: take(part, admitted),
        threads=threads,
        rows=ROWS_PER_TASK,
        stage="scanning sketches",
    )


def cut_by_position(hits: Hits, *, budget: int, first: bool = True, final: bool = True) -> Hits:
    """Return the hits of largest keys that fill a budget, and one more; ties go to the lower position."""
    order = np.lexsort((hits.positions, -hits.keys))
    return hits.take(order[: int(np.searchsorted(np.cumsum(hits.weights[order]), budget, side="right")) + 1])


def _whole_block(part: Part, rows: slice, score: float) -> Admitted:
    chosen = np.arange(*rows.indices(part.documents))
    return Admitted(chosen, np.full(len(chosen), score, np.float64))


def _rescored(parts: Sequence[Part], hits: Hits, target: SketchTarget, threads: int | None) -> Hits:
    """Return hits in order of position, with their exact sums as keys."""
    hits = hits.take(np.argsort(hits.positions))
    return Hits(hits.positions, rescore(parts, hits.positions, target.scorer, threads=threads), hits.weights)


def _threshold(hits: Hits, ranking: Ranking) -> int:
    """Return a sum that every document of the answer reaches: where these hits exceed the budget, or the ranking's minimum."""
    best = np.argsort(-hits.keys, kind="stable")
    over = int(np.searchsorted(np.cumsum(hits.weights[best]), ranking.budget, side="right"))
    exceeded = int(hits.keys[best[over]]) if over < len(best) else NO_THRESHOLD
    return max(exceeded, math.ceil(ranking.minimum)) if ranking.minimum > NO_THRESHOLD else exceeded


def _other_candidates(
    parts: Sequence[Part],
    sketch_of: SketchOf,
    targets: Sequence[SketchTarget],
    thresholds: Sequence[int],
    known: Sequence[npt.NDArray[np.int64]],
    allowed: float,
    threads: int | None,
) -> list[Hits] | None:
    """Return each target's living candidates other than the known ones, as hits without keys.

    Returns None if there are more than `allowed` candidates of all targets together.
    """
    candidates: list[list[Hits]] = [[] for _ in targets]
    count = sum(map(len, known))
    lock = Lock()

    @lru_cache(PARTS_OPEN)
    def open_columns(part: Part) -> tuple[npt.NDArray[np.bool_] | None, npt.NDArray[np.int64] | None]:
        return part.alive() if part.alive else None, part.weights() if part.weights else None

    def take(part: Part, admitted: list[Admitted]) -> None:
        nonlocal count
        with lock:
            if count > allowed or not any(len(own.rows) for own in admitted):
                return
        alive, weights = open_columns(part)
        for number, rows in enumerate(own.rows for own in admitted):
            rows = rows if alive is None else rows[alive[rows]]
            rows = rows[~np.isin(rows + part.start, _between(known[number], rows + part.start), assume_unique=True)]
            hits = Hits(rows + part.start, rows, np.ones(len(rows), np.int64) if weights is None else weights[rows])
            with lock:
                candidates[number].append(hits)
                count += len(rows)

    queries = [target.query for target in targets]
    documents_above_bound(parts, sketch_of, queries, thresholds, take, threads=threads)
    return None if count > allowed else [concatenate(own) for own in candidates]


def _between(ascending: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the ascending positions that lie in the range of some others, which ascend, too."""
    if not len(positions):
        return positions
    low, high = np.searchsorted(ascending, [positions[0], positions[-1] + 1])
    return ascending[low:high]


def _key_of(number: int, part: Part) -> Callable[[slice, Sums], npt.NDArray[Any]]:
    return lambda rows, sums: sums[number]


def _estimated_scores(sketch_of: SketchOf, targets: Sequence[SketchTarget]) -> SumsOf:
    def open_part(part: Part) -> Callable[[slice], Any]:
        sketch = sketch_of(part)
        if sketch is None:
            exact = [sums_from_codes(target.scorer, 1)(part) for target in targets]
            return lambda rows: np.concatenate([sums(rows) for sums in exact]).astype(np.float64)
        scorers = [target.query.estimator(sketch) for target in targets]
        return lambda rows: np.stack([scorer.scores(sketch.values[rows]) for scorer in scorers])

    return open_part
