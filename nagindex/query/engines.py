"""How a query's lists are ranked: the engine that the plan names does it, and the plan notes what it took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.errors import DamagedIndexError, UnknownFormatError
from nagindex.query.approximation import ranked_by_graphs
from nagindex.search import plan
from nagindex.search.profile import Profile, Target
from nagindex.search.scan import Part, Ranking, SumsOf, scan
from nagindex.search.scorers import scorer_of
from nagindex.search.top_n import Hits
from nagindex.search.view import View
from nagindex.select.options import QueryOptions
from nagindex.sketches.store import SketchSet, current_sketches
from nagindex.workers.cpus import thread_count

if TYPE_CHECKING:
    from nagindex.index import Index
    from nagindex.search.sketch import Sketch
    from nagindex.search.sketch_search import Task


class Ranker:
    """Ranks a pinned index's documents for some targets.

    Attributes:
        plan: what was chosen and what came of it; there after the first ranking.
        notes: sentences for the user.
    """

    def __init__(
        self,
        index: Index,
        view: View,
        targets: Sequence[Target],
        parts: Sequence[Part],
        options: QueryOptions,
        *,
        pool: int,
        threads: int | None,
    ) -> None:
        """Take what is the same for all rankings.

        Args:
            index: a pinned index.
            view: which of its codes are scored.
            targets: what they are scored by.
            parts: the candidates.
            options: what was asked.
            pool: what the candidates take of a budget altogether, documents or tokens.
            threads: how many work side by side; by default one for each core.
        """
        self.index, self.view, self.targets, self.parts, self.options = index, view, targets, parts, options
        self.pool, self.threads = pool, threads
        self.plan = plan.Plan("scan", "nothing was ranked")
        self.notes: list[str] = []
        self._entries = {part.start: segment.entry for part, segment in zip(parts, index.segments, strict=True)}

    def __call__(self, rankings: Sequence[Ranking], sums_of: SumsOf, *, sums_are_kept: bool) -> list[Hits]:
        """Return what each ranking keeps.

        Args:
            rankings: one for each list.
            sums_of: gives the targets' sums.
            sums_are_kept: whether these are not made from the codes any more.
        """
        started = time.perf_counter()
        documents = sum(part.documents for part in self.parts)
        if self.options.mode == "graph":
            hits, self.plan, notes = ranked_by_graphs(self, rankings, documents, sums_are_kept=sums_are_kept)
            self.notes += notes
            self.plan.actual["seconds"] = round(time.perf_counter() - started, 4)
            return hits
        obstacles = self._obstacles(sums_are_kept)
        sketches = None if obstacles else self.opened()
        if sketches is None:
            obstacles = obstacles or self.notes[:1] or ["there are no sketches; nagindex optimize makes them"]
            self.plan = plan.choose(self.to_do(documents, 0, 1.0, 0), self.options.mode, obstacles)
        else:
            hits = self._from_sketches(sketches, rankings, documents)
        if self.plan.engine == "scan":
            hits = scan(self.parts, sums_of, rankings, threads=self.threads)
            self.plan.actual |= {"documents": documents, "bytes": documents * self.view.whole.bytes_per_document}
        self.plan.actual["seconds"] = round(time.perf_counter() - started, 4)
        return hits

    def _obstacles(self, sums_are_kept: bool) -> list[str]:
        """Return why sketches cannot answer, nothing where they can."""
        if self.options.mode == "scan":
            return ["the scan was asked for"]
        found = []
        if sums_are_kept:
            found.append("what is asked needs the score of every document")
        if not all(isinstance(target, Profile) for target in self.targets):
            found.append(f"sketches tell mean overlaps, not score {self.options.score}")
        if self.view.top_k != self.view.whole.top_k:
            found.append(f"sketches are of all {self.view.whole.top_k} neurons of a layer")
        return found

    def opened(self) -> SketchSet | None:
        """Return the index's sketches, None where there are none that can be used."""
        try:
            sketches = current_sketches(self.index.path, self.view.whole)
            if sketches is not None:
                sketches.basis.vectors  # noqa: B018 - its file is checked as it is opened
            return sketches
        except (DamagedIndexError, UnknownFormatError) as error:
            self.notes.append(f"sketches are not used: {error}")
            return None

    def whole_weights(self, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the weights of the view's layers as weights of all layers, int64 [L, max d_l]."""
        whole = np.zeros((self.view.whole.layers, max(self.view.whole.widths)), np.int64)
        whole[list(self.view.layers), : weights.shape[1]] = weights
        return whole

    def to_do(self, documents: int, sketched: int, admitted: float, dims: int, **of_graphs: int) -> plan.Task:
        """Return what there is to do, as the plan takes it."""
        return plan.Task(
            documents,
            sketched,
            len(self.targets),
            len(self.view.layers) * self.view.top_k,
            self.view.whole.bytes_per_document,
            dims,
            thread_count(self.threads),
            admitted,
            **of_graphs,
        )

    def _from_sketches(self, sketches: SketchSet, rankings: Sequence[Ranking], documents: int) -> list[Hits]:
        """Plan, and return the certified answer if that is the plan and the bounds leave little enough to be read."""
        from nagindex.search import sketch_search

        tasks = [self._task(sketches, *of) for of in zip(self.targets, rankings, strict=True)]
        sketch_of = partial(self.sketch, sketches)
        sketched = sum(part.documents for part in self.parts if sketch_of(part) is not None)
        share = sketch_search.admitted(self.parts, sketch_of, tasks)
        to_do = self.to_do(documents, sketched, share, len(sketches.rounding) + 1)
        self.plan = plan.choose(to_do, self.options.mode, [])
        if self.plan.engine != "sketch":
            return []
        limit = 1.0 if self.options.mode == "sketch" else plan.LIMIT
        hits, reading = sketch_search.search(self.parts, sketch_of, tasks, threads=self.threads, limit=limit)
        if not reading.complete:
            self.plan.engine = "scan"
            self.plan.fell_back = f"the bounds admitted more than {limit:.0%} of the pool"
            return []
        read = reading.codes * self.view.whole.bytes_per_document
        self.plan.actual |= {"documents": reading.codes, "bytes": read, "candidates": reading.candidates}
        return hits

    def _task(self, sketches: SketchSet, target: Target, ranking: Ranking) -> Task:
        from nagindex.search.sketch import ProjectedQuery
        from nagindex.search.sketch_search import Task

        weights = self.whole_weights(target.weights) if isinstance(target, Profile) else np.zeros((1, 1), np.int64)
        share = ranking.budget / max(self.pool, 1)
        return Task(ProjectedQuery.of(sketches.basis, weights), scorer_of([target], self.view), ranking, share)

    def sketch(self, sketches: SketchSet, part: Part) -> Sketch | None:
        """Return a part's sketches, None where it has none that can be used."""
        try:
            return sketches.read(self._entries[part.start])
        except (DamagedIndexError, UnknownFormatError) as error:
            note = f"a segment's sketches are not used, it is scanned: {error}"
            if note not in self.notes:
                self.notes.append(note)
            return None
