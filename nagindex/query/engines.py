"""The engines of a query (scan, sketch, graph): each a class that ranks candidates; `open_engine` returns the one to use.

The scan and the sketch engine are exact and return the same documents; the graph engine is approximate and estimates its recall.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import Codes
from nagindex.query.derived import SketchReader, open_graphs, open_sketches
from nagindex.query.pool import ScoredPool
from nagindex.search import plan as planning
from nagindex.search.plan import Plan, Workload
from nagindex.search.profile import Profile, Target
from nagindex.search.scan import Ranking
from nagindex.search.scorers import scorer_of
from nagindex.search.top_n import Hits
from nagindex.sketches.store import SketchSet
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from nagindex.search.graph_search import Graph, GraphTarget
    from nagindex.search.recall import Recall
    from nagindex.search.sketch_search import SketchTarget

EXACT_REMEDY = 'leave `mode="graph"` out for the exact answer'

NO_SKETCHES, SKETCH_REMEDY = "there are no sketches", "; `optimize()` makes them"


class Engine(Protocol):
    """An engine of a query.

    Attributes:
        plan: the engine, the reason for it, and what the last ranking read.
        notes: sentences for the user.
    """

    plan: Plan
    notes: list[str]

    def rank(self, rankings: Sequence[Ranking]) -> list[Hits]:
        """Return, for each ranking, the candidates within its budget, in no particular order.

        Args:
            rankings: one for each target, or one for all of them.
        """


def open_engine(snapshot: Snapshot, pool: ScoredPool, *, mode: str, score: str) -> Engine:
    """Return the engine that a mode names, or for `auto` the sketch engine where it can answer, else the scan.

    Args:
        snapshot: the version that the pool belongs to.
        pool: the candidates.
        mode: `auto`, `scan`, `sketch` or `graph`.
        score: the query's score, for messages.

    Raises:
        BadInputError: the engine that `mode` names cannot answer this query.
    """
    notes: list[str] = []
    if mode == "graph":
        return GraphEngine.open(snapshot, pool)
    obstacles = _sketch_obstacles(pool, mode, score)
    sketches = None if obstacles else open_sketches(snapshot, notes)
    if sketches is not None and pool.passes.may_use_sketches:
        return SketchEngine(pool, sketches, mode)
    if sketches is not None:
        obstacles = ["the tasks of a cluster scan"]
    return ScanEngine(pool, mode, obstacles or notes[:1] or [NO_SKETCHES + SKETCH_REMEDY * (mode == "sketch")], notes)


class ScanEngine:
    """Scores every candidate, from its codes or from sums kept in memory. Exact."""

    def __init__(self, pool: ScoredPool, mode: str, reasons: Sequence[str], notes: Sequence[str] = ()) -> None:
        """Plan the scan.

        Args:
            pool: the candidates.
            mode: the query's mode.
            reasons: why no other engine answers.
            notes: sentences for the user.

        Raises:
            BadInputError: the mode is `sketch`.
        """
        self.pool, self.notes = pool, list(notes)
        self.plan = planning.choose(pool.workload(), mode, reasons)

    def rank(self, rankings: Sequence[Ranking]) -> list[Hits]:
        """Return the hits of each ranking; see `Engine`."""
        return _scan(self.pool, rankings, self.plan, started=time.perf_counter())


class SketchEngine:
    """Scores the documents that bounds from sketches cannot rule out; scans where these rule out too few. Exact."""

    def __init__(self, pool: ScoredPool, sketches: SketchSet, mode: str) -> None:
        self.pool, self.sketches, self.mode = pool, sketches, mode
        self.notes: list[str] = []
        self.plan = Plan("sketch", "nothing was ranked")
        self._sketch_of = SketchReader(pool, sketches, self.notes)

    def rank(self, rankings: Sequence[Ranking]) -> list[Hits]:
        """Return the hits of each ranking; see `Engine`."""
        started = time.perf_counter()
        workload = self._workload(rankings)
        targets: list[SketchTarget] = []
        if workload is None:
            reason = "sketches could not beat the scan, whatever their bounds admit"
            self.plan = planning.choose(self.pool.workload(), self.mode, [reason])
        else:
            targets = [self._target(*own) for own in zip(self.pool.targets, rankings, strict=True)]
            self.plan = planning.choose(self._admitting(workload, targets), self.mode, [])
        hits = self._search(targets) if self.plan.engine == "sketch" else None
        if hits is None:
            return _scan(self.pool, rankings, self.plan, started=started)
        self.plan.actual["seconds"] = round(time.perf_counter() - started, 4)
        return hits

    def _workload(self, rankings: Sequence[Ranking]) -> Workload | None:
        """Return the work to do; None, before any sketch is opened, if the scan is the better choice in any case."""
        workload = self.pool.workload(sketched=self.pool.documents, dims=self.sketches.width)
        answer = max(ranking.budget for ranking in rankings) / max(self.pool.size, 1)
        if self.mode != "sketch" and not planning.may_pay(workload, answer):
            return None
        sketched = sum(part.documents for part in self.pool.parts if self._sketch_of(part) is not None)
        return replace(workload, sketched=sketched)

    def _admitting(self, workload: Workload, targets: Sequence[SketchTarget]) -> Workload:
        """Return the workload with the share that bounds are predicted to admit."""
        from nagindex.search.sketch_search import admitted_share

        predict = partial(admitted_share, self.pool.parts, self._sketch_of, targets, limit=planning.LIMIT)
        return replace(workload, admitted=self._sketch_of.retrying(predict))

    def _search(self, targets: Sequence[SketchTarget]) -> list[Hits] | None:
        """Return the hits of each target; None, with the reason in the plan, where the bounds admit too much."""
        from nagindex.search import sketch_search

        limit = 1.0 if self.mode == "sketch" else planning.LIMIT
        hits, reading = self._sketch_of.retrying(
            lambda: sketch_search.search(
                self.pool.parts, self._sketch_of, targets, threads=self.pool.threads, limit=limit
            )
        )
        if not reading.complete:
            self.plan.engine = "scan"
            self.plan.fell_back = f"the bounds admitted more than {limit:.0%} of the pool"
            return None
        self.plan.actual |= _read(self.pool, reading.codes) | {"candidates": reading.candidates}
        return hits

    def _target(self, target: Target, ranking: Ranking) -> SketchTarget:
        from nagindex.search.sketch import ProjectedQuery
        from nagindex.search.sketch_search import SketchTarget

        weights = target.weights if isinstance(target, Profile) else np.zeros((len(self.pool.view.layers), 1), np.int64)
        query = ProjectedQuery.of(self.sketches.basis, self.pool.weights_of_all_layers(weights))
        share = ranking.budget / max(self.pool.size, 1)
        return SketchTarget(query, scorer_of([target], self.pool.view), ranking, share)


class GraphEngine:
    """Searches graphs over sketches, scores what they return exactly, scans segments without a graph. Approximate.

    Each answer carries an estimate of its recall with a 95 % interval.
    """

    def __init__(self, pool: ScoredPool, sketches: SketchSet, graphs: Sequence[Graph], notes: Sequence[str]) -> None:
        self.pool, self.sketches, self.graphs = pool, sketches, graphs
        self.notes = list(notes)
        self.plan = Plan("graph", "nothing was ranked")

    @classmethod
    def open(cls, snapshot: Snapshot, pool: ScoredPool) -> GraphEngine:
        """Return the engine over the graphs of a snapshot.

        Raises:
            BadInputError: graphs cannot answer this query, or there are none.
        """
        if pool.kept is not None:
            needs = "quality, caps, dedup, decontamination and the mixes max and union need the scores of all documents"
            merged = ', or use `mix="merge"` if it is only for its several targets' if len(pool.targets) > 1 else ""
            raise BadInputError(f"mode graph cannot answer this query: {needs}; {EXACT_REMEDY}{merged}")
        if any(part.weights is not None for part in pool.parts):
            raise BadInputError(f"mode graph: a budget of tokens needs the exact order; give `n`, or {EXACT_REMEDY}")
        if pool.view.top_k != pool.view.whole.top_k:
            kept = pool.view.whole.top_k
            raise BadInputError(f"mode graph: graphs are of all {kept} neurons of a layer; {EXACT_REMEDY}")
        notes: list[str] = []
        sketches = open_sketches(snapshot, notes)
        graphs = [] if sketches is None else open_graphs(pool, sketches, notes)
        if sketches is None or not graphs:
            why = "; ".join(["there are no graphs that can be used", *notes, "make them with `optimize(graph=True)`"])
            raise BadInputError(f"mode graph: {why}, or {EXACT_REMEDY}")
        return cls(pool, sketches, graphs, notes)

    def rank(self, rankings: Sequence[Ranking]) -> list[Hits]:
        """Return the hits of each ranking; see `Engine`."""
        from nagindex.search import graph_search

        started, pool = time.perf_counter(), self.pool
        connected = sum(part.documents for graph in self.graphs for part in graph.parts)
        wanted = round(sum(graph_search.candidates_per_hit(r.budget, connected) * r.budget for r in rankings))
        dims = self.sketches.width
        workload = pool.workload(sketched=pool.documents, dims=dims, connected=connected, candidates=wanted)
        self.plan = planning.choose_graph(workload)
        sketch_of = SketchReader(pool, self.sketches, self.notes)
        answers, recalls, scored = [], [], 0
        for number, ranking in enumerate(rankings):
            target = self._target(number, ranking)
            hits, read = graph_search.search(pool.parts, self.graphs, target, threads=pool.threads)
            estimate = partial(graph_search.estimated_recall, pool.parts, sketch_of, self.graphs, target, hits)
            recalls.append(sketch_of.retrying(partial(estimate, threads=pool.threads)))
            answers.append(hits)
            scored += read
        self.notes.append(_recall_sentence(recalls))
        self.plan.actual |= {"recall": list(map(_recall_record, recalls))} | _read(pool, scored)
        self.plan.actual["seconds"] = round(time.perf_counter() - started, 4)
        return answers

    def _target(self, number: int, ranking: Ranking) -> GraphTarget:
        from nagindex.search.graph_search import GraphTarget
        from nagindex.search.sketch import ProjectedQuery

        target = self.pool.targets[number]
        scorer = scorer_of([target], self.pool.view)
        if isinstance(target, Profile):
            query = ProjectedQuery.of(self.sketches.basis, self.pool.weights_of_all_layers(target.weights))
            return GraphTarget([query.coefficients], query, scorer, ranking)
        return GraphTarget([self._coefficients(codes) for codes in target.codes], None, scorer, ranking)

    def _coefficients(self, codes: Codes) -> npt.NDArray[np.float64]:
        """Return the coefficients of one example in the basis, float64 [d], from its codes, uint16 [layers, K]."""
        weights = np.zeros((len(codes), max(self.pool.view.spec.widths)), np.int64)
        np.put_along_axis(weights, codes.astype(np.int64), 1, axis=1)
        return self.sketches.basis.project(self.pool.weights_of_all_layers(weights))[0]


def _scan(pool: ScoredPool, rankings: Sequence[Ranking], plan: Plan, *, started: float) -> list[Hits]:
    """Return the hits of a scan, and note in the plan what it read."""
    hits = pool.passes.rank(pool, rankings)
    plan.actual |= _read(pool, pool.documents)
    plan.actual["seconds"] = round(time.perf_counter() - started, 4)
    return hits


def _read(pool: ScoredPool, documents: int) -> dict[str, int]:
    return {"documents": documents, "bytes": documents * pool.bytes_per_document}


def _sketch_obstacles(pool: ScoredPool, mode: str, score: str) -> list[str]:
    """Return the reasons why sketches cannot answer; none where they can."""
    if mode == "scan":
        return ["the scan was requested"]
    obstacles = []
    if pool.kept is not None:
        obstacles.append("the query needs the score of every document")
    if not all(isinstance(target, Profile) for target in pool.targets):
        obstacles.append(f"sketches bound mean overlaps, not score {score}")
    if pool.view.top_k != pool.view.whole.top_k:
        obstacles.append(f"sketches are of all {pool.view.whole.top_k} neurons of a layer")
    return obstacles


def _recall_record(recall: Recall) -> dict[str, float]:
    values = {"recall": recall.estimate, "low": recall.low, "high": recall.high, "sampled": recall.sampled}
    return {name: round(value, 4) for name, value in values.items()}


def _recall_sentence(recalls: Sequence[Recall]) -> str:
    worst = min(recalls, key=lambda recall: recall.low)
    holder = "each list holds at least" if len(recalls) > 1 else "it holds"
    estimate, low, high = (
        f"{value:.1%}".replace("100.0%", "100%") for value in (worst.estimate, worst.low, worst.high)
    )
    interval = f" (95 % interval {low} to {high})" if low != high else ""
    return f"approximate: {holder} about {estimate} of the exact answer{interval}"
