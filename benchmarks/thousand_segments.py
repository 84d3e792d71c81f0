"""An index of 10,000 segments and 10^9 documents, as the command of a query on a cluster sees it, with readers that make scores up.

    python -m benchmarks.thousand_segments [--quick] [--json FILE]

The manifest is real, and so is everything that the command does: opening, planning, adding up the histograms of the tasks, the
threshold, merging the hits of the tasks, and the cut. What the tasks do is made up: they read no codes, and their scores are drawn by
a generator that begins anew with each segment, so that 10^9 of them take no disk. They run in this process, one after the other, and
their time is left out. Times are CPU time. The peer is what the command would need if the tasks sent all scores: 4 bytes a document,
and their partition by NumPy. That the selection is the right one is checked by counting all scores from its last one up.
"""

from __future__ import annotations

import gc
import json
import pickle
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from benchmarks.large_selection import Peak
from benchmarks.report import emit, in_a_process, options
from nagindex.cluster.connection import Slots
from nagindex.cluster.tasks import Tasks
from nagindex.nag import NagSpec
from nagindex.query.pool import ScoredPool
from nagindex.query.remote import ClusterPasses, Group, Limits
from nagindex.search.scan import Ranking
from nagindex.search.top_n import BINS, Hits, bins_of_keys
from nagindex.search.view import View
from nagindex.select.budget import exact_cut
from nagindex.select.candidates import Candidates
from nagindex.storage.commit import publish
from nagindex.storage.create import create_index
from nagindex.storage.files import FileEntry
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.manifest import SegmentEntry
from nagindex.storage.settings import Settings
from nagindex.storage.snapshot import Snapshot

SPEC = NagSpec("up", (6144,) * 28, 10)
DOCUMENTS = 100_000
"""Documents of a segment."""
SEGMENTS = (1_000, 10_000)
SELECTED = (1_000_000, 10_000_000)
SLOTS = 256
"""Tasks that run at a time in the cluster that is made up."""
HIGH = float(65 << 20)


def write_index(folder: Path, segments: int) -> None:
    """Write the manifests of an index whose segments have no files."""
    fingerprint = Fingerprint("made-up", "0" * 64, "1" * 64, SPEC, 120, "float32", "sdpa", {})
    names = {
        "nags.npy": DOCUMENTS * 560 + 128,
        "docs.parquet": 8 * DOCUMENTS,
        "sources.parquet": 900,
        "skipped.parquet": 300,
    }
    files = {name: FileEntry(size, "2" * 64) for name, size in names.items()}
    entries = [SegmentEntry(f"{n:016x}", DOCUMENTS, 500 * DOCUMENTS, 0, files, {}) for n in range(segments)]
    publish(folder, create_index(folder, fingerprint, Settings()).following("append", tuple(entries)))


def keys_of(segment: int) -> npt.NDArray[np.int64]:
    """Return the scores of a segment's documents, int64 [n]: bell-shaped, with many ties at the right of the comma."""
    drawn = np.random.default_rng(segment).integers(0, 1 << 63, DOCUMENTS, np.uint64)
    return (np.bitwise_count(drawn).astype(np.int64) << 20) + (drawn & np.uint64(0xFFF)).astype(np.int64)


class MadeUpTasks(Tasks):
    """Stands for a cluster: tasks run in this process, when their answers are asked for.

    Attributes:
        seconds: how long they ran.
        bytes: of their answers.
    """

    def __init__(self, starts: npt.NDArray[np.int64]) -> None:
        super().__init__(Slots(0, 1, SLOTS))
        self.starts, self.seconds, self.bytes = starts, 0.0, 0

    def share(self, value: object) -> object:
        """Return what all tasks know."""
        return value

    def start(self, function: str, first: object, *arguments: Any) -> SimpleNamespace:
        """Return a task; the groups of the first step stand for what it leaves on its node."""
        if function.endswith(":collect_hits"):
            return SimpleNamespace(run=partial(self._histogram, arguments[0]), left=arguments[0])
        return SimpleNamespace(run=partial(self._reaching, cast(Group, first), *arguments))

    def answers(self, tasks: Sequence[SimpleNamespace]) -> Iterator[tuple[int, Any]]:
        """Yield the number of each task and its answer."""
        for number, task in enumerate(tasks):
            started = time.process_time()
            answer = task.run()
            self.seconds += time.process_time() - started
            yield number, answer

    def _histogram(self, group: Group) -> npt.NDArray[np.int64]:
        found = np.zeros((1, BINS), np.int64)
        for segment in group.numbers:
            found[0] += np.bincount(bins_of_keys(keys_of(segment), 0.0, HIGH), minlength=BINS)
        self.bytes += found.nbytes
        return found

    def _reaching(self, group: Group, limits: Sequence[Limits], thresholds: Sequence[int]) -> list[Hits]:
        positions, keys = [], []
        for segment in group.numbers:
            own = keys_of(segment)
            rows = np.flatnonzero(bins_of_keys(own, limits[0].low, limits[0].high) >= thresholds[0])
            positions.append(self.starts[segment] + rows)
            keys.append(own[rows])
        found = Hits(np.concatenate(positions), np.concatenate(keys), np.ones(sum(map(len, keys)), np.int64))
        self.bytes += 24 * len(found.keys)
        return [found]


