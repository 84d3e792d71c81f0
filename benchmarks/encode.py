"""Documents a second of NAG extraction, against the published pipeline's work and against a straightforward one with hooks.

    python -m benchmarks.encode --pool DIR [--quick] [--json FILE]
    python -m benchmarks.encode --device cuda --shape qwen3-1.7b        # on a GPU: texts of 120 tokens, in bfloat16

See peers.py for the two others. All three tokenize, run the model and end with lists
of the top K neurons in CPU memory, each in a process of its own, taking turns. The model is random: its weights do not matter
for time.
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
import transformers

from benchmarks.peers import MAX_LENGTH, SHAPES, published, straightforward, texts_of, trained_tokenizer
from benchmarks.report import emit, options
from nagindex.backbone import hooks
from nagindex.backbone.load import Backbone, wrap_model
from nagindex.encode import batch
from nagindex.encode.batch_size import measure_batch_tokens
from nagindex.encode.cpu_workers import keep_freed_memory
from nagindex.encode.encoder import Encoder, default_window
from nagindex.encode.tokenize import PrefixTokenizer

LONG = 120
DATA = Path(__file__).parent.parent / "data"

P, R = ParamSpec("P"), TypeVar("R")


def ours(encoder: Encoder, prefix_tokenizer: PrefixTokenizer, texts: Sequence[str]) -> np.ndarray:
    """Return the codes of the texts, window by window, as a build makes them."""
    window = default_window(encoder.backbones[0])
    parts = []
    for start in range(0, len(texts), window):
        ids = prefix_tokenizer(texts[start : start + window], max_length=MAX_LENGTH, count=False).ids
        parts.append(encoder.encode(ids)[0])
    return np.concatenate(parts)


@contextmanager
def timed_parts(encoder: Encoder, prefix_tokenizer: PrefixTokenizer, seconds: dict[str, float]) -> Iterator[Any]:
    """Add to `seconds` the time of tokenizing, the hooks, the top K and the model's forward pass without its hooks."""
    model = encoder.backbones[0].model
    device = model.device

    def clocked(name: str, function: Callable[P, R], inside: str | None = None) -> Callable[P, R]:
        def call(*args: P.args, **named: P.kwargs) -> R:
            started = now(device)
            try:
                return function(*args, **named)
            finally:
                taken = now(device) - started
                seconds[name] = seconds.get(name, 0.0) + taken
                if inside is not None:
                    seconds[inside] = seconds.get(inside, 0.0) - taken

        return call

    token_sums, top_k_of, forward = hooks.token_sums, batch.top_k_of, model.forward
    hooks.token_sums = clocked("magnitudes and sums", token_sums, inside="forward pass")
    batch.top_k_of = clocked("top K", top_k_of)
    model.forward = clocked("forward pass", forward)
    model.forward.__signature__ = inspect.signature(forward)
    try:
        yield clocked("tokenizing", prefix_tokenizer)
    finally:
        hooks.token_sums, batch.top_k_of = token_sums, top_k_of
        del model.forward


