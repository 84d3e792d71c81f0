"""Small Llama models, their loss without a matrix of all logits, and the bits that they give to texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

LOGITS = {"cpu": 2**21, "cuda": 2**28}
"""Logits computed at once: those of the CPU stay near its caches, which took a quarter off a step's time."""


@dataclass(frozen=True)
class Size:
    """Shape of a model, and the batch that it is trained with.

    Attributes:
        context: tokens of a sequence.
        batch: sequences of a step.
        learning_rate: the highest of the schedule.
    """

    hidden: int
    layers: int
    heads: int
    mlp: int
    vocabulary: int
    context: int
    batch: int
    learning_rate: float


@dataclass(frozen=True)
class Compute:
    """Device and floating-point type of matrix products; parameters and optimizer stay in float32."""

    device: str
    dtype: str

    def autocast(self) -> torch.autocast:
        """Return the context that models run in."""
        mixed = self.dtype != "float32"
        dtype = getattr(torch, self.dtype) if mixed else None
        return torch.autocast(torch.device(self.device).type, dtype=dtype, enabled=mixed)


def build(size: Size, seed: int) -> LlamaForCausalLM:
    """Return a model with parameters drawn by a seed, on the CPU, in float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def parameters_of(model: torch.nn.Module) -> int:
    """Return the number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


class BlockwiseLoss(torch.autograd.Function):
    """Mean cross-entropy of tokens, whose logits are computed and differentiated a block at a time.

    Takes hidden states [n, hidden], output embeddings [vocabulary, hidden], targets int64 [n], the type of matrix products and
    the rows of a block.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, rows: int) -> Tensor:
        """Return the loss in nats, float32, and keep both gradients."""
        states, weights = hidden.to(dtype), weight.to(dtype)
        loss, slope = hidden.new_zeros((), dtype=torch.float32), torch.empty_like(states)
        weight_slope = torch.zeros_like(weight, dtype=torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(states), rows):
                block, wanted = states[start : start + rows], targets[start : start + rows, None]
                logits = (block @ weights.T).float()
                logits -= logits.amax(-1, keepdim=True)
                own = logits.gather(1, wanted)
                total = logits.exp_().sum(-1, keepdim=True)
                loss += (total.log() - own).sum()
                logits /= total  # softmax, from here on the gradient
                logits.scatter_add_(1, wanted, torch.full_like(own, -1.0))
                gradient = logits.to(dtype)
                torch.mm(gradient, weights, out=slope[start : start + rows])
                weight_slope += gradient.T @ block
        ctx.save_for_backward(slope.to(hidden.dtype).div_(len(states)), weight_slope.div_(len(states)))
        return loss / len(states)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Return the kept gradients times that of the loss."""
        slope, weight_slope = ctx.saved_tensors
        return slope * outputs[0], weight_slope * outputs[0], None, None, None


def loss_of(model: LlamaForCausalLM, windows: Tensor, compute: Compute) -> Tensor:
    """Return the mean loss in nats of the tokens of windows, int64 [batch, context + 1], after their first."""
    with compute.autocast():
        hidden = model.model(input_ids=windows[:, :-1]).last_hidden_state
        hidden = hidden.reshape(-1, hidden.shape[-1])
        targets, dtype = windows[:, 1:].reshape(-1), getattr(torch, compute.dtype)
        return BlockwiseLoss.apply(hidden, model.lm_head.weight, targets, dtype, block_rows(model, compute))


def block_rows(model: LlamaForCausalLM, compute: Compute) -> int:
    """Return for how many tokens logits are computed at once."""
    return LOGITS[torch.device(compute.device).type] // model.config.vocab_size


@torch.no_grad()
def token_bits(model: LlamaForCausalLM, texts: Sequence[np.ndarray], compute: Compute, batch: int) -> list[np.ndarray]:
    """Return the bits of each text's tokens after its first, float64 [tokens - 1] each.

    Args:
        model: in the place that compute says.
        texts: tokens, uint16 [2 to context + 1] each; no text sees another.
        compute: device and type.
        batch: texts scored at once.
    """
    model.eval()
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    for numbers in batches_by_length(texts, batch):
        lengths = [len(texts[number]) - 1 for number in numbers]
        padded = np.zeros((len(numbers), max(lengths) + 1), np.int64)
        for row, number in enumerate(numbers):
            padded[row, : len(texts[number])] = texts[number]
        windows = torch.from_numpy(padded).to(compute.device)
        scored = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]  # padding follows, so no token sees it
        with compute.autocast():
            hidden = model.model(input_ids=windows[:, :-1]).last_hidden_state[scored.to(compute.device)]
        bits = hidden_bits(model, hidden, windows[:, 1:][scored.to(compute.device)], compute)
        for number, own in zip(numbers, np.split(bits, np.cumsum(lengths)[:-1]), strict=True):
            found[number] = own
    return found


def batches_by_length(texts: Sequence[np.ndarray], batch: int) -> Iterator[np.ndarray]:
    """Yield numbers of texts of like lengths, int64 [at most batch] at a time."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    for start in range(0, len(order), batch):
        yield order[start : start + batch]


def hidden_bits(model: LlamaForCausalLM, hidden: Tensor, targets: Tensor, compute: Compute) -> np.ndarray:
    """Return the bits of targets, int64 [n], after their hidden states [n, hidden], float64 [n]."""
    parts, rows = [], block_rows(model, compute)
    for start in range(0, len(hidden), rows):
        with compute.autocast():
            logits = model.lm_head(hidden[start : start + rows]).float()
        parts.append(cross_entropy(logits, targets[start : start + rows], reduction="none"))
    return torch.cat(parts).double().cpu().numpy() / np.log(2)
