"""The calibration of an index of relative impact: each neuron's mean impact over a sample of the pool.

    calibration/<SHA-256 of the file>.npy   float32 [L, max d_l], 0 beyond a layer's width

The fingerprint names the file, so that all documents and targets of an index are encoded with the same means. It is immutable.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex.errors import DamagedIndexError
from nagindex.storage.arrays import map_array
from nagindex.storage.files import (
    FileEntry,
    create_exclusively,
    make_folders,
    verify_content,
    verify_length,
    verify_once,
)
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.locations import mirror_of
from nagindex.storage.verified import require_folder

FOLDER = "calibration"
DTYPE = np.dtype("<f4")
OWNER = "the fingerprint"


def calibration_hash(means: npt.NDArray[np.float32]) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of the file that holds means, float32 [L, max d_l]."""
    return hashlib.sha256(_content(means)).hexdigest()


def calibration_path(index: Path, fingerprint: Fingerprint) -> Path | None:
    """Return the path of an index's calibration; None for absolute impact."""
    return None if fingerprint.calibration is None else index / FOLDER / f"{fingerprint.calibration}.npy"


def write_calibration(index: Path, means: npt.NDArray[np.float32]) -> None:
    """Create the file of a calibration in the folder of an index, unless it is there.

    Args:
        index: the index's folder.
        means: float32 [L, max d_l].

    Raises:
        DamagedIndexError: there is a file of its name with other content.
    """
    make_folders(index / FOLDER)
    content, sha256 = _content(means), calibration_hash(means)
    path = index / FOLDER / f"{sha256}.npy"
    if not create_exclusively(path, content):
        verify_content(path, FileEntry(len(content), sha256), owner=OWNER)
    if (remote := mirror_of(index)) is not None:
        remote.upload([path])


def read_calibration(index: Path, fingerprint: Fingerprint) -> npt.NDArray[np.float32] | None:
    """Return the mean impacts that an index was calibrated with, float32 [L, max d_l]; None for absolute impact.

    Raises:
        DamagedIndexError: the file is missing, or not what was written.
    """
    path = calibration_path(index, fingerprint)
    if path is None:
        return None
    verify_once(path, _entry(fingerprint), owner=OWNER)
    return np.array(map_array(path, DTYPE, _shape(fingerprint)))


def check_calibration(index: Path, fingerprint: Fingerprint) -> None:
    """Raise DamagedIndexError unless the file of an index's calibration is there with its length."""
    path = calibration_path(index, fingerprint)
    if path is not None:
        require_folder(path.parent)
        verify_length(path, _entry(fingerprint), owner=OWNER)


def calibration_damage(index: Path, fingerprint: Fingerprint) -> DamagedIndexError | None:
    """Read the whole file of an index's calibration; return the damage, or None."""
    path = calibration_path(index, fingerprint)
    try:
        if path is not None:
            verify_content(path, _entry(fingerprint), owner=OWNER)
    except DamagedIndexError as error:
        return error
    return None


def _shape(fingerprint: Fingerprint) -> tuple[int, int]:
    return fingerprint.spec.layers, max(fingerprint.spec.widths)


def _entry(fingerprint: Fingerprint) -> FileEntry:
    layers, width = _shape(fingerprint)
    return FileEntry(len(_header((layers, width))) + DTYPE.itemsize * layers * width, str(fingerprint.calibration))


def _header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": DTYPE.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _content(means: npt.NDArray[np.float32]) -> bytes:
    return _header(means.shape) + np.ascontiguousarray(means, DTYPE).tobytes()
