"""Torch devices by name: whether they can be used, and in which floating-point type they compute fastest."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.errors import BadInputError

if TYPE_CHECKING:
    import torch

WITHOUT_TORCH = ("auto", "cpu")
"""Devices that there always are, for which torch need not be imported."""
BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}
MEASUREMENTS = 5


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
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise BadInputError(f"device {name!r} cannot be used ({reason}); give another `device`, such as cpu") from None
    return device


def require_devices(names: Iterable[str]) -> None:
    """Raise BadInputError unless there are all devices of some names."""
    for name in names:
        if name not in WITHOUT_TORCH:
            device_of(name)


def default_dtype(device: torch.device) -> str:
    """Return the name of the floating-point type that a device encodes in by default: bfloat16 where it computes in it."""
    return "bfloat16" if device.type != "cpu" or cpu_computes_bf16() else "float32"


@cache
def cpu_computes_bf16() -> bool:
    """Return whether this processor multiplies matrices of bfloat16, and in less time than those of float32.

    The processor states the instructions (AVX512_BF16 or AMX on x86, BF16 on ARM), and a measurement confirms that torch uses them.
    """
    return bool(BF16_INSTRUCTIONS & _cpu_flags()) and _matrix_seconds("bfloat16") < _matrix_seconds("float32")


def _cpu_flags() -> set[str]:
    """Return the processor's features, as Linux lists them; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.lower().startswith(("flags", "features"))), set())


def _matrix_seconds(dtype: str) -> float:
    """Return the least time of some products of matrices of a type, of the sizes of a small model's."""
    import torch

    a, b = torch.ones(512, 1024, dtype=getattr(torch, dtype)), torch.ones(1024, 1024, dtype=getattr(torch, dtype))
    times = []
    for _ in range(MEASUREMENTS):
        started = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - started)
    return min(times)
