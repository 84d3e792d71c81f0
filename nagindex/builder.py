"""`build`: encode a corpus into a new index, or resume an interrupted build; and estimates of its cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nagindex.arguments import checked, layer_ranges
from nagindex.backbone.devices import require_devices
from nagindex.cluster.ingest import build_on_cluster, require_cluster
from nagindex.corpus.reading import corpus_sources
from nagindex.corpus.sources import Paths
from nagindex.encode.encoder import default_batch_tokens
from nagindex.errors import BadInputError
from nagindex.index import Index
from nagindex.ingest.calibrate import (
    SUFFIX,
    Calibration,
    draw_calibration,
    load_calibration,
    require_calibration,
    save_calibration,
)
from nagindex.ingest.columns import columns_of_build
from nagindex.ingest.estimate import Estimate, estimate, plan_of
from nagindex.ingest.jobs import run_job, visible_devices
from nagindex.ingest.model_views import fingerprint_of, views_of
from nagindex.ingest.options import ENCODINGS, BuildKeywords, BuildOptions
from nagindex.ingest.prepare import BuildTask, begin_build, begun_indexes, load_model
from nagindex.ingest.writer import IngestReport
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.search.view import layers_of
from nagindex.storage.locations import index_folder
from nagindex.storage.manifest import newest_version, read_latest
from nagindex.storage.places import check_output, require_index_folder, require_room

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
    ray: str | None = None,
    **keywords: Unpack[BuildKeywords],
) -> tuple[Index, IngestReport]:
    """Encode a corpus into an index, or continue one that was begun with the same settings; return it and a report.

    Args:
        corpus: files, globs or folders of .parquet, .jsonl, .ndjson, .json, .csv, .tsv or .txt, text formats also .gz and .zst;
            local ones, or URLs: s3://, gs://, az://, hf:// or file://.
        index: the index's folder, or its URL in an object store: s3://BUCKET/PREFIX, gs://, az:// or file://.
        neuron_type: the projection whose neurons are used: up, down, gate, q, k, v or o; k_repeated and v_repeated have keys and
            values once for every query head, as the published code does.
        options: how to build.
        progress: called with a `Progress` as each step begins, advances and ends.
        backbone: a loaded model to use in place of the one that the options name, in this process.
        ray: the Ray cluster that encodes: `auto` for that of RAY_ADDRESS or else the one that runs on this machine, `local` for one that
            is started on this machine, or HOST:PORT. All its nodes see the corpus, and the index or its object store.
        keywords: fields of `BuildOptions`, in place of `options`.

    Raises:
        InputNotFoundError, BadInputError: the corpus or the model cannot be read; what was committed stays.
        SettingsMismatchError: the index exists with other settings; names both values.
        MissingDependencyError: `ray` is given, and Ray is not installed.
    """
    chosen = _options(options, keywords)
    [built] = build_types(corpus, {neuron_type: index}, options=chosen, backbone=backbone, ray=ray)
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
    ray: str | None = None,
    **keywords: Unpack[BuildKeywords],
) -> list[tuple[Index, IngestReport]]:
    """Encode a corpus into an index for each of several neuron types, all from one forward pass; return each with a report.

    Args:
        corpus: see `build`.
        indexes: the folder of each neuron type's index.
        options: see `build`, like the following.
        progress: see there.
        backbone: see there.
        ray: see there.
        keywords: see there.

    Raises:
        NagIndexError: as `build`.
    """
    options = _options(options, keywords)
    if ray is not None:
        require_cluster(ray, device=options.device, shard=options.shard, loaded=backbone is not None)
    task, notes = _task(corpus, {kind: index_folder(path) for kind, path in indexes.items()}, options, ray)
    begun = None if ray is not None else begin_build(task, backbone)
    reports = build_on_cluster(str(ray), task) if begun is None else run_job(begun.job, backbone=begun.backbone)
    views = [None] * len(reports) if begun is None else begun.views
    opened = [
        Index(path, read_latest(path), backbone=view) for path, view in zip(task.indexes.values(), views, strict=True)
    ]
    for index, report in zip(opened, reports, strict=True):
        report.warnings += [*notes, *_clipped(index, options.encoding.top_k)]
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
    loaded = load_model(chosen, neuron_types[0], visible_devices(chosen.device)[0])
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
    check_output(file, inputs=[str(source.path) for source in sources])
    columns, _ = columns_of_build(sources, chosen.columns, on_error=chosen.on_error)
    loaded = backbone or load_model(chosen, neuron_type, visible_devices(chosen.device)[0])
    [view] = views_of(loaded, [neuron_type], chosen)
    length = chosen.encoding.max_length
    drawn = draw_calibration(
        sources, [view], columns, documents=chosen.sample, max_length=length, on_error=chosen.on_error
    )
    [means] = drawn.means
    fingerprint = fingerprint_of(view.calibrated(means), chosen)
    save_calibration(file, Calibration(means, fingerprint, drawn.documents))
    return drawn.documents


def _task(
    corpus: Paths, indexes: Mapping[str, Path], options: BuildOptions, ray: str | None
) -> tuple[BuildTask, list[str]]:
    """Return what a build is to do, as far as it is known without the model, and sentences for the user.

    Raises:
        NagIndexError: as `build`, for all that is known before the model is loaded.
    """
    seen = [newest_version(folder) for folder in indexes.values()]
    chosen = _as_begun(options, indexes)
    layers_of(
        chosen.encoding.layers, range(MAX_LAYERS)
    )  # how they are written; whether there are as many, the model says
    sources = tuple(corpus_sources(corpus, root=chosen.corpus_root, on_error=chosen.on_error))
    begun = next(iter(begun_indexes(indexes.values())), None)
    columns, notes = columns_of_build(sources, chosen.columns, begun, on_error=chosen.on_error)
    given = None if chosen.calibration is None else load_calibration(chosen.calibration)
    require_calibration(begun_indexes(indexes.values()), chosen)
    if ray is None:
        require_devices(visible_devices(chosen.device))
    for folder in indexes.values():
        require_index_folder(folder)
        require_room(folder, 0)
    return BuildTask(dict(indexes), sources, chosen, columns, given, tuple(seen)), notes


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


def _as_begun(options: BuildOptions, indexes: Mapping[str, Path]) -> BuildOptions:
    """Return options with the dtype, the preset of the impact and the size of the sample of an index that exists, where none is given."""
    found = next((folder for folder in indexes.values() if newest_version(folder)), None)
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
