"""Exact answers from sketches: what the bounds cannot rule out is scored from its codes, and nothing else is.

One pass over the sketches finds the likeliest documents. Their exact scores give a score that the answer's last document reaches at
least. A second pass finds every document whose bound reaches it; the answer is among them. Both passes run over blocks on several
threads, in memory that follows the answer and not the pool.
"""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.search.collect import Hits
from nagindex.search.scan import Part, Ranking, Sums, SumsOf, scan, sums_from_codes, sweep
from nagindex.search.scorers import Scorer
from nagindex.search.sketch import Seen, Sketch

LIMIT = 0.25
"""Share of the pool beyond which scoring candidates one by one takes longer than scanning everything."""
SAMPLE_BLOCKS, SAMPLE_ROWS = 64, 1024

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
    lock: Any = field(default_factory=Lock, repr=False)


@dataclass(frozen=True)
class Task:
    """One target of a search: how sketches see it, what sums codes, and what is to be kept of the sums."""

    seen: Seen
    scorer: Scorer
    ranking: Ranking


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
    floors = _floors(parts, sketch_of, tasks, threads)
    allowed = limit * sum(part.documents for part in parts) * len(tasks)
    found: list[list[Hits]] = [[] for _ in tasks]

    def opened(part: Part) -> Callable[[slice], list[npt.NDArray[np.int64]]]:
        sketch = sketch_of(part)
        if sketch is None:
            return lambda rows: [np.arange(len(range(*rows.indices(part.documents))))] * len(tasks)
        planes = [task.seen.bound(sketch) for task in tasks]
        return lambda rows: [
            plane.reaches(sketch.values[rows], floor) for plane, floor in zip(planes, floors, strict=True)
        ]

    held: dict[int, Any] = {}

    def take(part: Part, rows: slice, admitted: list[npt.NDArray[np.int64]]) -> None:
        if not reading.complete or not any(map(len, admitted)):
            return
        with reading.lock:
            if part.start not in held:
                held.clear()  # parts come one after the other
                held[part.start] = _opened(part)
            codes, alive, weights = held[part.start]
        union = np.zeros(0, np.int64)
        for number, (task, chosen) in enumerate(zip(tasks, admitted, strict=True)):
            own = chosen + rows.start
            if alive is not None:
                own = own[alive[own]]
            sums = _sums(codes, own, task.scorer)
            kept = sums >= floors[number]
            where = own[kept]
            hits = Hits(
                where + part.start, sums[kept], np.ones(len(where), np.int64) if weights is None else weights[where]
            )
            union = np.union1d(union, own) if len(tasks) > 1 else own
            with reading.lock:
                reading.candidates += len(own)
                found[number].append(hits)
        with reading.lock:
            reading.codes += len(union)
            reading.complete &= reading.candidates <= allowed

    sweep([part for part in parts if part.documents], opened, take, threads=threads)
    if not reading.complete:
        return [], reading
    return [task.ranking.cut(_joined(own)) for task, own in zip(tasks, found, strict=True)], reading


def admitted(parts: Sequence[Part], sketch_of: SketchOf, tasks: Sequence[Task]) -> float:
    """Return the share of the pool, 0 to 1, whose codes a search is likely to read for a target, judged by a sample of sketches."""
    whole = sum(part.documents for part in parts)
    every = max(1, whole // (SAMPLE_BLOCKS * SAMPLE_ROWS))
    shares = []
    sketched = [(sketch, part) for part in parts if (sketch := sketch_of(part)) is not None]
    for task in tasks:
        estimates, bounds = [], []
        for sketch, _ in sketched:
            rows = sketch.values[::every]
            estimates.append(task.seen.estimate(sketch).scores(rows))
            bounds.append(task.seen.bound(sketch).scores(rows))
        if not estimates:
            return 1.0
        likely, most = np.concatenate(estimates), np.concatenate(bounds)
        wanted = int(len(likely) * min(task.ranking.budget / max(whole, 1), 1))
        floor = (
            np.partition(likely, len(likely) - 1 - wanted)[len(likely) - 1 - wanted]
            if wanted < len(likely)
            else -np.inf
        )
        shares.append(float((most >= floor).mean()))
    return max(shares)


def _floors(parts: Sequence[Part], sketch_of: SketchOf, tasks: Sequence[Task], threads: int | None) -> list[float]:
    """Return, for each target, a sum that everything in its answer reaches: that of the last of some documents that fill it."""

    def rough(hits: Hits, budget: int) -> Hits:
        order = np.argsort(-hits.keys, kind="stable")
        return hits.take(order[: int(np.searchsorted(np.cumsum(hits.weights[order]), budget, side="right")) + 1])

    rankings = [
        dataclasses.replace(
            task.ranking,
            key=lambda part, number=number: lambda rows, sums: sums[number],
            cut=lambda hits, final=True, budget=task.ranking.budget: rough(hits, budget),
        )
        for number, task in enumerate(tasks)
    ]
    likeliest = scan(parts, _estimates(sketch_of, tasks), rankings, threads=threads)
    floors = []
    for task, hits in zip(tasks, likeliest, strict=True):
        order = np.argsort(hits.positions)
        hits = hits.take(order)
        sums = np.empty(len(order), np.int64)

        def opened(
            part: Part, hits: Hits = hits, sums: Sums = sums, scorer: Scorer = task.scorer
        ) -> Callable[[slice], None]:
            first, last = np.searchsorted(hits.positions, [part.start, part.start + part.documents])
            if last == first:
                return lambda rows: None
            codes, own = part.codes(), hits.positions[first:last] - part.start

            def block(rows: slice) -> None:
                low, high = np.searchsorted(own, [rows.start, rows.stop])
                if high > low:
                    sums[first + low : first + high] = _sums(codes, own[low:high], scorer)

            return block

        sweep(parts, opened, lambda part, rows, done: None, threads=threads)  # type: ignore[arg-type]
        best = np.argsort(-sums, kind="stable")
        over = int(np.searchsorted(np.cumsum(hits.weights[best]), task.ranking.budget, side="right"))
        floors.append(float(sums[best[over]]) if over < len(best) else -np.inf)
    return floors


def _estimates(sketch_of: SketchOf, tasks: Sequence[Task]) -> SumsOf:
    def opened(part: Part) -> Callable[[slice], Any]:
        sketch = sketch_of(part)
        if sketch is None:
            exact = [sums_from_codes(task.scorer, 1)(part) for task in tasks]
            return lambda rows: np.concatenate([sums(rows) for sums in exact]).astype(np.float64)
        planes = [task.seen.estimate(sketch) for task in tasks]
        return lambda rows: np.stack([plane.scores(sketch.values[rows]) for plane in planes])

    return opened


def _opened(part: Part) -> tuple[Codes, npt.NDArray[np.bool_] | None, npt.NDArray[np.int64] | None]:
    return part.codes(), part.alive() if part.alive else None, part.weights() if part.weights else None


def _sums(codes: Codes, rows: npt.NDArray[np.int64], scorer: Scorer) -> Sums:
    """Return the sums, int64 [m], of rows int64 [m], ascending, of mapped codes."""
    sums = np.empty((1, len(rows)), np.int64)
    flat = codes.view(np.ndarray).reshape(len(codes), codes.shape[1] * codes.shape[2])
    scorer(flat[rows], sums)
    return sums[0]


def _joined(hits: Sequence[Hits]) -> Hits:
    if not hits:
        return Hits(*(np.empty(0, np.int64) for _ in range(3)))
    return Hits(*(np.concatenate([getattr(h, name) for h in hits]) for name in ("positions", "keys", "weights")))
