"""nagindex: select pretraining documents for a task, from an index of neuron activations that is built once.

    index, report = nagindex.build("corpus/", "my.nagindex", model="Qwen/Qwen3-0.6B-Base")
    index = nagindex.open("my.nagindex")
    index.query("targets.jsonl", n=1_000_000).to_parquet("selection.parquet")

Importing the package is cheap: torch, transformers, duckdb and numba are imported when something needs them.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex._version import __version__
from nagindex.arguments import checked
from nagindex.errors import (
    ArgumentTypeError,
    BadInputError,
    DamagedIndexError,
    DuplicateIdError,
    InputNotFoundError,
    MissingDependencyError,
    NagIndexError,
    ObjectStoreError,
    SettingsMismatchError,
    SourceChangedError,
    UnknownFormatError,
    UnsupportedBackboneError,
)

if TYPE_CHECKING:
    from nagindex.arguments import parse_count as parse_count
    from nagindex.arguments import parse_share as parse_share
    from nagindex.backbone.describe import describe_model as describe_model
    from nagindex.backbone.options import ModelKeywords as ModelKeywords
    from nagindex.backbone.projections import NEURON_TYPES as NEURON_TYPES
    from nagindex.builder import build, build_types, calibrate, estimate_build
    from nagindex.cluster.connection import connected as connected
    from nagindex.corpus.columns import Columns
    from nagindex.corpus.sources import OnError as OnError
    from nagindex.corpus.sources import find_sources as find_sources
    from nagindex.index import Index
    from nagindex.ingest.options import CALIBRATED_ON as CALIBRATED_ON
    from nagindex.ingest.options import DEFAULT_PRESET as DEFAULT_PRESET
    from nagindex.ingest.options import ENCODINGS as ENCODINGS
    from nagindex.ingest.options import IMPACTS as IMPACTS
    from nagindex.ingest.options import ON_DUPLICATE as ON_DUPLICATE
    from nagindex.ingest.options import ON_ERROR as ON_ERROR
    from nagindex.ingest.options import BuildKeywords as BuildKeywords
    from nagindex.ingest.options import BuildOptions, Shard
    from nagindex.ingest.options import OnDuplicate as OnDuplicate
    from nagindex.ingest.writer import IngestReport as IngestReport
    from nagindex.maintenance.reencode import Reencoding as Reencoding
    from nagindex.progress import Progress, reporting
    from nagindex.query.compare import Comparison as Comparison
    from nagindex.query.curve import ScoreCurve as ScoreCurve
    from nagindex.query.evaluate import Evaluation as Evaluation
    from nagindex.query.explain import Explanation as Explanation
    from nagindex.query.export import FORMATS as FORMATS
    from nagindex.query.export import format_of as format_of
    from nagindex.query.export import settings_of as settings_of
    from nagindex.query.neurons import Neuron as Neuron
    from nagindex.query.selection import Selection
    from nagindex.query.show import SelectedDocuments as SelectedDocuments
    from nagindex.query.show import selected_documents as selected_documents
    from nagindex.query.target_profile import TargetProfile as TargetProfile
    from nagindex.query.totals import Total as Total
    from nagindex.query.totals import Totals as Totals
    from nagindex.search.plan import Plan as Plan
    from nagindex.select.options import BACKGROUNDS as BACKGROUNDS
    from nagindex.select.options import MIXES as MIXES
    from nagindex.select.options import QueryOptions
    from nagindex.select.signals import NORMALIZATIONS as NORMALIZATIONS
    from nagindex.select.signals import Decontamination, Quality
    from nagindex.storage.cache_room import cached_indexes as cached_indexes
    from nagindex.storage.cache_room import clear_cache as clear_cache
    from nagindex.storage.places import check_output as check_output
    from nagindex.targets.given import EncodeKeywords as EncodeKeywords
    from nagindex.targets.lm_eval import PRESETS as PRESETS
    from nagindex.targets.lm_eval import Harness as Harness
    from nagindex.targets.saved import TargetSet
    from nagindex.targets.templates import ExampleSet as ExampleSet
    from nagindex.targets.templates import fill_template as fill_template
    from nagindex.targets.templates import write_examples as write_examples

__all__ = [
    "open", "build", "build_types", "calibrate", "estimate_build", "check_output", "selected_documents",
    "Index", "Selection", "TargetSet",
    "BuildOptions", "Columns", "Shard", "QueryOptions", "Quality", "Decontamination",
    "Progress", "reporting",
    "NagIndexError", "ArgumentTypeError", "BadInputError", "DamagedIndexError", "DuplicateIdError", "InputNotFoundError",
    "MissingDependencyError", "ObjectStoreError", "SettingsMismatchError", "SourceChangedError", "UnknownFormatError",
    "UnsupportedBackboneError",
    "__version__",
]  # fmt: skip

logging.getLogger(__name__).addHandler(logging.NullHandler())  # records are shown where the application wants them

# Everything public that is imported on first use, by the module that it lives in.
_HOMES = {
    name: module
    for module, names in {
        "nagindex.arguments": ["parse_count", "parse_share"],
        "nagindex.backbone.describe": ["describe_model"],
        "nagindex.backbone.projections": ["NEURON_TYPES"],
        "nagindex.builder": ["build", "build_types", "calibrate", "estimate_build"],
        "nagindex.cluster.connection": ["connected"],
        "nagindex.corpus.columns": ["Columns"],
        "nagindex.corpus.sources": ["find_sources"],
        "nagindex.index": ["Index"],
        "nagindex.ingest.options": [
            "BuildOptions",
            "CALIBRATED_ON",
            "DEFAULT_PRESET",
            "ENCODINGS",
            "IMPACTS",
            "ON_DUPLICATE",
            "ON_ERROR",
            "Shard",
        ],
        "nagindex.ingest.writer": ["IngestReport"],
        "nagindex.maintenance.reencode": ["Reencoding"],
        "nagindex.progress": ["Progress", "reporting"],
        "nagindex.query.compare": ["Comparison"],
        "nagindex.query.curve": ["ScoreCurve"],
        "nagindex.query.evaluate": ["Evaluation"],
        "nagindex.query.explain": ["Explanation"],
        "nagindex.query.export": ["FORMATS", "format_of", "settings_of"],
        "nagindex.query.neurons": ["Neuron"],
        "nagindex.query.selection": ["Selection"],
        "nagindex.query.show": ["SelectedDocuments", "selected_documents"],
        "nagindex.query.target_profile": ["TargetProfile"],
        "nagindex.query.totals": ["Total", "Totals"],
        "nagindex.search.plan": ["Plan"],
        "nagindex.select.options": [
            "BACKGROUNDS",
            "MIXES",
            "QueryOptions",
        ],
        "nagindex.select.signals": ["NORMALIZATIONS", "Decontamination", "Quality"],
        "nagindex.storage.cache_room": ["cached_indexes", "clear_cache"],
        "nagindex.storage.places": ["check_output"],
        "nagindex.targets.lm_eval": ["Harness", "PRESETS"],
        "nagindex.targets.saved": ["TargetSet"],
        "nagindex.targets.templates": ["ExampleSet", "fill_template", "write_examples"],
    }.items()
    for name in names
}


@checked
def open(path: str | Path, *, version: int | None = None, check: bool = True) -> Index:  # noqa: A001 - the verb users expect
    """Return an index at its current version, or at an older one.

    Args:
        path: the index's folder, or its URL in an object store: s3://BUCKET/PREFIX, gs://, az:// or file://.
        version: number of the version; by default the highest.
        check: whether to check that every file is there with its length; `verify` finds damage without that.

    Raises:
        InputNotFoundError: there is no index, or no such version.
        DamagedIndexError: a file is missing or has the wrong length.
        UnknownFormatError: a newer nagindex wrote it.
    """
    from nagindex.index import Index

    return Index.open(path, version=version, check=check)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nagindex' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_HOMES})
