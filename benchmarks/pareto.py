"""Quality against cost: average precision over documents a second and bytes a document, for layers, K, lengths and types of numbers.

    python -m benchmarks.pareto --pool POOL --targets TARGETS --cache FOLDER [--documents N] [--quick] [--json FILE] [--plots FOLDER]

Rates are measured in this run, on some documents of the pool by turns: one encoding after the other, as many rounds as are told, so
that what else the machine does slows all of them alike; the median counts. Average precision (mean over the targets) is that of codes
of the whole pool. An encoding is on the front if none is faster and better. The second table has the best for a part of the paper's
cost; the folder keeps their rankings by the first half of the examples, which `benchmarks.pretrain` trains on. --quick uses the
project's sample data.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from nagindex.cli.tables import table

from benchmarks.fidelity import shared_members
from benchmarks.quality.arms import ProfileArm, neuron_counts
from benchmarks.quality.codes import IMPACTS, KINDS, CodeCache, Encoded, pool_order
from benchmarks.quality.impacts import PREFIXES, token_ids
from benchmarks.quality.metrics import figures
from benchmarks.quality.rankings import keep_rankings
from benchmarks.quality.texts import POOL_OPTIONS, Case, Texts, limit, mapping_of, read_cases, read_texts
from benchmarks.report import emit, options
from nagindex.backbone.load import Backbone, load_backbone, wrap_model
from nagindex.encode.encoder import Encoder, default_batch_tokens
from nagindex.progress import step
from nagindex.search.view import View
from nagindex.search.weights import Weighting

TYPES = ("float32", "bfloat16", "int8")
LENGTHS = PREFIXES
SHARES = (1, 2 / 3, 1 / 2, 1 / 3, 1 / 6)
CALIBRATE = 128
TOP_K = (3, 5, 10, 20, 40)
PAPER = ("absolute", "frequency", 20)
WAYS = (("relative", "frequency"), ("relative", "log-ratio:40"))
COSTS = (1, 1 / 2, 1 / 3, 1 / 10, 1 / 30)
"""Shares of the cost of the paper's setting for which the best encoding is named."""


@dataclass(frozen=True)
class Encoding:
    """What decides the cost of encoding.

    Attributes:
        model: name of the backbone, and after a comma the type of its weights unless that is float32.
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
    """Load a backbone in the type that its name ends in; int8 stands for linear layers in 8 bits, activations as they come."""
    name, _, dtype = model.partition(", ")
    if dtype != "int8":
        return load_backbone(name, device=device, dtype=dtype or "float32")
    backbone = load_backbone(name, device=device)
    quantized = torch.ao.quantization.quantize_dynamic(backbone.model, {torch.nn.Linear}, torch.qint8)
    return wrap_model(model, quantized, backbone.tokenizer, weights_hash="int8")


def codes_of(
    model: str, folder: Path, lengths: Sequence[int], documents: Texts, cases: dict[str, Case]
) -> dict[int, tuple[Encoded, str]]:
    """Return the codes of a model by the number of tokens, each with the name of its impact; encodes what is missing.

    One pass over the longest texts has those of all lengths where the model is causal.
    """
    names = {length: f"up, {length} tokens" for length in lengths}
    place = folder / model.replace(", ", "-")
    if loaded(model).causal:
        codes = kept(CodeCache(place, model, [*names.values()], max(lengths), CALIBRATE, loaded), documents, cases)
        return {length: (codes, name) for length, name in names.items()}
    return {
        length: (
            kept(CodeCache(place / f"{length}", model, IMPACTS, length, CALIBRATE, loaded), documents, cases),
            "up",
        )
        for length in lengths
    }


def kept(cache: CodeCache, documents: Texts, cases: dict[str, Case]) -> Encoded:
    """Return the codes that a folder keeps, after encoding what it lacks."""
    cache.require(documents, cases)
    cache.encode(documents, cases)
    return cache.read(documents, cases)


def arms_of(codes: Encoded, impact: str, view: View, kind: str, weights: str) -> Callable[[str], ProfileArm]:
    """Return what makes the ranking for a target, by its name."""
    pool, weighting = codes.codes("pool", kind, impact), Weighting.parse(weights)
    background = neuron_counts(view(pool), view.spec)
    return lambda target: ProfileArm(pool, codes.codes(target, kind, impact), view, background, weighting)


def precision(arms: Callable[[str], ProfileArm], cases: dict[str, Case], labels: np.ndarray) -> float:
    """Return the mean average precision over the targets."""
    found = []
    for target, case in cases.items():
        scores = arms(target).scores(np.ones(len(case.held_out), np.int64))
        found.append(figures(scores, np.isin(labels, sorted(case.labels)))[0])
    return float(np.mean(found))


def best_by_cost(points: Sequence[Point], peer: Point) -> dict[float, Point]:
    """Return the most precise relative point at each share of the peer's cost, for those that some point is fast enough for."""
    found = {}
    for cost in COSTS:
        fast = [p for p in points if p.kind == "relative" and p.rate * cost >= peer.rate]
        if fast:
            found[cost] = max(fast, key=lambda p: (p.precision, p.rate))
    return found


