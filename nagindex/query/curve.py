"""Score curves: the score at each rank of a target's ranking, by which people choose how much to select."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.query.pool import Passes, score_pool, score_targets
from nagindex.search.profile import Target
from nagindex.search.scan import Part, Sums, sweep
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.options import QueryOptions
from nagindex.select.query_files import QueryFiles
from nagindex.storage.segment import verify_segments
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet

BINS = 1 << 20
"""Bins of the histogram of a target's sums; where there are more sums than bins, a score is exact to a millionth of their range."""
STEPS = (1, 2, 5)
"""Ranks of a curve within each power of ten."""


@dataclass(frozen=True)
class ScoreCurve:
    """Scores by rank.

    Attributes:
        documents: number of candidates.
        ranks: int64 [m], ascending: 1, 2, 5, 10, 20, 50 and so on, and the last rank.
        scores: float64 [m] for each target, by name: the score of the document at each rank.
    """

    documents: int
    ranks: npt.NDArray[np.int64]
    scores: Mapping[str, npt.NDArray[np.float64]]

    def to_json(self) -> dict[str, Any]:
        """Return the curve as JSON values."""
        scores = {name: own.tolist() for name, own in self.scores.items()}
        return {"documents": self.documents, "ranks": self.ranks.tolist(), "scores": scores}


def score_curve(
    snapshot: Snapshot, targets: Sequence[TargetSet], options: QueryOptions, *, threads: int | None = None
) -> ScoreCurve:
    """Return the scores of a snapshot's candidates by rank, for each target.

    Of the options, those of the score and of the candidates count: `layers`, `top_k`, `score`, `weights`, `background`, `where`,
    `exclude`.

    Args:
        snapshot: the version of the index.
        targets: the encoded target sets, at least one.
        options: the query options.
        threads: threads of the scan; by default one for each CPU.

    Raises:
        BadInputError: there is no candidate, or an option does not fit the index.
    """
    if not snapshot.manifest.documents:
        raise BadInputError(f"{snapshot.path}: the index holds no document; append some")
    view = View.of(snapshot.manifest.fingerprint.spec, options.written_layers, options.top_k)
    files = QueryFiles.read(options.excluded_files)
    verify_segments(snapshot.segments, threads=threads)
    candidates = Candidates.find(snapshot, files, where=options.where)
    scored = score_targets(candidates, targets, view, options, passes=Passes(threads))
    parts, segments, size = candidates.parts(tokens=False), snapshot.manifest.segments, candidates.documents
    pool = score_pool(parts, segments, scored, view, keep_sums=False, size=size, passes=Passes(threads))
    histograms = [_Histogram.of(target) for target in scored]

    def open_part(part: Part) -> Callable[[slice], Sums]:
        sums_of, alive = pool.sums_of(part), None if part.alive is None else part.alive()
        return sums_of if alive is None else lambda rows: sums_of(rows)[:, alive[rows]]

    def count(part: Part, rows: slice, sums: Sums) -> None:
        for histogram, own in zip(histograms, sums, strict=True):
            histogram.add(own)

    sweep([part for part in parts if part.documents], open_part, count, threads=threads)
    ranks = _ranks(candidates.documents)
    named = zip([target.name for target in targets], histograms, strict=True)
    return ScoreCurve(candidates.documents, ranks, {name: histogram.scores_at(ranks) for name, histogram in named})


@dataclass(frozen=True)
class _Histogram:
    """Counts of a target's sums, and how sums become scores."""

    counts: npt.NDArray[np.int64]
    low: int
    width: int
    scale: int
    lock: Any

    @classmethod
    def of(cls, target: Target) -> _Histogram:
        width = -(-(target.high - target.low + 1) // BINS)
        bins = (target.high - target.low) // width + 1
        return cls(np.zeros(bins, np.int64), target.low, width, target.scale, Lock())

    def add(self, sums: npt.NDArray[np.int64]) -> None:
        bins = np.clip((sums - self.low) // self.width, 0, len(self.counts) - 1)  # damaged codes may lie outside
        with self.lock:
            np.add.at(self.counts, bins, 1)

    def scores_at(self, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the scores at ranks counted from 1, float64 [m]."""
        reached = np.cumsum(self.counts[::-1])
        bins = len(self.counts) - 1 - np.searchsorted(reached, ranks, side="left")
        scores: npt.NDArray[np.float64] = (self.low + bins * self.width) / self.scale
        return scores


def _ranks(documents: int) -> npt.NDArray[np.int64]:
    powers = 10 ** np.arange(len(str(documents)), dtype=np.int64)
    ranks = np.outer(powers, STEPS).ravel()
    return np.append(ranks[ranks < documents], documents)
