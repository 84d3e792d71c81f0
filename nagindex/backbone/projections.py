"""Projections of a neuron type in a model's transformer blocks, found by module paths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nagindex.errors import UnsupportedBackboneError

if TYPE_CHECKING:
    from torch import nn

NEURON_TYPES = ("up", "down", "gate", "q", "k", "v", "o")
REPEATED = {"k_repeated": "k", "v_repeated": "v"}  # repeated once for every query head, as in the published code


@dataclass(frozen=True)
class Projection:
    """One layer's projection: a module and the columns of its output that are the neurons.

    Attributes:
        module: the projection, or the norm that follows it; its output has the neurons in its last dimensions.
        columns: columns of the flattened output, in the order of the neurons.
        width: number of neurons d_l.
        outputs: number of columns of the whole flattened output.
        heads_first: whether the module's output is [batch, heads, tokens, d] instead of [batch, tokens, ...].
    """

    module: nn.Module
    columns: slice | tuple[int, ...]
    width: int
    outputs: int
    heads_first: bool = False


@dataclass(frozen=True)
class Heads:
    """Attention heads of a model.

    Attributes:
        query: number of query heads.
        kv: number of key and value heads.
        size: columns of one head.
    """

    query: int
    kv: int
    size: int

    @classmethod
    def of(cls, config: Any) -> Heads:
        """Return the heads that a configuration states; one head for a model without attention."""
        query = getattr(config, "num_attention_heads", None) or 1
        size = getattr(config, "head_dim", None) or config.hidden_size // query
        return cls(query, getattr(config, "num_key_value_heads", None) or query, size)


ColumnSelector = Callable[[int, Heads], "slice | tuple[int, ...] | None"]
"""Maps a module's output width and the heads to the neurons' columns; None if the width does not fit the layout."""


def whole(width: int, heads: Heads) -> slice:
    """Select all columns."""
    return slice(0, width)


def half(index: int) -> ColumnSelector:
    """Return a selector of the first (0) or second (1) half."""
    return lambda width, heads: slice(index * width // 2, (index + 1) * width // 2)


def by_head(index: int) -> ColumnSelector:
    """Return a selector of q (0), k (1) or v (2) in [q k v] per head, as in GPT-NeoX and BLOOM."""

    def columns(width: int, heads: Heads) -> tuple[int, ...] | None:
        starts = [(3 * head + index) * heads.size for head in range(heads.query)]
        fits = width == 3 * heads.query * heads.size
        return tuple(c for start in starts for c in range(start, start + heads.size)) if fits else None

    return columns


def grouped(index: int) -> ColumnSelector:
    """Return a selector of q (0), k (1) or v (2) in [all q, all k, all v], as in Phi-3 and GPT-2."""

    def columns(width: int, heads: Heads) -> slice | None:
        counts = (heads.query, heads.kv, heads.kv)
        start = sum(counts[:index]) * heads.size
        return slice(start, start + counts[index] * heads.size) if width == sum(counts) * heads.size else None

    return columns


def _fused(index: int) -> dict[str, ColumnSelector]:
    return {
        "self_attn.qkv_proj": grouped(index),  # Phi-3
        "attn.Wqkv": grouped(index),  # ModernBERT, MPT
        "attn.c_attn:Conv1D": grouped(index),  # GPT-2; a Linear of the same name has another layout
        "attention.query_key_value": by_head(index),  # GPT-NeoX
        "self_attention.query_key_value": by_head(index),  # BLOOM, Falcon with as many k and v heads as q heads
    }


def _attention(letter: str, word: str) -> dict[str, ColumnSelector]:
    norms = (f"self_attn.{letter}_norm", f"self_attn.{letter}_layernorm", f"self_attn.{word}_layernorm")
    plain = (
        f"self_attn.{letter}_proj",  # most
        f"attn.{letter}_proj",  # GPT-J
        f"attn.attention.{letter}_proj",  # GPT-Neo
        f"attention.self.{word}",  # BERT, RoBERTa
        f"attention.attn.{letter}",  # MPNet
        f"attention.{letter}_lin",  # DistilBERT
    )
    return dict.fromkeys(norms, whole) | dict.fromkeys(plain, whole)


# Neuron type -> path inside a block (":Class" restricts the module's class) -> selector of the neurons' columns.
# The first path present in a block is used, so norms precede the projections that they follow.
PATHS: dict[str, dict[str, ColumnSelector]] = {
    "up": {
        "mlp.up_proj": whole,  # Llama, Qwen, SmolLM3, Mistral, Gemma, OLMo, Granite
        "mlp.gate_up_proj": half(1),  # Phi-3, GLM: gate and up in one matrix
        "mlp.Wi": half(1),  # ModernBERT: the half that its code calls gate has no activation
        "mlp.dense_h_to_4h": whole,  # GPT-NeoX, BLOOM, Falcon
        "mlp.c_fc": whole,  # GPT-2, StarCoder
        "mlp.fc_in": whole,  # GPT-J
        "mlp.fc1": whole,  # Phi
        "fc1": whole,  # OPT
        "intermediate.dense": whole,  # BERT, RoBERTa
        "ffn.lin1": whole,  # DistilBERT
        "ffn.up_proj": whole,  # MPT
    },
    "gate": {"mlp.gate_proj": whole, "mlp.gate_up_proj": half(0), "mlp.Wi": half(0)},
    "down": {
        "mlp.down_proj": whole,
        "mlp.Wo": whole,
        "mlp.dense_4h_to_h": whole,
        "mlp.c_proj": whole,
        "mlp.fc_out": whole,
        "mlp.fc2": whole,
        "fc2": whole,
        "output.dense": whole,
        "ffn.lin2": whole,
        "ffn.down_proj": whole,
    },
    "q": _attention("q", "query") | _fused(0),
    "k": _attention("k", "key") | _fused(1),
    "v": _attention("v", "value") | _fused(2),
    "o": {
        "self_attn.o_proj": whole,
        "self_attn.out_proj": whole,
        "self_attn.dense": whole,
        "attn.out_proj": whole,
        "attn.attention.out_proj": whole,
        "attn.c_proj": whole,
        "attn.Wo": whole,
        "attention.dense": whole,
        "self_attention.dense": whole,
        "attention.output.dense": whole,
        "attention.attn.o": whole,
        "attention.out_lin": whole,
    },
}


def find_projections(model: Any, neuron_type: str = "up") -> tuple[Projection, ...]:
    """Return each transformer block's projection of a neuron type.

    Args:
        model: a Hugging Face model without a language-model head.
        neuron_type: one of NEURON_TYPES, or k_repeated or v_repeated: keys or values repeated for every query head.

    Raises:
        UnsupportedBackboneError: the type is unknown, or transformer blocks or their projections were not found.
    """
    kind = REPEATED.get(neuron_type, neuron_type)
    if kind not in NEURON_TYPES:
        raise UnsupportedBackboneError(f"neuron type {neuron_type!r} is unknown; known are {', '.join(NEURON_TYPES)}")
    blocks, heads = find_blocks(model), Heads.of(model.config.get_text_config())
    projections = (_find_projection(block, name, kind, heads) for name, block in blocks)
    return tuple(_repeated(p, heads) if neuron_type in REPEATED else p for p in projections)


def find_blocks(model: Any) -> Sequence[tuple[str, nn.Module]]:
    """Return the name and module of each transformer block of the text model, in order.

    Raises:
        UnsupportedBackboneError: an encoder-decoder, or no module list of as many blocks as the configuration states.
    """
    family, config = type(model).__name__, model.config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedBackboneError(
            f"{family}: encoder-decoder models are not supported; use a decoder or an encoder"
        )
    layers = getattr(config, "num_hidden_layers", None)
    text = getattr(model, "language_model", model)  # the text model inside a model of text and images
    for name, module in text.named_modules():
        if type(module).__name__ == "ModuleList" and len(module) == layers:
            return [(f"{family}.{name}.{number}", block) for number, block in enumerate(module)]
    raise UnsupportedBackboneError(f"{family}: no list of {layers} transformer blocks found")


def _find_projection(block: nn.Module, where: str, kind: str, heads: Heads) -> Projection:
    modules = dict(block.named_modules())
    for path, select_columns in PATHS[kind].items():
        name, _, class_name = path.partition(":")
        module = modules.get(name)
        if module is None or class_name not in ("", type(module).__name__):
            continue
        outputs = _output_width(module, kind, heads)
        columns = select_columns(outputs, heads)
        if columns is not None:
            width = len(range(outputs)[columns]) if isinstance(columns, slice) else len(columns)
            return Projection(module, columns, width, outputs)
    paths = ", ".join(path.partition(":")[0] for path in PATHS[kind])
    mixture = any("expert" in name or "router" in name for name in modules)
    if mixture and kind in ("up", "down", "gate"):
        raise UnsupportedBackboneError(
            f"{where}: a mixture of experts has no single {kind} projection that every token passes, so impacts of its "
            "neurons are not comparable; use a dense backbone"
        )
    if kind == "gate" and any(path.partition(":")[0] in modules for path in PATHS["up"]):
        raise UnsupportedBackboneError(
            f"{where}: no gate projection, as the model's MLP has none; use another neuron type"
        )
    raise UnsupportedBackboneError(f"{where}: no {kind} projection of a known layout found; looked for {paths}")


def _output_width(module: nn.Module, kind: str, heads: Heads) -> int:
    """Return the width of a module's flattened output: the stated one, or all heads' width for a norm."""
    stated = getattr(module, "out_features", None) or getattr(module, "nf", None)  # nf: GPT-2's Conv1D
    if stated is not None:
        return int(stated)
    return (heads.query if kind == "q" else heads.kv) * heads.size


def _repeated(projection: Projection, heads: Heads) -> Projection:
    """Return a key or value projection with each head repeated once for every query head that shares it."""
    columns, size = projection.columns, projection.width // heads.kv
    indices = range(projection.outputs)[columns] if isinstance(columns, slice) else columns
    times = heads.query // heads.kv
    order = [head // times * size + c for head in range(heads.query) for c in range(size)]
    return dataclasses.replace(projection, columns=tuple(indices[c] for c in order), width=len(order))