def rankings_of(
    points: Sequence[Point], codes: dict[str, dict[int, tuple[Encoded, str]]], cases: dict[str, Case]
) -> dict[str, np.ndarray]:
    """Return the rankings of some points by the examples that are not held out, int32 [documents], by "TARGET|POINT"."""
    found = {}
    for point in points:
        encoded, impact = codes[point.encoding.model][point.encoding.tokens]
        view = View(encoded.spec, tuple(range(point.encoding.layers)), point.top_k)
        arms = arms_of(encoded, impact, view, point.kind, point.weights)
        for target, case in cases.items():
            scores = arms(target).scores((~case.held_out).astype(np.int64))
            found[f"{target}|{point.name}"] = np.argsort(-scores, kind="stable").astype(np.int32)
    return found


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
                    value = precision(arms_of(encoded, impact, view, kind, weights), cases, labels)
                    yield Point(encoding, kind, weights, top_k, value, speed[encoding], view.spec.bytes_per_document)
            advance(1)


def main() -> None:
    """Encode what is missing, measure rates, score and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **{name: own for name, own in POOL_OPTIONS.items() if name != "model"},
        models={"nargs": "+", "default": ["smollm2", "minilm"], "help": "backbones"},
        lengths={
            "nargs": "+",
            "type": int,
            "choices": LENGTHS,
            "default": LENGTHS,
            "help": "tokens read of a document",
        },
        types={"nargs": "+", "choices": TYPES, "default": ["float32"], "help": "types of the backbones' weights"},
        cache={"type": Path, "help": "folder that keeps codes and rankings"},
        timed={"type": int, "default": 64, "help": "documents that rates are measured on"},
        rounds={"type": int, "default": 3, "help": "rounds of the measurement"},
        plots={"type": Path, "help": "folder for plots (SVG)"},
    )
    mapping = mapping_of(arguments)
    if arguments.quick:
        arguments.models, arguments.types, arguments.documents = ["minilm"], ["float32", "int8"], 8
        arguments.lengths, arguments.timed, arguments.rounds = (32, 120), 8, 1
    models = [name if own == "float32" else f"{name}, {own}" for own in arguments.types for name in arguments.models]
    documents = limit(read_texts(arguments.pool, arguments.label), arguments.documents)
    cases = read_cases(mapping, arguments.targets, arguments.examples, labeled=True)
    labels = np.array(documents.labels)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.cache or Path(temporary)
        codes = {model: codes_of(model, folder, arguments.lengths, documents, cases) for model in models}
        encodings = [
            Encoding(model, count, tokens)
            for model in models
            for count in layer_counts(len(loaded(model).widths))
            for tokens in arguments.lengths
        ]
        sample = documents.take(pool_order(len(documents.ids))[: arguments.timed].tolist()).texts
        measured = rates(encodings, sample, arguments.rounds)
        speed = {encoding: statistics.median(own) for encoding, own in measured.items()}
        points = with_front(
            [point for model in models for point in points_of(model, codes[model], cases, labels, speed)]
        )
        peer = paper_of(points)
        best = best_by_cost(points, peer)
        if arguments.cache is not None:
            kept = list(dict.fromkeys([peer, *best.values()]))
            keep_rankings(folder, documents, cases, rankings_of(kept, codes, cases))
    members = {
        model: shares_kept(codes[model.partition(", ")[0]], codes[model])
        for model in models
        if model.partition(", ")[0] in models and ", " in model
    }
    about = {"documents": len(documents.ids), "targets": list(cases), "timed": arguments.timed, "members_kept": members}
    for model, own in members.items():
        print(f"{model}: {own} of the members are those of float32")
    if arguments.plots:
        from benchmarks.quality.plots import plot_front

        plot_front(points, arguments.plots / "pareto.svg")
    report(points, peer, best, about, arguments.json)


def shares_kept(plain: dict[int, tuple[Encoded, str]], other: dict[int, tuple[Encoded, str]]) -> dict[str, float]:
    """Return the share of members of the pool's codes that another type of weights keeps, K = 20, for each kind of impact."""
    length = max(set(plain) & set(other))
    parts = [own[length] for own in (plain, other)]
    return {
        kind: shared_members(*(codes.codes("pool", kind, impact)[:200, :, :20] for codes, impact in parts))
        for kind in KINDS
    }


def paper_of(points: Sequence[Point]) -> Point:
    """Return the paper's setting: absolute impact of all layers and 120 tokens, of SmolLM2 in float32 if it is there."""
    own = [p for p in points if p.kind == "absolute" and p.encoding.tokens == 120 and ", " not in p.encoding.model]
    return max(own, key=lambda p: (p.encoding.model == "smollm2", p.encoding.layers))


def report(
    points: list[Point], peer: Point, best: dict[float, Point], about: dict[str, object], path: Path | None
) -> None:
    """Print the front and the best for parts of the cost, and write all points."""

    def row(point: Point) -> list[str]:
        times = point.rate / peer.rate
        return [point.name, f"{point.rate:.1f}", f"{times:.2f}", f"{point.bytes:,}", f"{point.precision:.3f}"]

    headings = ["encoding and scoring", "documents/s", "times the paper's", "bytes/document", "AP"]
    print(table(["cost", *headings], [[f"{cost:.2f}", *row(p)] for cost, p in best.items()]), end="\n\n")
    records = [{"name": p.name} | vars(p) | {"encoding": vars(p.encoding)} for p in points]
    found = {"points": records, "peer": peer.name, "best": {f"{cost:.3f}": p.name for cost, p in best.items()}}
    rows = [[*row(p), "front" if p.front else "the paper's"] for p in points if p.front or p == peer]
    emit([*headings, ""], rows, about | found, path)


if __name__ == "__main__":
    main()
