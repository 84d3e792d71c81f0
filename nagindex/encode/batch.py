"""One batch on its device: padded token ids in, the top K neurons of each layer out."""

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


@dataclass(frozen=True)
class Result:
    """A batch's outcome on its way to CPU memory; `event` is None where it is there already."""

    codes: list[torch.Tensor]
    finite: torch.Tensor
    event: Any


def start_batch(backbones: Sequence[Backbone], specs: Sequence[NagSpec], rows: TokenIds) -> Result:
    """Queue a batch on the device: forward pass, top K, and the copy of its codes to CPU memory.

    Args:
        backbones: views of one model, one for each neuron type.
        specs: the shape of each type's NAGs.
        rows: token ids of each text, at least one.
    """
    import torch

    first = backbones[0]
    ids, mask = padded(rows, first.tokenizer.pad_token_id or 0)
    causal = all(backbone.causal for backbone in backbones)
    projections = [p for backbone in backbones for p in backbone.projections]
    impacts = impacts_of(first.model, projections, ids, mask, causal=causal)
    edges = [0, *accumulate(len(backbone.projections) for backbone in backbones)]
    with torch.inference_mode():
        parts = [
            top_k_of(impacts[start:stop], spec.top_k)
            for start, stop, spec in zip(edges[:-1], edges[1:], specs, strict=True)
        ]
        finite = torch.stack([part.finite for part in parts]).all()
        return Result([_sent(part.codes) for part in parts], _sent(finite), _event(first.model.device))


def synchronize(backbones: Sequence[Backbone], result: Result) -> list[Codes]:
    """Return a batch's codes, uint16 [batch, L, K] of each type, once they are in CPU memory.

    Raises:
        BadInputError: the backbone's outputs are not finite in its dtype.
    """
    if result.event is not None:
        result.event.synchronize()
    if not bool(result.finite):
        first = backbones[0]
        raise BadInputError(f"{first.name} in {first.model.dtype} gives impacts that are not finite; use --dtype fp32")
    return [part.numpy().view(CODE_DTYPE) for part in result.codes]


def padded(rows: TokenIds, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids padded on the right and their mask, both int64 [batch, tokens].

    Args:
        rows: token ids of each text.
        pad: what stands in the padding.
    """
    import torch

    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad, np.int64)
    ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


@dataclass(frozen=True)
class TopK:
    """Codes, int16 [batch, L, K] with the bits of uint16, and whether every impact is finite, bool []."""

    codes: torch.Tensor
    finite: torch.Tensor


def top_k_of(impacts: Sequence[torch.Tensor], k: int) -> TopK:
    """Return the k neurons of largest impact of each layer, as `nag.top_k` orders them, on the impacts' device.

    `torch.topk` breaks ties as it likes, so it is given keys that are never equal: the impact's bits, which order as floats
    that are not negative do, above the neuron's distance from the layer's end. Nothing waits for the device.

    Args:
        impacts: float32 [batch, d_l] of each layer, not negative.
        k: how many to keep, 1 to the narrowest layer's width.
    """
    import torch

    codes, finite = [], []
    for layer in impacts:  # one by one: the keys of all layers at once would take several times the impacts' memory
        width = layer.shape[1]
        keys = layer.contiguous().view(torch.int32).to(torch.int64) << 32
        keys |= torch.arange(width - 1, -1, -1, device=keys.device)
        chosen = keys.topk(k, dim=-1).values
        codes.append((width - 1 - (chosen & 0xFFFFFFFF)).to(torch.int16))
        finite.append(torch.isfinite(layer.amax(dim=-1)).all())  # NaN and infinity are larger than all others
    return TopK(torch.stack(codes, dim=1), torch.stack(finite).all())


def _sent(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in CPU memory; from a GPU the copy is only queued."""
    import torch

    if tensor.device.type == "cpu":
        return tensor
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _event(device: torch.device) -> Any:
    import torch

    if device.type != "cuda":
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event
