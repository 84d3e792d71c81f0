"""The scored pool, the input of an engine: candidates, target weights, and the documents' sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.progress import step
from nagindex.search.profile import Nearest, Target
from nagindex.search.scan import KeptSums, Part, Ranking, SumsOf, counts_of, flattened, scan, sums_from_codes
from nagindex.search.scorers import needs_loops, scorer_of
from nagindex.search.top_n import Hits
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.options import Background, QueryOptions
from nagindex.sketches.popularity import popularity_of
from nagindex.storage.manifest import SegmentEntry
from nagindex.storage.segment import verify_segments
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet


class Passes:
    """The passes of a query over the codes of the pool, on threads of this process.

    Attributes:
        threads: how many; by default one for each CPU.
        ray: the address of the Ray cluster whose tasks make the passes instead; None for this process.
    """

    def __init__(self, threads: int | None = None, *, ray: str | None = None) -> None:
        self.threads, self.ray = threads, ray

    def verify(self, snapshot: Snapshot) -> None:
        """Verify the files that a query will read; see `verify_segments`."""
        verify_segments(snapshot.segments, threads=self.threads)

    def counts(self, candidates: Candidates, view: View, background: Background) -> tuple[npt.NDArray[np.int64], int]:
        """Return how many documents hold each neuron, int64 [layers, max d_l], of how many documents.

        Args:
            candidates: the candidates.
            view: the codes that count.
            background: whether the `candidates` are counted, or all documents of their snapshot, the `pool`.
        """
        if background == "candidates":
            return counts_of(candidates.parts(tokens=False), view, threads=self.threads)
        return popularity_of(candidates.snapshot.segments, view, threads=self.threads)

    def sums_of(self, parts: Sequence[Part], targets: Sequence[Target], view: View) -> SumsOf:
        """Return what gives the documents' sums; see `score_pool`."""
        documents = sum(part.documents for part in parts)
        scorer = scorer_of(targets, view, documents=documents)
        first = next((part for part in parts if part.documents), None)
        if first is not None and needs_loops(targets, view, documents=documents):
            with step("loading the scan's loops"):  # which compiles them the first time on a machine
                scorer(flattened(first.codes())[:0], np.empty((len(targets), 0), np.int64))
        return sums_from_codes(scorer, len(targets))

    def rank(self, pool: ScoredPool, rankings: Sequence[Ranking]) -> list[Hits]:
        """Return the hits of each ranking, from the sums of all candidates; see `scan`."""
        return scan(pool.parts, pool.sums_of, rankings, threads=self.threads)


@dataclass(frozen=True)
class ScoredPool:
    """The candidates of a query and how they are scored: what engines rank.

    Attributes:
        parts: the candidates, a part for each segment.
        segments: the parts' segments.
        view: the codes that count.
        targets: what documents are scored by.
        sums_of: gives the documents' sums for all targets.
        kept: the sums of all documents, where the query needs the score of every candidate.
        passes: makes the passes over the codes.
    """

    parts: Sequence[Part]
    segments: Sequence[SegmentEntry]
    view: View
    targets: Sequence[Target]
    sums_of: SumsOf
    kept: KeptSums | None
    passes: Passes

    @property
    def threads(self) -> int | None:
        """Threads of a search; by default one for each CPU."""
        return self.passes.threads

    @property
    def documents(self) -> int:
        """Stored documents, candidates or not."""
        return sum(part.documents for part in self.parts)

    @property
    def bytes_per_document(self) -> int:
        """Bytes of a document's codes."""
        return self.view.whole.bytes_per_document

    def weights_of_all_layers(self, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return weights of the view's layers, int64 [layers, max d_l], as weights of all layers, zero elsewhere."""
        whole = np.zeros((self.view.whole.layers, max(self.view.whole.widths)), np.int64)
        whole[list(self.view.layers), : weights.shape[1]] = weights
        return whole


def score_targets(
    candidates: Candidates,
    targets: Sequence[TargetSet],
    view: View,
    options: QueryOptions,
    *,
    passes: Passes,
) -> list[Target]:
    """Return what documents are scored by: the profile of each target set, or its examples one by one.

    Args:
        candidates: the candidates, of which, or of whose snapshot, the neurons are counted where weights compare with the pool.
        targets: the target sets.
        view: the codes that count.
        options: of them, `score`, `weights` and `background` count.
        passes: counts them.
    """
    spec, codes, nearest = view.spec, [view(target.codes) for target in targets], options.nearest
    if nearest is not None:
        return [Nearest(own, min(nearest, len(own)), spec) for own in codes]
    weighting = options.weighting
    pool, documents = np.zeros((spec.layers, max(spec.widths)), np.int64), 0
    if weighting.compares_with_pool:
        pool, documents = passes.counts(candidates, view, options.background)
    return [weighting.profile_of(own, pool, documents, spec) for own in codes]


def score_pool(
    parts: Sequence[Part],
    segments: Sequence[SegmentEntry],
    targets: Sequence[Target],
    view: View,
    *,
    keep_sums: bool,
    passes: Passes,
) -> ScoredPool:
    """Return candidates with what scores them.

    Args:
        parts: the candidates, a part for each segment.
        segments: the parts' segments.
        targets: what documents are scored by.
        view: the codes that count.
        keep_sums: whether to compute the sums of all documents now, and keep them.
        passes: makes the passes over the codes.
    """
    sums_of = passes.sums_of(parts, targets, view)
    kept: KeptSums | None = None
    if keep_sums:
        largest = max(max(-target.low, target.high) for target in targets)
        sums_of = kept = KeptSums(parts, sums_of, targets=len(targets), largest=largest, threads=passes.threads)
    return ScoredPool(parts, segments, view, targets, sums_of, kept, passes)
