"""Optional packages of this room: whether they are there, and how they are installed."""

from __future__ import annotations

import importlib.util

from nagindex.errors import MissingDependencyError


def require_package(module: str, package: str) -> None:
    """Raise MissingDependencyError, with the command that installs it, unless a package of maps is installed."""
    if importlib.util.find_spec(module) is None:
        raise MissingDependencyError(f"maps need {package}, which is not installed; run: pip install 'nagindex[map]'")
