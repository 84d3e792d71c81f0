"""The graph engine: approximate answers from neighbor graphs, with an estimate of their recall.

Candidates from the graphs are scored exactly, and documents that no graph covers are scanned. Recall is estimated from
exact scores of a sample of the documents that were not returned, stratified by estimated score. Documents whose upper
bound lies below the lowest returned score cannot have been missed and are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.search.hnsw import search_graph
from nagindex.search.recall import Recall, Stratum, estimate_recall
from nagindex.search.rescore import rescore
from nagindex.search.scan import Part, Ranking, scan, sums_from_codes
from nagindex.search.scorers import Scorer
from nagindex.search.sketch import ProjectedQuery
from nagindex.search.sketch_search import Admitted, SketchOf, cut_by_position, documents_above_bound
from nagindex.search.top_n import Hits, concatenate
from nagindex.workers.cpus import thread_count

MIN_CANDIDATES_PER_HIT, CANDIDATES_PER_HALVING = 2.0, 0.4
"""Candidates for each hit: the first number, or the second times log2(pool / answer) if that is more.

The smaller the answer's share of the pool, the more of it has a low estimated score.
"""
EXTRA_CANDIDATES = 16
"""Candidates beyond that from each graph, for chance."""
MAX_ROUNDS = 6
SCORE_ALL_FROM = 0.25
"""Share of a graph's documents from which on scoring all of them is better than searching."""
LATE_SHARE = 0.001
"""Share of the answer in the last third of a graph's candidates above which more are taken."""
CANDIDATES_PER_EXAMPLE = 10
STRATUM_EDGES = (-1.0, 0.0, 1.0, 2.0, 3.0, 5.0)
"""Edges of the strata: distance below the lowest returned score, in standard deviations of the estimates."""
NEAR_SAMPLE, FAR_SAMPLE = 4096, 32_768
"""Documents scored of each stratum, and of the last one, which is by far the largest."""
ERROR_SAMPLE = 1024
"""Best documents that were not returned, from which that standard deviation is computed."""
UNBOUNDED_SAMPLE = 16_384
"""Documents scored for a target without bounds."""


