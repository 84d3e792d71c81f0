"""The arms of an experiment: the untouched model, the model without each of some choices of neurons, and random draws beside these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from nagindex.analysis.choice import NeuronChoice, random_neurons
from nagindex.analysis.deactivation import deactivated, mlp_projections
from nagindex.errors import BadInputError
from nagindex.nag import NagSpec

if TYPE_CHECKING:
    from torch import nn

RANDOM = 5
"""Random draws by default."""
UNTOUCHED = "untouched"

T = TypeVar("T")


@dataclass(frozen=True)
class Chosen:
    """Choices of neurons of one type in one model.

    Attributes:
        choices: the choices by name.
        model: name of the model.
        neuron_type: type of the neurons.
    """

    choices: Mapping[str, NeuronChoice]
    model: str
    neuron_type: str


@dataclass(frozen=True)
class Arm(Generic[T]):
    """What was measured with some neurons switched off.

    Attributes:
        name: of the choice; `untouched` where no neuron is off.
        neurons: number of neurons that are off.
        value: what was measured.
        draws: the same with equally many neurons of each of these layers off that were drawn at random.
    """

    name: str
    neurons: int
    value: T
    draws: Sequence[T] = ()


def chosen_in(keys: Mapping[str, NeuronChoice] | Sequence[str | Path], model: str | None, random: int) -> Chosen:
    """Return choices of neurons, and the model that they are of.

    Args:
        keys: choices by name, or files of choices, which are named after them.
        model: name of the model; None for the one that the choices name.
        random: number of random draws.

    Raises:
        InputNotFoundError: there is no such file.
        BadInputError: a file is damaged, two have one name, there is no choice, they are of several models or types or do not name
            their model, or `random` is negative.
    """
    if random < 0:
        raise BadInputError(f"`random` {random}: a number of draws from 0 up")
    choices = dict(keys) if isinstance(keys, Mapping) else {Path(file).stem: NeuronChoice.read(file) for file in keys}
    if len(choices) < len(keys):
        raise BadInputError("two files of choices have the same name; rename one")
    if not choices:
        raise BadInputError("keys: no choice of neurons; name at least one file that nagindex deactivate has written")
    types = sorted({choice.neuron_type for choice in choices.values()})
    if len(types) > 1:
        raise BadInputError(f"keys: neurons of types {', '.join(types)}; evaluate one type at a time")
    names = sorted({choice.backbone for choice in choices.values()})
    if model is None and (len(names) > 1 or not names[0]):
        found = f"chosen with {', '.join(name or 'an unknown model' for name in names)}"
        raise BadInputError(f"keys: {found}; name the model with `model`")
    return Chosen(choices, model or names[0], types[0])


def measure(
    model: nn.Module, chosen: Chosen, measured: Callable[[], T], *, random: int, seed: int
) -> tuple[list[Arm[T]], int]:
    """Return what is measured of a model, the untouched one first and then without each choice; and the model's number of neurons.

    Choices with the same number of neurons in the same layers share their random draws.

    Args:
        model: the model.
        chosen: the choices.
        measured: measures the model as it is then.
        random: number of random draws.
        seed: of the draws.

    Raises:
        BadInputError: the model has no such neuron; before anything is measured.
    """
    widths = tuple(projection.width for projection in mlp_projections(model, chosen.neuron_type))
    spec = NagSpec(chosen.neuron_type, widths, 1)

    def without(choice: NeuronChoice) -> T:
        with deactivated(model, choice):
            return measured()

    for choice in chosen.choices.values():
        with deactivated(model, choice):
            pass
    arms, drawn = [Arm(UNTOUCHED, 0, measured())], dict[tuple[tuple[int, int], ...], list[T]]()
    for name, choice in chosen.choices.items():
        value = without(choice)
        counts = {layer: len(neurons) for layer, neurons in sorted(choice.neurons.items())}
        shape = tuple(counts.items())
        if shape not in drawn:
            others = (random_neurons(counts, spec, seed + draw) for draw in range(random))
            drawn[shape] = [without(NeuronChoice(own, chosen.neuron_type)) for own in others]
        arms.append(Arm(name, len(choice), value, drawn[shape]))
    return arms, sum(widths)
