"""Keyword arguments of methods that ask: query options, and how targets are encoded."""

from __future__ import annotations

from typing import Any, cast

from nagindex.select.options import QueryKeywords
from nagindex.targets.given import EncodeKeywords


class AskKeywords(QueryKeywords, EncodeKeywords, total=False):
    """The fields of `QueryOptions`, and how targets are encoded, as keyword arguments of one method."""


def split_keywords(keywords: AskKeywords) -> tuple[QueryKeywords, EncodeKeywords]:
    """Return the fields of `QueryOptions` among keyword arguments, and those that say how targets are encoded."""
    parts: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name, value in keywords.items():
        parts[name in EncodeKeywords.__annotations__][name] = value
    return cast(QueryKeywords, parts[0]), cast(EncodeKeywords, parts[1])
