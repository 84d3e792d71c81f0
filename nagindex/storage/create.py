"""Creating an index: a new empty one, or an existing one with the same fingerprint and settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError, DamagedIndexError, plural
from nagindex.storage.calibration import write_calibration
from nagindex.storage.commit import publish
from nagindex.storage.files import make_folders
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.locations import mirror_of
from nagindex.storage.manifest import Manifest, has_segments, newest_version, now, read_latest, require_newest
from nagindex.storage.mirror import FOLDERS as STORED_FOLDERS
from nagindex.storage.settings import Settings

FOLDERS = ("manifests", "segments", "calibration")


def create_index(
    folder: Path,
    fingerprint: Fingerprint,
    settings: Settings,
    *,
    means: npt.NDArray[np.float32] | None = None,
    seen: int | None = None,
) -> Manifest:
    """Create an empty index, or open an existing one with the same fingerprint and settings; return its manifest.

    Where an existing index was calibrated on the same sample in the same encoding, perhaps by another machine at the same time, its means
    are kept and `means` given up: of several writers, all use what the first one stored. Settings of an index that holds no document
    can still change.

    Args:
        folder: the index's folder.
        fingerprint: the encoding.
        settings: how corpora are read.
        means: mean impacts, float32 [L, max d_l], for relative impact.
        seen: version that the caller based its settings on, 0 for none; of one that another writer has published since, settings do not
            change. By default, the current one.

    Raises:
        SettingsMismatchError: the existing index has another fingerprint or other settings; names both values.
        BadInputError: the folder holds something else.
        DamagedIndexError: the folder holds segments but no manifest.
    """
    if not newest_version(folder):
        if _holds_something_else(folder):
            raise BadInputError(f"{folder}: exists and is not an index; name another folder with `index`")
        if has_segments(folder):
            raise DamagedIndexError(folder / "manifests", "no version is left, though segments are")
        make_folders(folder / "manifests", folder / "segments")
        if means is not None:
            write_calibration(folder, means)
        publish(folder, Manifest(1, "create", now(), fingerprint, settings))
    require_newest(folder)
    manifest = read_latest(folder)
    if settings.sample is not None and settings.sample == manifest.settings.sample:
        same = dataclasses.replace(fingerprint, calibration=manifest.fingerprint.calibration)
        fingerprint = fingerprint if manifest.fingerprint.differences(same) else same
    differing = manifest.fingerprint.differences(fingerprint) + manifest.settings.differences(settings)
    if differing and not manifest.segments and seen in (None, manifest.version):
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


def _holds_something_else(folder: Path) -> bool:
    """Return whether a folder, or the URL that it mirrors, holds what is no part of an index."""
    if (remote := mirror_of(folder)) is not None:
        return not STORED_FOLDERS.issuperset(remote.store.top_names())
    return folder.exists() and (not folder.is_dir() or any(p.name not in FOLDERS for p in folder.iterdir()))
