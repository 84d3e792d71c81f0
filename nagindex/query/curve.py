"""Score curves: the score at each rank of a target's ranking, by which people choose how much to select."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.query.curve_svg import Chart, draw
from nagindex.query.html import table
from nagindex.query.pool import Passes, score_pool, score_targets
from nagindex.query.values import ColumnValues
from nagindex.search.profile import Target
from nagindex.search.scan import Part, Sums, sweep
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.options import QueryOptions
from nagindex.select.query_files import QueryFiles
from nagindex.storage.files import replacing
from nagindex.storage.locations import location
from nagindex.storage.segment import verify_segments
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet

BINS = 1 << 20
"""Bins of the histogram of a target's sums; where there are more sums than bins, a score is exact to a millionth of their range."""
STEPS = (1.0, 2.0, 5.0)
"""Ranks of a curve within each power of ten."""
FINE_STEPS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Those of a fine one."""


@dataclass(frozen=True)
class ColumnShares:
    """The shares of a column's commonest values down the rankings.

    Attributes:
        values: the v values as text, None for documents without one, the commonest of the index first.
        pool: float64 [v], the share of the candidates that each has.
        shares: float64 [v, m] for each target, by name: the share of the documents up to each rank that each value has. Documents of
            one score count in equal parts, wherever a rank falls among them.
    """

    values: Sequence[str | None]
    pool: npt.NDArray[np.float64]
    shares: Mapping[str, npt.NDArray[np.float64]]

    def to_json(self) -> dict[str, Any]:
        """Return the shares as JSON values."""
        shares = {name: own.tolist() for name, own in self.shares.items()}
        return {"values": list(self.values), "pool": self.pool.tolist(), "shares": shares}


@dataclass(frozen=True)
class ScoreCurve:
    """Scores by rank.

    Attributes:
        documents: number of candidates.
        ranks: int64 [m], ascending: 1, 2, 5, 10, 20, 50 and so on, and the last rank.
        scores: float64 [m] for each target, by name: the score of the document at each rank.
        columns: shares of the values of columns down the rankings, by column.
    """

    documents: int
    ranks: npt.NDArray[np.int64]
    scores: Mapping[str, npt.NDArray[np.float64]]
    columns: Mapping[str, ColumnShares] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the curve as JSON values."""
        scores = {name: own.tolist() for name, own in self.scores.items()}
        columns = {"columns": {name: own.to_json() for name, own in self.columns.items()}} if self.columns else {}
        return {"documents": self.documents, "ranks": self.ranks.tolist(), "scores": scores, **columns}

    def _repr_html_(self) -> str:
        """Return the scores by rank as an HTML table, for notebooks."""
        columns = [own.tolist() for own in (self.ranks, *self.scores.values())]
        return f"<p>{self.documents:,} documents</p>{table(('rank', *self.scores), [*zip(*columns, strict=True)])}"

    def write(self, path: str | Path) -> None:
        """Write the curve as an SVG image, which appears whole or not at all.

        Args:
            path: the file; one that exists is replaced.
        """
        with replacing(path) as temporary:
            temporary.write_text(self.to_svg(), encoding="utf-8")

    def to_svg(self) -> str:
        """Return the curve as an SVG image, for light and dark pages: the scores, and a chart for each column and target."""
        charts = [Chart("Score by rank", self.scores, percent=False)]
        for column, shares in self.columns.items():
            names = ["(none)" if value is None else value for value in shares.values]
            for target, own in shares.shares.items():
                title = f"{column} of the best documents for {target}: share of each value"
                charts.append(Chart(title, dict(zip(names, own, strict=True)), percent=True))
        return draw(f"Score curve of {self.documents:,} documents", self.ranks, charts)


