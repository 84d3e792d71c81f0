"""Jobs: sources added to indexes, by one device in this process, or by several in a worker process each."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.backbone.options import ModelOptions
from nagindex.corpus.sources import Source
from nagindex.errors import NagIndexError
from nagindex.ingest.options import IngestOptions
from nagindex.ingest.pipeline import ingest
from nagindex.ingest.sharding import group_sources, shards_take_groups
from nagindex.ingest.writer import Destination, IngestReport
from nagindex.progress import Progress, report
from nagindex.storage.calibration import read_calibration
from nagindex.storage.manifest import read_latest
from nagindex.workers.cpus import available_cpus
from nagindex.workers.parent import Child, merged

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a run does; each device's process gets a copy with its own device and shard.

    Attributes:
        indexes: folders of the indexes to add to, of several neuron types of one model.
        sources: in the order to read them.
        options: how to read and add documents.
        model: where the backbone is found and run.
        threads: torch's threads in a process that works on the CPU; None for torch's own choice.
    """

    indexes: tuple[Path, ...]
    sources: tuple[Source, ...]
    options: IngestOptions = IngestOptions()
    model: ModelOptions = ModelOptions()
    threads: int | None = None

    def part(self, number: int, devices: Sequence[str], *, threads: int | None) -> Job:
        """Return what one of several devices does."""
        return dataclasses.replace(
            self,
            options=dataclasses.replace(self.options, shard=self.options.shard.part(number, len(devices))),
            model=dataclasses.replace(self.model, device=devices[number]),
            threads=threads,
        )


def visible_devices(device: str = "auto") -> list[str]:
    """Return the torch devices that a run uses, one process each.

    Args:
        device: a torch device, several with commas between them, or `auto`: every visible GPU, else the CPU. Where a
            launcher started one process for each GPU (it sets LOCAL_RANK), each of them uses its own.
    """
    if device != "auto":
        return [name.strip() for name in device.split(",")]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count and (rank := os.environ.get("LOCAL_RANK", "")).isdecimal():
        return [f"cuda:{int(rank) % count}"]
    return [f"cuda:{number}" for number in range(count)] or ["cpu"]


def run_job(job: Job, *, backbone: Backbone | None = None) -> list[IngestReport]:
    """Add sources to indexes, on all devices of a job at once; return a report for each index.

    Args:
        job: what to do.
        backbone: a loaded model, which encodes everything in this process.

    Raises:
        NagIndexError: as `ingest`, `load_matching_backbone` and `load_backbone`.
    """
    devices = visible_devices(job.model.device)
    _log(job, devices)
    if backbone is not None or len(devices) == 1:
        return run_part(job, 0, 1, backbone)[0]
    cores = available_cpus()
    share = max(1, cores // len(devices))
    children = [
        Child("nagindex.ingest.jobs:run_on_device", job.part(n, devices, threads=share if device == "cpu" else None))
        for n, device in enumerate(devices)
    ]
    latest: dict[int, Progress] = {}
    reports: list[list[IngestReport]] = []
    report(Progress(f"starting a process on each of {len(devices)} devices", 0, 1, ""))
    for number, item in merged(children):
        if isinstance(item, Progress):
            latest[number] = item
            report(sum_progress(list(latest.values()), len(children)))
        else:
            reports.append(item)
    if len(reports) < len(children):
        raise NagIndexError("a device's process ended early; run the same command again to go on")
    return merge_parts(job, reports)


def _log(job: Job, devices: Sequence[str]) -> None:
    size = sum(source.size for source in job.sources)
    logger.info("corpus: %s sources, %s bytes, on %s", f"{len(job.sources):,}", f"{size:,}", ", ".join(devices))
    for source in job.sources:
        logger.debug("source %s: %s bytes", source.path, f"{source.size:,}")


def run_on_device(job: Job) -> Iterator[Progress | list[IngestReport]]:
    """Yield the progress of a job and finally its reports; the worker process of a device runs this."""
    if job.threads is not None:
        import torch

        torch.set_num_threads(job.threads)
    yield (yield from ingest(_destinations(job, None), job.sources, job.options))


def run_part(job: Job, number: int, count: int, backbone: Backbone | None) -> tuple[list[IngestReport], Backbone]:
    """Run one of several parts of a job in this process, on its first device; return reports, and the model for further parts.

    Args:
        job: the whole job.
        number: the part, from 0.
        count: how many parts there are.
        backbone: the model, if it is loaded.

    Raises:
        NagIndexError: as `run_job`.
    """
    device = visible_devices(job.model.device)[0]
    part = job.part(number, [device] * count, threads=None)
    destinations = _destinations(part, backbone)
    steps = ingest(destinations, part.sources, part.options)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value, destinations[0].backbone


def _destinations(job: Job, backbone: Backbone | None) -> list[Destination]:
    """Return the indexes of a job, each with the model's view for it."""
    from nagindex.backbone.load import load_matching_backbone

    manifests = [read_latest(path) for path in job.indexes]
    destinations = []
    for path, manifest in zip(job.indexes, manifests, strict=True):
        backbone = load_matching_backbone(
            manifest.fingerprint,
            backbone,
            job.model,
            where=str(path),
            means=read_calibration(path, manifest.fingerprint),
            accept_libraries=job.options.accept_libraries,
        )
        destinations.append(Destination(path, manifest, backbone))
    return destinations


def sum_progress(parts: Sequence[Progress], count: int) -> Progress:
    """Return the progress of a run in parts; parts that have not reported yet count as much as the others.

    Args:
        parts: of each part that has reported, the latest, at least one.
        count: how many parts there are.
    """
    counts = {name: sum(getattr(own, name) for own in parts) for name in ("done", "known", "tokens", "committed")}
    total = sum(own.total for own in parts) * count // len(parts)
    waited = sum(own.waited for own in parts) / len(parts)
    return dataclasses.replace(parts[0], total=total, waited=waited, **counts)


def merge_parts(job: Job, reports: Sequence[Sequence[IngestReport]]) -> list[IngestReport]:
    """Return a report for each index of a job that ran in parts.

    Args:
        job: the whole job.
        reports: of each part, one for each index.
    """
    separate = shards_take_groups(job.options.shard.part(0, len(reports)), len(group_sources(job.sources)))
    return [merge_reports(of_index, sum if separate else max) for of_index in zip(*reports, strict=True)]


def merge_reports(reports: Sequence[IngestReport], combine_sources: Callable[[Iterable[int]], int]) -> IngestReport:
    """Return one report of what several processes did to one index.

    Args:
        reports: one for each process.
        combine_sources: `sum` where each process read sources of its own, `max` where each read through all of them.
    """
    return IngestReport(
        documents=sum(r.documents for r in reports),
        tokens=sum(r.tokens for r in reports),
        replaced=sum(r.replaced for r in reports),
        skipped=sum((r.skipped for r in reports), Counter()),
        sources=combine_sources(r.sources for r in reports),
        already_in=combine_sources(r.already_in for r in reports),
        changed=sorted({name for r in reports for name in r.changed}),
        empty=sorted({name for r in reports for name in r.empty}),
        unreadable=sorted({said for r in reports for said in r.unreadable}),
        version=max(r.version for r in reports),
    )