@dataclass(frozen=True)
class Graph:
    """A neighbor graph over whole parts of the pool.

    Attributes:
        index: the usearch index; its node i is document i of the concatenated parts.
        parts: the parts that it covers.
    """

    index: Any
    parts: tuple[Part, ...]

    def positions(self, nodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the positions in the pool, int64 [m], of nodes, int64 [m]."""
        first = np.cumsum([0, *(part.documents for part in self.parts)])
        part_of = np.searchsorted(first, nodes, side="right") - 1
        starts = np.array([part.start for part in self.parts])
        positions: npt.NDArray[np.int64] = nodes - first[part_of] + starts[part_of]
        return positions


@dataclass(frozen=True)
class GraphTarget:
    """One target of a search in graphs.

    Attributes:
        queries: float64 [d] each: the coefficients of the target's weights, or of each of its examples.
        projected: the projected weights; None if sketches give no bounds on the target's scores.
        scorer: sums codes for this target alone.
        ranking: the list to make; its budget counts documents.
    """

    queries: Sequence[npt.NDArray[np.float64]]
    projected: ProjectedQuery | None
    scorer: Scorer
    ranking: Ranking


def search(
    parts: Sequence[Part], graphs: Sequence[Graph], target: GraphTarget, *, threads: int | None = None
) -> tuple[Hits, int]:
    """Return the hits of a ranking whose keys are a target's sums, and the number of documents scored.

    Args:
        parts: the pool.
        graphs: graphs over some or all of it; the rest is scanned.
        target: the target.
        threads: number of threads; by default one per available core.
    """
    covered = [part for graph in graphs for part in graph.parts]
    rest = [part for part in parts if part.documents and part not in covered]
    ranking = dataclasses.replace(target.ranking, key=lambda part: lambda rows, sums: sums[0])
    scanned = scan(rest, sums_from_codes(target.scorer, 1), [ranking], threads=threads)[0]
    scored = scanned
    budget, alive = target.ranking.budget, _alive_at(parts)
    sizes = np.array([len(graph.index) for graph in graphs])
    wanted = candidates_per_hit(budget, int(sizes.sum())) * budget
    counts = np.minimum(wanted * sizes / max(sizes.sum(), 1) + EXTRA_CANDIDATES, sizes).astype(np.int64)
    active = [True] * len(graphs)
    living = [np.zeros(0, np.int64)] * len(graphs)
    for _ in range(MAX_ROUNDS):
        numbers = np.flatnonzero(active).tolist()
        with ThreadPoolExecutor(thread_count(threads)) as pool:
            arguments = [(graphs[number], target, int(counts[number])) for number in numbers]
            nearest = list(pool.map(lambda arguments: _nearest_documents(*arguments), arguments))
        for number, positions in zip(numbers, nearest, strict=True):
            living[number] = positions[alive(positions)]
        new = np.setdiff1d(np.concatenate([np.zeros(0, np.int64), *living]), scored.positions)
        sums = rescore(parts, new, target.scorer, threads=threads)
        scored = concatenate([scored, Hits(new, sums, np.ones(len(new), np.int64))])
        answer = cut_by_position(scored, budget=budget)
        # The last third of a graph's candidates, in its order, should hold next to nothing of the answer.
        late = [np.isin(positions[2 * len(positions) // 3 :], answer.positions).sum() for positions in living]
        short, tolerated = len(answer.keys) < budget, LATE_SHARE * len(answer.keys)
        active = [
            count < size and (short or bool(held > tolerated))
            for held, count, size in zip(late, counts, sizes, strict=True)
        ]
        if not any(active):
            break
        counts = np.where(active, np.minimum(2 * counts, sizes), counts)
    documents = len(scored.keys) - len(scanned.keys) + sum(part.documents for part in rest)
    return target.ranking.cut(scored.take(scored.keys >= target.ranking.minimum)), documents


def candidates_per_hit(budget: int, documents: int) -> float:
    """Return the number of candidates that graphs over some documents give for each hit of a budget."""
    return max(MIN_CANDIDATES_PER_HIT, CANDIDATES_PER_HALVING * float(np.log2(max(documents, 1) / max(budget, 1))))


def estimated_recall(
    parts: Sequence[Part],
    sketch_of: SketchOf,
    graphs: Sequence[Graph],
    target: GraphTarget,
    hits: Hits,
    *,
    threads: int | None = None,
) -> Recall:
    """Estimate the recall of an approximate answer, with a 95 % interval.

    Args:
        parts: the pool.
        sketch_of: opens a part's sketches.
        graphs: the graphs that were searched; what they do not cover was scanned.
        target: the target.
        hits: the answer.
        threads: number of threads; by default one per available core.
    """
    covered = [part for graph in graphs for part in graph.parts]
    if not len(hits.positions) or not covered:
        return Recall(1.0, 1.0, 1.0, 0)

    def exact(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return rescore(parts, positions, target.scorer, threads=threads)

    lowest = int(hits.keys.min())
    if target.projected is None:
        outside = np.concatenate([np.arange(part.start, part.start + part.documents) for part in covered])
        strata, sizes = [outside[_not_returned(parts, outside, hits)]], [UNBOUNDED_SAMPLE]
    else:
        outside, estimates = _estimates_above_bound(covered, sketch_of, target.projected, lowest, threads)
        missed = _not_returned(parts, outside, hits)
        strata = _strata(outside[missed], estimates[missed], lowest, exact)
        sizes = [NEAR_SAMPLE] * len(STRATUM_EDGES) + [FAR_SAMPLE]
    generator = np.random.default_rng(0)
    sampled = []
    for positions, size in zip(strata, sizes, strict=True):
        if len(positions):
            sample = np.sort(generator.choice(positions, min(size, len(positions)), replace=False))
            sampled.append(Stratum(len(positions), exact(sample)))
    return estimate_recall(hits.keys, sampled)


def _strata(
    positions: npt.NDArray[np.int64],
    estimates: npt.NDArray[np.float64],
    lowest: int,
    exact: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]],
) -> list[npt.NDArray[np.int64]]:
    """Divide documents into strata by the distance of their estimates below the lowest returned score.

    Args:
        positions: int64 [m], ascending.
        estimates: float64 [m], estimated scores.
        lowest: lowest score that was returned.
        exact: f(positions [k]) that gives exact scores, int64 [k].
    """
    near = np.sort(np.argsort(-estimates, kind="stable")[:ERROR_SAMPLE])
    errors = exact(positions[near]) - estimates[near]
    deviation = max(float(np.std(errors)) if len(near) else 0.0, 1e-9 * max(abs(lowest), 1))
    numbers = np.searchsorted(np.array(STRATUM_EDGES), (lowest - estimates) / deviation)
    return [positions[numbers == number] for number in range(len(STRATUM_EDGES) + 1)]


def _not_returned(parts: Sequence[Part], positions: npt.NDArray[np.int64], hits: Hits) -> npt.NDArray[np.bool_]:
    """Return which documents are alive and no hits, bool [m], of int64 [m] distinct positions."""
    missed: npt.NDArray[np.bool_] = _alive_at(parts)(positions) & ~np.isin(
        positions, hits.positions, assume_unique=True
    )
    return missed


def _nearest_documents(graph: Graph, target: GraphTarget, count: int) -> npt.NDArray[np.int64]:
    """Return positions of about `count` documents of a graph, best first; queries take turns."""
    nodes = len(graph.index)
    if count >= SCORE_ALL_FROM * nodes:
        return graph.positions(np.arange(nodes))
    each = count if len(target.queries) == 1 else count // len(target.queries) + CANDIDATES_PER_EXAMPLE
    nearest = [search_graph(graph.index, query, each) for query in target.queries]
    rank = np.concatenate([np.arange(len(own)) for own in nearest])
    keys, first = np.unique(np.concatenate(nearest)[np.argsort(rank, kind="stable")], return_index=True)
    keys = keys[np.argsort(first)]
    return graph.positions(keys[keys < nodes])


def _estimates_above_bound(
    parts: Sequence[Part], sketch_of: SketchOf, query: ProjectedQuery, score: int, threads: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the documents whose upper bound reaches a score.

    Returns:
        Positions, ascending int64 [m], and estimated scores, float64 [m].
    """
    positions, estimates = [np.zeros(0, np.int64)], [np.zeros(0)]
    lock = Lock()

    def take(part: Part, admitted: list[Admitted]) -> None:
        with lock:
            positions.append(admitted[0].rows + part.start)
            estimates.append(admitted[0].estimates)

    documents_above_bound(parts, sketch_of, [query], [score], take, estimated=True, threads=threads)
    order = np.argsort(together := np.concatenate(positions))
    return together[order], np.concatenate(estimates)[order]


def _alive_at(parts: Sequence[Part]) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[np.bool_]]:
    """Return f(positions int64 [m]): whether each of these documents may be selected, bool [m]."""
    starts = np.array([part.start for part in parts])
    columns: dict[int, npt.NDArray[np.bool_]] = {}

    def alive_at(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        alive = np.ones(len(positions), bool)
        part_of = np.searchsorted(starts, positions, side="right") - 1
        for number, part in enumerate(parts):
            if part.alive is not None and (here := part_of == number).any():
                if number not in columns:
                    columns[number] = part.alive()
                alive[here] = columns[number][positions[here] - part.start]
        return alive

    return alive_at
