"""One forward pass with projections tapped by hooks: token ids in, impacts out, and no work after the last tap."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from nagindex.backbone.projections import Projection
from nagindex.errors import UnsupportedBackboneError

if TYPE_CHECKING:
    import torch
    from torch import nn

PROBE_TOKENS = (7, 11, 13)  # lengths to try: one that is no number of heads tells tokens from heads
SAME = 1e-5


class _LastHookReached(Exception):
    """Raised inside a forward pass when the last projection has been tapped: the rest of the model need not run."""


@contextmanager
def hooked(projections: Sequence[Projection], collect: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Call `collect(position, output of the module)` in every forward pass inside the block."""

    def hook(position: int) -> Callable[..., None]:
        def tap(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            collect(position, output)

        return tap

    handles = []
    try:
        for position, projection in enumerate(projections):
            handles.append(projection.module.register_forward_hook(hook(position)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def impacts_of(
    model: Any, projections: Sequence[Projection], ids: torch.Tensor, mask: torch.Tensor, *, causal: bool
) -> list[torch.Tensor]:
    """Return the neurons' impacts at each projection, float32 [batch, width] on the model's device, from one forward pass.

    The impact of a neuron is the mean over a text's tokens of the projection's absolute output, accumulated in float32.

    Args:
        model: the model that the projections are part of.
        projections: what to tap; the pass ends as soon as all of them have been.
        ids: int64 [batch, tokens] token ids in CPU memory, padded on either side.
        mask: int64 [batch, tokens] in CPU memory, 1 for a token and 0 for padding; each row has at least one token.
        causal: whether no token is influenced by those after it, so that padding on the right needs no mask.

    Source: arXiv 2604.15706.
    """
    import torch

    device = model.device
    if not bool(mask[:, 0].all()):  # tokens to the front, where every model counts their positions alike
        order = mask.argsort(dim=1, descending=True, stable=True)
        ids, mask = ids.gather(1, order), mask.gather(1, order)
    lengths = mask.sum(dim=1)
    padding = None if bool(mask.all()) else tuple(_sent(part, device) for part in (mask == 0).nonzero(as_tuple=True))
    options = _mask_options(model, mask, causal=causal)
    counts = _sent(lengths.to(torch.float32), device).unsqueeze(1)
    found: dict[int, torch.Tensor] = {}

    def collect(position: int, output: torch.Tensor) -> None:
        projection = projections[position]
        by_token = _by_token(output, ids.shape, heads_first=projection.heads_first)
        sums = token_sums(by_token, projection.columns, padding, fused=device.type != "cpu")
        found[position] = sums / counts
        if len(found) == len(projections):
            raise _LastHookReached

    with torch.inference_mode(), hooked(projections, collect), suppress(_LastHookReached):
        model(input_ids=_sent(ids, device), **options)
    return [found[position] for position in range(len(projections))]


def token_sums(
    output: torch.Tensor,
    columns: slice | tuple[int, ...],
    padding: tuple[torch.Tensor, ...] | None,
    *,
    fused: bool,
) -> torch.Tensor:
    """Return the sum over a text's tokens of |output|, float32 [batch, columns], without a float32 copy of the output.

    Args:
        output: a projection's output [batch, tokens, ...], of the model's floating-point type.
        columns: which of the flattened columns.
        padding: int64 rows and positions of padding tokens, None where there is none.
        fused: one kernel for magnitude and sum, the fastest on a GPU; it zeroes the padding in `output` itself, which no
            token sees. Otherwise the magnitudes are copied, the fastest on a CPU.
    """
    import torch

    if isinstance(columns, slice) and output.ndim == 3:
        output = output[..., columns]
    magnitude = output if fused else output.abs()
    if padding is not None:
        magnitude[padding] = 0
    sums = (
        torch.linalg.vector_norm(magnitude, 1, dim=1, dtype=torch.float32)
        if fused
        else magnitude.sum(dim=1, dtype=torch.float32)
    ).flatten(1)
    if isinstance(columns, slice):
        return sums if output.ndim == 3 else sums[:, columns]
    return sums[:, torch.tensor(columns, device=sums.device)]


def probe(model: Any, projections: Sequence[Projection]) -> tuple[tuple[Projection, ...], bool]:
    """Return the projections with the layout of their outputs, and whether the model is causal, from one small pass.

    The second of two texts differs from the first in its last token only: where no earlier output differs, none depends on
    later tokens.

    Raises:
        UnsupportedBackboneError: a projection is not passed exactly once by every token, or its output has another width.
    """
    import torch

    heads = {
        getattr(model.config.get_text_config(), name, 0) for name in ("num_attention_heads", "num_key_value_heads")
    }
    tokens = next(count for count in PROBE_TOKENS if count not in heads)
    ids = torch.arange(3, 3 + tokens).repeat(2, 1)
    ids[1, -1] = 3
    outputs: list[list[torch.Tensor]] = [[] for _ in projections]
    with torch.inference_mode(), hooked(projections, lambda position, output: outputs[position].append(output)):
        model(input_ids=ids.to(model.device), **_mask_options(model, torch.ones_like(ids), causal=False))
    found, causal = [], True
    for projection, seen in zip(projections, outputs, strict=True):
        name = type(model).__name__
        if len(seen) != 1:
            raise UnsupportedBackboneError(f"{name}: tokens pass a tapped projection {len(seen)} times instead of once")
        heads_first = seen[0].ndim == 4 and seen[0].shape[2] == tokens
        output = _by_token(seen[0], ids.shape, heads_first=heads_first).flatten(2).float()
        if output.shape != (*ids.shape, projection.outputs):
            shape = list(seen[0].shape)
            raise UnsupportedBackboneError(f"{name}: a tapped projection gives {shape} for 2 texts of {tokens} tokens")
        first, second = output[:, :-1]
        causal = causal and float((first - second).abs().max()) <= SAME * float(first.abs().max())
        found.append(dataclasses.replace(projection, heads_first=heads_first))
    return tuple(found), causal


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a CPU tensor on a device; to a GPU the copy is only queued."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _by_token(output: torch.Tensor, shape: Sequence[int], *, heads_first: bool) -> torch.Tensor:
    """Return a module's output as [batch, tokens, ...]."""
    if output.ndim == 2:
        return output.view(*shape, output.shape[-1])
    return output.transpose(1, 2) if heads_first else output


def _mask_options(model: Any, mask: torch.Tensor, *, causal: bool) -> dict[str, Any]:
    """Return what a forward pass needs besides the ids: no cache, and a mask where padding on the right could be seen."""
    parameters = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"use_cache": False} if "use_cache" in parameters else {}
    if not (causal or bool(mask.all())):
        options["attention_mask"] = _sent(mask, model.device)
    return options
