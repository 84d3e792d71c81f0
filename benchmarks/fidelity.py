"""Fidelity of lower precision: NAGs, scores and selections of each dtype and attention against float32.

    python -m benchmarks.fidelity --pool DIR --targets FILE [--quick] [--json FILE]

For all-MiniLM-L6-v2 and randomly initialized models: the share of NAG members that float32 with the default attention has too, the
Spearman correlation of the documents' scores, and the overlap of the selected 20 % of the documents. The peer is float32 with another
attention implementation, which differs only by rounding.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from scipy.stats import spearmanr

from benchmarks.peers import SHAPES, texts_of, trained_tokenizer
from benchmarks.report import emit, options
from nagindex.backbone.load import Backbone, load_backbone
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources
from nagindex.encode.encoder import encode_ids
from nagindex.encode.tokenize import tokenize
from nagindex.nag import Codes

DATA = Path(__file__).parent.parent / "data"
VARIANTS = [
    ("fp32", "sdpa"),
    ("fp32", "eager"),
    ("bf16", "sdpa"),
    ("bf16", "eager"),
    ("fp16", "sdpa"),
    ("fp16", "eager"),
]
SHARE = 0.2


def random_models(tokenizer: Any) -> dict[str, Any]:
    """Return randomly initialized models of three architectures, in float32."""
    shape = {**SHAPES["small"], "vocab_size": len(tokenizer), "num_hidden_layers": 4, "hidden_size": 128}
    shape |= {"intermediate_size": 384, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    gated = {**shape, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    configs = {
        "random Qwen3": transformers.Qwen3Config(**gated),
        "random Llama": transformers.LlamaConfig(**gated),
        "random SmolLM3": transformers.SmolLM3Config(**gated),
    }
    torch.manual_seed(0)
    return {name: transformers.AutoModel.from_config(config) for name, config in configs.items()}


def scores_of(pool: Codes, targets: Codes, widths: Sequence[int]) -> np.ndarray:
    """Return each document's similarity to the profile of the targets, int64 [n], in counts."""
    total = np.zeros(len(pool), np.int64)
    for layer, width in enumerate(widths):
        total += np.bincount(targets[:, layer].ravel(), minlength=width)[pool[:, layer]].sum(axis=1)
    return total


def shared_members(codes: Codes, others: Codes) -> float:
    """Return the share of NAG members, over all documents and layers, that the other codes [n, L, K] contain too."""
    lists = 65_536 * np.arange(codes.shape[0] * codes.shape[1]).reshape(codes.shape[0], codes.shape[1], 1)
    return float(np.isin(codes + lists, others + lists).mean())


def best(scores: np.ndarray) -> set[int]:
    """Return the positions of the best 20 %, ties to the lower position."""
    return set(np.argsort(-scores, kind="stable")[: int(SHARE * len(scores))].tolist())


def encoded(backbone: Backbone, texts: Sequence[str]) -> Codes:
    """Return the texts' codes."""
    spec = backbone.fingerprint().spec
    ids = [row or [0] for row in tokenize(backbone.tokenizer, texts, max_length=120, count=False).ids]
    return encode_ids(backbone, ids, spec, batch_tokens=2048 if backbone.model.device.type == "cpu" else 65536)


def variants(place: str, device: str) -> Iterator[tuple[str, str, Backbone]]:
    """Yield (dtype, attention, backbone) of one model, each loaded from disk as a build loads it."""
    for dtype, attention in VARIANTS:
        yield dtype, attention, load_backbone(place, device=device, dtype=dtype, attention=attention)


def main() -> None:
    """Encode pool and targets with every variant, and compare."""
    chosen = options(
        __doc__.splitlines()[0],
        pool={"type": Path, "default": DATA / "corpus", "help": "folder of documents; by default the sample corpus"},
        targets={"type": Path, "default": DATA / "targets", "help": "file or folder of examples"},
        device={"default": "cpu"},
        documents={"type": int, "default": None},
    )
    count = chosen.documents or (40 if chosen.quick else 300)
    pool = texts_of(chosen.pool, count)
    examples = [d.text for source in find_sources(chosen.targets).sources for d in read_documents(source) if d.text]
    examples = examples[: 10 if chosen.quick else 100]
    tokenizer = trained_tokenizer(texts_of(chosen.pool, 500 if chosen.quick else 10_000), 32_000)
    places = {"all-MiniLM-L6-v2": "minilm"}
    folder = tempfile.TemporaryDirectory()
    for name, model in random_models(tokenizer).items():
        places[name] = str(Path(folder.name, name))
        model.save_pretrained(places[name])
        tokenizer.save_pretrained(places[name])
    rows, results = [], {}
    for name, place in list(places.items())[: 2 if chosen.quick else None]:
        first: tuple[Codes, np.ndarray] | None = None
        for dtype, attention, backbone in variants(place, chosen.device):
            codes = encoded(backbone, pool + examples)
            spec = backbone.fingerprint().spec
            scores = scores_of(codes[: len(pool)], codes[len(pool) :], spec.widths)
            first = first or (codes, scores)
            members = shared_members(codes, first[0])
            agreement = {
                "members": members,
                "spearman": float(spearmanr(scores, first[1]).statistic),
                "selected": len(best(scores) & best(first[1])) / len(best(scores)),
            }
            results[f"{name} {dtype} {attention}"] = agreement
            rows.append([name, dtype, attention, *(f"{agreement[k]:.4f}" for k in ("members", "spearman", "selected"))])
            print("  ".join(rows[-1]), flush=True)
    print()
    headings = ["model", "dtype", "attention", "equal members", "Spearman", "same selected 20 %"]
    folder.cleanup()
    emit(headings, rows, {"variants": results, "documents": len(pool), "targets": len(examples)}, chosen.json)


if __name__ == "__main__":
    main()
