"""Reading JSON files that contain their own checksum; what is damaged in a mirror is fetched from its object store again."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, TypeVar

from nagindex.errors import DamagedIndexError, UnknownFormatError
from nagindex.storage import locations
from nagindex.storage.json_bytes import parse_json
from nagindex.storage.schema import from_json
from nagindex.storage.verified import is_regular_file

T = TypeVar("T")


def load_json(path: Path, what: str) -> tuple[dict[str, Any], bool]:
    """Return the values of a file without the checksum, and whether every byte is intact.

    Args:
        path: the file.
        what: name of the content, for messages.

    Raises:
        FileNotFoundError: the file does not exist.
        DamagedIndexError: the file does not hold a JSON object with a checksum.
    """
    try:
        content, intact = _load_json(path, what)
        if intact or not locations.fetch_small(path):
            return content, intact
    except DamagedIndexError:
        if not locations.fetch_small(path):
            raise
    return _load_json(path, what)


def _load_json(path: Path, what: str) -> tuple[dict[str, Any], bool]:
    if not is_regular_file(path):
        raise damage_error(path, what)
    try:
        return parse_json(path.read_bytes())
    except ValueError:
        raise damage_error(path, what) from None


def load_dataclass(path: Path, kind: type[T], version: int, what: str) -> T:
    """Return the content of a JSON file that describes derived data, as an instance of a dataclass.

    Args:
        path: the file.
        kind: the dataclass; its fields are the keys of the file.
        version: the format version that this nagindex reads.
        what: name of the content, for messages.

    Raises:
        FileNotFoundError: the file does not exist.
        UnknownFormatError: the file has another format version.
        DamagedIndexError: the content is not what was written.
    """
    content, intact = load_json(path, what)
    stored_version = content.pop("format_version", None)
    if intact and stored_version != version:  # in a damaged file, the number itself may be wrong
        shown = textwrap.shorten(str(stored_version), 60)
        raise UnknownFormatError(
            f"{path}: {what} of format version {shown}, this nagindex reads {version}; run `optimize(refit=True)`"
        )
    try:
        if intact:
            return from_json(kind, content)
    except ValueError:
        pass
    raise damage_error(path, what)


def damage_error(path: Path, what: str) -> DamagedIndexError:
    """Return the error for a JSON file whose content is not what was written."""
    return DamagedIndexError(path, f"{what}'s content is not what was written")
