"""Settings of relative impact: the size of the floor and of the calibration, by average precision and by equality of precisions.

    python -m benchmarks.quality.calibration --pool POOL --targets TARGETS --model smollm2 --cache FOLDER [--quick] [--json FILE]

On a part of the labeled pool of `benchmarks.quality`: average precision of relative codes (mean over the targets; plain and log-ratio) for
floors of 0 to 0.2 times the layer's average mean and for calibrations on 32 documents to all, and the share of NAG members that bf16
and fp32 have in common, each calibrated in its own dtype. --cache keeps the impacts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.fidelity import shared_members
from benchmarks.quality.arms import WEIGHTS, ProfileArm, neuron_counts
from benchmarks.quality.codes import MAX_LENGTH, pool_order
from benchmarks.quality.impacts import token_ids
from benchmarks.quality.metrics import figures
from benchmarks.quality.texts import POOL_OPTIONS, Case, Texts, mapping_of, read_cases, read_texts
from benchmarks.report import emit, options
from nagindex.backbone.load import Backbone, load_backbone
from nagindex.encode.batch import pad, top_k_of
from nagindex.encode.encoder import default_batch_tokens, length_sorted_batches
from nagindex.nag import FLOOR, Codes, NagSpec
from nagindex.progress import step
from nagindex.search.view import View
from nagindex.search.weights import Weighting

FLOORS = (0.0, 0.05, 0.1, 0.2)
SIZES = (32, 128, 512)
TOP_K = 20


def impacts_of_texts(backbone: Backbone, texts: Sequence[str]) -> np.ndarray:
    """Return impacts, float32 [n, L, d] for layers of one width."""
    ids = token_ids(backbone, texts, MAX_LENGTH)
    batches = length_sorted_batches([len(row) for row in ids], batch_tokens=default_batch_tokens(backbone))
    found = np.empty((len(ids), len(backbone.widths), backbone.widths[0]), np.float32)
    with step("reading impacts", len(ids), "texts") as advance:
        for positions in batches:
            rows = [ids[position] for position in positions]
            layers = backbone.impacts(*pad(rows, backbone.tokenizer.pad_token_id or 0))
            found[positions] = torch.stack(layers, dim=1).numpy()
            advance(len(positions))
    return found


def divisors(impacts: np.ndarray, floor: float) -> np.ndarray:
    """Return what impacts are divided by, float32 [L, d]: means over these documents plus a floor."""
    means = impacts.mean(axis=0, dtype=np.float64)
    return np.asarray(means + floor * means.mean(axis=1, keepdims=True), np.float32)


def codes_of(impacts: np.ndarray, divisor: np.ndarray | None, k: int = TOP_K) -> Codes:
    """Return the codes of impacts [n, L, d], uint16 [n, L, k], relative where a divisor [L, d] is given."""
    parts = []
    for layer in range(impacts.shape[1]):
        own = impacts[:, layer].astype(np.float32)
        if divisor is not None:
            # a neuron that is silent in the whole calibration ranks by its impact alone
            own = own / np.where(divisor[layer] > 0, divisor[layer], 1)
        parts.append(top_k_of([torch.from_numpy(own)], k).codes.numpy().view(np.uint16))
    return np.concatenate(parts, axis=1)


def precisions(
    pool: np.ndarray, targets: dict[str, np.ndarray], divisor: np.ndarray | None, relevant: dict[str, np.ndarray]
) -> tuple[float, float]:
    """Return mean average precision over the targets of codes with these divisors, plain and log-ratio."""
    codes = codes_of(pool, divisor)
    spec = NagSpec("up", (pool.shape[2],) * pool.shape[1], TOP_K)
    background, view = neuron_counts(codes, spec), View.of(spec)
    found = []
    for name, impacts in targets.items():
        examples, once = codes_of(impacts, divisor), np.ones(len(impacts), np.int64)
        weightings = [Weighting.parse(WEIGHTS[name]) for name in ("plain", "log-ratio")]
        arms = [ProfileArm(codes, examples, view, background, weighting) for weighting in weightings]
        found.append([figures(arm.scores(once), relevant[name])[0] for arm in arms])
    plain, ratio = np.mean(found, axis=0)
    return float(plain), float(ratio)


def read_impacts(folder: Path, model: str, documents: Texts, cases: dict[str, Case]) -> dict[str, np.ndarray]:
    """Return impacts of the documents ("pool") and of each target's examples, float16 [n, L, d], kept in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone, found = None, {}
    for name, texts in {"pool": documents, **{name: case.examples for name, case in cases.items()}}.items():
        path = folder / f"impacts-{name.replace(', ', '-')}-{len(texts.ids)}.npy"
        if not path.exists():
            backbone = backbone or load_backbone(model, device="cpu")
            np.save(path, impacts_of_texts(backbone, texts.texts).astype(np.float16))
        found[name] = np.load(path)
    return found


def equality(model: str, texts: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield shares of NAG members that bf16 and fp32 have in common: absolute, and relative with each floor."""
    both = [impacts_of_texts(load_backbone(model, device="cpu", dtype=dtype), texts) for dtype in ("bf16", "fp32")]
    yield "absolute", shared_members(*(codes_of(own, None) for own in both))
    for floor in FLOORS:
        yield f"floor {floor:g}", shared_members(*(codes_of(own, divisors(own, floor)) for own in both))


def main() -> None:
    """Measure floors, sizes and precisions, and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **POOL_OPTIONS
        | {
            "documents": {"type": int, "default": 3000, "help": "documents of the pool, drawn by a seed"},
            "examples": {"type": int, "default": 300, "help": "examples of each target, drawn by a seed"},
        },
        compared={"type": int, "default": 500, "help": "documents on which bf16 and fp32 are compared"},
        cache={"type": Path, "help": "folder that keeps the impacts"},
    )
    mapping = mapping_of(arguments)
    if arguments.quick:
        arguments.compared = 40
    documents = read_texts(arguments.pool, arguments.label)
    documents = documents.take(np.sort(pool_order(len(documents.ids))[: arguments.documents]).tolist())
    cases = read_cases(mapping, arguments.targets, arguments.examples, labeled=True)
    labels = np.array(documents.labels)
    relevant = {name: np.isin(labels, sorted(case.labels)) for name, case in cases.items()}
    with tempfile.TemporaryDirectory() as folder:
        targets = read_impacts(arguments.cache or Path(folder), arguments.model, documents, cases)
    pool = targets.pop("pool")
    shuffled = pool_order(len(pool))
    settings = {"absolute": None} | {f"floor {floor:g}": divisors(pool, floor) for floor in FLOORS}
    for size in SIZES:
        settings[f"floor {FLOOR:g}, calibrated on {size}"] = divisors(pool[np.sort(shuffled[:size])], float(FLOOR))
    found = {name: precisions(pool, targets, divisor, relevant) for name, divisor in settings.items()}
    compared = np.sort(shuffled[: arguments.compared]).tolist()
    equal = dict(equality(arguments.model, documents.take(compared).texts))
    rows = [
        [name, *(f"{value:.3f}" for value in values), f"{equal[name]:.2%}" if name in equal else ""]
        for name, values in found.items()
    ]
    headings = ["relative impact", "AP, plain", "AP, log-ratio", "equal members, bf16 and fp32"]
    about = {"model": arguments.model, "documents": len(pool), "examples": {n: len(own) for n, own in targets.items()}}
    about |= {"compared": len(compared), "average_precision": found, "equal_members": equal}
    emit(headings, rows, about, arguments.json)


if __name__ == "__main__":
    main()
