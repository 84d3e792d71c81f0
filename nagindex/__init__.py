"""nagindex: pick the pretraining documents that train a task, from an index of neuron activations built once.

    index, report = nagindex.build("corpus/", "my.nagindex", model="Qwen/Qwen3-0.6B-Base")
    index = nagindex.open("my.nagindex")
    index.query("targets.jsonl", n=1_000_000).to_parquet("selection.parquet")

Importing the package is cheap: torch, transformers, duckdb and numba are imported when something needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nagindex._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from nagindex.builder import build
    from nagindex.corpus.columns import Columns
    from nagindex.index import Index
    from nagindex.query.selection import Selection

__all__ = ["Columns", "Index", "Selection", "__version__", "build", "open"]

_HOMES = {
    "Columns": "nagindex.corpus",
    "Index": "nagindex.index",
    "Selection": "nagindex.query.selection",
    "build": "nagindex.builder",
}


def open(path: str | Path, *, version: int | None = None) -> Index:  # noqa: A001 - the verb users expect
    """Return an index as its current, or an older, version; see `Index.open`."""
    from nagindex.index import Index

    return Index.open(path, version=version)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nagindex' has no attribute {name!r}")
