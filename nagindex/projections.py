"""Where a model's neurons are: the projection of each transformer block, found by structure and tapped by forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nagindex.errors import UnsupportedBackboneError

if TYPE_CHECKING:
    import torch
    from torch import nn

NEURON_TYPES = ("up",)

# Module path inside a transformer block -> which half of its output is the up projection (None: all of it).
UP_PROJECTIONS: dict[str, int | None] = {
    "mlp.up_proj": None,  # Llama, Qwen, SmolLM3, Mistral, Gemma
    "mlp.gate_up_proj": 1,  # Phi-3: gate and up in one matrix
    "mlp.dense_h_to_4h": None,  # GPT-NeoX
    "mlp.c_fc": None,  # GPT-2
    "intermediate.dense": None,  # BERT and its kin
}


@dataclass(frozen=True)
class Projection:
    """One layer's tapped projection: a module and the columns of its output that are the neurons.

    Attributes:
        module: the projection; its output has the neurons in its last dimension.
        start, stop: the neurons are columns start <= k < stop.
    """

    module: nn.Module
    start: int
    stop: int

    @property
    def width(self) -> int:
        """Number of neurons d_l."""
        return self.stop - self.start


@contextmanager
def tapped(projections: Sequence[Projection], collect: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Call `collect(layer, output [batch, tokens, d_l])` in every forward pass inside the block."""

    def hook(layer: int, projection: Projection) -> Callable[..., None]:
        def tap(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            collect(layer, output[..., projection.start : projection.stop])

        return tap

    handles = []
    try:
        for layer, projection in enumerate(projections):
            handles.append(projection.module.register_forward_hook(hook(layer, projection)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def find_projections(model: Any, neuron_type: str = "up") -> tuple[Projection, ...]:
    """Return each transformer block's projection of a neuron type, found by the model's structure.

    Raises:
        UnsupportedBackboneError: no block, or a block without exactly one such projection (mixtures of experts have many).
    """
    family = type(model).__name__
    if neuron_type not in NEURON_TYPES:
        raise UnsupportedBackboneError(f"neuron type {neuron_type!r} is not known; known are {', '.join(NEURON_TYPES)}")
    config = model.config.get_text_config()
    for name, module in model.named_modules():
        if type(module).__name__ == "ModuleList" and len(module) == config.num_hidden_layers:
            return tuple(_projection(block, f"{family}.{name}.{layer}") for layer, block in enumerate(module))
    raise UnsupportedBackboneError(f"{family}: no list of {config.num_hidden_layers} transformer blocks found to tap")


def _projection(block: nn.Module, where: str) -> Projection:
    modules = dict(block.named_modules())
    for path, half in UP_PROJECTIONS.items():
        if path in modules:
            module = modules[path]
            width = int(getattr(module, "out_features", 0) or getattr(module, "nf", 0))
            return (
                Projection(module, 0, width)
                if half is None
                else Projection(module, half * width // 2, (half + 1) * width // 2)
            )
    if any("expert" in name or "router" in name for name in modules):
        raise UnsupportedBackboneError(
            f"{where}: a mixture of experts has no single up projection that every token passes; use a dense backbone"
        )
    raise UnsupportedBackboneError(f"{where}: no up projection found; looked for {', '.join(UP_PROJECTIONS)}")
