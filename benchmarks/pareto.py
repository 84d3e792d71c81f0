"""Quality against cost: average precision over documents a second and bytes a document, for layers, K, lengths and types of numbers.

    python -m benchmarks.pareto --pool POOL --targets TARGETS --cache FOLDER [--documents N] [--quick] [--json FILE] [--plots FOLDER]

Rates are measured in this run, on some documents of the pool by turns: one encoding after the other, as many rounds as are told, so
that what else the machine does slows all of them alike; the median counts. Average precision (mean over the targets) is that of codes
of the whole pool. An encoding is on the front if none is faster and better. --quick uses the project's sample data.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.fidelity import shared_members
from benchmarks.quality.arms import ProfileArm, neuron_counts
from benchmarks.quality.codes import IMPACTS, KINDS, CodeCache, Encoded, pool_order
from benchmarks.quality.impacts import PREFIXES, token_ids
from benchmarks.quality.metrics import figures
from benchmarks.quality.texts import POOL_OPTIONS, Case, Texts, limit, mapping_of, read_cases, read_texts
from benchmarks.report import emit, options
from nagindex.backbone.load import Backbone, load_backbone, wrap_model
from nagindex.encode.encoder import Encoder, default_batch_tokens
from nagindex.progress import step
from nagindex.search.view import View
from nagindex.search.weights import Weighting

INT8 = ", int8"
LENGTHS = PREFIXES
SHARES = (1, 2 / 3, 1 / 2, 1 / 3, 1 / 6)
CALIBRATE = 128
TOP_K = (3, 5, 10, 20, 40)
PAPER = ("absolute", "frequency", 20)
WAYS = (("relative", "frequency"), ("relative", "log-ratio:40"))


@dataclass(frozen=True)
class Encoding:
    """What decides the cost of encoding.

    Attributes:
        model: name of the backbone, ending in `INT8` if its linear layers are quantized.
        layers: layers from the first one on.
        tokens: tokens read of a document.
    """

    model: str
    layers: int
    tokens: int


@dataclass(frozen=True)
class Point:
    """An encoding with K and a way to score: its quality, speed and size."""

    encoding: Encoding
    kind: str
    weights: str
    top_k: int
    precision: float
    rate: float
    bytes: int
    front: bool = False

    @property
    def name(self) -> str:
        """The settings in words."""
        own = self.encoding
        return f"{own.model}, {own.layers} layers, {own.tokens} tokens, K = {self.top_k}, {self.kind}, {self.weights}"


@cache
def loaded(model: str, device: str = "cpu") -> Backbone:
    """Load a backbone; quantize its linear layers to 8 bits, activations as they come, if its name says so."""
    backbone = load_backbone(model.removesuffix(INT8), device=device)
    if not model.endswith(INT8):
        return backbone
    quantized = torch.ao.quantization.quantize_dynamic(backbone.model, {torch.nn.Linear}, torch.qint8)
    return wrap_model(model, quantized, backbone.tokenizer, weights_hash="int8")


def codes_of(model: str, folder: Path, documents: Texts, cases: dict[str, Case]) -> dict[int, tuple[Encoded, str]]:
    """Return the codes of a model by the number of tokens, each with the name of its impact; encodes what is missing.

    One pass over the longest texts has those of all lengths where the model is causal.
    """
    names = {length: f"up, {length} tokens" for length in LENGTHS}
    place = folder / model.replace(INT8, "-int8")
    if loaded(model).causal:
        codes = kept(CodeCache(place, model, [*names.values()], max(LENGTHS), CALIBRATE, loaded), documents, cases)
        return {length: (codes, name) for length, name in names.items()}
    return {
        length: (
            kept(CodeCache(place / f"{length}", model, IMPACTS, length, CALIBRATE, loaded), documents, cases),
            "up",
        )
        for length in LENGTHS
    }


def kept(cache: CodeCache, documents: Texts, cases: dict[str, Case]) -> Encoded:
    """Return the codes that a folder keeps, after encoding what it lacks."""
    cache.require(documents, cases)
    cache.encode(documents, cases)
    return cache.read(documents, cases)


def precision(
    codes: Encoded, impact: str, kind: str, weights: str, view: View, cases: dict[str, Case], labels: np.ndarray
) -> float:
    """Return the mean average precision over the targets."""
    pool = codes.codes("pool", kind, impact)
    background = neuron_counts(view(pool), view.spec)
    found = []
    for target, case in cases.items():
        examples = codes.codes(target, kind, impact)
        arm = ProfileArm(pool, examples, view, background, Weighting.parse(weights))
        found.append(figures(arm.scores(np.ones(len(examples), np.int64)), np.isin(labels, sorted(case.labels)))[0])
    return float(np.mean(found))


def layer_counts(layers: int) -> list[int]:
    """Return numbers of layers to keep, without repetitions."""
    return list(dict.fromkeys(max(1, round(share * layers)) for share in SHARES))


def rates(encodings: Sequence[Encoding], texts: Sequence[str], rounds: int) -> dict[Encoding, list[float]]:
    """Return each encoding's documents a second in each round, tokenization included."""
    found: dict[Encoding, list[float]] = {encoding: [] for encoding in encodings}
    encoders = {encoding: encoder_of(encoding) for encoding in encodings}
    for encoding in encodings:
        encoders[encoding].encode(token_ids(loaded(encoding.model), texts[:4], encoding.tokens))  # warm-up
    with step("measuring rates", rounds * len(encodings), "encodings") as advance:
        for _ in range(rounds):
            for encoding in encodings:
                started = time.perf_counter()
                encoders[encoding].encode(token_ids(loaded(encoding.model), texts, encoding.tokens))
                found[encoding].append(len(texts) / (time.perf_counter() - started))
                advance(1)
    return found


