"""`build`: encode a corpus into a new index, or resume an interrupted build; and estimates of its cost."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nagindex.arguments import checked, layer_ranges
from nagindex.backbone.devices import require_devices
from nagindex.corpus.columns import ALL, Columns
from nagindex.corpus.reading import corpus_sources
from nagindex.corpus.sources import Paths
from nagindex.encode.batch_size import measure_batch_tokens
from nagindex.encode.encoder import default_batch_tokens, default_window
from nagindex.errors import BadInputError
from nagindex.index import Index
from nagindex.ingest.calibrate import (
    SUFFIX,
    Calibration,
    calibrations_of,
    draw_calibration,
    load_calibration,
    require_calibration,
    save_calibration,
)
from nagindex.ingest.columns import columns_of_build
from nagindex.ingest.estimate import Estimate, estimate, plan_of, require_place
from nagindex.ingest.jobs import Job, run_job, visible_devices
from nagindex.ingest.model_views import fingerprint_of, views_of
from nagindex.ingest.options import ENCODINGS, BuildKeywords, BuildOptions
from nagindex.ingest.prefetch import SMALL_CORPUS
from nagindex.ingest.writer import IngestReport
from nagindex.progress import ProgressCallback, reports_progress, step
from nagindex.search.view import layers_of
from nagindex.storage.locations import index_folder
from nagindex.storage.manifest import newest_version, read_latest
from nagindex.storage.places import check_output, require_index_folder, require_room
from nagindex.storage.settings import Settings

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

MAX_LAYERS = 4096
"""More than a model has."""


@checked
@reports_progress
def build(
    corpus: Paths,
    index: str | Path,
    *,
    neuron_type: str = "up",
    options: BuildOptions | None = None,
    progress: ProgressCallback | None = None,
    backbone: Backbone | None = None,
    **keywords: Unpack[BuildKeywords],
) -> tuple[Index, IngestReport]:
    """Encode a corpus into an index, or continue one that was begun with the same settings; return it and a report.

    Args:
        corpus: files, globs or folders of .parquet, .jsonl, .ndjson, .json, .csv, .tsv or .txt, text formats also .gz and .zst.
        index: the index's folder, or its URL in an object store: s3://BUCKET/PREFIX, gs://, az:// or file://.
        neuron_type: the projection whose neurons are used: up, down, gate, q, k, v or o; k_repeated and v_repeated have keys and
            values once for every query head, as the published code does.
        options: how to build.
        progress: called with a `Progress` as each step begins, advances and ends.
        backbone: a loaded model to use in place of the one that the options name, in this process.
        keywords: fields of `BuildOptions`, in place of `options`.

    Raises:
        InputNotFoundError, BadInputError: the corpus or the model cannot be read; what was committed stays.
        SettingsMismatchError: the index exists with other settings; names both values.
    """
    chosen = _options(options, keywords)
    [built] = build_types(corpus, {neuron_type: index}, options=chosen, backbone=backbone)
    return built


@checked
@reports_progress
def build_types(
    corpus: Paths,
    indexes: Mapping[str, str | Path],
    *,
    options: BuildOptions | None = None,
    progress: ProgressCallback | None = None,
    backbone: Backbone | None = None,
    **keywords: Unpack[BuildKeywords],
) -> list[tuple[Index, IngestReport]]:
    """Encode a corpus into an index for each of several neuron types, all from one forward pass; return each with a report.

    Args:
        corpus: see `build`.
        indexes: the folder of each neuron type's index.
        options: see `build`, like the following.
        progress: see there.
        backbone: see there.
        keywords: see there.

    Raises:
        NagIndexError: as `build`.
    """
    seen = [newest_version(index_folder(path)) for path in indexes.values()]
    chosen = _as_begun(_options(options, keywords), indexes)
    layers_of(
        chosen.encoding.layers, range(MAX_LAYERS)
    )  # how they are written; whether there are as many, the model says
    sources = tuple(corpus_sources(corpus, root=chosen.corpus_root, on_error=chosen.on_error))
    begun = next(iter(_begun(indexes.values())), None)
    columns, notes = columns_of_build(sources, chosen.columns, begun, on_error=chosen.on_error)
    given = None if chosen.calibration is None else load_calibration(chosen.calibration)
    require_calibration(_begun(indexes.values()), chosen)
    devices = visible_devices(chosen.device)
    require_devices(devices)
    for path in indexes.values():
        require_index_folder(index_folder(path))
        require_room(index_folder(path), 0)
    loaded = backbone or _load(chosen, next(iter(indexes)), devices[0])
    large = sum(source.size for source in sources) >= SMALL_CORPUS
    kept = loaded if backbone or len(devices) == 1 else None  # each device's process loads its own
    views = views_of(loaded, indexes, chosen)
    means, sample = calibrations_of(indexes.values(), views, sources, chosen, columns, given=given)
    views = [view.calibrated(own) for view, own in zip(views, means, strict=True)]
    settings = _settings(indexes.values(), views, chosen, columns, sample=sample, measure=large)
    opened = [
        Index.create(
            path, fingerprint_of(view, chosen), settings, means=own, backbone=view if kept else None, seen=version
        )
        for path, view, own, version in zip(indexes.values(), views, means, seen, strict=True)
    ]
    for index in opened:
        require_place(index.path, index.manifest, sources, chosen.shard)
    job = Job(
        indexes=tuple(index.path for index in opened),
        sources=sources,
        options=chosen.ingest,
        model=chosen.placement(None if backbone else loaded.name, devices),
    )
    del loaded, views
    if kept is None:
        _free_memory()
    try:
        reports = run_job(job, backbone=kept)
    finally:
        for index in opened:
            index.refresh()
    for index, report in zip(opened, reports, strict=True):
        report.warnings += [*notes, *_clipped(index, chosen.encoding.top_k)]
    return list(zip(opened, reports, strict=True))


@checked
@reports_progress
def estimate_build(
    corpus: Paths,
    *,
    neuron_types: Sequence[str] = ("up",),
    options: BuildOptions | None = None,
    progress: ProgressCallback | None = None,
    **keywords: Unpack[BuildKeywords],
) -> Estimate:
    """Return what a build of some neuron types would cost, from a timed sample of the corpus; nothing is written.

    Args:
        corpus: see `build`.
        neuron_types: the neuron types, which one forward pass serves.
        options: see `build`.
        progress: see there.
        keywords: see there.

    Raises:
        InputNotFoundError, BadInputError: the corpus or the model cannot be read.
    """
    chosen = _options(options, keywords)
    sources = corpus_sources(corpus, root=chosen.corpus_root, on_error=chosen.on_error)
    columns, _ = columns_of_build(sources, chosen.columns, on_error=chosen.on_error)
    if chosen.calibration is not None:
        load_calibration(chosen.calibration)  # it is there, and is one
    loaded = _load(chosen, neuron_types[0], visible_devices(chosen.device)[0])
    plans = [plan_of(loaded, neuron_types, chosen, "")]
    numbers = plans[0].specs[0].layer_numbers
    if len(numbers) > 1:
        layers = "first-half" if chosen.encoding.layers is None else layer_ranges(numbers[: -(-len(numbers) // 2)])
        half = dataclasses.replace(chosen, layers=layers)
        plans.append(plan_of(loaded, neuron_types, half, f'`layers="{layers}"`'))
    if chosen.encoding != ENCODINGS["fast"]:
        fast = dataclasses.replace(chosen, preset="fast", impact=None, layers=None, top_k=None, max_length=None)
        plans.append(plan_of(loaded, neuron_types, fast, '`preset="fast"`'))
    return estimate(
        sources,
        plans,
        columns,
        batch_tokens=chosen.batch_tokens or default_batch_tokens(loaded),
        on_error=chosen.on_error,
    )


@checked
@reports_progress
def calibrate(
    corpus: Paths,
    path: str | Path,
    *,
    neuron_type: str = "up",
    options: BuildOptions | None = None,
    progress: ProgressCallback | None = None,
    backbone: Backbone | None = None,
    **keywords: Unpack[BuildKeywords],
) -> int:
    """Write the mean impacts of neurons over a sample of a corpus, for `build(calibration=...)`; return the sample's size.

    Args:
        corpus: see `build`.
        path: the file, which ends in .npz; one that exists is replaced, unless it is a source of the corpus.
        neuron_type: see `build`.
        options: see `build`; those of the model, of the columns and of the encoding count, and `calibrate`.
        progress: see there.
        backbone: see there.
        keywords: see there.

    Raises:
        InputNotFoundError, BadInputError: the corpus or the model cannot be read, or the file cannot be written.
    """
    if options is None:
        keywords["impact"] = "relative"
    chosen = dataclasses.replace(_options(options, keywords), impact="relative")
    file = Path(path).expanduser()
    if chosen.sample is None:
        raise BadInputError("a calibration is drawn from the corpus; leave `calibration` out")
    if file.suffix != SUFFIX:
        raise BadInputError(f"{file}: a calibration is a file that ends in {SUFFIX}")
    sources = corpus_sources(corpus, root=chosen.corpus_root, on_error=chosen.on_error)
    check_output(file, inputs=[source.path for source in sources])
    columns, _ = columns_of_build(sources, chosen.columns, on_error=chosen.on_error)
    loaded = backbone or _load(chosen, neuron_type, visible_devices(chosen.device)[0])
    [view] = views_of(loaded, [neuron_type], chosen)
    length = chosen.encoding.max_length
    drawn = draw_calibration(
        sources, [view], columns, documents=chosen.sample, max_length=length, on_error=chosen.on_error
    )
    [means] = drawn.means
    fingerprint = fingerprint_of(view.calibrated(means), chosen)
    save_calibration(file, Calibration(means, fingerprint, drawn.documents))
    return drawn.documents


def _options(options: BuildOptions | None, keywords: BuildKeywords) -> BuildOptions:
    """Return the options given as an object or as keywords.

    Raises:
        BadInputError: both are given, or a keyword is no option.
    """
    if options is not None and keywords:
        raise BadInputError(f"options are given as an object and as {', '.join(keywords)}; give one of the two")
    return BuildOptions.of(**keywords) if options is None else options


def _clipped(index: Index, top_k: int | None) -> list[str]:
    """Return a sentence if fewer neurons of a layer are kept than were requested."""
    spec = index.manifest.fingerprint.spec
    if top_k is None or spec.top_k == top_k:
        return []
    narrowest = f"the narrowest layer of {spec.neuron_type} has {spec.top_k:,} neurons"
    return [f"`top_k={top_k}`: {narrowest}, and all of them are kept"]


def _load(options: BuildOptions, neuron_type: str, device: str) -> Backbone:
    from nagindex.backbone.load import load_backbone

    return load_backbone(options.model, neuron_type=neuron_type, device=device, **options.loading)


def _free_memory() -> None:
    """Free the GPU memory of the model and of the measured batches, for the processes that now work there."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _begun(indexes: Iterable[str | Path]) -> list[Path]:
    """Return the folders that are indexes with something in them."""
    folders = [index_folder(path) for path in indexes]
    return [folder for folder in folders if newest_version(folder) and read_latest(folder).segments]


