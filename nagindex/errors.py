"""Exceptions of nagindex: one base class; each exception also derives from the matching built-in one.

The command line prints `str(error)` as one line, so every message names the file or parameter at fault and the remedy.
"""

import copyreg
import importlib.util
from typing import Any


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 document` or `2,000 documents`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_SHOWN: dict[str, str] = {}


def show_folder_as(folder: str, name: str) -> None:
    """Let messages name a folder by another name: the mirror of an index in an object store by its URL."""
    _SHOWN[folder] = name


def show_folder(folder: str) -> None:
    """Let messages name a folder by its own name again."""
    _SHOWN.pop(folder, None)


def shown(text: object) -> str:
    """Return text with the folders in it named as `show_folder_as` set."""
    found = str(text)
    for folder, name in _SHOWN.items():
        found = found.replace(folder, name)
    return found


class NagIndexError(Exception):
    """Base class of all exceptions that nagindex raises itself."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(shown(own) if isinstance(own, str) else own for own in args))


class InputNotFoundError(NagIndexError, FileNotFoundError):
    """A corpus, target file, model or index does not exist or cannot be loaded."""

    # OSError.__str__ formats errno and filename; these errors carry a complete message instead.
    __str__ = Exception.__str__


class BadInputError(NagIndexError, ValueError):
    """A source file or an argument is invalid; the message names the file and row, or the parameter."""


class ArgumentTypeError(BadInputError, TypeError):
    """An argument is of another class than the parameter takes; the message names the parameter."""


class SettingsMismatchError(NagIndexError, ValueError):
    """The requested settings differ from those of an existing index; the message names both values."""


class DuplicateIdError(NagIndexError, ValueError):
    """A document id occurs twice under `on_duplicate="error"`."""


class UnknownFormatError(NagIndexError, ValueError):
    """An index has a format version or a feature flag that this version of nagindex does not support."""


class DamagedIndexError(NagIndexError, ValueError):
    """A file of an index is missing or has a wrong length, checksum or content; the message names it.

    Attributes:
        path: the file.
    """

    def __init__(self, path: object, damage: str) -> None:
        self.path = shown(path)
        super().__init__(f"{path}: {damage}; restore the file from a copy of the index")

    def __reduce__(self) -> tuple[Any, ...]:
        # Unpickling must bypass __init__, whose arguments are not kept.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ObjectStoreError(NagIndexError, OSError):
    """An object store does not answer, or refuses a request; the message names the object."""

    __str__ = Exception.__str__


class UnsupportedBackboneError(NagIndexError, ValueError):
    """A model lacks weights, or has no projection in a layout that nagindex supports."""


class SourceChangedError(NagIndexError, ValueError):
    """A source file has changed since the index read it."""


class MissingDependencyError(NagIndexError, ImportError):
    """An optional package is not installed; the message names the install command."""


def require_package(module: str, extra: str, missing: str) -> None:
    """Raise MissingDependencyError unless a package is installed.

    Args:
        module: the module that is imported.
        extra: the extra of nagindex that installs it.
        missing: what the message says, such as `pandas is not installed`.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingDependencyError(f"{missing}; run: pip install 'nagindex[{extra}]'")
