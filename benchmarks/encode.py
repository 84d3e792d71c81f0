"""Documents a second of NAG extraction, against the published pipeline's work and against a straightforward one with hooks.

    python benchmarks/encode.py --pool DIR [--quick] [--json FILE]
    python benchmarks/encode.py --device cuda --shape qwen3-1.7b        # on a GPU: texts of 120 tokens, in bfloat16

The published pipeline is re-enacted with plain transformers: a causal language model with logits at every position, the up
projection applied twice, impacts of all six neuron types, batches of 8 in the order of the input. The straightforward one is the
model without its head, hooks on the up projections, the same batches. All three tokenise, run the model and end with lists
of the top K neurons in CPU memory. The model is random: its weights do not matter for time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from report import emit, options
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from nagindex import encode, taps
from nagindex.backbone import Backbone, tap_model
from nagindex.corpus import find_sources, read_documents
from nagindex.encode import Encoder, default_window
from nagindex.tokenise import Tokeniser
from nagindex.tuning import measured_batch_tokens

MAX_LENGTH, LONG, BATCH = 120, 120, 8
SHAPES = {
    "small": {
        "vocab_size": 32_000,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "qwen3-1.7b": {
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
    },
}
SAMPLE = Path(__file__).parent.parent / "data" / "corpus"


def texts_of(pool: Path, count: int) -> list[str]:
    """Return texts from all sources of a pool, mixed, the same ones on every call."""
    texts = [d.text for source in find_sources(pool).sources for d in read_documents(source) if d.text]
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order[:count]]


def trained_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """Return a byte-level BPE tokenizer with at most so many tokens, trained on some texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|pad|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>")


def batches_of_eight(tokenizer: Any, texts: Sequence[str], device: torch.device) -> Iterator[Any]:
    """Yield the texts' first 120 tokens in padded batches of 8, in the order of the input."""
    for start in range(0, len(texts), BATCH):
        rows = list(texts[start : start + BATCH])
        settings = {"truncation": True, "max_length": MAX_LENGTH, "padding": True, "add_special_tokens": False}
        yield tokenizer(rows, return_tensors="pt", **settings).to(device)


def published(model: Any, tokenizer: Any, texts: Sequence[str], k: int) -> np.ndarray:
    """Return the top K up neurons [n, L, K] by the published pipeline's work."""
    found = []
    for batch in batches_of_eight(tokenizer, texts, model.device):
        kept: dict[str, list[torch.Tensor]] = {name: [] for name in ("up", "down", "q", "k", "v", "o")}
        handles = [h for layer in model.model.layers for h in six_hooks(layer, batch["attention_mask"], kept)]
        with torch.no_grad():
            logits = model(**batch, use_cache=False).logits
        for handle in handles:
            handle.remove()
        lists = {name: torch.stack(layers, 1).topk(k, dim=-1).indices.cpu() for name, layers in kept.items()}
        found.append(lists["up"].numpy())
        del logits
    return np.concatenate(found)


def six_hooks(layer: Any, mask: torch.Tensor, kept: dict[str, list[torch.Tensor]]) -> list[Any]:
    """Return hooks on one layer that keep the impacts of all six types, applying the up projection a second time."""
    attention, mlp = layer.self_attn, layer.mlp
    repeats = attention.num_key_value_groups

    def keep(name: str, output: torch.Tensor, repeat: int = 1) -> None:
        if output.ndim == 4 or repeat > 1:
            by_head = output.reshape(*output.shape[:2], -1, attention.head_dim)
            output = by_head.repeat_interleave(repeat, dim=2).flatten(2)
        weights = mask.unsqueeze(-1).float()
        kept[name].append((output.float().abs() * weights).sum(1) / weights.sum(1))

    def hook(name: str, repeat: int = 1) -> Callable[..., None]:
        return lambda _module, _inputs, output: keep(name, output, repeat)

    return [
        mlp.register_forward_pre_hook(
            lambda _module, inputs: keep("up", torch.nn.Linear.forward(mlp.up_proj, inputs[0]))
        ),
        mlp.register_forward_hook(hook("down")),
        attention.q_norm.register_forward_hook(hook("q")),
        attention.k_norm.register_forward_hook(hook("k", repeats)),
        attention.v_proj.register_forward_hook(hook("v", repeats)),
        attention.o_proj.register_forward_hook(hook("o")),
    ]


