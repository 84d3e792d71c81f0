"""JSON files that carry their own checksum: what does not read back as it was written is damage."""

from __future__ import annotations

import hashlib
import json
import textwrap
from pathlib import Path
from typing import Any, TypeVar

from nagindex.errors import DamagedIndexError, UnknownFormatError
from nagindex.storage.schema import typed
from nagindex.storage.verified import is_plain

T = TypeVar("T")


def digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 of JSON values, whatever their order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def seal(content: dict[str, Any]) -> bytes:
    """Return the bytes of a JSON file with these values and their checksum."""
    text = json.dumps(content | {"sha256": digest(content)}, indent=1, ensure_ascii=False)
    return text.encode() + b"\n"


def load_json(path: Path, what: str) -> tuple[dict[str, Any], bool]:
    """Return the values of a file, and whether they and every byte are what was written.

    Args:
        path: the file.
        what: what it is, for messages.

    Raises:
        FileNotFoundError: there is none.
        DamagedIndexError: it holds no JSON object with a checksum.
    """
    if not is_plain(path):
        raise damaged(path, what)
    try:
        written = path.read_bytes()
        content = json.loads(written)
        stated = content.pop("sha256")
        return content, stated == digest(content) and written == seal(content)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise damaged(path, what) from None


def described(path: Path, kind: type[T], version: int, what: str) -> T:
    """Return the values of a file that describes derived data, of a format version, as a dataclass of its fields.

    Raises:
        FileNotFoundError: there is none.
        UnknownFormatError: another nagindex wrote it.
        DamagedIndexError: it is not what was written.
    """
    content, whole = load_json(path, what)
    found = content.pop("format_version", None)
    if whole and found != version:  # a flipped bit in the number is damage, which `optimize` puts right
        told = textwrap.shorten(str(found), 60)
        raise UnknownFormatError(
            f"{path}: {what} of format version {told}, this nagindex reads {version}; run nagindex optimize --refit"
        )
    try:
        if whole:
            return typed(kind, content)
    except ValueError:
        pass
    raise damaged(path, what)


def damaged(path: Path, what: str) -> DamagedIndexError:
    """Return the error of a file that does not hold what was written."""
    return DamagedIndexError(path, f"{what}'s content is not what was written")
