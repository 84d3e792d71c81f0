"""Neurons switched off in a loaded model for the duration of a block, by hooks that leave its weights alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nagindex.analysis.choice import MLP_TYPES, NeuronChoice
from nagindex.backbone.hooks import hooked
from nagindex.backbone.projections import Projection, find_projections
from nagindex.errors import BadInputError, UnsupportedBackboneError

if TYPE_CHECKING:
    import torch
    from torch import nn


@contextmanager
def deactivated(model: nn.Module, keys: NeuronChoice | Mapping[int, Sequence[int]] | str | Path) -> Iterator[None]:
    """Switch neurons of a model off for the duration of a block, after which it is exactly what it was.

    The outputs of the chosen neurons' projections are 0, the values that impacts are read from. For neurons of type `up`, the input of
    the MLP's down projection is then 0 there: a gate multiplies the 0, and the activation functions of models without one map 0 to 0.
    No weight is changed. Blocks may be nested: what any of them names is off.

    Args:
        model: a Hugging Face model, with a language-model head or without, on any device.
        keys: neurons by layer: a choice, a mapping of layer numbers to neurons of type `up`, or the file of a choice.

    Raises:
        InputNotFoundError: there is no such file.
        BadInputError: the file is damaged, or the model has no such layer or neuron.
        UnsupportedBackboneError: neurons of this type cannot be switched off, or the model has none.

    Source: arXiv 2604.15706, section 4.1.1, whose code sets rows of the up projection's weights to 0.
    """
    choice = keys if isinstance(keys, NeuronChoice) else _choice_of(keys)
    projections = mlp_projections(model, choice.neuron_type)
    off = [(projections[layer], own) for layer, own in _checked(choice, projections).items() if len(own)]
    columns = [_columns(projection, own) for projection, own in off]

    def silence(position: int, output: torch.Tensor) -> torch.Tensor:
        return output.index_fill(-1, columns[position].to(output.device), 0)

    with hooked([projection for projection, _ in off], silence):
        yield


def _choice_of(keys: Mapping[int, Sequence[int]] | str | Path) -> NeuronChoice:
    return NeuronChoice(keys) if isinstance(keys, Mapping) else NeuronChoice.read(keys)


def mlp_projections(model: nn.Module, neuron_type: str = "up") -> tuple[Projection, ...]:
    """Return the projection of each layer of a model, with a language-model head or without, whose neurons can be switched off.

    Raises:
        UnsupportedBackboneError: the type is none of the MLP's, or the model has no such projection.
    """
    if neuron_type not in MLP_TYPES:
        raise UnsupportedBackboneError(
            f"neuron type {neuron_type!r}: neurons of types {', '.join(MLP_TYPES)} can be switched off; use an index of one of these"
        )
    return find_projections(getattr(model, "base_model", model), neuron_type)


def _checked(choice: NeuronChoice, projections: Sequence[Projection]) -> Mapping[int, Sequence[int]]:
    """Return the chosen neurons.

    Raises:
        BadInputError: the model has no such layer or neuron.
    """
    for layer, neurons in choice.neurons.items():
        if not 0 <= layer < len(projections):
            raise BadInputError(
                f"keys, layer {layer}: the model has layers 0 to {len(projections) - 1}; choose neurons of this model"
            )
        width = projections[layer].width
        for neuron in neurons:
            if not 0 <= neuron < width:
                raise BadInputError(
                    f"keys, layer {layer}: no neuron {neuron}; the model has 0 to {width - 1} there; choose neurons of this model"
                )
    return choice.neurons


def _columns(projection: Projection, neurons: Sequence[int]) -> torch.Tensor:
    """Return the columns of a projection's output that are some of its neurons, int64 [m]."""
    import torch

    columns = np.arange(projection.outputs)[
        projection.columns if isinstance(projection.columns, slice) else list(projection.columns)
    ]
    return torch.from_numpy(columns[np.asarray(neurons, np.int64)])
