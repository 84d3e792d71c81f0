"""Descriptions of models: which projections nagindex would use, from the configuration alone.

No weights are read or downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagindex.backbone.locate import loading, locate, max_positions
from nagindex.backbone.projections import NEURON_TYPES, Projection, find_projections
from nagindex.errors import UnsupportedBackboneError
from nagindex.nag import NagSpec, default_top_k

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class NeuronTypeInfo:
    """One neuron type of a model.

    Attributes:
        neuron_type: e.g. `up`.
        layers, widths, top_k: number of layers L, neurons d_l of each, and the default K.
        bytes_per_document: size of one document's codes.
        module: path of the first layer's projection.
        columns: how many of that module's output columns are the neurons, None for all.
    """

    neuron_type: str
    layers: int
    widths: tuple[int, ...]
    top_k: int
    bytes_per_document: int
    module: str
    columns: int | None


@dataclass(frozen=True)
class ModelInfo:
    """A model's neuron types and size.

    Attributes:
        name: the model's name or path.
        architecture: the model's class.
        parameters: number of parameters without a language-model head.
        positions: maximum number of tokens, None if the model states no limit.
        types: neuron types that the model has.
        missing: for each other type, the reason why the model lacks it.
    """

    name: str
    architecture: str
    parameters: int
    positions: int | None
    types: tuple[NeuronTypeInfo, ...]
    missing: dict[str, str]


def describe_model(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> ModelInfo:
    """Return which projections nagindex would use in a model.

    Args:
        name: a Hugging Face hub name, a folder, a .gguf file, `minilm` or `smollm2`.
        revision: a hub model's commit, tag or branch.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        InputNotFoundError: the model's configuration cannot be loaded.
        UnsupportedBackboneError: the model is a mixture of experts or has no projection that nagindex supports.
    """
    import torch

    name, location, options = locate(name, revision=revision, trust_remote_code=trust_remote_code)
    with loading(name):
        import transformers

        config = transformers.AutoConfig.from_pretrained(location, **options)
        with torch.device("meta"):
            trusted = {"trust_remote_code": trust_remote_code}
            model = transformers.AutoModel.from_config(config, **trusted)
    types, missing = [], {}
    for neuron_type in NEURON_TYPES:
        try:
            projections = find_projections(model, neuron_type)
        except UnsupportedBackboneError as error:
            missing[neuron_type] = str(error)
        else:
            types.append(_describe_type(model, neuron_type, projections))
    if not types or ("up" in missing and "experts" in missing["up"]):
        raise UnsupportedBackboneError(missing["up"])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ModelInfo(name, type(model).__name__, parameters, max_positions(model), tuple(types), missing)


def _describe_type(model: nn.Module, neuron_type: str, projections: tuple[Projection, ...]) -> NeuronTypeInfo:
    widths = tuple(projection.width for projection in projections)
    spec = NagSpec(neuron_type, widths, default_top_k(min(widths)))
    module = projections[0].module
    path = next(name for name, other in model.named_modules() if other is module)
    stated = getattr(module, "out_features", None) or getattr(module, "nf", widths[0])
    columns = None if stated == widths[0] else widths[0]
    return NeuronTypeInfo(neuron_type, spec.layers, widths, spec.top_k, spec.bytes_per_document, path, columns)
