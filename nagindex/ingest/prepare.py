"""The beginning of a build: the model is loaded, the encoding settled, and the indexes created."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.corpus.columns import ALL, Columns
from nagindex.corpus.sources import Source
from nagindex.encode.batch_size import measure_batch_tokens
from nagindex.encode.encoder import default_batch_tokens, default_window
from nagindex.ingest.calibrate import Calibration, calibrations_of
from nagindex.ingest.estimate import require_place
from nagindex.ingest.jobs import Job, visible_devices
from nagindex.ingest.model_views import fingerprint_of, views_of
from nagindex.ingest.options import BuildOptions
from nagindex.ingest.prefetch import SMALL_CORPUS
from nagindex.progress import step
from nagindex.storage.create import create_index
from nagindex.storage.manifest import newest_version, read_latest
from nagindex.storage.settings import Settings
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone


@dataclass(frozen=True)
class BuildTask:
    """What a build is to do, as far as it is known without the model.

    Attributes:
        indexes: folder of each neuron type's index.
        sources: in the order to read them.
        options: how to build.
        columns: the columns to read and to keep.
        calibration: the mean impacts that were named; None where they are drawn, or not needed.
        seen: version of each index that the options are based on, 0 where there was none.
    """

    indexes: dict[str, Path]
    sources: tuple[Source, ...]
    options: BuildOptions
    columns: Columns
    calibration: Calibration | None
    seen: tuple[int, ...]


@dataclass(frozen=True)
class BegunBuild:
    """A build whose indexes exist.

    Attributes:
        job: what is left to do.
        backbone: the loaded model; None where the process of each device loads its own.
        views: the model as each index encodes with it; None like `backbone`.
    """

    job: Job
    backbone: Backbone | None
    views: list[Backbone] | list[None]


def begin_build(task: BuildTask, backbone: Backbone | None = None) -> BegunBuild:
    """Load the model, settle the encoding and create the indexes, or open those that exist with the same settings.

    Args:
        task: what to do.
        backbone: a loaded model to use in place of the one that the options name, in this process.

    Raises:
        InputNotFoundError, BadInputError: the model or the corpus cannot be read.
        SettingsMismatchError: an index exists with other settings; names both values.
    """
    options, sources = task.options, task.sources
    devices = visible_devices(options.device)
    loaded = backbone or load_model(options, next(iter(task.indexes)), devices[0])
    large = sum(source.size for source in sources) >= SMALL_CORPUS
    views = views_of(loaded, task.indexes, options)
    means, sample = calibrations_of(
        task.indexes.values(), views, sources, options, task.columns, given=task.calibration
    )
    views = [view.calibrated(own) for view, own in zip(views, means, strict=True)]
    settings = _settings(task.indexes.values(), views, options, task.columns, sample=sample, measure=large)
    for path, view, own, version in zip(task.indexes.values(), views, means, task.seen, strict=True):
        manifest = create_index(path, fingerprint_of(view, options), settings, means=own, seen=version)
        Snapshot(path, manifest).check_lengths()
    for path in task.indexes.values():
        require_place(path, read_latest(path), sources, options.shard)
    job = Job(
        indexes=tuple(task.indexes.values()),
        sources=sources,
        options=options.ingest,
        model=options.placement(None if backbone else loaded.name, devices),
    )
    if backbone or len(devices) == 1:
        return BegunBuild(job, loaded, views)
    none: list[None] = [None] * len(views)
    del loaded, views
    _free_memory()
    return BegunBuild(job, None, none)


def load_model(options: BuildOptions, neuron_type: str, device: str) -> Backbone:
    """Return the model of a build on a device, loaded, with its projections of a neuron type."""
    from nagindex.backbone.load import load_backbone

    return load_backbone(options.model, neuron_type=neuron_type, device=device, **options.loading)


def begun_indexes(folders: Iterable[Path]) -> list[Path]:
    """Return the folders that are indexes with something in them."""
    return [folder for folder in folders if newest_version(folder) and read_latest(folder).segments]


def _settings(
    indexes: Iterable[Path],
    views: Sequence[Backbone],
    options: BuildOptions,
    columns: Columns,
    *,
    sample: str | None,
    measure: bool,
) -> Settings:
    """Return how the indexes read corpora.

    Args:
        indexes: the folder of each neuron type's index.
        views: the model, once for each neuron type.
        options: how to build.
        columns: the columns to read and to keep.
        sample: SHA-256 of the sample that they are calibrated on, if one was drawn.
        measure: whether to measure the batch size, for new indexes.
    """
    batch_tokens, begun = options.batch_tokens, begun_indexes(indexes)
    if batch_tokens is None and begun:
        batch_tokens = read_latest(begun[0]).settings.batch_tokens
    elif batch_tokens is None and measure:
        specs = [fingerprint_of(view, options).spec for view in views]
        with step("measuring the batch size"):
            batch_tokens = measure_batch_tokens(views, specs, max_length=options.encoding.max_length)
    return dataclasses.replace(
        Settings.of(columns, keep_all=options.columns.keep_columns == ALL),
        window=default_window(views[0]),
        batch_tokens=batch_tokens or default_batch_tokens(views[0]),
        count_tokens=options.count_tokens,
        calibrate=options.sample,
        sample=sample,
    )


def _free_memory() -> None:
    """Free the GPU memory of the model and of the measured batches, for the processes that now work there."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
