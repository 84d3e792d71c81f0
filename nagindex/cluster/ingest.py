"""Sources added to indexes by the workers of a Ray cluster: the shards of a job, and their reports and progress."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.cluster.connection import DEVICES, require_ray
from nagindex.cluster.pool import Pool, pool
from nagindex.cluster.worker import require_folders
from nagindex.corpus.sources import Source
from nagindex.errors import BadInputError
from nagindex.ingest.duplicates import SourceOrder
from nagindex.ingest.jobs import Job, merge_parts, run_part, sum_progress
from nagindex.ingest.options import Shard
from nagindex.ingest.pipeline import STAGE
from nagindex.ingest.prepare import BuildTask, begin_build
from nagindex.ingest.sharding import GROUPS_PER_SHARD, group_sources, shards_take_groups
from nagindex.ingest.writer import IngestReport
from nagindex.progress import Progress, report
from nagindex.storage.locations import absolute_location, index_folder
from nagindex.storage.manifest import Manifest, read_latest
from nagindex.storage.segment import Segment

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

SHARDS_PER_WORKER = 2
"""Where shards share files, each reads through all of them; more than one a worker even out nodes of different speed."""
SMALLEST_SHARD = 1 << 20
MOST_SHARDS = 1000


def require_cluster(address: str, *, device: str, shard: Shard, loaded: bool) -> None:
    """Raise BadInputError if options of a build or an append cannot work on a cluster; see also `require_ray`.

    Args:
        address: of the cluster.
        device: what to run on.
        shard: the part of the corpus that was asked for.
        loaded: whether a model in this process was given.
    """
    require_ray(address)
    if shard != Shard():
        raise BadInputError("`shard`: a cluster shares the corpus out itself; leave `shard` or `ray` out")
    if device not in DEVICES:
        raise BadInputError(f"`device`: {device} is one machine's; with `ray` give {' or '.join(DEVICES[1:])}, or none")
    if loaded:
        raise BadInputError(
            "the loaded model is in this process, and each worker of a cluster loads its own; leave it or `ray` out"
        )


def count_shards(sources: Sequence[Source], slots: int) -> int:
    """Return into how many shards a corpus is cut for workers of a cluster.

    Args:
        sources: the corpus.
        slots: how many workers the cluster has room for.
    """
    groups = len(group_sources(sources))
    by_group = groups // GROUPS_PER_SHARD  # each shard reads files of its own
    most = min(MOST_SHARDS, 1 + sum(source.size for source in sources) // SMALLEST_SHARD)
    return max(1, min(most, max(by_group, SHARDS_PER_WORKER * slots)))


def build_on_cluster(address: str, task: BuildTask) -> list[IngestReport]:
    """Build indexes on a cluster, the first worker of which creates them; return a report for each index.

    Args:
        address: of the cluster; see `connected`.
        task: what to do.

    Raises:
        NagIndexError: as `begin_build`, `connected` and `run_job`, and if workers were lost too often.
    """
    with pool(address, task.options.device) as workers:
        options = dataclasses.replace(task.options, device=workers.slots.device)
        indexes = {kind: _place(folder) for kind, folder in task.indexes.items()}
        there = dataclasses.replace(task, options=options, indexes=indexes)
        report(Progress(f"starting on {workers.slots} of the Ray cluster", 0, 1, ""))
        [job] = workers.run("nagindex.cluster.ingest:begin", there, 1, _show_latest)
        return _run_shards(workers, job)


def append_on_cluster(address: str, job: Job) -> list[IngestReport]:
    """Add sources to indexes on a cluster; return a report for each index.

    Args:
        address: of the cluster; see `connected`.
        job: what to do.

    Raises:
        NagIndexError: as `connected` and `run_job`, and if workers were lost too often.
    """
    with pool(address, job.model.device) as workers:
        model = dataclasses.replace(job.model, device=workers.slots.device)
        indexes = tuple(map(_place, job.indexes))
        report(Progress(f"starting on {workers.slots} of the Ray cluster", 0, 1, ""))
        return _run_shards(workers, dataclasses.replace(job, model=model, indexes=indexes))


def _place(index: Path) -> Path:
    """Return where an index lies for all nodes: its folder, or its URL, of which each node has a mirror of its own."""
    return Path(absolute_location(index))


def _run_shards(workers: Pool, job: Job) -> list[IngestReport]:
    count = count_shards(job.sources, workers.slots.count)
    indexes = [index_folder(place) for place in job.indexes]
    before = [read_latest(folder) for folder in indexes]
    share_files = not shards_take_groups(Shard(0, count), len(group_sources(job.sources)))
    display = _Display(count, share_files=share_files)
    reports = workers.run("nagindex.cluster.ingest:run_shard", job, count, display)
    merged = merge_parts(job, reports)
    if not workers.repeated:
        return merged
    return [_recounted(*each, job.sources) for each in zip(merged, indexes, before, strict=True)]


def begin(task: BuildTask, number: int, count: int, backbone: Backbone | None) -> tuple[Job, Backbone | None]:
    """Begin a build; see `begin_build`. A worker runs this, as the machine of the driver may have no GPU.

    Raises:
        NagIndexError: as `begin_build`.
    """
    indexes = {kind: index_folder(place) for kind, place in task.indexes.items()}
    begun = begin_build(dataclasses.replace(task, indexes=indexes))
    return dataclasses.replace(begun.job, indexes=tuple(task.indexes.values())), begun.backbone


def run_shard(job: Job, number: int, count: int, backbone: Backbone | None) -> tuple[list[IngestReport], Backbone]:
    """Run one of several shards of a job; see `run_part`. A worker runs this.

    Raises:
        InputNotFoundError: this node does not see the indexes or the corpus.
        NagIndexError: as `run_part`.
    """
    indexes = tuple(map(index_folder, job.indexes))
    require_folders(*indexes, *{source.root for source in job.sources})
    return run_part(dataclasses.replace(job, indexes=indexes), number, count, backbone)


def _show_latest(states: Mapping[int, Progress]) -> None:
    for state in states.values():
        report(state)


class _Display:
    """Shows the progress of all shards as one; a shard that is begun anew on another node does not go backwards.

    Where shards share files, what one of them finds in the index may be what another has just put there: only what the first one
    found counts as known.
    """

    def __init__(self, count: int, *, share_files: bool) -> None:
        self.count, self.share_files = count, share_files
        self.latest: dict[int, Progress] = {}
        self.known: dict[int, int] = {}

    def __call__(self, states: Mapping[int, Progress]) -> None:
        for number, state in states.items():
            if state.stage == STAGE:
                self._add(number, state)
        if self.latest:
            whole = sum_progress(list(self.latest.values()), self.count)
            known = sum(self.known.values())
            report(dataclasses.replace(whole, known=known, done=whole.done + known, total=whole.total + known))

    def _add(self, number: int, state: Progress) -> None:
        """Take the state of a shard, without the rows that were known before it."""
        if not self.share_files or not self.known:
            self.known.setdefault(number, state.known)
        new = dataclasses.replace(state, done=state.done - state.known, total=state.total - state.known, known=0)
        before = self.latest.get(number, new)
        counts = {name: max(getattr(before, name), getattr(new, name)) for name in ("done", "tokens", "committed")}
        self.latest[number] = dataclasses.replace(new, total=max(counts["done"], new.total), **counts)


def _recounted(report: IngestReport, index: Path, before: Manifest, sources: Sequence[Source]) -> IngestReport:
    """Return a report with the documents that the run's segments hold: a worker that was lost has reported none of its own."""
    known, run = {entry.id for entry in before.segments}, SourceOrder.of(sources).id
    current = read_latest(index)
    added = [entry for entry in current.segments if entry.run == run and entry.id not in known]
    skipped = (row for entry in added for row in Segment(index, entry, current.fingerprint.spec).skipped())
    return dataclasses.replace(
        report,
        documents=sum(entry.documents - entry.deleted_documents for entry in added),
        tokens=sum(entry.tokens - entry.deleted_tokens for entry in added),
        skipped=Counter(row.kind for row in skipped),
    )
