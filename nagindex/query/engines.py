"""The engines of a query (scan, graph): each a class that ranks candidates; `open_engine` returns the one to use.

The scan is exact; the graph engine is approximate and estimates its recall.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import Codes
from nagindex.query.pool import ScoredPool
from nagindex.search.plan import Plan
from nagindex.search.profile import Profile
from nagindex.search.scan import Ranking
from nagindex.search.scorers import scorer_of
from nagindex.search.top_n import Hits
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from nagindex.search.basis import Basis
    from nagindex.search.graph_search import Graph, GraphTarget
    from nagindex.search.recall import Recall

EXACT_REMEDY = "leave `approx` out for the exact answer"


class Engine(Protocol):
    """An engine of a query.

    Attributes:
        plan: the engine, and what the last ranking read.
        notes: sentences for the user.
    """

    plan: Plan
    notes: list[str]

    def rank(self, rankings: Sequence[Ranking]) -> list[Hits]:
        """Return, for each ranking, the candidates within its budget, in no particular order.

        Args:
            rankings: one for each target, or one for all of them.
        """


def open_engine(snapshot: Snapshot, pool: ScoredPool, *, approx: bool) -> Engine:
    """Return the engine that answers a query.

    Args:
        snapshot: the version that the pool belongs to.
        pool: the candidates.
        approx: whether graphs may answer.

    Raises:
        BadInputError: graphs cannot answer this query, or there are none.
    """
    return GraphEngine.open(snapshot, pool) if approx else ScanEngine(pool)


class ScanEngine:
    """Scores every candidate, from its codes or from sums kept in memory. Exact."""

    def __init__(self, pool: ScoredPool) -> None:
        self.pool = pool
        self.notes: list[str] = []
        self.plan = Plan("scan", "exact: the codes of every document are read")

    def rank(self, rankings: Sequence[Ranking]) -> list[Hits]:
        """Return the hits of each ranking; see `Engine`."""
        started = time.perf_counter()
        hits = self.pool.passes.rank(self.pool, rankings)
        self.plan.actual |= _read(self.pool, self.pool.documents, started)
        return hits


class GraphEngine:
    """Searches graphs, scores what they return exactly, scans segments without a graph. Approximate.

    Each answer carries an estimate of its recall with a 95 % interval.
    """

    def __init__(self, pool: ScoredPool, basis: Basis, graphs: Sequence[Graph], notes: Sequence[str]) -> None:
        self.pool, self.basis, self.graphs = pool, basis, graphs
        self.notes = list(notes)
        connected = sum(part.documents for graph in graphs for part in graph.parts)
        self.plan = Plan("graph", f"approximate: graphs cover {connected / pool.documents:.0%} of the documents")

    @classmethod
    def open(cls, snapshot: Snapshot, pool: ScoredPool) -> GraphEngine:
        """Return the engine over the graphs of a snapshot.

        Raises:
            BadInputError: graphs cannot answer this query, or there are none.
        """
        if pool.kept is not None:
            needs = "quality, caps, dedup, decontamination and the mixes max and union need the scores of all documents"
            merged = ', or use `mix="merge"` if it is only for its several targets' if len(pool.targets) > 1 else ""
            raise BadInputError(f"graphs cannot answer this query: {needs}; {EXACT_REMEDY}{merged}")
        if any(part.weights is not None for part in pool.parts):
            raise BadInputError(
                f"graphs cannot answer this query: a budget of tokens needs the exact order; give `n`, or {EXACT_REMEDY}"
            )
        if pool.view.top_k != pool.view.whole.top_k:
            kept = pool.view.whole.top_k
            raise BadInputError(
                f"graphs cannot answer this query: they are of all {kept} neurons of a layer; {EXACT_REMEDY}"
            )
        from nagindex.query.derived import open_graphs

        notes: list[str] = []
        basis, graphs = open_graphs(snapshot, pool, notes)
        if basis is None or not graphs:
            why = "; ".join(["there are no graphs that can be used", *notes, "make them with `optimize()`"])
            raise BadInputError(f"{why}, or {EXACT_REMEDY}")
        return cls(pool, basis, graphs, notes)

    def rank(self, rankings: Sequence[Ranking]) -> list[Hits]:
        """Return the hits of each ranking; see `Engine`."""
        from nagindex.search import graph_search

        started, pool = time.perf_counter(), self.pool
        recalls: list[Recall] = []
        answers, scored = [], 0
        for number, ranking in enumerate(rankings):
            target = self._target(number, ranking)
            hits, documents = graph_search.search(pool.parts, self.graphs, target, threads=pool.threads)
            recalls.append(graph_search.estimated_recall(pool.parts, self.graphs, target, hits, threads=pool.threads))
            answers.append(hits)
            scored += documents + recalls[-1].sampled
        self.notes.append(_recall_sentence(recalls))
        self.plan.actual |= {"recall": list(map(_recall_record, recalls))} | _read(pool, scored, started)
        return answers

    def _target(self, number: int, ranking: Ranking) -> GraphTarget:
        from nagindex.search.graph_search import GraphTarget

        target = self.pool.targets[number]
        weights = [target.weights] if isinstance(target, Profile) else map(self._weights_of, target.codes)
        queries = [self.basis.coefficients(self.pool.weights_of_all_layers(own)) for own in weights]
        return GraphTarget(queries, scorer_of([target], self.pool.view), ranking)

    def _weights_of(self, codes: Codes) -> npt.NDArray[np.int64]:
        """Return the weights of one example, 1 for its neurons, int64 [layers, max d_l], from its codes, uint16 [layers, K]."""
        weights = np.zeros((len(codes), max(self.pool.view.spec.widths)), np.int64)
        np.put_along_axis(weights, codes.astype(np.int64), 1, axis=1)
        return weights


def _read(pool: ScoredPool, documents: int, started: float) -> dict[str, float]:
    seconds = round(time.perf_counter() - started, 4)
    return {"documents": documents, "bytes": documents * pool.bytes_per_document, "seconds": seconds}


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
