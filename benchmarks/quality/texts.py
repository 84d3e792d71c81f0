"""Labeled documents and targets: read from files, limited by a seed, and the halves of the examples."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "data"
QUICK = {
    "biology questions": {"file": "biology_questions.jsonl", "labels": ["biology"]},
    "short narratives": {"file": "short_narratives.jsonl", "labels": ["short_stories"]},
    "code questions": {"file": "code_questions.jsonl", "labels": ["python_programming"]},
}
POOL_OPTIONS: dict[str, dict[str, Any]] = {
    "pool": {"nargs": "+", "help": "files or folders of labeled documents"},
    "targets": {"nargs": "+", "help": "files or folders of examples, one file a target"},
    "mapping": {
        "type": Path,
        "default": HERE / "targets.json",
        "help": "JSON: each target's file and in-domain labels",
    },
    "label": {"default": "dataset", "help": "column of the label"},
    "model": {"default": "smollm2", "help": "backbone"},
    "documents": {"type": int, "help": "documents of each label, drawn by a seed; by default all"},
    "examples": {"type": int, "help": "examples of each target, drawn by a seed; by default all"},
}
"""Options of the scripts that take a labeled pool."""


@dataclass(frozen=True)
class Texts:
    """Documents or examples.

    Attributes:
        ids: their ids.
        texts: their texts.
        labels: their labels, "" for examples.
    """

    ids: list[str]
    texts: list[str]
    labels: list[str]

    def take(self, numbers: Sequence[int]) -> Texts:
        """Return some of them, in the order of the numbers."""
        return Texts(*([part[n] for n in numbers] for part in (self.ids, self.texts, self.labels)))


@dataclass(frozen=True)
class Case:
    """A target.

    Attributes:
        examples: its examples.
        labels: labels of the documents that belong to its domain; none where the pool has no such documents.
        loose: whether those documents only resemble the examples, as the pool has no source of the target's own kind.
    """

    examples: Texts
    labels: frozenset[str]
    loose: bool = False

    @property
    def held_out(self) -> np.ndarray:
        """Which examples are held out of the selection, bool [examples]: every other one in a random order."""
        order = np.random.default_rng(0).permutation(len(self.examples.ids))
        return np.asarray(order % 2 == 1)


def mapping_of(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the targets to rank for, see `read_cases`; under --quick the sample data's, whose places the arguments get."""
    if arguments.quick:
        arguments.pool, arguments.targets = [DATA / "corpus"], [DATA / "targets"]
        arguments.label, arguments.model = "subject", "minilm"
        return QUICK
    if not arguments.pool or not arguments.targets:
        raise SystemExit("name a pool and targets, or --quick")
    found: dict[str, dict[str, Any]] = json.loads(arguments.mapping.read_text())
    return found


def read_texts(paths: Sequence[str | Path], label: str | None = None) -> Texts:
    """Return the documents of files in ascending order of id, as nagindex orders equal scores."""
    columns = Columns(keep_columns=(label,) if label else ())
    rows = sorted(
        (document.id, document.text, str(document.kept[0]) if label else "")
        for source in find_sources([str(path) for path in paths]).sources
        for document in read_documents(source, columns, with_tokens=False)
        if document.text
    )
    return Texts(*map(list, zip(*rows, strict=True)))


def limit(documents: Texts, count: int | None, seed: int = 0) -> Texts:
    """Return at most `count` documents of each label, drawn by a seed."""
    if count is None:
        return documents
    labels = np.array(documents.labels)
    random = np.random.default_rng(seed)
    chosen = [random.permutation(np.flatnonzero(labels == label))[:count] for label in sorted(set(documents.labels))]
    return documents.take(np.sort(np.concatenate(chosen)).tolist())


def read_cases(
    mapping: dict[str, dict[str, Any]], files: Sequence[str | Path], count: int | None, *, labeled: bool = False
) -> dict[str, Case]:
    """Return the targets that a mapping names.

    Args:
        mapping: for each target the name of its `file`, the `labels` of its in-domain documents (possibly none), and optionally
            parts of `ids`, one of which an example's id must contain, and whether the labels are `loose`.
        files: the target files, or folders of them.
        count: examples used of each target, drawn by a seed; None for all.
        labeled: whether targets without labels are left out.
    """
    places = {source.path.name: source.path for source in find_sources([str(file) for file in files]).sources}
    cases = {}
    for name, case in mapping.items():
        if case["file"] not in places or (labeled and not case["labels"]):
            continue
        examples = read_texts([places[case["file"]]])
        parts = case.get("ids", [""])
        chosen = [n for n, own in enumerate(examples.ids) if any(part in own for part in parts)]
        if count is not None:
            chosen = sorted(np.random.default_rng(0).permutation(chosen)[:count].tolist())
        cases[name] = Case(examples.take(chosen), frozenset(case["labels"]), case.get("loose", False))
    if not cases:
        raise SystemExit(f"none of the files {', '.join(sorted(places))} is a target of the mapping")
    return cases
