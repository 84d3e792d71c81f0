"""What would be tapped in a model, told from its configuration alone: no weights are read or downloaded."""

from __future__ import annotations

from dataclasses import dataclass

from nagindex.backbone.locate import loading, locate, positions_of
from nagindex.backbone.projections import NEURON_TYPES, Projection, find_projections
from nagindex.errors import UnsupportedBackboneError
from nagindex.nag import NagSpec, default_top_k


@dataclass(frozen=True)
class TypeStructure:
    """One neuron type of a model.

    Attributes:
        neuron_type: e.g. `up`.
        layers, widths, top_k: layers L, neurons d_l of each, and the default K.
        bytes_per_document: of its NAGs.
        module: path of the first layer's tapped module.
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
class Structure:
    """What nagindex sees in a model.

    Attributes:
        name: the model's name or path.
        architecture: its class.
        parameters: of the model without a language-model head.
        positions: tokens it has positions for, None where it states no limit.
        types: neuron types that can be tapped.
        missing: for each other type, why not.
    """

    name: str
    architecture: str
    parameters: int
    positions: int | None
    types: tuple[TypeStructure, ...]
    missing: dict[str, str]


def describe_model(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Structure:
    """Return what would be tapped in a model.

    Args:
        name: a Hugging Face hub name, a folder, or `minilm`.
        revision: a hub model's commit, tag or branch.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        InputNotFoundError: there is no such model.
        UnsupportedBackboneError: it has no projection that can be tapped.
    """
    import torch

    name, place, options = locate(name, revision=revision, trust_remote_code=trust_remote_code)
    with loading(name):
        import transformers

        config = transformers.AutoConfig.from_pretrained(place, **options)
        with torch.device("meta"):
            trusted = {"trust_remote_code": trust_remote_code}
            model = transformers.AutoModel.from_config(config, **trusted)
    found, missing = [], {}
    for neuron_type in NEURON_TYPES:
        try:
            projections = find_projections(model, neuron_type)
        except UnsupportedBackboneError as error:
            missing[neuron_type] = str(error)
        else:
            found.append(_described(model, neuron_type, projections))
    if not found or ("up" in missing and "experts" in missing["up"]):
        raise UnsupportedBackboneError(missing["up"])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Structure(name, type(model).__name__, parameters, positions_of(model), tuple(found), missing)


def _described(model: object, neuron_type: str, projections: tuple[Projection, ...]) -> TypeStructure:
    widths = tuple(projection.width for projection in projections)
    spec = NagSpec(neuron_type, widths, default_top_k(min(widths)))
    module = projections[0].module
    path = next(name for name, other in model.named_modules() if other is module)  # type: ignore[attr-defined]
    stated = getattr(module, "out_features", None) or getattr(module, "nf", widths[0])
    columns = None if stated == widths[0] else widths[0]
    return TypeStructure(neuron_type, spec.layers, widths, spec.top_k, spec.bytes_per_document, path, columns)
