"""From token ids to NAGs: batch by length under a token budget, run the backbone, keep the top K of each layer on its device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.allocation import keep_freed_memory
from nagindex.errors import BadInputError
from nagindex.nag import CODE_DTYPE, Codes, NagSpec
from nagindex.taps import impacts_of

if TYPE_CHECKING:
    import torch

    from nagindex.backbone import Backbone

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}
WINDOW = {"cpu": 256, "cuda": 4096}
IN_FLIGHT = 2
TokenIds = Sequence[Sequence[int] | npt.NDArray[np.int32]]


def default_batch_tokens(backbone: Backbone) -> int:
    """Return how many padded tokens a batch holds on the backbone's device where nobody measured or chose."""
    return BATCH_TOKENS.get(backbone.model.device.type, BATCH_TOKENS["cuda"])


def default_window(backbone: Backbone) -> int:
    """Return how many rows of the input are batched together on the backbone's device: some seconds of its work."""
    return WINDOW.get(backbone.model.device.type, WINDOW["cuda"])


@dataclass
class Encoder:
    """One model as an encoder of token ids to NAGs of one or several neuron types, from one forward pass.

    Attributes:
        backbones: views of the same model, one for each neuron type.
        specs: the shape of each type's NAGs.
        batch_tokens: padded tokens in a batch, at least one text; halved whenever the device runs out of memory.
        on_batch: called with the texts and tokens of each batch that was handed to the device.
    """

    backbones: Sequence[Backbone]
    specs: Sequence[NagSpec]
    batch_tokens: int
    on_batch: Callable[[int, int], None] = field(default=lambda texts, tokens: None)

    def __post_init__(self) -> None:
        if self.backbones[0].model.device.type == "cpu":
            keep_freed_memory()

    def encode(self, ids: TokenIds) -> list[Codes]:
        """Return the NAGs of tokenised texts, one uint16 [n, L, K] for each type, in the order given.

        Args:
            ids: token ids of each text, at least one.

        Raises:
            BadInputError: the backbone's outputs are not finite in its dtype.
        """
        import torch

        codes = [np.empty((len(ids), *spec.shape), CODE_DTYPE) for spec in self.specs]
        lengths = [len(row) for row in ids]
        batches = deque(length_sorted_batches(lengths, batch_tokens=self.batch_tokens))
        flying: deque[tuple[npt.NDArray[np.int64], _Result]] = deque()
        while batches or flying:
            if batches and len(flying) < IN_FLIGHT:
                positions = batches.popleft()
                try:
                    flying.append((positions, self._start([ids[p] for p in positions])))
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error) or len(positions) == 1:
                        raise
                    batches = self._smaller(lengths, [positions, *batches])
                else:
                    self.on_batch(len(positions), sum(lengths[p] for p in positions))
            else:
                positions, result = flying.popleft()
                for into, part in zip(codes, self._finish(result), strict=True):
                    into[positions] = part
        return codes

    def _smaller(
        self, lengths: Sequence[int], batches: Sequence[npt.NDArray[np.int64]]
    ) -> deque[npt.NDArray[np.int64]]:
        """Halve the budget for good and form the batches that are left anew."""
        import torch

        longest = max(lengths[p] for p in batches[0])
        self.batch_tokens = max(1, min(self.batch_tokens, len(batches[0]) * longest) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        left = np.concatenate(batches)
        smaller = length_sorted_batches([lengths[p] for p in left], batch_tokens=self.batch_tokens)
        return deque(left[places] for places in smaller)

    def _start(self, rows: TokenIds) -> _Result:
        """Queue a batch on the device: forward pass, top K, and the copy of its codes to CPU memory."""
        import torch

        first = self.backbones[0]
        ids, mask = padded(rows, first.tokenizer.pad_token_id or 0)
        causal = all(backbone.causal for backbone in self.backbones)
        projections = [p for backbone in self.backbones for p in backbone.projections]
        if first.model.device.type == "cuda":
            ids, mask = ids.pin_memory(), mask.pin_memory()
        impacts = impacts_of(first.model, projections, ids, mask, causal=causal)
        edges = [0, *accumulate(len(backbone.projections) for backbone in self.backbones)]
        with torch.inference_mode():
            parts = [
                top_k_of(impacts[start:stop], spec.top_k)
                for start, stop, spec in zip(edges[:-1], edges[1:], self.specs, strict=True)
            ]
            finite = torch.stack([p.finite for p in parts]).all()
            return _Result([_sent(part.codes) for part in parts], _sent(finite), _event(first.model.device))

    def _finish(self, result: _Result) -> list[Codes]:
        """Return a batch's codes once they have arrived."""
        if result.arrived is not None:
            result.arrived.synchronize()
        if not bool(result.finite):
            model = self.backbones[0]
            raise BadInputError(
                f"{model.name} in {model.model.dtype} gives impacts that are not finite; use --dtype fp32"
            )
        return [part.numpy().view(CODE_DTYPE) for part in result.codes]


@dataclass(frozen=True)
class _Result:
    """A batch's outcome on its way to CPU memory; `arrived` is None where it is there already."""

    codes: list[torch.Tensor]
    finite: torch.Tensor
    arrived: Any


def encode_ids(backbone: Backbone, ids: TokenIds, spec: NagSpec, *, batch_tokens: int) -> Codes:
    """Return the NAGs of tokenised texts, uint16 [n, L, K], in the order given; see `Encoder.encode`."""
    return Encoder([backbone], [spec], batch_tokens).encode(ids)[0]


def length_sorted_batches(lengths: Sequence[int], *, batch_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield positions, int64 [b], of texts to run together: shortest first, padded tokens at most `batch_tokens`."""
    batch: list[int] = []
    for position in np.argsort(np.asarray(lengths, np.int64), kind="stable"):
        if batch and (len(batch) + 1) * lengths[position] > batch_tokens:
            yield np.array(batch)
            batch = []
        batch.append(int(position))
    if batch:
        yield np.array(batch)


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

    codes: list[torch.Tensor] = [impacts[0]] * len(impacts)
    finite = []
    for width in sorted({layer.shape[1] for layer in impacts}):
        layers = [number for number, layer in enumerate(impacts) if layer.shape[1] == width]
        together = torch.stack([impacts[number] for number in layers])
        bits = together.view(torch.int32).to(torch.int64) << 32
        keys = bits | torch.arange(width - 1, -1, -1, device=bits.device)
        chosen = keys.topk(k, dim=-1).values
        neurons = (width - 1 - (chosen & 0xFFFFFFFF)).to(torch.int16)
        finite.append(torch.isfinite(together.amax(dim=-1)).all())  # NaN and infinity are larger than all others
        for number, part in zip(layers, neurons, strict=True):
            codes[number] = part
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


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)  # the CPU's allocator
