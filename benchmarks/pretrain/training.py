"""Training of a small model on chosen documents: AdamW, a cosine schedule, shuffled epochs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import LlamaForCausalLM

from benchmarks.pretrain.inputs import Documents
from benchmarks.pretrain.model import Compute, Size, loss_of

# The recipe was frozen before any arm was compared. Batches and learning rates of "1m" were tried on random documents alone, 400,000
# tokens, one seed; bits a byte of the mix: batch 16 at 3e-3 2.842; 8 at 3e-3 2.657, at 6e-3 2.700; 4 at 3e-3 2.717, at 1.5e-3 2.652.
WARM_UP, FLOOR = 0.05, 0.1
BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.95), 0.1, 1.0
SIZES = {
    "tiny": Size(hidden=64, layers=2, heads=2, mlp=176, vocabulary=1024, context=64, batch=4, learning_rate=3e-3),
    "1m": Size(hidden=128, layers=4, heads=4, mlp=352, vocabulary=4096, context=128, batch=8, learning_rate=3e-3),
    "30m": Size(hidden=512, layers=8, heads=8, mlp=1408, vocabulary=16384, context=512, batch=128, learning_rate=1e-3),
}
"""Models of 0.2, 1.3 and 34 million parameters. The learning rate of the largest is taken from like models, not tried."""


def epochs(documents: Documents, seed: int) -> Iterator[np.ndarray]:
    """Yield the tokens of all documents, uint16, again and again, each time in another order drawn by a seed."""
    random = np.random.default_rng([2, seed])
    while True:
        yield documents.take(random.permutation(len(documents))).tokens


def windows(documents: Documents, size: Size, seed: int) -> Iterator[np.ndarray]:
    """Yield batches of consecutive tokens, int64 [batch, context + 1]; each token is a target once an epoch.

    A window starts with the last token of the one before it.
    """
    stride, rest = size.batch * size.context, np.empty(0, np.uint16)
    for tokens in epochs(documents, seed):
        rest = np.concatenate([rest, tokens])
        start = 0
        while start + stride < len(rest):
            own = rest[start : start + stride + 1].astype(np.int64)
            yield np.lib.stride_tricks.sliding_window_view(own, size.context + 1)[:: size.context].copy()
            start += stride
        rest = rest[start:]


def rate(step: int, steps: int) -> float:
    """Return the share of the highest learning rate at a step: linear warm-up, then a cosine down to the floor."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return FLOOR + (1 - FLOOR) * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm))) / 2


def optimizer_of(model: LlamaForCausalLM, size: Size) -> torch.optim.AdamW:
    """Return AdamW over all parameters; vectors, which scale norms, do not decay."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=size.learning_rate, betas=BETAS, fused=True)


def train(
    model: LlamaForCausalLM, documents: Documents, tokens: int, size: Size, seed: int, compute: Compute
) -> list[float]:
    """Train a model on documents, repeated until it has seen some tokens, and return the loss of each step in nats.

    Args:
        model: trained in place.
        documents: the chosen ones.
        tokens: rounded down to whole steps, at least one.
        size: batch, context and learning rate.
        seed: draws the order of documents.
        compute: device and type.
    """
    model.to(compute.device).train()
    optimizer, steps = optimizer_of(model, size), max(1, tokens // (size.batch * size.context))
    losses = []
    for step, batch in zip(range(steps), windows(documents, size, seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = size.learning_rate * rate(step, steps)
        loss = loss_of(model, torch.from_numpy(batch).to(compute.device), compute)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()
