"""The bytes of JSON files that contain their own checksum, so that any changed byte is detected."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a JSON object, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def dump_json(content: dict[str, Any]) -> bytes:
    """Return the bytes of a JSON file with these values and their checksum."""
    text = json.dumps(content | {"sha256": digest(content)}, indent=1, ensure_ascii=False)
    return text.encode() + b"\n"


def parse_json(written: bytes) -> tuple[dict[str, Any], bool]:
    """Return the values in the bytes of a file without the checksum, and whether every byte is intact.

    Raises:
        ValueError: they are no JSON object with a checksum.
    """
    try:
        content = json.loads(written)
        checksum = content.pop("sha256")
        return content, checksum == digest(content) and written == dump_json(content)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise ValueError("no JSON object with a checksum") from None


def is_intact(written: bytes) -> bool:
    """Return whether the bytes are those of a JSON file as it was written."""
    try:
        return parse_json(written)[1]
    except ValueError:
        return False
