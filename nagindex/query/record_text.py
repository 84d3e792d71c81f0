"""The query and the index of a selection's record as text: for people, for the command line, for a config file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nagindex.arguments import layer_ranges
from nagindex.errors import plural
from nagindex.select.options import QueryOptions
from nagindex.select.recorded import recorded_options
from nagindex.storage.snapshot import Snapshot

BUDGETS = {"n": "documents", "tokens": "tokens", "fraction": "of the tokens"}
NOT_OPTIONS = ("index", "targets", "text")
"""Entries of a record that are no options of the same name."""


def query_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what a query asked for, by name, in words: the budget, the scoring, and the options that are not the defaults.

    Args:
        settings: the selection's record.
    """
    query = settings["query"]
    options, defaults = recorded_options(query).to_json(), QueryOptions().to_json()
    asked = {"Budget": _budget(query), "Score": f"{options['score']}, weights {options['weights']}"}
    for name, value in options.items():
        if value != defaults.get(name) and name not in ("score", "weights"):
            asked[name.replace("-", " ").capitalize()] = _written(value)
    plan = settings.get("plan")
    if isinstance(plan, Mapping) and "engine" in plan:
        asked["Engine"] = str(plan["engine"])
    return asked


def _budget(query: Mapping[str, Any]) -> str:
    for name, unit in BUDGETS.items():
        if query.get(name) is not None:
            amount = query[name]
            return f"{amount:.4g} {unit}" if name == "fraction" else f"{amount:,} {unit}"
    return "none: all documents with the least score"


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {own}" for name, own in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def index_of(snapshot: Snapshot) -> dict[str, str]:
    """Return what an index is, by name, in words: its folder without what lies above, its version and how it was encoded."""
    manifest = snapshot.manifest
    fingerprint, spec = manifest.fingerprint, manifest.fingerprint.spec
    layers = layer_ranges(spec.layer_numbers)
    described = {
        "Folder": Path(os.path.abspath(snapshot.path)).name,
        "Version": f"{manifest.version}, of {manifest.created}",
        "Documents": f"{plural(manifest.documents, 'document')}, {plural(manifest.tokens, 'token')}",
        "Model": fingerprint.backbone,
        "Neurons": f"{spec.neuron_type}; {spec.top_k} of each of {plural(spec.layers, 'layer')} ({layers})",
        "Tokens read": f"the first {fingerprint.max_length} of a document",
        "Encoded with": ", ".join(f"{name} {' or '.join(own)}" for name, own in snapshot.recorded_libraries().items()),
    }
    if snapshot.manifest.settings.keep_columns:
        described["Kept columns"] = ", ".join(snapshot.manifest.settings.keep_columns)
    return described


def command_of(query: Mapping[str, Any]) -> str:
    """Return the command that makes a selection, as a shell takes it; empty where its targets were no files or texts.

    Args:
        query: the entry `query` of the selection's record, whose names are those of the command line.
    """
    targets, texts = query.get("targets") or [], query.get("text") or []
    if not targets and not texts:
        return ""
    lines = [" ".join(["nagindex query", *map(shlex.quote, targets)])]
    lines += _flags("text", texts)
    lines.append(f"-i {shlex.quote(str(query['index']))}")
    defaults = QueryOptions().to_json()
    for name, value in query.items():
        if name in NOT_OPTIONS or value is None or value == defaults.get(name):
            continue
        lines += _flags(name, value)
    return " \\\n  ".join([*lines, "-o selection.parquet"])


def _flags(name: str, value: Any) -> list[str]:
    """Return an option as the command line takes it, once or several times."""
    flag = "-n" if name == "n" else f"--{name}"
    if isinstance(value, bool):
        return [flag] if value else []
    if isinstance(value, Mapping):
        return [f"{flag} {shlex.quote(f'{name}={own}')}" for name, own in value.items()]
    return [f"{flag} {shlex.quote(str(own))}" for own in (value if isinstance(value, list) else [value])]


def configuration_of(query: Mapping[str, Any]) -> str:
    """Return a query as the YAML that `--config` takes."""
    import yaml

    return str(yaml.safe_dump(dict(query), sort_keys=False, allow_unicode=True))
