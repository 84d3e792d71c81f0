"""Creating an index: a new empty one, or an existing one with the same fingerprint and settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError, DamagedIndexError, plural
from nagindex.storage.calibration import write_calibration
from nagindex.storage.files import make_folders
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.manifest import Manifest, now, publish, read_latest, require_newest, versions
from nagindex.storage.settings import Settings

FOLDERS = ("manifests", "segments", "calibration")


def create_index(
    folder: Path, fingerprint: Fingerprint, settings: Settings, *, means: npt.NDArray[np.float32] | None = None
) -> Manifest:
    """Create an empty index, or open an existing one with the same fingerprint and settings; return its manifest.

    A calibration that was drawn from the corpus (`settings.calibrate`) is given up for that of an existing index, which was drawn in
    the same way, perhaps on another machine: of several writers, all use what the first one stored.

    Args:
        folder: the index's folder.
        fingerprint: the encoding.
        settings: how corpora are read.
        means: mean impacts, float32 [L, max d_l], for relative impact; stored unless the index has its own.

    Raises:
        SettingsMismatchError: the existing index has another fingerprint or other settings; names both values.
        BadInputError: the folder holds something else.
        DamagedIndexError: the folder holds segments but no manifest.
    """
    if not versions(folder):
        if folder.exists() and (not folder.is_dir() or any(p.name not in FOLDERS for p in folder.iterdir())):
            raise BadInputError(f"{folder}: exists and is not an index; name another folder with `index`")
        if any(folder.glob("segments/*")):
            raise DamagedIndexError(folder / "manifests", "no version is left, though segments are")
        make_folders(folder / "manifests", folder / "segments")
        if means is not None:
            write_calibration(folder, means)
        publish(folder, Manifest(1, "create", now(), fingerprint, settings))
    require_newest(folder)
    manifest = read_latest(folder)
    if settings.calibrate is not None and settings.calibrate == manifest.settings.calibrate:
        fingerprint = dataclasses.replace(fingerprint, calibration=manifest.fingerprint.calibration)
    differing = manifest.fingerprint.differences(fingerprint) + manifest.settings.differences(settings)
    if differing and not manifest.segments:  # nothing has been encoded yet, so the settings can still change
        if means is not None:
            write_calibration(folder, means)
        changed = dataclasses.replace(manifest.following("create", ()), fingerprint=fingerprint, settings=settings)
        publish(folder, changed)
        manifest = read_latest(folder)
    held = (
        f"{folder} (version {manifest.version}, {plural(manifest.documents, 'document')})"  # another build's, perhaps
    )
    manifest.fingerprint.require(fingerprint, where=held)
    manifest.settings.require(settings, where=held)
    return manifest
