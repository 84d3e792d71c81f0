"""The passes of a query over the codes by tasks on a Ray cluster, each of which reads some segments of the index.

For a ranking, each task leaves the documents that its own segments could give on its node, and sends a histogram of their keys,
weighted by what they take of the budget. The sum of the histograms tells the threshold; only documents
that reach it are sent, and collected one task's after another's, in temporary files if they are many.
Where a query needs the score of every candidate, their integer sums are sent, 4 or 8 bytes a document and target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.cluster.connection import require_ray
from nagindex.cluster.tasks import Task, Tasks, tasks
from nagindex.errors import BadInputError
from nagindex.progress import step
from nagindex.query.pool import Passes, ScoredPool
from nagindex.search.profile import Target
from nagindex.search.scan import (
    KeptSums,
    Part,
    Ranking,
    Sums,
    SumsOf,
    collect,
    collectors_of,
    counts_of,
    sums_from_codes,
)
from nagindex.search.scorers import scorer_of
from nagindex.search.top_n import Hits, reaching, threshold_of
from nagindex.search.view import View
from nagindex.select.budget import exact_cut
from nagindex.select.candidates import Candidates
from nagindex.select.options import Background
from nagindex.select.ranking_key import by_target
from nagindex.sketches.popularity import popularity_of
from nagindex.storage.docs import ids_at, tokens_of
from nagindex.storage.locations import absolute_location, index_folder
from nagindex.storage.snapshot import Snapshot


@dataclass(frozen=True)
class Query:
    """What all tasks of a pass know.

    Attributes:
        index: the index's folder, or its URL.
        version: its version.
        view: the codes that count.
        targets: what documents are scored by.
        threads: threads of a task.
    """

    index: str
    version: int
    view: View
    targets: Sequence[Target]
    threads: int

    @property
    def snapshot(self) -> Snapshot:
        """The version of the index, opened once in a process."""
        return opened(self.index, self.version)

    def parts(self, group: Group) -> list[Part]:
        """Return the segments of a group as parts of the pool."""
        return [
            Part(
                int(self.snapshot.starts[number]),
                segment.entry.documents,
                segment.codes,
                None if alive is None else partial(_unpacked, alive, segment.entry.documents),
                partial(tokens_of, segment) if group.weighs_tokens else None,
            )
            for number, alive in zip(group.numbers, group.alive, strict=True)
            for segment in [self.snapshot.segments[number]]
        ]


@dataclass(frozen=True)
class Group:
    """Consecutive segments that one task reads.

    Attributes:
        numbers: of the segments.
        alive: the candidates of each, as packed bits; None for all documents.
        weighs_tokens: whether a document weighs its tokens in the budget, and not 1.
    """

    numbers: list[int]
    alive: list[npt.NDArray[np.uint8] | None]
    weighs_tokens: bool


@dataclass(frozen=True)
class Limits:
    """Of a ranking: bounds of its keys, its budget, the lowest key of a hit, and whether hits are cut later; see `Ranking`."""

    low: float
    high: float
    budget: int
    minimum: float
    cut_later: bool


class ClusterPasses(Passes):
    """The passes of a query by tasks on a Ray cluster."""

    def __init__(self, cluster: Tasks, snapshot: Snapshot, ray: str) -> None:
        super().__init__(ray=ray)
        self.cluster, self.snapshot = cluster, snapshot

    def verify(self, snapshot: Snapshot) -> None:
        """Do nothing: tasks verify what they read, and this process too."""

    def counts(self, candidates: Candidates, view: View, background: Background) -> tuple[npt.NDArray[np.int64], int]:
        """Return how many documents hold each neuron; see `Passes`."""
        groups = self._groups(candidates.parts(tokens=False))
        started = self._start("count", self._query(view, []), groups, background)
        counts, documents = np.zeros((view.spec.layers, max(view.spec.widths)), np.int64), 0
        for _, (own, own_documents) in self._answers("counting the pool's neurons", started, groups):
            counts += own
            documents += own_documents
        return counts, documents

    def sums_of(self, parts: Sequence[Part], targets: Sequence[Target], view: View) -> SumsOf:
        """Return what gives the sums of parts that are opened in order, each once; tasks start when the first one is opened."""
        sums = self._sums(parts, self._query(view, targets))

        def open_part(part: Part) -> Callable[[slice], Sums]:
            own = next(sums) if part.documents else np.empty((len(targets), 0))
            return lambda rows: own[:, rows].astype(np.int64)

        return open_part

    def rank(self, pool: ScoredPool, rankings: Sequence[Ranking]) -> list[Hits]:
        """Return the hits of each ranking; see `Passes`."""
        if pool.kept is not None:
            return super().rank(pool, rankings)
        limits = [Limits(own.low, own.high, own.budget, own.minimum, own.cut_later) for own in rankings]
        groups = self._groups(pool.parts)
        started = self._start("collect_hits", self._query(pool.view, pool.targets), groups, limits)
        histograms: Any = 0
        for _, own in self._answers("scanning the pool", started, groups):
            histograms = histograms + own
        thresholds = [threshold_of(own, limit.budget) for own, limit in zip(histograms, limits, strict=True)]
        asked = [self.cluster.start(f"{__name__}:reaching_hits", *task.left, limits, thresholds) for task in started]
        collectors = collectors_of(rankings, pool.parts)
        # In the order of the pool, in which the rows of a selection are looked up.
        for _, found in self.cluster.answers(asked, in_order=True):
            for collector, hits in zip(collectors, found, strict=True):
                collector.add_hits(hits)
        return [collector.result() for collector in collectors]

    def _query(self, view: View, targets: Sequence[Target]) -> Query:
        place = absolute_location(self.snapshot.path)
        return Query(place, self.snapshot.manifest.version, view, tuple(targets), self.cluster.slots.cpus)

    def _groups(self, parts: Sequence[Part]) -> list[Group]:
        """Return the segments with documents, a group for each task; parts are all segments in their order."""
        numbers = [number for number, part in enumerate(parts) if part.documents]
        return [_group(own, parts) for own in self.cluster.split(numbers)]

    def _start(self, function: str, query: Query, groups: Sequence[Group], *arguments: Any) -> list[Task]:
        shared = self.cluster.share(query)
        return [self.cluster.start(f"{__name__}:{function}", shared, group, *arguments) for group in groups]

    def _sums(self, parts: Sequence[Part], query: Query) -> Iterator[npt.NDArray[Any]]:
        """Yield the sums of each part that has documents, int32 or int64 [targets, documents], in order; one task's are held."""
        groups = self._groups(parts)
        answers = self.cluster.answers(self._start("sum_up", query, groups), in_order=True)
        for group, (_, sums) in zip(groups, answers, strict=True):
            first = parts[group.numbers[0]].start
            for part in (parts[number] for number in group.numbers):
                yield sums[:, part.start - first : part.start - first + part.documents]

    def _answers(self, stage: str, started: Sequence[Task], groups: Sequence[Group]) -> Iterator[tuple[int, Any]]:
        """Yield as `Tasks.answers`, with progress in documents."""
        sizes = [sum(self.snapshot.manifest.segments[n].documents for n in group.numbers) for group in groups]
        with step(stage, sum(sizes), "documents") as advance:
            for number, answer in self.cluster.answers(started):
                yield number, answer
                advance(sizes[number])


