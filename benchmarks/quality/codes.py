"""Codes and embeddings of labeled documents and targets, from one pass of a backbone, kept in pieces on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality.impacts import OF_GATE, STATES, batch_impacts, gate_of, run_batches, supported, token_ids
from benchmarks.quality.texts import Case, Texts
from nagindex.backbone.load import Backbone, load_backbone
from nagindex.encode.batch import top_k_of
from nagindex.nag import CODE_DTYPE, Codes, NagSpec, clip_top_k, impact_divisors
from nagindex.progress import step

PIECE = 512
TOP_K = 40
MAX_LENGTH = 120
KINDS = ("absolute", "relative")
IMPACTS = ("up",)


@dataclass(frozen=True)
class Encoded:
    """Codes and hidden states of the pool and of each target.

    Attributes:
        spec: shape of the NAGs.
        names: names of the impacts that there are codes of.
        parts: for "pool" and each target, arrays by name: codes uint16 [n, L, K] as "IMPACT, KIND", states float32 [n, hidden].
    """

    spec: NagSpec
    names: list[str]
    parts: dict[str, dict[str, np.ndarray]]

    def codes(self, part: str, kind: str, impact: str = "up") -> Codes:
        """Return the codes of the pool or of a target, uint16 [n, L, K]."""
        return self.parts[part][f"{impact}, {kind}"]


class CodeCache:
    """A folder of codes that goes on where a stopped run ended.

    Args:
        folder: where the files are; one folder holds one pool, one set of targets and one model.
        model: name of the backbone.
        impacts: names of impacts, of which a backbone may lack some.
        max_length: tokens read of each text.
        calibrate: documents of the pool that relative impact is calibrated on, drawn by a seed.
        load: loads the backbone by its name.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        impacts: Sequence[str] = IMPACTS,
        max_length: int = MAX_LENGTH,
        calibrate: int = 512,
        load: Callable[..., Backbone] = load_backbone,
    ) -> None:
        self.folder, self.model, self.impacts, self.load = folder, model, list(impacts), load
        self.max_length, self.calibrate = max_length, calibrate
        folder.mkdir(parents=True, exist_ok=True)

    def require(self, documents: Texts, cases: dict[str, Case]) -> None:
        """Check that the folder is of these texts, this model and these settings, or note it down."""
        digest = hashlib.sha256()
        for part in (documents, *(case.examples for case in cases.values())):
            digest.update(json.dumps(dataclasses.astuple(part)).encode())
        settings = {
            "model": self.model,
            "impacts": self.impacts,
            "tokens": self.max_length,
            "calibrate": self.calibrate,
        }
        now = settings | {"top_k": TOP_K, "texts": digest.hexdigest()}
        path = self.folder / "about.json"
        if not path.exists():
            path.write_text(json.dumps(now))
        elif json.loads(path.read_text()) != now:
            raise SystemExit(
                f"{self.folder} holds codes of other texts, settings or another model; give another --cache"
            )

    def encode(self, documents: Texts, cases: dict[str, Case]) -> None:
        """Encode what the folder lacks: the targets, then the pool in pieces of a random order."""
        order = pool_order(len(documents.ids))
        wanted = {f"target-{name}": case.examples.texts for name, case in cases.items()}
        for first in range(0, len(order), PIECE):
            wanted[f"pool-{first // PIECE:04}"] = documents.take(order[first : first + PIECE].tolist()).texts
        missing = [name for name in wanted if not self._path(name).exists()]
        if not missing:
            return
        backbone = self.load(self.model, device="cpu")
        names = supported(backbone, self.impacts)
        gate = gate_of(backbone) if any(name in OF_GATE for name in names) else None
        views = [backbone, *([gate] if gate else [])]
        top_k = clip_top_k(TOP_K, backbone.widths)
        fields = {"neuron_type": "up", "widths": backbone.widths, "top_k": top_k}
        (self.folder / "spec.json").write_text(json.dumps(fields | {"impacts": names}))
        means = self._means(views, names, documents.take(order[: self.calibrate].tolist()).texts)
        divisors = {
            name: [torch.from_numpy(own) for own in impact_divisors(means[name], backbone.widths)] for name in names
        }
        with step("encoding", sum(len(wanted[name]) for name in missing), "texts") as advance:
            for name in missing:
                save(self._path(name), **self._encoded(views, divisors, top_k, wanted[name]))
                advance(len(wanted[name]))

    def read(self, documents: Texts, cases: dict[str, Case]) -> Encoded:
        """Return all codes and states, the pool's in the documents' order."""
        fields = json.loads((self.folder / "spec.json").read_text())
        names = fields.pop("impacts")
        spec = NagSpec(**{**fields, "widths": tuple(fields["widths"])})
        order = pool_order(len(documents.ids))
        pool: dict[str, np.ndarray] = {}
        for first in range(0, len(order), PIECE):
            with np.load(self._path(f"pool-{first // PIECE:04}")) as piece:
                for key in piece.files:
                    own = piece[key]
                    whole = pool.setdefault(key, np.empty((len(order), *own.shape[1:]), own.dtype))
                    whole[order[first : first + PIECE]] = own
        parts = {"pool": pool}
        for name in cases:
            with np.load(self._path(f"target-{name}")) as piece:
                parts[name] = {key: piece[key] for key in piece.files}
        return Encoded(spec, names, parts)

    def _means(self, views: Sequence[Backbone], names: Sequence[str], texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return each impact's means over texts, float32 [L, max d_l], kept in the folder."""
        path = self.folder / "means.npz"
        if not path.exists():
            ids = token_ids(views[0], texts, self.max_length)
            widths = views[0].widths
            sums = {name: np.zeros((len(widths), max(widths))) for name in names}
            with step("calibrating", len(ids), "documents") as advance:
                for positions, impacts in run_batches(views, ids, partial(summed, names=names)):
                    for name in names:
                        for layer, own in enumerate(impacts[name]):
                            sums[name][layer, : len(own)] += own
                    advance(len(positions))
            save(path, **{name: (own / len(ids)).astype(np.float32) for name, own in sums.items()})
        with np.load(path) as kept:
            return {name: kept[name] for name in names}

    def _encoded(
        self, views: Sequence[Backbone], divisors: dict[str, list[torch.Tensor]], top_k: int, texts: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Return the codes and states of texts by name."""
        ids = token_ids(views[0], texts, self.max_length)
        found: dict[str, np.ndarray] = {}
        for positions, parts in run_batches(views, ids, partial(coded, divisors=divisors, top_k=top_k)):
            for key, own in parts.items():
                found.setdefault(key, np.empty((len(ids), *own.shape[1:]), own.dtype))[positions] = own
        return found

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace(', ', '-')}.npz"


def summed(
    views: Sequence[Backbone], rows: Sequence[Sequence[int]], names: Sequence[str]
) -> dict[str, list[np.ndarray]]:
    """Return the sums of a batch's impacts, float64 [d] of each layer, by name."""
    impacts, _ = batch_impacts(views, names, rows)
    return {name: [layer.sum(dim=0, dtype=torch.float64).numpy() for layer in own] for name, own in impacts.items()}


def coded(
    views: Sequence[Backbone], rows: Sequence[Sequence[int]], divisors: dict[str, list[torch.Tensor]], top_k: int
) -> dict[str, np.ndarray]:
    """Return a batch's codes, uint16 [batch, L, K], and states, float32 [batch, hidden], by name."""
    impacts, states = batch_impacts(views, list(divisors), rows)
    found = {f"state {name}": states[name].numpy() for name in STATES}
    for name, layers in impacts.items():
        found[f"{name}, absolute"] = top_k_of(layers, top_k).codes.numpy().view(CODE_DTYPE)
        relative = [layer / divisor for layer, divisor in zip(layers, divisors[name], strict=True)]
        found[f"{name}, relative"] = top_k_of(relative, top_k).codes.numpy().view(CODE_DTYPE)
    return found


def pool_order(documents: int) -> np.ndarray:
    """Return the order in which the pool is encoded: random, so that each part of it holds all labels."""
    return np.random.default_rng(0).permutation(documents)


def save(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as .npz, whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    temporary.replace(path)