def straightforward(model: Any, tokenizer: Any, texts: Sequence[str], k: int) -> np.ndarray:
    """Return the top K up neurons [n, L, K] with hooks on the model without its head."""
    found = []
    for batch in batches_of_eight(tokenizer, texts, model.device):
        kept: list[torch.Tensor] = []
        weights = batch["attention_mask"].unsqueeze(-1).float()

        def hook(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
            kept.append((output.float().abs() * weights).sum(1) / weights.sum(1))  # noqa: B023 - used before the next

        handles = [layer.mlp.up_proj.register_forward_hook(hook) for layer in model.layers]
        with torch.no_grad():
            model(**batch, use_cache=False)
        for handle in handles:
            handle.remove()
        found.append(torch.stack(kept, 1).topk(k, dim=-1).indices.cpu().numpy())
    return np.concatenate(found)


def ours(encoder: Encoder, tokeniser: Tokeniser, texts: Sequence[str]) -> np.ndarray:
    """Return the codes of the texts, window by window, as a build makes them."""
    window = default_window(encoder.backbones[0])
    parts = []
    for start in range(0, len(texts), window):
        ids = tokeniser(texts[start : start + window], max_length=MAX_LENGTH, count=False).ids
        parts.append(encoder.encode(ids)[0])
    return np.concatenate(parts)


@contextmanager
def timed_parts(encoder: Encoder, tokeniser: Tokeniser, seconds: dict[str, float]) -> Iterator[Any]:
    """Add to `seconds` what goes into tokenising, the taps, the top K and the model's forward pass without its taps."""
    model = encoder.backbones[0].model
    device = model.device

    def clocked(name: str, function: Callable[..., Any], inside: str | None = None) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            started = now(device)
            try:
                return function(*args, **named)
            finally:
                taken = now(device) - started
                seconds[name] = seconds.get(name, 0.0) + taken
                if inside is not None:
                    seconds[inside] = seconds.get(inside, 0.0) - taken

        return call

    token_sums, top_k_of, forward = taps.token_sums, encode.top_k_of, model.forward
    taps.token_sums = clocked("magnitudes and sums", token_sums, inside="forward pass")
    encode.top_k_of = clocked("top K", top_k_of)
    model.forward = clocked("forward pass", forward)
    model.forward.__signature__ = __import__("inspect").signature(forward)
    try:
        yield clocked("tokenising", tokeniser)
    finally:
        taps.token_sums, encode.top_k_of = token_sums, top_k_of
        del model.forward


def now(device: torch.device) -> float:
    """Return the time at which a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def multiplications(backbone: Backbone) -> int:
    """Return the multiply-adds a token in the model's matrices up to the last tap, embeddings and attention scores aside."""
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


def main() -> None:
    """Measure all three on texts of mixed length and on long texts, in turn."""
    chosen = options(
        __doc__.splitlines()[0],
        pool={"type": Path, "default": SAMPLE, "help": "folder of documents; by default the sample corpus"},
        device={"default": "cpu"},
        dtype={"default": None, "help": "fp32 or bf16; by default fp32 on a CPU, bf16 on a GPU"},
        shape={"default": "small", "choices": list(SHAPES)},
        documents={"type": int, "default": None, "help": "texts a round"},
        rounds={"type": int, "default": None},
    )
    device = torch.device(chosen.device)
    count = chosen.documents or (24 if chosen.quick else 256 if device.type == "cpu" else 16_384)
    rounds = chosen.rounds or (1 if chosen.quick else 5)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[
        chosen.dtype or ("fp32" if device.type == "cpu" else "bf16")
    ]
    pool = texts_of(chosen.pool, 2_000 if chosen.quick else 30_000)
    tokenizer = trained_tokenizer(pool[: 500 if chosen.quick else 10_000], SHAPES[chosen.shape]["vocab_size"])
    torch.manual_seed(0)
    config = transformers.Qwen3Config(**SHAPES[chosen.shape], pad_token_id=0)
    causal = transformers.Qwen3ForCausalLM(config).to(device=device, dtype=dtype).eval()
    backbone = tap_model("random Qwen3", causal.model, tokenizer)
    spec = backbone.fingerprint(max_length=MAX_LENGTH).spec
    budget = measured_batch_tokens([backbone], [spec], max_length=MAX_LENGTH)
    encoder, tokeniser = Encoder([backbone], [spec], budget), Tokeniser(tokenizer)
    lengths = tokeniser(pool, max_length=MAX_LENGTH).counts
    long = [text for text, length in zip(pool, lengths, strict=True) if length >= LONG] or pool
    sets = {"mixed": pool[:count], f"at least {LONG} tokens": (long * (count // len(long) + 1))[:count]}

    runs: dict[str, Callable[[Sequence[str]], np.ndarray]] = {
        "published pipeline's work": lambda texts: published(causal, tokenizer, texts, spec.top_k),
        "model with hooks": lambda texts: straightforward(backbone.model, tokenizer, texts, spec.top_k),
        "nagindex": lambda texts: ours(encoder, tokeniser, texts),
    }
    rows, results = [], {}
    for name, texts in sets.items():
        times: dict[str, list[float]] = {run: [] for run in runs}
        codes = {run: work(texts) for run, work in runs.items()}  # warms up, and shows that all do the same
        equal = {run: float((np.sort(found) == np.sort(codes["nagindex"])).mean()) for run, found in codes.items()}
        for _ in range(rounds):
            for run, work in runs.items():
                started = now(device)
                work(texts)
                times[run].append(now(device) - started)
        rates = {run: len(texts) / statistics.median(taken) for run, taken in times.items()}
        first = rates["published pipeline's work"]
        for run, rate in rates.items():
            rows.append([name, run, f"{rate:.1f}", f"{rate / first:.2f}", f"{equal[run]:.4f}"])
        seconds: dict[str, float] = {}
        with timed_parts(encoder, tokeniser, seconds) as tokenise:
            started = now(device)
            ours(encoder, tokenise, texts)
            total = now(device) - started
        seconds["batches, copies, rest"] = total - sum(seconds.values())
        shares = {part: taken / total for part, taken in seconds.items()}
        tokens = (
            float(np.minimum(lengths[: len(texts)], MAX_LENGTH).sum()) if name == "mixed" else MAX_LENGTH * len(texts)
        )
        operations = 2 * multiplications(backbone) * tokens / len(texts) * rates["nagindex"]
        results[name] = {"documents_per_second": rates, "shares": shares, "operations_per_second": operations}
    rate = matrix_rate(device, dtype)
    emit(["texts", "pipeline", "documents/s", "of the published", "equal members"], rows, results, chosen.json)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"\n{chosen.shape}, {dtype}, {where}, {count} texts, median of {rounds}, {encoder.batch_tokens} tokens a batch"
    )
    for name, result in results.items():
        parts = ", ".join(f"{part} {share:.1%}" for part, share in result["shares"].items())
        print(f"{name}: {parts}; matrices {result['operations_per_second'] / rate:.0%} of {rate / 1e12:.2f} TFLOP/s")


if __name__ == "__main__":
    main()
