"""Approximate ranking for a query that asks for it: opens the graphs, searches them and says how much was found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError, DamagedIndexError, NagIndexError
from nagindex.nag import Codes
from nagindex.search import plan
from nagindex.search.profile import Profile, Target
from nagindex.search.scan import Ranking
from nagindex.search.scorers import scorer_of
from nagindex.search.top_n import Hits
from nagindex.sketches.graphs import graphs_of
from nagindex.sketches.store import SketchSet

if TYPE_CHECKING:
    from nagindex.query.engines import Ranker
    from nagindex.search.graph_search import Graph, Task

REMEDY = "leave --approx out for the exact answer"


def ranked_by_graphs(
    ranker: Ranker, rankings: Sequence[Ranking], documents: int, *, sums_are_kept: bool
) -> tuple[list[Hits], plan.Plan, list[str]]:
    """Return what graphs find for each ranking, the plan with the estimated recall, and sentences for the user.

    Args:
        ranker: the query's.
        rankings: one for each target.
        documents: of the pool.
        sums_are_kept: whether the query needs the score of every document.

    Raises:
        BadInputError: graphs cannot answer this query, or there are none.
    """
    from nagindex.search import graph_search

    if sums_are_kept:
        raise BadInputError(f"mode graph: what is asked needs the score of every document; {REMEDY}")
    if any(part.weights is not None for part in ranker.parts):
        raise BadInputError(f"mode graph: a budget of tokens needs the exact order; give -n, or {REMEDY}")
    if ranker.view.top_k != ranker.view.whole.top_k:
        raise BadInputError(f"mode graph: graphs are of all {ranker.view.whole.top_k} neurons of a layer; {REMEDY}")
    sketches = ranker.opened()
    graphs = [] if sketches is None else _opened(ranker, sketches)
    if sketches is None or not graphs:
        why = "; ".join(
            ["there are no graphs that can be used", *ranker.notes, "make them with nagindex optimize --graph"]
        )
        raise BadInputError(f"mode graph: {why}, or {REMEDY}")
    connected = sum(part.documents for graph in graphs for part in graph.parts)
    asked = round(sum(graph_search.ahead(own.budget, connected) * own.budget for own in rankings))
    done = plan.choose_graph(
        ranker.to_do(documents, documents, 1.0, len(sketches.rounding) + 1, connected=connected, candidates=asked)
    )
    answers, recalls, scored = [], [], 0
    for target, ranking in zip(ranker.targets, rankings, strict=True):
        task = _task(ranker, sketches, target, ranking)
        hits, read = graph_search.search(ranker.parts, graphs, task, threads=ranker.threads)
        recall = graph_search.recall(
            ranker.parts, partial(ranker.sketch, sketches), graphs, task, hits, threads=ranker.threads
        )
        answers.append(hits)
        scored += read
        found = {"recall": recall.estimate, "low": recall.low, "high": recall.high, "sampled": recall.sampled}
        done.actual.setdefault("recall", []).append({name: round(value, 4) for name, value in found.items()})
        recalls.append(recall)
    done.actual |= {"documents": scored, "bytes": scored * ranker.view.whole.bytes_per_document}
    worst = min(recalls, key=lambda recall: recall.low)
    share = f"about {worst.estimate:.1%} of the exact answer (95 % interval {worst.low:.1%} to {worst.high:.1%})"
    return (
        answers,
        done,
        [f"approximate: {'each list' if len(recalls) > 1 else 'it'} holds {'at least ' * (len(recalls) > 1)}{share}"],
    )


def _opened(ranker: Ranker, sketches: SketchSet) -> list[Graph]:
    """Return the graphs that can be used, with the parts of the pool that they cover."""
    from nagindex.search import graph_search, hnsw

    by_segment = {segment.entry.id: part for segment, part in zip(ranker.index.segments, ranker.parts, strict=True)}
    found = []

    def leave_out(error: NagIndexError) -> None:
        ranker.notes.append(f"a graph is not used, its documents are scanned: {error}")

    for own in graphs_of(sketches, [segment.entry for segment in ranker.index.segments], leave_out):
        try:
            own.check()
            parts = tuple(by_segment[segment] for segment in own.segments)
            index = hnsw.opened(str(own.path))
            if len(index) != sum(part.documents for part in parts) or index.ndim != len(sketches.rounding) + 1:
                raise DamagedIndexError(own.path, "not the graph of its segments")
            found.append(graph_search.Graph(index, parts))
        except DamagedIndexError as error:
            leave_out(error)
    return found


def _task(ranker: Ranker, sketches: SketchSet, target: Target, ranking: Ranking) -> Task:
    from nagindex.search.graph_search import Task
    from nagindex.search.sketch import ProjectedQuery

    scorer = scorer_of([target], ranker.view)
    if isinstance(target, Profile):
        seen = ProjectedQuery.of(sketches.basis, ranker.whole_weights(target.weights))
        return Task([seen.inside], seen, scorer, ranking)
    return Task([_inside(ranker, sketches, codes) for codes in target.codes], None, scorer, ranking)


def _inside(ranker: Ranker, sketches: SketchSet, codes: Codes) -> npt.NDArray[np.float64]:
    """Return one example's coordinates in the basis, float64 [d], of codes uint16 [layers, K] of the view."""
    weights = np.zeros((len(codes), max(ranker.view.spec.widths)), np.int64)
    np.put_along_axis(weights, codes.astype(np.int64), 1, axis=1)
    return sketches.basis.split(ranker.whole_weights(weights))[0]
