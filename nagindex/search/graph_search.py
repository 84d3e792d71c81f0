"""The graph engine: approximate answers from neighbor graphs, with an estimate of their recall.

Candidates from the graphs are scored exactly, and documents that no graph covers are scanned. Recall is estimated from
exact scores of a random sample of the covered documents that were not returned, of a size that does not grow with the pool.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.search.hnsw import search_graph
from nagindex.search.recall import Recall, Stratum, estimate_recall
from nagindex.search.rescore import rescore
from nagindex.search.scan import Part, Ranking, scan, sums_from_codes
from nagindex.search.scorers import Scorer
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
SAMPLE = 16_384
"""Documents scored to estimate the recall."""


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

    def nodes(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the nodes, int64 [k], of those of positions in the pool, int64 [m], that the graph covers."""
        found, first = [np.zeros(0, np.int64)], 0
        for part in self.parts:
            inside = (part.start <= positions) & (positions < part.start + part.documents)
            found.append(positions[inside] - part.start + first)
            first += part.documents
        return np.concatenate(found)


@dataclass(frozen=True)
class GraphTarget:
    """One target of a search in graphs.

    Attributes:
        queries: float64 [d] each: the coefficients of the target's weights, or of each of its examples.
        scorer: sums codes for this target alone.
        ranking: the list to make; its budget counts documents.
    """

    queries: Sequence[npt.NDArray[np.float64]]
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
        answer = _cut_by_position(budget, scored)
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


def _cut_by_position(budget: int, hits: Hits) -> Hits:
    """Return the hits of largest keys that fill a budget of documents, and one more; ties go to the lower position."""
    return hits.take(np.lexsort((hits.positions, -hits.keys))[: budget + 1])


def candidates_per_hit(budget: int, documents: int) -> float:
    """Return the number of candidates that graphs over some documents give for each hit of a budget."""
    return max(MIN_CANDIDATES_PER_HIT, CANDIDATES_PER_HALVING * float(np.log2(max(documents, 1) / max(budget, 1))))


def estimated_recall(
    parts: Sequence[Part], graphs: Sequence[Graph], target: GraphTarget, hits: Hits, *, threads: int | None = None
) -> Recall:
    """Estimate the recall of an approximate answer, with a 95 % interval.

    Args:
        parts: the pool.
        graphs: the graphs that were searched; what they do not cover was scanned.
        target: the target.
        hits: the answer.
        threads: number of threads; by default one per available core.
    """
    positions, population = _sample_of_others(graphs, np.sort(hits.positions))
    if not len(hits.positions) or not population:
        return Recall(1.0, 1.0, 1.0, 0)
    sums = rescore(parts, positions, target.scorer, threads=threads)
    sums[~_alive_at(parts)(positions)] = np.iinfo(np.int64).min  # no hit, whatever its codes
    return estimate_recall(hits.keys, [Stratum(population, sums)])


def _sample_of_others(graphs: Sequence[Graph], returned: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Draw documents that graphs cover and that were not returned; return their positions, ascending, and the number of all these.

    Args:
        graphs: the graphs.
        returned: int64 [m], ascending positions.
    """
    covered = Graph(
        None, tuple(sorted((part for graph in graphs for part in graph.parts), key=lambda part: part.start))
    )
    taken = covered.nodes(returned)
    population = sum(part.documents for part in covered.parts) - len(taken)
    drawn = np.sort(np.random.default_rng(0).choice(population, min(SAMPLE, population), replace=False))
    drawn += np.searchsorted(taken - np.arange(len(taken)), drawn, side="right")  # those returned are stepped over
    return covered.positions(drawn), population


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