def measure(folder: Path, selected: int) -> dict[str, float]:
    """Open, plan and rank, and return seconds of the command's own work, and megabytes of memory."""
    found: dict[str, float] = {}
    gc.collect()
    with Peak() as peak:
        started = time.process_time()
        snapshot = Snapshot.open(folder, check=False)
        found["opening"] = time.process_time() - started
        found["opened_mb"] = peak.most - peak.before
        started = time.process_time()
        parts = Candidates(snapshot).parts(tokens=False)
        tasks = MadeUpTasks(snapshot.starts)
        passes = ClusterPasses(tasks, snapshot)
        groups = passes._groups(parts)
        found["planning"] = time.process_time() - started
        found["tasks"], found["groups_mb"] = len(groups), len(pickle.dumps(groups)) / 1e6
        ids_of = lambda positions: [f"{position:012d}" for position in positions.tolist()]  # noqa: E731
        ranking = Ranking(
            lambda part: lambda rows, sums: sums[0],
            0.0,
            HIGH,
            selected,
            partial(exact_cut, budget=selected, ids_of=ids_of),
        )
        pool = ScoredPool(parts, snapshot.manifest.segments, View.of(SPEC), [], lambda part: None, None, passes)  # type: ignore[arg-type, return-value]
        started = time.process_time()
        [hits] = passes.rank(pool, [ranking])
        found["tasks_seconds"] = tasks.seconds
        found["ranking"] = time.process_time() - started - tasks.seconds
    found |= {"mb": peak.most - peak.before, "sent_mb": tasks.bytes / 1e6}
    last, above, at_least = int(hits.keys.min()), 0, 0
    for segment in range(len(snapshot.segments)):
        keys = keys_of(segment)
        above += int((keys > last).sum())
        at_least += int((keys >= last).sum())
    if not (len(hits.keys) == selected and above < selected <= at_least):
        raise RuntimeError(f"{len(hits.keys)} hits, {above} above the last one of them")
    ties = np.sort(hits.positions[hits.keys == last])
    found["ties"] = at_least - above
    if int((hits.keys > last).sum()) != above or len(ties) != selected - above:
        raise RuntimeError("other documents than the best ones")
    return found


def peer(documents: int, selected: int) -> dict[str, float]:
    """Return seconds and megabytes of a partition of all scores, in memory."""
    with Peak() as peak:
        scores = np.empty(documents, np.int32)
        for segment in range(documents // DOCUMENTS):
            scores[segment * DOCUMENTS : (segment + 1) * DOCUMENTS] = keys_of(segment)
        started = time.process_time()
        np.argpartition(scores, documents - selected)
        seconds = time.process_time() - started
    return {"ranking": seconds, "mb": peak.most - peak.before}


def main() -> None:
    """Measure each size in a fresh process and report."""
    chosen = options(__doc__ or "", measure={"nargs": 3, "metavar": ("FOLDER", "SEGMENTS", "SELECTED")})
    if chosen.measure:
        folder, segments, selected = Path(chosen.measure[0]), int(chosen.measure[1]), int(chosen.measure[2])
        own = peer(segments * DOCUMENTS, selected) if folder.name == "peer" else measure(folder, selected)
        print(json.dumps(own))
        return
    rows, results = [], []
    for segments in (20, 100) if chosen.quick else SEGMENTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "pool.nagindex")
            write_index(folder, segments)
            manifest = max(folder.glob("manifests/0*.json")).stat().st_size / 1e6
            for selected in [n // 100 for n in SELECTED] if chosen.quick else SELECTED:
                found = _measured(folder, segments, selected) | {"manifest_mb": manifest}
                results.append({"segments": segments, "selected": selected} | found)
                rows.append(_row(segments, selected, found))
            if segments == min(SEGMENTS) or chosen.quick:  # of 10^9, the positions alone take 8 GB
                found = _measured(Path(name, "peer"), segments, selected)
                results.append({"segments": segments, "selected": selected, "peer": found})
                sizes = f"{segments * DOCUMENTS:,}", f"{selected:,}"
                figures = f"{found['ranking']:.2f}", f"{found['mb']:,.0f}", f"{segments * DOCUMENTS * 4 / 1e6:,.0f}"
                rows.append(["NumPy, all scores sent", *sizes, "", "", *figures, ""])
    headings = [
        "segments",
        "documents",
        "selected",
        "s: opening",
        "planning",
        "threshold, merging",
        "MB",
        "MB received",
        "tasks",
    ]
    emit(headings, rows, {"results": results}, chosen.json)


def _row(segments: int, selected: int, found: dict[str, float]) -> list[str]:
    seconds = [f"{found[name]:.2f}" for name in ("opening", "planning", "ranking")]
    memory = [f"{found[name]:,.0f}" for name in ("mb", "sent_mb", "tasks")]
    return [f"{segments:,}", f"{segments * DOCUMENTS:,}", f"{selected:,}", *seconds, *memory]


def _measured(*arguments: object) -> dict[str, float]:
    found: dict[str, float] = in_a_process("benchmarks.thousand_segments", "--measure", *arguments)
    return found


if __name__ == "__main__":
    main()
