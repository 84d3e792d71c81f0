"""Approximate answers from graphs: what they find is scored exactly, what has no graph is scanned, and recall is estimated.

The estimate scores a sample of the documents that were not returned, by strata of their likeliest scores, and holds them against the
last one that was. Documents whose bound does not reach that one cannot have been missed and are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.search.hnsw import nearest
from nagindex.search.recall import Recall, Stratum, estimate_recall
from nagindex.search.rescore import rescore
from nagindex.search.scan import Part, Ranking, scan, sums_from_codes, sweep
from nagindex.search.scorers import Scorer
from nagindex.search.sketch import ProjectedQuery
from nagindex.search.sketch_search import ROWS_PER_TASK, SketchOf, approximate_cut, joined
from nagindex.search.top_n import Hits
from nagindex.workers.cpus import thread_count

AHEAD, AHEAD_OF_FEW = 2.0, 0.4
"""Candidates taken from the graphs for each document asked for: at least so many, and so many for each halving of the pool that leads
to the answer's size, since the smaller its share, the more of it lies beyond where sketches would put it."""
MORE = 16
"""Candidates taken beyond that of each graph, for chance."""
ROUNDS = 6
WORTH_IT = 0.25
"""Share of a graph's documents from which on scoring all of them is better than searching."""
LATE = 0.001
"""Share of the answer that the last third of a graph's documents may hold before more are asked for."""
EXAMPLE_NEIGHBORS = 10
EDGES = (-1.0, 0.0, 1.0, 2.0, 3.0, 5.0)
"""Strata: how many standard deviations of the estimates' error a document's likeliest score lies below the last one returned."""
WHOLE, PART = 4096, 32_768
"""Documents scored of a stratum near the threshold, and of the last one, which is by far the largest."""
NEAR = 1024
"""Likeliest documents that were not returned, from which the error of the estimates is told."""
SAMPLE = 16_384
"""Documents scored where there are no bounds."""