def now(device: torch.device) -> float:
    """Return the time at which a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def multiplications(backbone: Backbone) -> int:
    """Return the multiply-adds a token in the model's matrices up to the last hook, embeddings and attention scores aside."""
    layers = backbone.model.layers
    linear = [sum(m.weight.numel() for m in layer.modules() if isinstance(m, torch.nn.Linear)) for layer in layers]
    return sum(linear) - layers[-1].mlp.down_proj.weight.numel()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of a large matrix product in some type, measured here."""
    size = 8192 if device.type == "cuda" else 2048
    a = torch.randn(size, size, device=device, dtype=dtype)
    times = []
    for _ in range(8):
        started = now(device)
        a @ a
        times.append(now(device) - started)
    return 2 * size**3 / statistics.median(times[2:])


PIPELINES = ("published pipeline's work", "model with hooks", "nagindex")


def prepare(chosen: Any) -> tuple[dict[str, list[str]], Any, Backbone]:
    """Return the sets of texts, and the same random model as a causal language model and as a backbone."""
    count = documents(chosen)
    pool = texts_of(chosen.pool, 2_000 if chosen.quick else 30_000)
    examples = texts_of(chosen.examples, 30_000)
    tokenizer = trained_tokenizer(pool[: 200 if chosen.quick else 10_000], SHAPES[chosen.shape]["vocab_size"])
    long = [text for text in pool[: 4 * count] if len(tokenizer(text)["input_ids"]) >= LONG] or pool
    mixed = [text for pair in zip(pool, cycle(examples)) for text in pair]
    sets = {"mixed": mixed[:count], f"at least {LONG} tokens": list(islice(cycle(long), count))}
    torch.manual_seed(0)
    device = torch.device(chosen.device)
    config = transformers.Qwen3Config(**SHAPES[chosen.shape], pad_token_id=0)
    causal = transformers.Qwen3ForCausalLM(config).to(device=device, dtype=dtype_of(chosen)).eval()
    return sets, causal, wrap_model("random Qwen3", causal.model, tokenizer)


def documents(chosen: Any) -> int:
    """Return how many texts a round has."""
    return chosen.documents or (12 if chosen.quick else 256 if chosen.device == "cpu" else 16_384)


def dtype_of(chosen: Any) -> torch.dtype:
    """Return the floating-point type to measure."""
    name = chosen.dtype or ("fp32" if chosen.device == "cpu" else "bf16")
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]


def serve(chosen: Any) -> None:
    """Be one pipeline in a process of its own: for each set that is named on stdin, print what a pass over it took."""
    sets, causal, backbone = prepare(chosen)
    spec = backbone.fingerprint(max_length=MAX_LENGTH).spec
    work: Callable[[Sequence[str]], np.ndarray]
    encoder = prefix_tokenizer = None
    if chosen.serve == PIPELINES[2]:
        keep_freed_memory()
        budget = 1024 if chosen.quick else measure_batch_tokens([backbone], [spec], max_length=MAX_LENGTH)
        encoder, prefix_tokenizer = Encoder([backbone], [spec], budget), PrefixTokenizer(backbone.tokenizer)
        work = partial(ours, encoder, prefix_tokenizer)
    else:
        pipeline, model = (published, causal) if chosen.serve == PIPELINES[0] else (straightforward, backbone.model)
        work = partial(pipeline, model, backbone.tokenizer, k=spec.top_k)
    device = backbone.model.device
    for line in sys.stdin:
        name, wanted = json.loads(line)
        answer: dict[str, Any] = {}
        if wanted == "codes":  # which also warms up
            answer["codes"] = np.sort(work(sets[name])).tolist()
        elif wanted == "parts" and encoder is not None and prefix_tokenizer is not None:
            answer = parts_of(encoder, prefix_tokenizer, sets[name])
            answer |= {"matrix_rate": matrix_rate(device, dtype_of(chosen)), "budget": encoder.batch_tokens}
        started = now(device)
        work(sets[name])
        answer["seconds"] = now(device) - started
        print(json.dumps(answer), flush=True)


def parts_of(encoder: Encoder, prefix_tokenizer: PrefixTokenizer, texts: Sequence[str]) -> dict[str, Any]:
    """Return where the time of a pass goes, as shares, and the matrix operations a text."""
    seconds: dict[str, float] = {}
    backbone, workers = encoder.backbones[0], encoder._workers
    encoder._workers = None  # one batch at a time, so that the parts add up
    with timed_parts(encoder, prefix_tokenizer, seconds) as tokenize:
        started = now(backbone.model.device)
        ours(encoder, tokenize, texts)
        total = now(backbone.model.device) - started
    encoder._workers = workers
    seconds["batches, copies, rest"] = total - sum(seconds.values())
    tokens = np.minimum(prefix_tokenizer(texts, max_length=MAX_LENGTH).counts, MAX_LENGTH).mean()
    shares = {part: taken / total for part, taken in seconds.items()}
    return {"shares": shares, "operations": 2 * multiplications(backbone) * float(tokens), "tokens": float(tokens)}


def main() -> None:
    """Measure the three pipelines in turn, each in a process of its own, on mixed and on long texts."""
    chosen = options(
        __doc__.splitlines()[0],
        pool={"type": Path, "default": DATA / "corpus", "help": "folder of documents; by default the sample corpus"},
        examples={"type": Path, "default": DATA / "targets", "help": "folder of short texts, for mixed lengths"},
        device={"default": "cpu"},
        dtype={"default": None, "help": "fp32 or bf16; by default fp32 on a CPU, bf16 on a GPU"},
        shape={"default": "small", "choices": list(SHAPES)},
        documents={"type": int, "default": None, "help": "texts a round"},
        rounds={"type": int, "default": None},
        serve={"help": argparse.SUPPRESS},
    )
    if chosen.serve:
        serve(chosen)
        return
    rounds = chosen.rounds or (1 if chosen.quick else 5)
    command = [sys.executable, "-m", "benchmarks.encode", *sys.argv[1:]]
    processes = {
        name: subprocess.Popen([*command, "--serve", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in PIPELINES
    }

    def ask(name: str, *request: str) -> dict[str, Any]:
        process = processes[name]
        print(json.dumps(request), file=process.stdin, flush=True)
        return dict(json.loads(process.stdout.readline()))  # type: ignore[union-attr]

    rows, results = [], {}
    for texts in ("mixed", f"at least {LONG} tokens"):
        codes = {name: np.array(ask(name, texts, "codes")["codes"]) for name in PIPELINES}
        times: dict[str, list[float]] = {name: [] for name in PIPELINES}
        for _ in range(rounds):
            for name in PIPELINES:
                times[name].append(ask(name, texts, "seconds")["seconds"])
        rates = {name: documents(chosen) / statistics.median(taken) for name, taken in times.items()}
        for name, rate in rates.items():
            equal = f"{float((codes[name] == codes[PIPELINES[2]]).mean()):.4f}"
            rows.append([texts, name, f"{rate:.1f}", f"{rate / rates[PIPELINES[0]]:.2f}", equal])
        results[texts] = {"documents_per_second": rates, "seconds": times} | ask(PIPELINES[2], texts, "parts")
    for process in processes.values():
        process.communicate()
    emit(["texts", "pipeline", "documents/s", "of the published", "equal members"], rows, results, chosen.json)
    print(f"\n{chosen.shape}, {dtype_of(chosen)}, {chosen.device}, {documents(chosen)} texts, median of {rounds}")
    for texts, result in results.items():
        parts = ", ".join(f"{part} {share:.1%}" for part, share in result["shares"].items())
        reached = result["operations"] * result["documents_per_second"][PIPELINES[2]] / result["matrix_rate"]
        rate = f"{result['matrix_rate'] / 1e12:.2f} TFLOP/s of a large matrix product"
        print(
            f"{texts}: {result['tokens']:.0f} tokens a text, batches of {result['budget']}; {parts}; {reached:.0%} of {rate}"
        )


if __name__ == "__main__":
    main()
