"""How many tokens a batch should hold: a short probe of the device with texts of full length."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nagindex.encode.encoder import Encoder, default_batch_tokens

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone
    from nagindex.nag import NagSpec

CANDIDATES = {"cpu": (512, 1024, 2048, 4096), "cuda": (16384, 32768, 65536, 131072, 262144)}
PROBE_SECONDS = 10.0
BATCHES = 2
WORTHWHILE = 0.97


def measure_batch_tokens(backbones: Sequence[Backbone], specs: Sequence[NagSpec], *, max_length: int) -> int:
    """Return the smallest budget of padded tokens a batch whose speed is within 3 % of the best, as measured here and now.

    Larger budgets are not tried once memory runs out or ten seconds have passed.

    Args:
        backbones: views of one model, one for each neuron type.
        specs: the shape of each type's NAGs.
        max_length: tokens of the probe's texts.
    """
    model = backbones[0].model
    vocabulary = model.get_input_embeddings().num_embeddings
    random = np.random.default_rng(0)
    deadline = time.monotonic() + PROBE_SECONDS
    speeds: dict[int, float] = {}
    for budget in CANDIDATES.get(model.device.type, CANDIDATES["cuda"]):
        encoder = Encoder(backbones, specs, max(budget, max_length))
        texts = max(1, budget // max_length) * BATCHES * encoder.side_by_side
        ids = list(random.integers(0, vocabulary, (texts, max_length), dtype=np.int32))
        times = []
        for _ in range(3):  # the first one allocates
            started = time.monotonic()
            encoder.encode(ids)
            times.append(time.monotonic() - started)
        if encoder.batch_tokens < budget:
            break
        speeds[budget] = texts * max_length / min(times[1:])
        if time.monotonic() > deadline:
            break
    if not speeds:
        return min(encoder.batch_tokens, default_batch_tokens(backbones[0]))
    return min(budget for budget, speed in speeds.items() if speed >= WORTHWHILE * max(speeds.values()))
