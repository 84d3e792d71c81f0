"""Where a run's work is done: in this process on one device, or in one process for each of several devices."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.corpus.sources import Source
from nagindex.errors import BadInputError, NagIndexError
from nagindex.ingest.duplicates import ON_DUPLICATE
from nagindex.ingest.pipeline import EncodingProgress, ingest
from nagindex.ingest.windows import Shard, grouped
from nagindex.ingest.writer import Destination, IngestReport
from nagindex.storage.manifest import read_latest
from nagindex.workers.parent import Child, merged

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone


@dataclass(frozen=True)
class Job:
    """What a run is to do; each device's process gets a copy with its own device and shard.

    Attributes:
        indexes: folders of the indexes to add to, of several neuron types of one model.
        sources: in the order to read them.
        shard: which part of the sources is this run's.
        on_duplicate: `skip`, `error` or `replace`.
        workers: see `feed.feed`.
        model: where the backbone lies now, None where it lay when the index was made.
        device: a torch device.
        threads: of a process that works on the CPU, None for torch's own choice.
        trust_remote_code, accept_libraries: see `Index.append`.
        batch_tokens: padded tokens in a batch, None for the index's own.

    Raises:
        BadInputError: there is no such `on_duplicate`.
    """

    indexes: tuple[Path, ...]
    sources: tuple[Source, ...]
    shard: Shard = Shard()
    on_duplicate: str = "skip"
    workers: int | None = None
    model: str | None = None
    device: str = "auto"
    threads: int | None = None
    trust_remote_code: bool = False
    accept_libraries: bool = False
    batch_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.on_duplicate not in ON_DUPLICATE:
            raise BadInputError(f"on_duplicate {self.on_duplicate!r}: one of {', '.join(ON_DUPLICATE)}")


def visible_devices(device: str = "auto") -> list[str]:
    """Return the torch devices that a run uses, one process each.

    Args:
        device: a torch device, several with commas between them, or `auto`: every visible GPU, else the CPU. Processes that a
            launcher started one to a GPU (it sets LOCAL_RANK) take theirs.
    """
    if device != "auto":
        return [name.strip() for name in device.split(",")]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count and (rank := os.environ.get("LOCAL_RANK", "")).isdecimal():
        return [f"cuda:{int(rank) % count}"]
    return [f"cuda:{number}" for number in range(count)] or ["cpu"]


def run(
    job: Job, *, backbone: Backbone | None = None, progress: Callable[[EncodingProgress], None] = lambda progress: None
) -> list[IngestReport]:
    """Add sources to indexes, on each of the job's devices at once; return a report for each index.

    Args:
        job: what to do.
        backbone: a loaded model, which does all of it in this process.
        progress: called with the progress of all processes together.

    Raises:
        NagIndexError: as `ingest`, `backbone_of` and `load_backbone`.
    """
    devices = visible_devices(job.device)
    if backbone is not None or len(devices) == 1:
        return _run_here(dataclasses.replace(job, device=devices[0]), backbone, progress)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    children = [
        Child(
            "nagindex.ingest.run:work",
            dataclasses.replace(
                job,
                device=device,
                shard=job.shard.part(number, len(devices)),
                threads=max(1, cores // len(devices)) if device == "cpu" else None,
            ),
        )
        for number, device in enumerate(devices)
    ]
    latest: dict[int, EncodingProgress] = {}
    reports: list[list[IngestReport]] = []
    for number, item in merged(children):
        if isinstance(item, EncodingProgress):
            latest[number] = item
            progress(_sum(list(latest.values())))
        else:
            reports.append(item)
    if len(reports) < len(children):
        raise NagIndexError("a device's process ended early; run the same command again to go on")
    apart = job.shard.part(0, len(devices)).takes_groups(len(grouped(job.sources)))
    return [_together(of_one_index, sum if apart else max) for of_one_index in zip(*reports, strict=True)]


def work(job: Job) -> Iterator[EncodingProgress | list[IngestReport]]:
    """Yield a job's progress and in the end its reports: what a device's process does."""
    if job.threads is not None:
        import torch

        torch.set_num_threads(job.threads)
    yield from _steps(job, None, lambda progress: None)


def _run_here(job: Job, backbone: Backbone | None, progress: Callable[[EncodingProgress], None]) -> list[IngestReport]:
    reports: list[IngestReport] = []
    for item in _steps(job, backbone, progress):
        if isinstance(item, EncodingProgress):
            progress(item)
        else:
            reports = item
    return reports


def _steps(
    job: Job, backbone: Backbone | None, progress: Callable[[EncodingProgress], None]
) -> Iterator[EncodingProgress | list[IngestReport]]:
    from nagindex.backbone.load import backbone_of

    manifests = [read_latest(path) for path in job.indexes]
    destinations = []
    for path, manifest in zip(job.indexes, manifests, strict=True):
        backbone = backbone_of(
            manifest.fingerprint,
            backbone,
            where=str(path),
            model=job.model,
            device=job.device,
            trust_remote_code=job.trust_remote_code,
            accept_libraries=job.accept_libraries,
        )
        destinations.append(Destination(path, manifest, backbone))
    yield (
        yield from ingest(
            destinations,
            job.sources,
            shard=job.shard,
            on_duplicate=job.on_duplicate,
            workers=job.workers,
            batch_tokens=job.batch_tokens,
            report=progress,
        )
    )


def _sum(parts: Sequence[EncodingProgress]) -> EncodingProgress:
    return EncodingProgress(
        *(sum(getattr(part, f.name) for part in parts) for f in dataclasses.fields(EncodingProgress))
    )


def _together(reports: Sequence[IngestReport], of_sources: Callable[[Iterable[int]], int]) -> IngestReport:
    """Return one report for what several processes did to one index, each with its own sources (sum) or all with all (max)."""
    return IngestReport(
        documents=sum(r.documents for r in reports),
        tokens=sum(r.tokens for r in reports),
        replaced=sum(r.replaced for r in reports),
        skipped=sum((r.skipped for r in reports), Counter()),
        sources=of_sources(r.sources for r in reports),
        already_in=of_sources(r.already_in for r in reports),
        changed=sorted({name for r in reports for name in r.changed}),
        empty=sorted({name for r in reports for name in r.empty}),
        version=max(r.version for r in reports),
    )
