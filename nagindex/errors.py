"""The errors nagindex raises: one base class, each error also the fitting standard one.

The command line prints `str(error)` as its one-line reason, so every message names the file or setting and the remedy.
"""

import copyreg
from typing import Any


class NagIndexError(Exception):
    """Base of every error that nagindex raises on purpose."""


class InputNotFoundError(NagIndexError, FileNotFoundError):
    """A corpus, target, model or index that was named does not exist."""

    # OSError.__str__ formats errno and filename; these errors carry a finished sentence instead.
    __str__ = Exception.__str__


class BadInputError(NagIndexError, ValueError):
    """A source file or an argument does not hold what it must; the message names file, row and remedy."""


class SettingsMismatchError(NagIndexError, ValueError):
    """An index exists with other settings than those asked for; the message names both values."""


class DuplicateIdError(NagIndexError, ValueError):
    """A document id occurs twice and `on_duplicate="error"` was asked for."""


class UnknownFormatError(NagIndexError, ValueError):
    """An index was written in a format version, or with a feature flag, that this nagindex does not know."""


class DamagedIndexError(NagIndexError, ValueError):
    """A file of an index is missing, has the wrong length, checksum or content; the message names file and segment."""

    def __init__(self, path: object, damage: str) -> None:
        super().__init__(f"{path}: {damage}; restore the file from a copy of the index")

    def __reduce__(self) -> tuple[Any, ...]:
        # Unpickled without __init__, which would want the path and the damage back.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UnsupportedBackboneError(NagIndexError, ValueError):
    """A model has no projection that nagindex knows how to tap."""


class SourceChangedError(NagIndexError, ValueError):
    """A source file no longer holds what the index read from it."""


class MissingDependencyError(NagIndexError, ImportError):
    """An optional package is needed; the message names the install command."""
