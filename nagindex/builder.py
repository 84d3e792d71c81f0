"""`build`: encode a corpus into a new index, or resume an interrupted build; and estimates of its cost."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nagindex.arguments import checked
from nagindex.backbone.devices import require_devices
from nagindex.corpus.columns import ALL, Columns
from nagindex.corpus.reading import corpus_sources
from nagindex.corpus.sources import Paths
from nagindex.encode.batch_size import measure_batch_tokens
from nagindex.encode.encoder import default_batch_tokens, default_window
from nagindex.errors import BadInputError
from nagindex.index import Index
from nagindex.ingest.columns import columns_of_build
from nagindex.ingest.estimate import Estimate, estimate, require_place
from nagindex.ingest.jobs import Job, run_job, visible_devices
from nagindex.ingest.options import BuildKeywords, BuildOptions, Shard
from nagindex.ingest.prefetch import SMALL_CORPUS
from nagindex.ingest.writer import IngestReport
from nagindex.progress import ProgressCallback, reports_progress, step
from nagindex.sketches.build import FROM_DOCUMENTS, sketch_new_segments
from nagindex.storage.manifest import read_latest, versions
from nagindex.storage.places import require_index_folder, require_room
from nagindex.storage.settings import Settings

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone


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
        index: the index's folder.
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
    chosen = _options(options, keywords)
    sources = tuple(corpus_sources(corpus, root=chosen.corpus_root, on_error=chosen.on_error))
    begun = next(iter(_begun(indexes)), None)
    columns, notes = columns_of_build(sources, chosen.columns, begun, on_error=chosen.on_error)
    devices = visible_devices(chosen.device)
    require_devices(devices)
    for path in indexes.values():
        require_index_folder(Path(path).expanduser())
        require_room(Path(path).expanduser(), 0)
    loaded = backbone or _load(chosen, next(iter(indexes)), devices[0])
    large = sum(source.size for source in sources) >= SMALL_CORPUS
    kept = loaded if backbone or len(devices) == 1 else None  # each device's process loads its own
    opened = _create(indexes, loaded, chosen, columns, keep=kept is not None, measure=large)
    for index in opened:
        require_place(index.path, index.manifest, sources, chosen.shard)
    job = Job(
        indexes=tuple(index.path for index in opened),
        sources=sources,
        options=chosen.ingest,
        model=chosen.placement(None if backbone else loaded.name, devices),
    )
    del loaded
    if kept is None:
        _free_memory()
    try:
        reports = run_job(job, backbone=kept)
    finally:
        for index in opened:
            index.refresh()
    for index, report in zip(opened, reports, strict=True):
        report.warnings += [*notes, *_clipped(index, chosen.top_k)]
        if chosen.optimize and chosen.shard == Shard() and len(index) >= FROM_DOCUMENTS:
            index.optimize()
        else:
            sketch_new_segments(index.path, index.segments)
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
    loaded = _load(chosen, neuron_types[0], visible_devices(chosen.device)[0])
    backbones = [loaded.of_type(neuron_type) for neuron_type in neuron_types]
    specs = [view.fingerprint(top_k=chosen.top_k, max_length=chosen.max_length).spec for view in backbones]
    return estimate(
        sources,
        backbones,
        specs,
        columns,
        max_length=chosen.max_length,
        batch_tokens=chosen.batch_tokens or default_batch_tokens(loaded),
        on_error=chosen.on_error,
    )


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


def _begun(indexes: Mapping[str, str | Path]) -> list[Path]:
    """Return the folders that are indexes with something in them."""
    folders = [Path(path).expanduser() for path in indexes.values()]
    return [folder for folder in folders if versions(folder) and read_latest(folder).segments]


def _create(
    indexes: Mapping[str, str | Path],
    loaded: Backbone,
    options: BuildOptions,
    columns: Columns,
    *,
    keep: bool,
    measure: bool,
) -> Sequence[Index]:
    """Return the indexes, new ones or those that exist with the same settings.

    Args:
        indexes: the folder of each neuron type's index.
        loaded: the model.
        options: how to build.
        columns: the columns to read and to keep.
        keep: whether the indexes keep the loaded model.
        measure: whether to measure the batch size, for a new index.
    """
    views = [loaded.of_type(neuron_type) for neuron_type in indexes]
    fingerprints = [view.fingerprint(top_k=options.top_k, max_length=options.max_length) for view in views]
    batch_tokens = options.batch_tokens
    begun = _begun(indexes)
    if batch_tokens is None and begun:
        batch_tokens = read_latest(begun[0]).settings.batch_tokens
    elif batch_tokens is None and measure:
        with step("measuring the batch size"):
            batch_tokens = measure_batch_tokens(views, [f.spec for f in fingerprints], max_length=options.max_length)
    settings = Settings.of(
        columns,
        keep_all=options.columns.keep_columns == ALL,
        window=default_window(loaded),
        batch_tokens=batch_tokens or default_batch_tokens(loaded),
        count_tokens=options.count_tokens,
    )
    return [
        Index.create(path, fingerprint, settings, backbone=view if keep else None)
        for path, fingerprint, view in zip(indexes.values(), fingerprints, views, strict=True)
    ]
