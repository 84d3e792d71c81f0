"""Creating an index: a new empty one, or an existing one with the same fingerprint and settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nagindex.errors import BadInputError, DamagedIndexError, plural
from nagindex.storage.files import make_folders
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.manifest import Manifest, now, publish, read_latest, require_newest, versions
from nagindex.storage.settings import Settings

FOLDERS = ("manifests", "segments")


def create_index(folder: Path, fingerprint: Fingerprint, settings: Settings) -> Manifest:
    """Create an empty index, or open an existing one with the same fingerprint and settings; return its manifest.

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
        make_folders(*(folder / name for name in FOLDERS))
        publish(folder, Manifest(1, "create", now(), fingerprint, settings))
    require_newest(folder)
    manifest = read_latest(folder)
    differing = manifest.fingerprint.differences(fingerprint) + manifest.settings.differences(settings)
    if differing and not manifest.segments:  # nothing has been encoded yet, so the settings can still change
        changed = dataclasses.replace(manifest.following("create", ()), fingerprint=fingerprint, settings=settings)
        publish(folder, changed)
        manifest = read_latest(folder)
    held = (
        f"{folder} (version {manifest.version}, {plural(manifest.documents, 'document')})"  # another build's, perhaps
    )
    manifest.fingerprint.require(fingerprint, where=held)
    manifest.settings.require(settings, where=held)
    return manifest
