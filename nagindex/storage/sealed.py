"""JSON files that carry their own checksum: what does not read back as it was written is damage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nagindex.errors import DamagedIndexError
from nagindex.storage.checked import is_plain


def digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 of JSON values, whatever their order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def seal(content: dict[str, Any]) -> bytes:
    """Return the bytes of a JSON file with these values and their checksum."""
    text = json.dumps(content | {"sha256": digest(content)}, indent=1, ensure_ascii=False)
    return text.encode() + b"\n"


def unseal(path: Path, what: str) -> tuple[dict[str, Any], bool]:
    """Return the values of a file, and whether the checksum that it carries is theirs.

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
        content = json.loads(path.read_bytes())
        stated = content.pop("sha256")
        return content, stated == digest(content)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise damaged(path, what) from None


def damaged(path: Path, what: str) -> DamagedIndexError:
    """Return the error of a file that does not hold what was written."""
    return DamagedIndexError(path, f"{what}'s content is not what was written")
