"""Measurement of the batch size: a short benchmark of the device on texts of full length."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nagindex.encode.encoder import Encoder, default_batch_tokens

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone
    from nagindex.nag import NagSpec

# Batch sizes to try, in padded tokens.
CANDIDATES = {"cpu": (512, 1024, 2048, 4096), "cuda": (16384, 32768, 65536, 131072, 262144)}
PROBE_SECONDS = 10.0
BATCHES_PER_RUN = 2
SUFFICIENT_SPEED = 0.97


def measure_batch_tokens(backbones: Sequence[Backbone], specs: Sequence[NagSpec], *, max_length: int) -> int:
    """Measure the smallest batch size, in padded tokens, whose speed is within 3 % of the fastest.

    Larger batches are not tried once the device runs out of memory or ten seconds have passed.

    Args:
        backbones: views of one model, one for each neuron type.
        specs: shape of each type's NAGs.
        max_length: tokens of each random text.
    """
    model = backbones[0].model
    vocabulary = model.get_input_embeddings().num_embeddings
    random = np.random.default_rng(0)
    deadline = time.monotonic() + PROBE_SECONDS
    speeds: dict[int, float] = {}
    for batch_tokens in CANDIDATES.get(model.device.type, CANDIDATES["cuda"]):
        encoder = Encoder(backbones, specs, max(batch_tokens, max_length))
        texts = max(1, batch_tokens // max_length) * BATCHES_PER_RUN * encoder.concurrency
        ids = list(random.integers(0, vocabulary, (texts, max_length), dtype=np.int32))
        times = []
        for _ in range(3):  # the first run allocates memory
            started = time.monotonic()
            encoder.encode(ids)
            times.append(time.monotonic() - started)
        if encoder.batch_tokens < batch_tokens:  # out of memory
            break
        speeds[batch_tokens] = texts * max_length / min(times[1:])
        if time.monotonic() > deadline:
            break
    if not speeds:
        return min(encoder.batch_tokens, default_batch_tokens(backbones[0]))
    return min(size for size, speed in speeds.items() if speed >= SUFFICIENT_SPEED * max(speeds.values()))