@contextmanager
def passes_on(ray: str, snapshot: Snapshot, *, approx: bool, threads: int | None) -> Iterator[Passes]:
    """Context with the passes of a query on a Ray cluster.

    Args:
        ray: the address of a cluster.
        snapshot: the version of the index.
        approx: whether graphs may answer.
        threads: threads in this process, which a cluster does not need.

    Raises:
        BadInputError: an option cannot work on a cluster, or there is none at the address.
        MissingDependencyError: Ray is not installed.
    """
    require_ray(ray)
    if approx:
        raise BadInputError("`approx`: the tasks of a cluster scan; leave `approx` or `ray` out")
    if threads is not None:
        raise BadInputError(
            "`threads`: a task of a cluster has a thread for each of its CPUs; leave `threads` or `ray` out"
        )
    with tasks(ray) as cluster:
        yield ClusterPasses(cluster, snapshot, ray)


def count(query: Query, group: Group, background: Background) -> tuple[tuple[npt.NDArray[np.int64], int], None]:
    """Count the documents of a group that hold each neuron. A task."""
    if background == "candidates":
        return counts_of(query.parts(group), query.view, threads=query.threads), None
    segments = [query.snapshot.segments[number] for number in group.numbers]
    return popularity_of(segments, query.view, threads=query.threads), None


def sum_up(query: Query, group: Group) -> tuple[npt.NDArray[Any], None]:
    """Return the sums of a group's documents, int32 or int64 [targets, documents]. A task."""
    parts, largest = query.parts(group), max(max(-target.low, target.high) for target in query.targets)
    first = parts[0].start
    moved = [Part(part.start - first, part.documents, part.codes) for part in parts]
    kept = KeptSums(moved, _sums_of(query), targets=len(query.targets), largest=largest, threads=query.threads)
    return np.asarray(kept.sums), None


def collect_hits(
    query: Query, group: Group, limits: Sequence[Limits]
) -> tuple[npt.NDArray[np.int64], list[list[Hits]]]:
    """Return the histogram of the keys of each ranking, int64 [rankings, bins], and leave the hits that may be the pool's. A task."""
    ids_of = partial(ids_at, query.snapshot)
    rankings = [
        Ranking(
            by_target(number, target).key,
            limit.low,
            limit.high,
            limit.budget,
            partial(exact_cut, budget=limit.budget, ids_of=ids_of),
            limit.minimum,
            limit.cut_later,
        )
        for number, (target, limit) in enumerate(zip(query.targets, limits, strict=True))
    ]
    collectors = collect(query.parts(group), _sums_of(query), rankings, threads=query.threads)
    hits = [collector.possible() for collector in collectors]
    return np.stack([collector.histogram for collector in collectors]), [hits]


def reaching_hits(hits: Sequence[Hits], limits: Sequence[Limits], thresholds: Sequence[int]) -> tuple[list[Hits], None]:
    """Return of each ranking the hits that reach a threshold. A task."""
    found = zip(hits, limits, thresholds, strict=True)
    return [reaching(own, limit.low, limit.high, threshold) for own, limit, threshold in found], None


def _group(numbers: list[int], parts: Sequence[Part]) -> Group:
    alive = [None if (own := parts[number].alive) is None else np.packbits(own()) for number in numbers]
    return Group(numbers, alive, any(parts[number].weights is not None for number in numbers))


def _sums_of(query: Query) -> SumsOf:
    return sums_from_codes(scorer_of(query.targets, query.view), len(query.targets))


def _unpacked(bits: npt.NDArray[np.uint8], documents: int) -> npt.NDArray[np.bool_]:
    return np.unpackbits(bits, count=documents).view(bool)


@lru_cache(1)
def opened(index: str, version: int) -> Snapshot:
    """Return a version of an index, opened once in a process."""
    return Snapshot.open(index_folder(index), version=version, check=False)
