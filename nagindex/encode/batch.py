"""Encoding of one batch: from token ids to the top K neurons of each layer, on the model's device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.backbone.hooks import impacts_of
from nagindex.errors import BadInputError
from nagindex.nag import CODE_DTYPE, Codes, NagSpec

if TYPE_CHECKING:
    import torch

    from nagindex.backbone.load import Backbone

TokenIds = Sequence[Sequence[int] | npt.NDArray[np.int32]]
"""Token ids of each text, of different lengths."""


@dataclass(frozen=True)
class BatchResult:
    """Codes of one batch, whose copy to CPU memory may still be in flight; `synchronize` waits for it.

    Attributes:
        codes: int16 [batch, L, K] with the bits of uint16, for each neuron type.
        finite: bool [], whether all impacts are finite.
        event: CUDA event that marks the end of the copy, None on other devices, whose copies are synchronous.
    """

    codes: list[torch.Tensor]
    finite: torch.Tensor
    event: Any


def start_batch(backbones: Sequence[Backbone], specs: Sequence[NagSpec], rows: TokenIds) -> BatchResult:
    """Start a batch on the device: forward pass, top K, and the copy of its codes to CPU memory.

    On a GPU all of it is asynchronous.

    Args:
        backbones: views of one model, one for each neuron type.
        specs: shape of each type's NAGs.
        rows: token ids of each text, at least one text, each of at least one token.
    """
    import torch

    first = backbones[0]
    ids, mask = pad(rows, first.tokenizer.pad_token_id or 0)
    causal = all(backbone.causal for backbone in backbones)
    projections = [p for backbone in backbones for p in backbone.projections]
    impacts = impacts_of(first.model, projections, ids, mask, causal=causal)
    edges = [0, *accumulate(len(backbone.projections) for backbone in backbones)]
    with torch.inference_mode():
        parts = [
            top_k_of(relative_to(backbone.divisors, impacts[start:stop]), spec.top_k)
            for backbone, start, stop, spec in zip(backbones, edges[:-1], edges[1:], specs, strict=True)
        ]
        finite = torch.stack([part.finite for part in parts]).all()
        codes = [_to_cpu(part.codes) for part in parts]
        return BatchResult(codes, _to_cpu(finite), _record_event(first.model.device))


def relative_to(divisors: Sequence[torch.Tensor] | None, impacts: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Return impacts divided by each neuron's divisor, float32 [batch, d_l] of each layer; without divisors as they are."""
    if divisors is None:
        return impacts
    return [layer / divisor for layer, divisor in zip(impacts, divisors, strict=True)]


def synchronize(backbones: Sequence[Backbone], result: BatchResult) -> list[Codes]:
    """Wait for a batch and return its codes, uint16 [batch, L, K] of each neuron type.

    Raises:
        BadInputError: an impact is not finite in the backbone's dtype.
    """
    if result.event is not None:
        result.event.synchronize()
    if not bool(result.finite):
        first = backbones[0]
        raise BadInputError(
            f'{first.name} in {first.model.dtype} gives impacts that are not finite; use `dtype="fp32"`'
        )
    return [part.numpy().view(CODE_DTYPE) for part in result.codes]


def pad(rows: TokenIds, pad_token: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad token ids on the right; return them and their mask, both int64 [batch, tokens].

    Args:
        rows: token ids of each text.
        pad_token: token id of the padding.
    """
    import torch

    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_token, np.int64)
    ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


@dataclass(frozen=True)
class TopK:
    """Top K neurons of a batch.

    Attributes:
        codes: int16 [batch, L, K] with the bits of uint16.
        finite: bool [], whether all impacts are finite.
    """

    codes: torch.Tensor
    finite: torch.Tensor


def top_k_of(impacts: Sequence[torch.Tensor], k: int) -> TopK:
    """Return the k neurons of largest impact of each layer, on the device, in the order of `nag.top_k`.

    `torch.topk` breaks ties arbitrarily, so it gets unique integer keys: in the upper half the impact's bits, whose
    integer order is the order of non-negative floats, in the lower half the neuron's distance from the end of the
    layer. The host never waits for the device.

    Args:
        impacts: float32 [batch, d_l] of each layer, non-negative.
        k: number of neurons to keep, 1 to the narrowest layer's width.
    """
    import torch

    codes, finite = [], []
    for layer in impacts:  # one at a time: the keys of all layers would take several times the impacts' memory
        width = layer.shape[1]
        keys = layer.contiguous().view(torch.int32).to(torch.int64) << 32
        keys |= torch.arange(width - 1, -1, -1, device=keys.device)
        top = keys.topk(k, dim=-1).values
        codes.append((width - 1 - (top & 0xFFFFFFFF)).to(torch.int16))
        finite.append(
            torch.isfinite(layer.amax(dim=-1)).all()
        )  # the maximum of a row with NaN or infinity is not finite
    return TopK(torch.stack(codes, dim=1), torch.stack(finite).all())


def _to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to CPU memory; a copy from a GPU is asynchronous."""
    import torch

    if tensor.device.type == "cpu":
        return tensor
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _record_event(device: torch.device) -> Any:
    """Record and return a CUDA event on the current stream, None on another device."""
    import torch

    if device.type != "cuda":
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event
