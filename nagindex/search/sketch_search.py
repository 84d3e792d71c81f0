"""Exact answers from sketches: what the bounds cannot rule out is scored from its codes, and nothing else is.

One pass over the sketches finds the likeliest documents. Their exact scores give a score that the answer's last document reaches at
least. A second pass finds every document whose bound reaches it; the answer is among them. Both passes run over blocks on several
threads, in memory that follows the answer and not the pool.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.search.rescore import rescore
from nagindex.search.scan import PARTS_OPEN, Part, Ranking, Sums, SumsOf, scan, sums_from_codes, sweep
from nagindex.search.scorers import Scorer
from nagindex.search.sketch import ProjectedQuery, Sketch
from nagindex.search.top_n import Hits

LIMIT = 0.25
"""Share of the pool beyond which scoring candidates one by one takes longer than scanning everything."""
ROWS_PER_TASK = 32_768
SAMPLE, RUN = 32_768, 8
"""Sketches that tell what a search would read, and how many of them lie side by side, which the disk reads at once."""

NO_FLOOR = -(1 << 63)

SketchOf = Callable[[Part], Sketch | None]
"""Opens the sketches of a part, None where it has none."""


@dataclass
class Reading:
    """What a search looked at.

    Attributes:
        candidates: documents whose codes were read for a target, counted once for each.
        codes: documents whose codes were read.
        complete: whether the answer is exact; if not, the bounds admitted too much and the pool is to be scanned.
    """

    candidates: int = 0
    codes: int = 0
    complete: bool = True


@dataclass(frozen=True)
class Task:
    """One target of a search: how sketches see it, what sums codes, what is to be kept of the sums, and what share of the pool."""

    seen: ProjectedQuery
    scorer: Scorer
    ranking: Ranking
    share: float


def search(
    parts: Sequence[Part],
    sketch_of: SketchOf,
    tasks: Sequence[Task],
    *,
    threads: int | None = None,
    limit: float = LIMIT,
) -> tuple[list[Hits], Reading]:
    """Return what a scan would, for rankings whose keys are the targets' sums, and what was read for it.

    Args:
        parts: the pool.
        sketch_of: opens a part's sketches; parts without any are scored from their codes.
        tasks: the targets.
        threads: how many run side by side; by default one for each core.
        limit: share of the pool above which to give up; the reading is then not complete, and there are no hits.
    """
    reading = Reading()
    estimates = [
        dataclasses.replace(task.ranking, key=partial(_row, number), cut=partial(approximate_cut, task.ranking.budget))
        for number, task in enumerate(tasks)
    ]
    likeliest = scan(parts, _estimates(sketch_of, tasks), estimates, threads=threads, rows=ROWS_PER_TASK)
    found = [_scored(parts, hits, task, threads) for hits, task in zip(likeliest, tasks, strict=True)]
    floors = [_floor(hits, task.ranking.budget) for hits, task in zip(found, tasks, strict=True)]
    allowed = limit * sum(part.documents for part in parts) * len(tasks)
    others = _reaching(parts, sketch_of, tasks, floors, [hits.positions for hits in found], allowed, threads)
    if others is None:
        return [], Reading(complete=False)
    answers = []
    for task, first, more, floor in zip(tasks, found, others, floors, strict=True):
        hits = joined([first, _scored(parts, more, task, threads)])
        reading.candidates += len(hits.keys)
        answers.append(task.ranking.cut(hits.take(hits.keys >= floor)))
    everything = [own.positions for hits in zip(found, others, strict=True) for own in hits]
    reading.codes = len(np.unique(np.concatenate(everything))) if len(tasks) > 1 else reading.candidates
    return answers, reading


def admitted(parts: Sequence[Part], sketch_of: SketchOf, tasks: Sequence[Task]) -> float:
    """Return the share of the pool, 0 to 1, whose codes a search is likely to read for a target, judged by a sample of sketches."""
    whole = sum(part.documents for part in parts)
    every = max(1, whole // SAMPLE) * RUN
    shares = []
    sketched = [(sketch, part) for part in parts if (sketch := sketch_of(part)) is not None]
    for task in tasks:
        estimates, bounds = [], []
        for sketch, _ in sketched:
            spread = np.arange(0, len(sketch), every)[:, None] + np.arange(RUN)
            rows = sketch.values[spread[spread < len(sketch)]]
            estimates.append(task.seen.estimate(sketch).scores(rows))
            bounds.append(task.seen.bound(sketch).scores(rows))
        if not estimates:
            return 1.0
        likely, most = np.concatenate(estimates), np.concatenate(bounds)
        wanted = int(len(likely) * min(task.share, 1.0))
        floor = (
            np.partition(likely, len(likely) - 1 - wanted)[len(likely) - 1 - wanted]
            if wanted < len(likely)
            else -np.inf
        )
        shares.append(float((most >= floor).mean()))
    return max(shares)


def _scored(parts: Sequence[Part], hits: Hits, task: Task, threads: int | None) -> Hits:
    """Return documents in the order of the pool, their exact sums as keys."""
    hits = hits.take(np.argsort(hits.positions))
    return Hits(hits.positions, rescore(parts, hits.positions, task.scorer, threads=threads), hits.weights)


def _floor(hits: Hits, budget: int) -> int:
    """Return a sum that everything in an answer reaches: that of the last of some documents that fill the budget."""
    best = np.argsort(-hits.keys, kind="stable")
    over = int(np.searchsorted(np.cumsum(hits.weights[best]), budget, side="right"))
    return int(hits.keys[best[over]]) if over < len(best) else NO_FLOOR


def _reaching(
    parts: Sequence[Part],
    sketch_of: SketchOf,
    tasks: Sequence[Task],
    floors: Sequence[int],
    known: Sequence[npt.NDArray[np.int64]],
    allowed: float,
    threads: int | None,
) -> list[Hits] | None:
    """Return, for each target, the living documents that its floor does not rule out, beside those that are known.

    Returns:
        Hits without keys; None where there are more than are allowed for all targets together.
    """
    found: list[list[Hits]] = [[] for _ in tasks]
    count = sum(map(len, known))
    lock = Lock()

    @lru_cache(PARTS_OPEN)
    def held(part: Part) -> tuple[npt.NDArray[np.bool_] | None, npt.NDArray[np.int64] | None]:
        return part.alive() if part.alive else None, part.weights() if part.weights else None

    def opened(part: Part) -> Callable[[slice], list[npt.NDArray[np.int64]]]:
        sketch = sketch_of(part)
        if sketch is None:
            return lambda rows: [np.arange(len(range(part.documents)[rows]))] * len(tasks)
        planes = [task.seen.bound(sketch) for task in tasks]
        return lambda rows: [p.reaches(sketch.values[rows], floor) for p, floor in zip(planes, floors, strict=True)]

    def take(part: Part, rows: slice, reached: list[npt.NDArray[np.int64]]) -> None:
        nonlocal count
        with lock:
            if count > allowed or not any(map(len, reached)):
                return
        alive, weights = held(part)
        for number, chosen in enumerate(reached):
            own = chosen + rows.start
            own = own if alive is None else own[alive[own]]
            own = own[~np.isin(own + part.start, _between(known[number], part, rows), assume_unique=True)]
            hits = Hits(own + part.start, own, np.ones(len(own), np.int64) if weights is None else weights[own])
            with lock:
                found[number].append(hits)
                count += len(own)

    sweep([part for part in parts if part.documents], opened, take, threads=threads, rows=ROWS_PER_TASK)
    return None if count > allowed else [joined(own) for own in found]


def _between(positions: npt.NDArray[np.int64], part: Part, rows: slice) -> npt.NDArray[np.int64]:
    """Return those of ascending positions that lie in a block of a part."""
    low, high = np.searchsorted(positions, [part.start + rows.start, part.start + rows.stop])
    return positions[low:high]


def _row(number: int, part: Part) -> Callable[[slice, Sums], npt.NDArray[Any]]:
    return lambda rows, sums: sums[number]


def approximate_cut(budget: int, hits: Hits, final: bool = True) -> Hits:
    """Return the documents of largest keys that fill a budget and one more; equal keys in the order of the pool."""
    order = np.lexsort((hits.positions, -hits.keys))
    return hits.take(order[: int(np.searchsorted(np.cumsum(hits.weights[order]), budget, side="right")) + 1])


def _estimates(sketch_of: SketchOf, tasks: Sequence[Task]) -> SumsOf:
    def opened(part: Part) -> Callable[[slice], Any]:
        sketch = sketch_of(part)
        if sketch is None:
            exact = [sums_from_codes(task.scorer, 1)(part) for task in tasks]
            return lambda rows: np.concatenate([sums(rows) for sums in exact]).astype(np.float64)
        planes = [task.seen.estimate(sketch) for task in tasks]
        return lambda rows: np.stack([plane.scores(sketch.values[rows]) for plane in planes])

    return opened


def joined(hits: Sequence[Hits]) -> Hits:
    """Return some documents and others as one."""
    if not hits:
        return Hits(*(np.empty(0, np.int64) for _ in range(3)))
    return Hits(*(np.concatenate([getattr(h, name) for h in hits]) for name in ("positions", "keys", "weights")))