@dataclass(frozen=True)
class Graph:
    """A graph over whole parts of the pool, whose node i is document i of their concatenation.

    Attributes:
        index: of usearch.
        parts: what it covers.
    """

    index: Any
    parts: tuple[Part, ...]

    def positions(self, nodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the positions of nodes in the pool, int64 [m] both."""
        first = np.cumsum([0, *(part.documents for part in self.parts)])
        of = np.searchsorted(first, nodes, side="right") - 1
        found: npt.NDArray[np.int64] = nodes - first[of] + np.array([part.start for part in self.parts])[of]
        return found


@dataclass(frozen=True)
class Task:
    """One target of an approximate search.

    Attributes:
        queries: float64 [d] each: the target's weights in the basis, or those of each of its examples.
        seen: how sketches see the target; None where they cannot bound its scores.
        scorer: what sums codes for it.
        ranking: what is to be kept; its budget is of documents.
    """

    queries: Sequence[npt.NDArray[np.float64]]
    seen: ProjectedQuery | None
    scorer: Scorer
    ranking: Ranking


def search(
    parts: Sequence[Part], graphs: Sequence[Graph], task: Task, *, threads: int | None = None
) -> tuple[Hits, int]:
    """Return what the graphs find of a ranking whose keys are a target's sums, and how many documents were scored for it.

    Args:
        parts: the pool.
        graphs: over some or all of it; the rest is scanned.
        task: the target.
        threads: how many run side by side; by default one for each core.
    """
    covered = [part for graph in graphs for part in graph.parts]
    rest = [part for part in parts if part.documents and part not in covered]
    ranking = dataclasses.replace(task.ranking, key=lambda part: lambda rows, sums: sums[0])
    exact = scan(rest, sums_from_codes(task.scorer, 1), [ranking], threads=threads)[0]
    found = exact
    alive, nodes = _alive(parts), np.array([len(graph.index) for graph in graphs])
    asked = ahead(task.ranking.budget, int(nodes.sum())) * task.ranking.budget
    counts = np.minimum(asked * nodes / max(nodes.sum(), 1) + MORE, nodes).astype(np.int64)
    asking = [True] * len(graphs)
    living = [np.zeros(0, np.int64)] * len(graphs)
    for _ in range(ROUNDS):
        numbers = np.flatnonzero(asking).tolist()
        with ThreadPoolExecutor(thread_count(threads)) as pool:
            own_counts = [int(counts[number]) for number in numbers]
            given = list(pool.map(lambda n, count: _likeliest(graphs[n], task, count), numbers, own_counts))
        for number, own in zip(numbers, given, strict=True):
            living[number] = own[alive(own)]
        new = np.setdiff1d(np.concatenate([np.zeros(0, np.int64), *living]), found.positions)
        scored = Hits(new, rescore(parts, new, task.scorer, threads=threads), np.ones(len(new), np.int64))
        found = joined([found, scored])
        answer = approximate_cut(task.ranking.budget, found)
        # The last third of what a graph gave, in its order, should hold next to nothing of the answer.
        late = [np.isin(own[2 * len(own) // 3 :], answer.positions).sum() for own in living]
        short = len(answer.keys) < task.ranking.budget
        enough = zip(late, counts, nodes, strict=True)
        asking = [count < size and (short or bool(held > LATE * len(answer.keys))) for held, count, size in enough]
        if not any(asking):
            break
        counts = np.where(asking, np.minimum(2 * counts, nodes), counts)
    return task.ranking.cut(found), len(found.keys) - len(exact.keys) + sum(part.documents for part in rest)


def ahead(budget: int, documents: int) -> float:
    """Return how many candidates are taken from graphs for each document asked for, of so many that they connect."""
    return max(AHEAD, AHEAD_OF_FEW * float(np.log2(max(documents, 1) / max(budget, 1))))


def recall(
    parts: Sequence[Part],
    sketch_of: SketchOf,
    graphs: Sequence[Graph],
    task: Task,
    hits: Hits,
    *,
    threads: int | None = None,
) -> Recall:
    """Return an estimate of how many of the best documents an approximate answer holds, with a 95 % interval.

    Args:
        parts: the pool.
        sketch_of: opens a part's sketches.
        graphs: that were searched; what they do not cover was scanned.
        task: the target.
        hits: the answer.
        threads: how many run side by side; by default one for each core.
    """
    covered = [part for graph in graphs for part in graph.parts]
    returned = np.sort(hits.positions)
    if not len(returned) or not covered:
        return Recall(1.0, 1.0, 1.0, 0)
    last = int(hits.keys.min())
    if task.seen is None:
        outside, likely = np.concatenate([np.arange(p.start, p.start + p.documents) for p in covered]), None
    else:
        outside, likely = _reaching(covered, sketch_of, task.seen, last, threads)
    missed = _alive(parts)(outside) & ~np.isin(outside, returned, assume_unique=True)
    outside = outside[missed]
    if likely is None or task.seen is None:
        strata, sizes = [outside], [SAMPLE]
    else:
        likely = likely[missed]
        near = np.argsort(-likely, kind="stable")[:NEAR]
        near = near[np.argsort(outside[near])]
        errors = rescore(parts, outside[near], task.scorer, threads=threads) - likely[near]
        spread = max(float(np.std(errors)) if len(near) else 0.0, 1e-9 * max(abs(last), 1))
        bands = np.searchsorted(np.array(EDGES), (last - likely) / spread)
        strata = [outside[bands == band] for band in range(len(EDGES) + 1)]
        sizes = [WHOLE] * len(EDGES) + [PART]
    generator = np.random.default_rng(0)
    drawn = []
    for positions, size in zip(strata, sizes, strict=True):
        if len(positions):
            chosen = np.sort(generator.choice(positions, min(size, len(positions)), replace=False))
            drawn.append(Stratum(len(positions), rescore(parts, chosen, task.scorer, threads=threads)))
    return estimate_recall(hits.keys, drawn)


def _likeliest(graph: Graph, task: Task, count: int) -> npt.NDArray[np.int64]:
    """Return positions, int64 [m], of so many documents that a graph finds, the likeliest first; of several queries in turns."""
    nodes, each = len(graph.index), count if len(task.queries) == 1 else count // len(task.queries) + EXAMPLE_NEIGHBORS
    if count >= WORTH_IT * nodes:
        return graph.positions(np.arange(nodes))
    found = [nearest(graph.index, query, each) for query in task.queries]
    rank = np.concatenate([np.arange(len(own)) for own in found])
    keys, first = np.unique(np.concatenate(found)[np.argsort(rank, kind="stable")], return_index=True)
    keys = keys[np.argsort(first)]
    return graph.positions(keys[keys < nodes])


def _reaching(
    parts: Sequence[Part], sketch_of: SketchOf, seen: ProjectedQuery, last: int, threads: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the documents, ascending int64 [m], whose bound reaches a score, and their likeliest scores, float64 [m]."""
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []

    def opened(part: Part) -> Callable[[slice], tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        sketch = sketch_of(part)
        if sketch is None:
            return lambda rows: (
                np.arange(part.documents)[rows] - rows.start,
                np.full(len(range(part.documents)[rows]), last, np.float64),
            )
        bound, estimate = seen.bound(sketch), seen.estimate(sketch)

        def block(rows: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
            values = sketch.values[rows]
            own = bound.reaches(values, last)
            return own, estimate.scores(values[own])

        return block

    def take(part: Part, rows: slice, block: tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]) -> None:
        found.append((block[0] + rows.start + part.start, block[1]))

    sweep([part for part in parts if part.documents], opened, take, threads=threads, rows=ROWS_PER_TASK)
    positions = np.concatenate([own for own, _ in found]) if found else np.zeros(0, np.int64)
    likely = np.concatenate([own for _, own in found]) if found else np.zeros(0)
    order = np.argsort(positions)
    return positions[order], likely[order]


Alive = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.bool_]]
"""f(positions [m]): which of them may be selected, bool [m]."""


def _alive(parts: Sequence[Part]) -> Alive:
    """Return what tells which documents may be selected."""
    starts = np.array([part.start for part in parts])
    opened: dict[int, npt.NDArray[np.bool_]] = {}

    def alive(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        found = np.ones(len(positions), bool)
        of = np.searchsorted(starts, positions, side="right") - 1
        for number, part in enumerate(parts):
            if part.alive is not None and (here := of == number).any():
                if number not in opened:
                    opened[number] = part.alive()
                found[here] = opened[number][positions[here] - part.start]
        return found

    return alive
