"""Labeled documents, targets and their codes for quality.py: absolute and relative NAGs from one pass, kept in pieces on disk."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nagindex.backbone.load import Backbone, load_backbone
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources
from nagindex.encode.calibrate import mean_impacts
from nagindex.encode.encoder import Encoder, default_batch_tokens
from nagindex.encode.tokenize import tokenize
from nagindex.ingest.sample import sample_texts
from nagindex.nag import Codes, NagSpec
from nagindex.progress import step

HERE = Path(__file__).parent
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
        "default": HERE / "quality_targets.json",
        "help": "JSON: each target's file and in-domain labels",
    },
    "label": {"default": "dataset", "help": "column of the label"},
    "model": {"default": "smollm2", "help": "backbone"},
}
"""Options of the scripts that take a labeled pool."""
PIECE = 1024
MAX_LENGTH = 120
KINDS = ("absolute", "relative")


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
        labels: labels of the documents that belong to its domain.
        loose: whether those documents only resemble the examples, as the pool has no source of the target's own kind.
    """

    examples: Texts
    labels: frozenset[str]
    loose: bool = False


@dataclass(frozen=True)
class Encoded:
    """Codes of the pool and of each target, by kind of impact.

    Attributes:
        spec: shape of the NAGs.
        pool: uint16 [documents, L, K] by kind.
        targets: uint16 [examples, L, K] by kind, by target.
    """

    spec: NagSpec
    pool: dict[str, Codes]
    targets: dict[str, dict[str, Codes]]


def mapping_of(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the targets to rank for, see `read_cases`; under --quick the sample data's, whose places the arguments get."""
    if arguments.quick:
        arguments.pool, arguments.targets = [HERE.parent / "data" / "corpus"], [HERE.parent / "data" / "targets"]
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


def read_cases(mapping: dict[str, dict[str, Any]], files: Sequence[str | Path], count: int | None) -> dict[str, Case]:
    """Return the targets that a mapping names.

    Args:
        mapping: for each target the name of its `file`, the `labels` of its in-domain documents, and optionally parts of `ids`,
            one of which an example's id must contain, and whether the labels are `loose`.
        files: the target files, or folders of them.
        count: examples used of each target, drawn by a seed; None for all.
    """
    places = {source.path.name: source.path for source in find_sources([str(file) for file in files]).sources}
    cases = {}
    for name, case in mapping.items():
        if case["file"] not in places:
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


def token_ids(backbone: Backbone, texts: Sequence[str]) -> list[list[int]]:
    """Return the first 120 token ids of each text; a text without tokens reads as one padding token."""
    ids = tokenize(backbone.tokenizer, texts, max_length=MAX_LENGTH, count=False).ids
    return [row or [backbone.tokenizer.pad_token_id or 0] for row in ids]


class CodeCache:
    """A folder of codes that goes on where a stopped run ended.

    Args:
        folder: where the files are; one folder holds one pool, one set of targets and one model.
        model: name of the backbone.
        top_k: neurons kept of each layer.
    """

    def __init__(self, folder: Path, model: str, top_k: int) -> None:
        self.folder, self.model, self.top_k = folder, model, top_k
        folder.mkdir(parents=True, exist_ok=True)

    def require(self, documents: Texts, cases: dict[str, Case]) -> None:
        """Check that the folder is of these texts and this model, or note it down."""
        digest = hashlib.sha256()
        for part in (documents, *(case.examples for case in cases.values())):
            digest.update(json.dumps(dataclasses.astuple(part)).encode())
        now = {"model": self.model, "top_k": self.top_k, "texts": digest.hexdigest()}
        path = self.folder / "about.json"
        if not path.exists():
            path.write_text(json.dumps(now))
        elif json.loads(path.read_text()) != now:
            raise SystemExit(f"{self.folder} holds codes of other texts or of another model; give another --cache")

    def encode(self, documents: Texts, cases: dict[str, Case], pool: Sequence[str | Path], calibrate: int) -> None:
        """Encode what the folder lacks: the targets, then the pool in pieces of a random order."""
        order = pool_order(len(documents.ids))
        wanted = {f"target-{name}": case.examples.texts for name, case in cases.items()}
        for first in range(0, len(order), PIECE):
            wanted[f"pool-{first // PIECE:04}"] = documents.take(order[first : first + PIECE].tolist()).texts
        missing = [name for name in wanted if not self._path(name).exists()]
        if not missing:
            return
        backbone = load_backbone(self.model, device="cpu")
        size = default_batch_tokens(backbone)
        means = self.folder / "means.npy"
        if not means.exists():
            texts = sample_texts(find_sources([str(path) for path in pool]).sources, Columns(), count=calibrate)
            save(means, mean_impacts([backbone], token_ids(backbone, texts), batch_tokens=size)[0])
        views = [backbone, backbone.calibrated(np.load(means))]
        specs = [view.fingerprint(top_k=self.top_k, max_length=MAX_LENGTH).spec for view in views]
        (self.folder / "spec.json").write_text(json.dumps(dataclasses.asdict(specs[0])))
        encoder = Encoder(views, specs, size)
        with step("encoding", sum(len(wanted[name]) for name in missing), "texts") as advance:
            for name in missing:
                codes = encoder.encode(token_ids(backbone, wanted[name]))
                save(self._path(name), **dict(zip(KINDS, codes, strict=True)))
                advance(len(wanted[name]))

    def read(self, documents: Texts, cases: dict[str, Case]) -> Encoded:
        """Return all codes, the pool's in the documents' order."""
        fields = json.loads((self.folder / "spec.json").read_text())
        spec = NagSpec(**{**fields, "widths": tuple(fields["widths"])})
        order = pool_order(len(documents.ids))
        pool = {kind: np.empty((len(order), *spec.shape), np.uint16) for kind in KINDS}
        for first in range(0, len(order), PIECE):
            with np.load(self._path(f"pool-{first // PIECE:04}")) as piece:
                for kind in KINDS:
                    pool[kind][order[first : first + PIECE]] = piece[kind]
        targets = {}
        for name in cases:
            with np.load(self._path(f"target-{name}")) as piece:
                targets[name] = {kind: piece[kind] for kind in KINDS}
        return Encoded(spec, pool, targets)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace(', ', '-')}.npz"


def pool_order(documents: int) -> np.ndarray:
    """Return the order in which the pool is encoded: random, so that each part of it holds all labels."""
    return np.random.default_rng(0).permutation(documents)


def save(path: Path, array: np.ndarray | None = None, **arrays: np.ndarray) -> None:
    """Write an array as .npy, or several as .npz, whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        if array is None:
            np.savez(file, **arrays)
        else:
            np.save(file, array)
    temporary.replace(path)