def encoder_of(encoding: Encoding) -> Encoder:
    """Return the encoder of absolute NAGs; relative ones cost a division more."""
    backbone = loaded(encoding.model).of_layers(tuple(range(encoding.layers)))
    spec = backbone.fingerprint(top_k=20, max_length=encoding.tokens).spec
    return Encoder([backbone], [spec], default_batch_tokens(backbone))


def with_front(points: list[Point]) -> list[Point]:
    """Return the points, fastest first, those marked that no point is at least as fast and better than."""
    marked, best = [], -1.0
    for point in sorted(points, key=lambda p: (-p.rate, -p.precision)):
        front = point.precision > best
        best = max(best, point.precision)
        marked.append(dataclasses.replace(point, front=front))
    return marked


def points_of(
    model: str,
    codes: dict[int, tuple[Encoded, str]],
    cases: dict[str, Case],
    labels: np.ndarray,
    speed: dict[Encoding, float],
) -> Iterator[Point]:
    """Yield all points of a model: every length, number of layers and K of relative impact, and the paper's setting."""
    with step(f"scoring {model}", len(codes), "lengths") as advance:
        for tokens, (encoded, impact) in codes.items():
            for layers in layer_counts(encoded.spec.layers):
                encoding = Encoding(model, layers, tokens)
                ways = [(kind, weights, k) for kind, weights in WAYS for k in TOP_K if k <= encoded.spec.top_k]
                for kind, weights, top_k in [*ways, PAPER]:
                    view = View(encoded.spec, tuple(range(layers)), top_k)
                    value = precision(encoded, impact, kind, weights, view, cases, labels)
                    yield Point(encoding, kind, weights, top_k, value, speed[encoding], view.spec.bytes_per_document)
            advance(1)


def main() -> None:
    """Encode what is missing, measure rates, score and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **{name: own for name, own in POOL_OPTIONS.items() if name != "model"},
        models={"nargs": "+", "default": ["smollm2", "minilm"], "help": "backbones"},
        int8={"action": "store_true", "help": "also the backbones with linear layers quantized to 8 bits"},
        cache={"type": Path, "help": "folder that keeps codes"},
        timed={"type": int, "default": 64, "help": "documents that rates are measured on"},
        rounds={"type": int, "default": 3, "help": "rounds of the measurement"},
        plots={"type": Path, "help": "folder for plots (SVG)"},
    )
    models = (
        ["minilm"]
        if arguments.quick
        else [*arguments.models, *(name + INT8 for name in arguments.models if arguments.int8)]
    )
    mapping = mapping_of(arguments)
    if arguments.quick:
        arguments.timed, arguments.rounds = 16, 1
    documents = limit(read_texts(arguments.pool, arguments.label), arguments.documents)
    cases = read_cases(mapping, arguments.targets, arguments.examples, labeled=True)
    labels = np.array(documents.labels)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.cache or Path(temporary)
        codes = {model: codes_of(model, folder, documents, cases) for model in models}
    layers = {model: len(loaded(model).widths) for model in models}
    encodings = [
        Encoding(model, count, tokens)
        for model in models
        for count in layer_counts(layers[model])
        for tokens in LENGTHS
    ]
    sample = documents.take(pool_order(len(documents.ids))[: arguments.timed].tolist()).texts
    measured = rates(encodings, sample, arguments.rounds)
    speed = {encoding: statistics.median(own) for encoding, own in measured.items()}
    points = with_front([point for model in models for point in points_of(model, codes[model], cases, labels, speed)])
    members = {model: shares_kept(codes[model], codes[model + INT8]) for model in models if model + INT8 in codes}
    for model, own in members.items():
        print(f"{model}: {own} of the members are the same with linear layers in int8")
    report(points, members, documents, cases, arguments)


def shares_kept(plain: dict[int, tuple[Encoded, str]], quantized: dict[int, tuple[Encoded, str]]) -> dict[str, float]:
    """Return the share of members of the pool's codes that quantization keeps, K = 20, for each kind of impact."""
    length = max(set(plain) & set(quantized))
    parts = [own[length][0] for own in (plain, quantized)]
    return {kind: shared_members(*(part.codes("pool", kind)[:200, :, :20] for part in parts)) for kind in KINDS}


def report(
    points: list[Point], kept: dict[str, dict[str, float]], documents: Texts, cases: dict[str, Case], arguments: Any
) -> None:
    """Print the front and the paper's setting, and write all points."""
    paper = [
        p for p in points if p.kind == "absolute" and p.encoding.tokens == 120 and not p.encoding.model.endswith(INT8)
    ]
    peer = max(paper, key=lambda p: (p.encoding.model == "smollm2", p.encoding.layers))
    rows = [
        [
            p.name,
            f"{p.rate:.1f}",
            f"{p.rate / peer.rate:.2f}",
            f"{p.bytes:,}",
            f"{p.precision:.3f}",
            "front" if p.front else "",
        ]
        for p in points
        if p.front or p == peer
    ]
    records = [{"name": p.name} | vars(p) | {"encoding": vars(p.encoding)} for p in points]
    about = {"documents": len(documents.ids), "targets": list(cases), "timed": arguments.timed, "members_kept": kept}
    if arguments.plots:
        from benchmarks.quality.plots import plot_front

        plot_front(points, arguments.plots / "pareto.svg")
    headings = ["encoding and scoring", "documents/s", "times the paper's", "bytes/document", "AP", ""]
    emit(headings, rows, about | {"points": records}, arguments.json)


if __name__ == "__main__":
    main()