def score_curve(
    snapshot: Snapshot,
    targets: Sequence[TargetSet],
    options: QueryOptions,
    *,
    columns: Sequence[str] | None = (),
    values: int = 6,
    fine: bool = False,
    threads: int | None = None,
) -> ScoreCurve:
    """Return the scores of a snapshot's candidates by rank, for each target.

    Of the options, those of the score and of the candidates count: `layers`, `top_k`, `score`, `weights`, `background`, `where`,
    `exclude`. Memory grows with the targets, the columns and their values, and a byte a document for each column.

    Args:
        snapshot: the version of the index.
        targets: the encoded target sets, at least one.
        options: the query options.
        columns: kept columns, or `file`, whose values' shares are wanted; None for all kept columns of few values.
        values: number of values of each, the commonest of the index.
        fine: whether there are ten ranks for each power of ten, in place of three.
        threads: threads of the scan; by default one for each CPU.

    Raises:
        BadInputError: there is no candidate or no such column, or an option does not fit the index.
    """
    if not snapshot.manifest.documents:
        raise BadInputError(f"{location(snapshot.path)}: the index holds no document; append some")
    view = View.of(snapshot.manifest.fingerprint.spec, options.written_layers, options.top_k)
    files = QueryFiles.read(options.excluded_files)
    described = ColumnValues.read(snapshot, columns, values)
    verify_segments(snapshot.segments, threads=threads)
    candidates = Candidates.find(snapshot, files, where=options.where)
    scored = score_targets(candidates, targets, view, options, passes=Passes(threads))
    parts, segments = candidates.parts(tokens=False), snapshot.manifest.segments
    pool = score_pool(parts, segments, scored, view, keep_sums=False, passes=Passes(threads))
    histograms = [_Histogram.of(target, [len(own.values) for own in described]) for target in scored]

    def open_part(part: Part) -> Callable[[slice], tuple[Sums, list[npt.NDArray[np.uint8]]]]:
        sums_of, alive = pool.sums_of(part), None if part.alive is None else part.alive()

        def read(rows: slice) -> tuple[Sums, list[npt.NDArray[np.uint8]]]:
            sums = sums_of(rows)
            numbers = [own.numbers[part.start + rows.start :][: sums.shape[1]] for own in described]
            if alive is None:
                return sums, numbers
            return sums[:, alive[rows]], [own[alive[rows]] for own in numbers]

        return read

    def count(part: Part, rows: slice, block: tuple[Sums, list[npt.NDArray[np.uint8]]]) -> None:
        for histogram, own in zip(histograms, block[0], strict=True):
            histogram.add(own, block[1])

    sweep([part for part in parts if part.documents], open_part, count, threads=threads)
    ranks = _ranks(candidates.documents, FINE_STEPS if fine else STEPS)
    named = dict(zip([target.name for target in targets], histograms, strict=True))
    return ScoreCurve(
        candidates.documents,
        ranks,
        {name: histogram.scores_at(ranks) for name, histogram in named.items()},
        {
            own.column: ColumnShares(
                own.values,
                histograms[0].of_values[place].sum(axis=1)[:-1] / candidates.documents,
                {name: histogram.shares_at(ranks, place) for name, histogram in named.items()},
            )
            for place, own in enumerate(described)
        },
    )


@dataclass(frozen=True)
class _Histogram:
    """Counts of a target's sums, of all documents and of those with each value of a column, and how sums become scores.

    Attributes:
        counts: int64 [bins].
        of_values: int32 [v + 1, bins] for each column; the last row is of all other values.
        low, width: the least sum, and the sums in a bin.
        scale: what a sum is divided by.
        lock: held while counts change.
    """

    counts: npt.NDArray[np.int64]
    of_values: Sequence[npt.NDArray[np.int32]]
    low: int
    width: int
    scale: int
    lock: Any

    @classmethod
    def of(cls, target: Target, values: Sequence[int]) -> _Histogram:
        width = -(-(target.high - target.low + 1) // BINS)
        bins = (target.high - target.low) // width + 1
        of_values = [np.zeros((count + 1, bins), np.int32) for count in values]
        return cls(np.zeros(bins, np.int64), of_values, target.low, width, target.scale, Lock())

    def add(self, sums: npt.NDArray[np.int64], numbers: Sequence[npt.NDArray[np.uint8]]) -> None:
        bins = np.clip((sums - self.low) // self.width, 0, len(self.counts) - 1)  # damaged codes may lie outside
        with self.lock:
            np.add.at(self.counts, bins, 1)
            for counts, own in zip(self.of_values, numbers, strict=True):
                np.add.at(counts, (own, bins), 1)

    def scores_at(self, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the scores at ranks counted from 1, float64 [m]."""
        bins = len(self.counts) - 1 - self._places(ranks)
        scores: npt.NDArray[np.float64] = (self.low + bins * self.width) / self.scale
        return scores

    def shares_at(self, ranks: npt.NDArray[np.int64], column: int) -> npt.NDArray[np.float64]:
        """Return the share of the documents up to each rank that each value of a column has, float64 [v, m]."""
        places = self._places(ranks)
        own = self.of_values[column][:-1, ::-1]
        before = np.cumsum(self.counts[::-1])[places] - self.counts[::-1][places]
        part = (ranks - before) / self.counts[::-1][places]
        held = np.cumsum(own, axis=1)[:, places] - own[:, places] * (1 - part)
        shares: npt.NDArray[np.float64] = held / ranks
        return shares

    def _places(self, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the bins of ranks, counted from the highest bin, int64 [m]."""
        return np.searchsorted(np.cumsum(self.counts[::-1]), ranks, side="left")


def _ranks(documents: int, steps: Sequence[float]) -> npt.NDArray[np.int64]:
    powers = 10.0 ** np.arange(len(str(documents)))
    ranks = np.unique(np.outer(powers, steps).ravel().astype(np.int64))
    return np.append(ranks[ranks < documents], documents)
