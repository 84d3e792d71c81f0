"""Finding files on local disks: paths, globs and folders, with what cannot be read of them."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from nagindex.errors import InputNotFoundError

INDEX_SUFFIX = ".nagindex"


def expand(item: str | Path, problems: dict[Path, str]) -> list[tuple[Path, Path]]:
    """Return (path, base) for each match of a path or glob; the corpus root holds all bases.

    Folders that a glob cannot look into are added to `problems`.
    """
    path = absolute_path(item)
    if os.path.isdir(path):
        return [(path, path)]
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG) and not glob.has_magic(str(path)):
            problems[path] = _said(error)
    if path in problems or os.path.lexists(path):
        return [(path, path.parent)]
    matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(str(path)) else []
    fixed = Path(*_before_magic(path.parts))
    unlistable = {folder: why for folder, why in _unlistable(path) if not is_skipped_below(folder, fixed)}
    problems |= unlistable
    if not matches and not unlistable:
        raise InputNotFoundError(f"{item}: no such file or folder")
    kept = [match for match in map(Path, matches) if not is_skipped_below(match, fixed)]
    return [(match, fixed) for match in kept if match not in unlistable]


def _unlistable(pattern: Path) -> Iterator[tuple[Path, str]]:
    """Yield (folder, reason) of the folders that a glob looks into and cannot list: `glob` passes them over in silence."""
    for number, part in enumerate(pattern.parts):
        if glob.has_magic(part):
            folders = Path(*pattern.parts[: number + (part == "**")], "_").parent
            for folder in glob.glob(os.path.join(folders, ""), recursive=True):
                try:
                    os.scandir(folder).close()
                except NotADirectoryError:
                    continue
                except OSError as error:
                    yield Path(folder), _said(error)


def _before_magic(parts: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for part in parts:
        if glob.has_magic(part):
            break
        kept.append(part)
    return kept


def _is_skipped_name(name: str) -> bool:
    return name.startswith(".") or name.endswith(INDEX_SUFFIX)


def is_skipped_below(path: PurePath, folder: PurePath) -> bool:
    """Return whether a path passes through a folder whose files are no sources: a hidden one, or an index."""
    return any(map(_is_skipped_name, path.relative_to(folder).parts))


def walk(folder: Path, problems: dict[Path, str]) -> Iterator[Path]:
    """Yield the files below a folder; links to folders are followed, except to a folder above the link.

    Folders that cannot be listed are added to `problems`.
    """

    def note(error: OSError) -> None:
        problems[Path(error.filename)] = _said(error)

    for parent, folders, names in os.walk(folder, onerror=note, followlinks=True):
        above = {os.path.realpath(p) for p in (Path(parent), *Path(parent).parents)}
        folders[:] = sorted(
            name for name in folders if not _is_skipped_name(name) and os.path.realpath(Path(parent, name)) not in above
        )
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def problem_of(path: Path, *, readable: bool) -> str | None:
    """Return why a path cannot be read, None if it can.

    Args:
        path: of a file, or of a link that leads nowhere.
        readable: whether it must be a file that may be read, and not merely no broken link.
    """
    try:
        os.stat(path)
    except OSError as error:
        link = f"a link to {os.readlink(path)}: " if os.path.islink(path) else ""
        return f"{link}{_said(error)}" if readable or link else None
    return None if not readable or os.access(path, os.R_OK) else os.strerror(errno.EACCES)


def _said(error: OSError) -> str:
    return error.strerror or type(error).__name__


def absolute_path(path: str | Path) -> Path:
    """Return an absolute path, with the home folder in place of `~`."""
    return Path(os.path.abspath(os.path.expanduser(path)))
