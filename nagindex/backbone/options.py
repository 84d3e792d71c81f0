"""Options of a model: where the backbone of an index is found and run. Importing this loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class ModelKeywords(TypedDict, total=False):
    """The fields of `ModelOptions` as keyword arguments."""

    model: str | None
    device: str
    trust_remote_code: bool


class LoadKeywords(TypedDict, total=False):
    """Keyword arguments of `load_backbone` beside the name, the neuron type and the device."""

    dtype: str
    attention: str
    revision: str | None
    trust_remote_code: bool


@dataclass(frozen=True)
class ModelOptions:
    """Where the backbone of an index is found and run; which model it is, the index's fingerprint says.

    Attributes:
        model: name or folder of the model now; None for the name recorded in the fingerprint.
        device: a torch device, several with commas between them, or `auto`: every visible GPU, else the CPU.
        trust_remote_code: whether code that comes with the model may run.
    """

    model: str | None = None
    device: str = "auto"
    trust_remote_code: bool = False
