"""Impacts from one forward pass, read by forward hooks; the pass ends at the last hooked projection."""

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

PROBE_TOKENS = (7, 11, 13)  # lengths to try: one that differs from the numbers of heads tells tokens from heads
CAUSAL_TOLERANCE = 1e-5


class _LastHookReached(Exception):
    """Raised in the last projection's hook to end the forward pass: the rest of the model need not run."""


@contextmanager
def hooked(
    projections: Sequence[Projection], collect: Callable[[int, torch.Tensor], torch.Tensor | None]
) -> Iterator[None]:
    """Register a forward hook on each projection for the duration of the block.

    Args:
        projections: projections to hook.
        collect: called as `collect(position, output)` with a projection's position and its module's output. What it returns takes the
            output's place; None leaves it.
    """

    def make_hook(position: int) -> Callable[..., torch.Tensor | None]:
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor | None:
            return collect(position, output)

        return hook

    handles = []
    try:
        for position, projection in enumerate(projections):
            handles.append(projection.module.register_forward_hook(make_hook(position)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def impacts_of(
    model: Any, projections: Sequence[Projection], ids: torch.Tensor, mask: torch.Tensor, *, causal: bool
) -> list[torch.Tensor]:
    """Return the neurons' impacts at each projection, float32 [batch, width] on the model's device.

    The impact of a neuron is the mean over a text's tokens of the projection's absolute output, accumulated in float32.
    All projections are read in one forward pass, which ends at the last of them.

    Args:
        model: the model that the projections belong to.
        projections: projections to read.
        ids: int64 [batch, tokens] token ids in CPU memory, padded on either side.
        mask: int64 [batch, tokens] in CPU memory, 1 for a token and 0 for padding; each row has at least one token.
        causal: whether attention is causal, so that padding on the right needs no attention mask.

    Source: arXiv 2604.15706.
    """
    import torch

    device = model.device
    if not bool(mask[:, 0].all()):  # padding goes to the right, where position ids start at 0 in every model
        order = mask.argsort(dim=1, descending=True, stable=True)
        ids, mask = ids.gather(1, order), mask.gather(1, order)
    lengths = mask.sum(dim=1)
    padding = None
    if not bool(mask.all()):
        padding = tuple(_to_device(part, device) for part in (mask == 0).nonzero(as_tuple=True))
    options = _forward_options(model, mask, causal=causal)
    counts = _to_device(lengths.to(torch.float32), device).unsqueeze(1)
    impacts: dict[int, torch.Tensor] = {}

    def collect(position: int, output: torch.Tensor) -> None:
        projection = projections[position]
        by_token = _by_token(output, ids.shape, heads_first=projection.heads_first)
        sums = token_sums(by_token, projection.columns, padding, fused=device.type != "cpu")
        impacts[position] = sums / counts
        if len(impacts) == len(projections):
            raise _LastHookReached

    with torch.inference_mode(), hooked(projections, collect), suppress(_LastHookReached):
        model(input_ids=_to_device(ids, device), **options)
    return [impacts[position] for position in range(len(projections))]


def token_sums(
    output: torch.Tensor,
    columns: slice | tuple[int, ...],
    padding: tuple[torch.Tensor, ...] | None,
    *,
    fused: bool,
) -> torch.Tensor:
    """Return the sum of |output| over a text's tokens, float32 [batch, columns].

    The output is accumulated in float32 without a float32 copy of it.

    Args:
        output: output of a projection [batch, tokens, ...], in the model's floating-point type.
        columns: selected columns of the flattened output.
        padding: int64 rows and positions of padding tokens, None without padding.
        fused: whether to take magnitude and sum in one kernel, the fastest on a GPU, which zeroes the padding in
            `output` in place (no token attends to it). Otherwise the magnitudes are copied, the fastest on a CPU.
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
    """Determine the layout of the projections' outputs and whether the model is causal.

    One small forward pass runs two texts that differ in their last token only: if no output at an earlier token differs, the model is
    causal.

    Returns:
        The projections with `heads_first` set, and whether the model is causal.

    Raises:
        UnsupportedBackboneError: a projection does not run exactly once in the pass, or its output has an unexpected width.
    """
    import torch

    config = model.config.get_text_config()
    heads = {getattr(config, name, 0) for name in ("num_attention_heads", "num_key_value_heads")}
    tokens = next(count for count in PROBE_TOKENS if count not in heads)
    ids = torch.arange(3, 3 + tokens).repeat(2, 1)
    ids[1, -1] = 3
    outputs: list[list[torch.Tensor]] = [[] for _ in projections]
    with torch.inference_mode(), hooked(projections, lambda position, output: outputs[position].append(output)):
        model(input_ids=ids.to(model.device), **_forward_options(model, torch.ones_like(ids), causal=False))
    probed, causal, name = [], True, type(model).__name__
    for projection, runs in zip(projections, outputs, strict=True):
        if len(runs) != 1:
            raise UnsupportedBackboneError(f"{name}: tokens pass a projection {len(runs)} times instead of once")
        heads_first = runs[0].ndim == 4 and runs[0].shape[2] == tokens
        output = _by_token(runs[0], ids.shape, heads_first=heads_first).flatten(2).float()
        if output.shape != (*ids.shape, projection.outputs):
            shape = list(runs[0].shape)
            raise UnsupportedBackboneError(f"{name}: a projection gives {shape} for 2 texts of {tokens} tokens")
        first, second = output[:, :-1]
        causal = causal and float((first - second).abs().max()) <= CAUSAL_TOLERANCE * float(first.abs().max())
        probed.append(dataclasses.replace(projection, heads_first=heads_first))
    return tuple(probed), causal


def _to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a CPU tensor to a device; a copy to a GPU is asynchronous."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _by_token(output: torch.Tensor, shape: Sequence[int], *, heads_first: bool) -> torch.Tensor:
    """Return a module's output as [batch, tokens, ...]."""
    if output.ndim == 2:
        return output.view(*shape, output.shape[-1])
    return output.transpose(1, 2) if heads_first else output


def _forward_options(model: Any, mask: torch.Tensor, *, causal: bool) -> dict[str, Any]:
    """Return keyword arguments of a forward pass: no cache, and an attention mask if padding matters."""
    parameters = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"use_cache": False} if "use_cache" in parameters else {}
    if not (causal or bool(mask.all())):
        options["attention_mask"] = _to_device(mask, model.device)
    return options
