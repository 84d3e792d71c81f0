"""Torch devices by name: whether they can be used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nagindex.errors import BadInputError

if TYPE_CHECKING:
    import torch

WITHOUT_TORCH = ("auto", "cpu")
"""Devices that there always are, for which torch need not be imported."""


def device_of(name: str) -> torch.device:
    """Return a device; `auto` is the first GPU if there is one, else the CPU.

    Raises:
        BadInputError: there is no such device.
    """
    import torch

    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        if device.type != "cuda" or not torch.cuda.is_available():
            torch.empty(1, device=device)
        elif (device.index or 0) >= torch.cuda.device_count():  # known without memory on the GPU
            raise RuntimeError(f"there are {torch.cuda.device_count()} GPUs")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise BadInputError(f"device {name!r} cannot be used ({reason}); give another `device`, such as cpu") from None
    return device


def require_devices(names: Iterable[str]) -> None:
    """Raise BadInputError unless there are all devices of some names."""
    for name in names:
        if name not in WITHOUT_TORCH:
            device_of(name)
