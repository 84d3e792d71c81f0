"""Models, texts and two peer pipelines in plain transformers for the encoding benchmark.

The published pipeline is reimplemented: a causal language model with logits at every position, the up projection applied twice,
impacts of all six neuron types, batches of 8 in input order. The straightforward pipeline is the model without its head, with hooks
on the up projections, and the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources

MAX_LENGTH, BATCH = 120, 8
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


def texts_of(pool: Path, count: int) -> list[str]:
    """Return a shuffled sample of texts from all sources of a pool, the same on every call."""
    texts = [d.text for source in find_sources(pool).sources for d in read_documents(source) if d.text]
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order[:count]]


def trained_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """Return a byte-level BPE tokenizer of limited vocabulary, trained on some texts."""
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
    """Yield the texts' first 120 tokens in padded batches of 8, in input order."""
    for start in range(0, len(texts), BATCH):
        rows = list(texts[start : start + BATCH])
        settings = {"truncation": True, "max_length": MAX_LENGTH, "padding": True, "add_special_tokens": False}
        yield tokenizer(rows, return_tensors="pt", **settings).to(device)


def published(model: Any, tokenizer: Any, texts: Sequence[str], k: int) -> np.ndarray:
    """Return the top K up neurons [n, L, K], computed as in the published pipeline."""
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
    """Return hooks on one layer that record the impacts of all six types and apply the up projection a second time."""
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
