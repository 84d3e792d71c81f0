"""Arrays of an index in .npy files: written so that a full disk is noticed, and mapped only as what they are expected to be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import DamagedIndexError
from nagindex.storage.files import writing


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as a new .npy file; numpy's own writing into files does not notice when the last bytes find no room."""
    with writing(path), open(path, "xb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(np.ascontiguousarray(array).data)


def first_byte(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return where the values of a .npy file begin; nothing of the size that its header states is made.

    Raises:
        DamagedIndexError: it holds no array of this type and shape, or ends before it does.
    """
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("of another version of the format")
            found, in_columns, kind = np.lib.format.read_array_header_1_0(file)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
    except Exception as error:  # whatever Python makes of what the header spells
        raise DamagedIndexError(path, f"no array ({' '.join(str(error).split())[:200]})") from None
    if (found, kind) != (shape, dtype) or (in_columns and len(shape) > 1):
        raise DamagedIndexError(path, f"holds {kind} {found}, not {dtype} {shape}")
    if size < start + dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise DamagedIndexError(path, f"ends before its {dtype} {shape} do")
    return start


def mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], start: int | None = None) -> npt.NDArray[Any]:
    """Return an array mapped from a .npy file; one without values is no mapping.

    Args:
        path: the file.
        dtype: what it must hold.
        shape: likewise.
        start: where its values begin, if that was found out before.

    Raises:
        DamagedIndexError: it holds something else.
    """
    place = first_byte(path, dtype, shape) if start is None else start
    return np.memmap(path, dtype, "r", place, shape) if 0 not in shape else np.empty(shape, dtype)
