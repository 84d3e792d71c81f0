"""Arrays in .npy files of an index, written so that a full disk raises, and memory-mapped with a known dtype and shape."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import DamagedIndexError
from nagindex.storage.disk_errors import writing

MAGIC = np.lib.format.magic(1, 0)


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as a new .npy file; unlike `np.save`, raise if the last bytes do not fit on the disk."""
    contiguous = np.ascontiguousarray(array)
    with writing(path), open(path, "xb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(contiguous))
        file.write(contiguous.data)


def data_offset(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return the offset of the values in a .npy file; nothing is allocated for the size that the header states.

    The header is compared as text: numpy evaluates it as Python code, which fails at random in several threads of Python 3.11.

    Raises:
        DamagedIndexError: the file does not hold an array of this dtype and shape, or is too short for it.
    """
    try:
        with open(path, "rb") as file:
            magic, length = file.read(len(MAGIC)), int.from_bytes(file.read(2), "little")
            header = file.read(length).decode("latin1").rstrip()
            offset, size = file.tell(), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DamagedIndexError(path, f"cannot be read ({error.strerror})") from None
    if magic != MAGIC:
        raise DamagedIndexError(path, "not a .npy array of version 1.0")
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(map(int, shape))}
    if header != "{" + "".join(f"{name!r}: {value!r}, " for name, value in fields.items()) + "}":
        raise DamagedIndexError(path, f"header {ascii(header)[1:-1][:200]} instead of {dtype} {shape}")
    if size < offset + dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise DamagedIndexError(path, f"too short for {dtype} {shape}")
    return offset


def map_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int | None = None) -> npt.NDArray[Any]:
    """Return the array of a .npy file, memory-mapped read-only; an array without values is not mapped.

    Args:
        path: the file.
        dtype: expected dtype.
        shape: expected shape.
        offset: offset of the values, if `data_offset` has been called before.

    Raises:
        DamagedIndexError: the file holds something else, or is gone.
    """
    start = data_offset(path, dtype, shape) if offset is None else offset
    try:
        return np.memmap(path, dtype, "r", start, shape) if 0 not in shape else np.empty(shape, dtype)
    except FileNotFoundError as error:  # removed since its header was read
        raise DamagedIndexError(path, f"cannot be read ({error.strerror})") from None
