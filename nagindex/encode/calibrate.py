"""Calibration of relative impact: each neuron's mean impact over a sample of documents."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.backbone.hooks import impacts_of
from nagindex.encode.batch import TokenIds, pad
from nagindex.encode.cpu_workers import CpuWorkers, keep_freed_memory
from nagindex.encode.encoder import clamp_to_memory, is_out_of_memory, length_sorted_batches
from nagindex.errors import BadInputError
from nagindex.progress import step

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

Sums = list[npt.NDArray[np.float64]]
"""Sums of a batch's impacts, float64 [d_l] of each layer of each backbone."""


def mean_impacts(backbones: Sequence[Backbone], ids: TokenIds, *, batch_tokens: int) -> list[npt.NDArray[np.float32]]:
    """Return the mean impacts of each backbone's neurons, float32 [L, max d_l], 0 beyond a layer's width.

    Impacts are added up in float64, batch by batch in a fixed order, so that the means do not depend on the number of workers.

    Args:
        backbones: views of one model, one for each neuron type.
        ids: token ids of each text of the sample, at least one text, each of at least one token.
        batch_tokens: padded tokens in a batch; halved, and all is read again, when memory runs out.

    Raises:
        BadInputError: an impact is not finite in the backbone's dtype.
        RuntimeError: the device runs out of memory on a single text.
    """
    size, longest = clamp_to_memory(batch_tokens, backbones[0]), max(map(len, ids))
    while True:
        try:
            totals = _totals(backbones, ids, batch_tokens=size)
            break
        except RuntimeError as error:
            if not is_out_of_memory(error) or size <= longest:
                raise
            size = max(longest, size // 2)
    edges = [0, *accumulate(len(backbone.projections) for backbone in backbones)]
    return [
        _means(totals[start:stop], len(ids), backbone)
        for backbone, start, stop in zip(backbones, edges[:-1], edges[1:], strict=True)
    ]


def _totals(backbones: Sequence[Backbone], ids: TokenIds, *, batch_tokens: int) -> Sums:
    """Return the sums of all texts' impacts, float64 [d_l] of each layer of each backbone."""
    batches = list(length_sorted_batches([len(row) for row in ids], batch_tokens=batch_tokens))
    totals: Sums = []
    workers = None
    if backbones[0].model.device.type == "cpu":
        keep_freed_memory()
        workers = CpuWorkers.of(backbones)
    in_flight: deque[tuple[int, Callable[[], Sums]]] = deque()
    with step("calibrating", len(ids), "documents") as advance:
        for positions in [*batches, None]:
            if positions is not None:
                run = partial(_sums, rows=[ids[position] for position in positions])
                in_flight.append((len(positions), _started(run, backbones, workers)))
            while in_flight and (positions is None or len(in_flight) > (workers.count if workers else 0)):
                texts, wait = in_flight.popleft()
                sums = wait()
                totals = [total + own for total, own in zip(totals, sums, strict=True)] if totals else sums
                advance(texts)
    return totals


def _started(
    run: Callable[[Sequence[Backbone]], Sums], backbones: Sequence[Backbone], workers: CpuWorkers | None
) -> Callable[[], Sums]:
    """Start a batch on a worker, or run it here; return a function that waits for its sums."""
    if workers is None:
        sums = run(backbones)
        return lambda: sums
    future: Future[Sums] = workers.submit(run)
    return future.result


def _sums(backbones: Sequence[Backbone], *, rows: TokenIds) -> Sums:
    import torch

    first = backbones[0]
    ids, mask = pad(rows, first.tokenizer.pad_token_id or 0)
    projections = [projection for backbone in backbones for projection in backbone.projections]
    causal = all(backbone.causal for backbone in backbones)
    impacts = impacts_of(first.model, projections, ids, mask, causal=causal)
    with torch.inference_mode():
        return [layer.cpu().sum(dim=0, dtype=torch.float64).numpy() for layer in impacts]


def _means(sums: Sums, texts: int, backbone: Backbone) -> npt.NDArray[np.float32]:
    means = np.zeros((len(sums), max(backbone.widths)), np.float32)
    for layer, own in enumerate(sums):
        means[layer, : len(own)] = own / texts
    if not np.isfinite(means).all():
        raise BadInputError(
            f'{backbone.name} in {backbone.model.dtype} gives impacts that are not finite; use `dtype="fp32"`'
        )
    return means
