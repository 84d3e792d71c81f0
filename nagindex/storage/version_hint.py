"""The version hint: the number of the newest version, kept so that `verify` notices if its manifest is removed.

The current version is always the one with the highest manifest; nothing is read from the hint to open or change an index. A hint
may be too low, if its writer was slow or killed, but never higher than the versions that were published.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from nagindex.errors import ObjectStoreError
from nagindex.storage.checksummed_json import damage_error, load_json
from nagindex.storage.json_bytes import dump_json
from nagindex.storage.locations import mirror_of


def hint_path(index: Path) -> Path:
    """Return the path of an index's version hint."""
    return index / "manifests" / "latest.json"


def write_hint(index: Path, version: int) -> None:
    """Replace the hint after a version was published; a hint that cannot be written is left out."""
    path = hint_path(index)
    if (remote := mirror_of(index)) is not None:
        with suppress(ObjectStoreError):
            remote.put(path, dump_json({"version": version}))
        return
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    with suppress(OSError):
        try:
            with open(temporary, "xb") as file:
                file.write(dump_json({"version": version}))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def read_hint(index: Path) -> int | None:
    """Return the version that the hint names; None if there is none: older indexes have no hint.

    Raises:
        DamagedIndexError: the content is not what was written.
    """
    path = hint_path(index)
    try:
        content, intact = load_json(path, "the version hint")
    except (FileNotFoundError, NotADirectoryError):
        return None
    version = content.get("version")
    if not intact or type(version) is not int or version < 1:
        raise damage_error(path, "the version hint")
    return version