def _as_begun(options: BuildOptions, indexes: Mapping[str, str | Path]) -> BuildOptions:
    """Return options with the dtype, the preset of the impact and the size of the sample of an index that exists, where none is given."""
    folders = [index_folder(path) for path in indexes.values()]
    found = next((folder for folder in folders if newest_version(folder)), None)
    if found is None:
        return options
    manifest = read_latest(found)
    fingerprint = manifest.fingerprint
    relative = fingerprint.impact == "relative" or options.calibrate is not None or options.calibration is not None
    chosen = dataclasses.replace(
        options,
        dtype=fingerprint.dtype if options.dtype == "auto" else options.dtype,
        preset=options.preset or ("calibrated" if relative else "paper"),
    )
    if chosen.sample is None or options.calibrate is not None:
        return chosen
    return dataclasses.replace(chosen, calibrate=manifest.settings.calibrate)


def _settings(
    indexes: Iterable[str | Path],
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
    batch_tokens, begun = options.batch_tokens, _begun(indexes)
    if batch_tokens is None and begun:
        batch_tokens = read_latest(begun[0]).settings.batch_tokens
    elif batch_tokens is None and measure:
        specs = [fingerprint_of(view, options).spec for view in views]
        with step("measuring the batch size"):
            batch_tokens = measure_batch_tokens(views, specs, max_length=options.encoding.max_length)
    return Settings.of(
        columns,
        keep_all=options.columns.keep_columns == ALL,
        window=default_window(views[0]),
        batch_tokens=batch_tokens or default_batch_tokens(views[0]),
        count_tokens=options.count_tokens,
        calibrate=options.sample,
        sample=sample,
    )
