"""Places to write to: files that must not be overwritten, and rights and room, checked before anything is computed."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.arguments import checked
from nagindex.errors import BadInputError
from nagindex.storage.part_folders import names_parts, require_part_folder
from nagindex.storage.remote_outputs import check_remote_output
from nagindex.stores.urls import is_remote, source_place

if TYPE_CHECKING:
    from nagindex.storage.snapshot import Snapshot

OUTPUT_ROOM = 1 << 20
"""Bytes that must be free for an output, whose size is not known yet."""
CERTAIN = 2
"""An estimate of an index's size may be this many times too large."""


@checked
def check_output(path: str | Path, *, inputs: Iterable[str | Path] = (), parts: bool = False) -> None:
    """Raise BadInputError unless a file can be written at a path, and nothing that is needed is lost by it.

    Links count as what they lead to, hard links too.

    Args:
        path: the file, or the URL of an object; one that exists will be replaced.
        inputs: files, globs and folders that must not be overwritten.
        parts: whether a folder of Parquet parts may be meant, by a slash at the end of its name; it must be new, or empty.

    Raises:
        BadInputError: the path is an input, lies in an index, or cannot be written.
        MissingDependencyError: it is a folder of parts, and pyarrow is not installed.
        ObjectStoreError: the store of a URL does not answer, or refuses.
    """
    place = source_place(path)
    if parts and names_parts(path):
        require_part_folder(path)
    elif is_remote(place):
        check_remote_output(str(place), inputs)
    else:
        _require_regular(Path(place))
    if is_remote(place):
        return
    file = Path(place)
    _require_room_beside(file)
    if (owner := _index_around(file)) is not None:
        raise BadInputError(f"{file}: lies inside the index {owner}; name a file outside of it")
    if not file.is_file():
        return
    for one in inputs:
        if not is_remote(one) and any(_is_same(file, own) for own in _files_of(one)):
            same = "is an input" if str(one) == str(path) else f"is the same file as, or in, the input {one}"
            raise BadInputError(f"{file}: {same}, which would be overwritten; name another file")


def check_output_beside(
    path: str | Path,
    snapshot: Snapshot,
    corpus_root: str | Path | None = None,
    *,
    inputs: Iterable[str | Path] = (),
    parts: bool = False,
) -> None:
    """Raise BadInputError like `check_output`, and if the file is a source of a snapshot's documents.

    Args:
        path: the file.
        snapshot: the version.
        corpus_root: where the sources lie now, if they were moved.
        inputs: further files that must not be overwritten.
        parts: as in `check_output`.
    """
    check_output(path, inputs=inputs, parts=parts)
    place = source_place(path)
    if not is_remote(place) and not Path(place).exists():
        return
    moved = [] if corpus_root is None else [source_place(corpus_root)]
    for span in {span for segment in snapshot.segments for span in segment.spans()}:
        for root in (span.root, *moved):
            if is_remote(place) or is_remote(root):
                same = str(place) == f"{root}/{span.name}"
            else:
                same = _is_same(Path(place), Path(root, span.name))
            if same:
                raise BadInputError(f"{path}: is a source of the index {snapshot.path}; name another file")


def require_replaceable(path: Path) -> None:
    """Raise BadInputError unless a regular file can be made at a path, or replaced there."""
    _require_regular(path)
    _require_room_beside(path)


def _require_regular(path: Path) -> None:
    if path.is_dir() or not path.absolute().parent.is_dir():
        fault = "is a folder" if path.is_dir() else "its folder does not exist"
        raise BadInputError(f"{path}: {fault}; name a file in a folder that exists")
    if path.exists() and not path.is_file():
        raise BadInputError(f"{path}: is not a regular file; name another, or - for stdout")


def _require_room_beside(path: Path) -> None:
    folder = path.absolute().parent
    _require_right(folder, str(path), "name a file in another folder")
    if free_bytes(folder) < OUTPUT_ROOM:
        raise BadInputError(f"{path}: no space left on its disk; free some, or name a file on another")


def require_index_folder(path: Path) -> None:
    """Raise BadInputError unless files can be made in the folder of an index, or the folder itself where there is none."""
    remedy = "change its permissions, or name another folder with `index`"
    for folder in (path, path / "manifests", path / "segments"):
        if folder.exists() or folder == path:
            _require_right(_nearest(folder), str(path), remedy)


def require_room(path: Path, needed: int) -> None:
    """Raise BadInputError if a disk has certainly no room for what an index needs.

    Args:
        path: the index's folder, which need not exist.
        needed: bytes, estimated.
    """
    free = free_bytes(_nearest(path))
    if free < max(needed // CERTAIN, OUTPUT_ROOM):
        wanted = f"about {max(needed, OUTPUT_ROOM) / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free"
        raise BadInputError(
            f"{path}: no space left: {wanted}; free some, or name a folder on another disk with `index`"
        )


def free_bytes(folder: Path) -> int:
    """Return the room that is left on the disk of a folder."""
    return shutil.disk_usage(folder).free


def _require_right(folder: Path, what: str, remedy: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"{what}: no permission to write in {folder}; {remedy}")


def _nearest(path: Path) -> Path:
    """Return a folder, or the deepest one above it that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def _index_around(file: Path) -> Path | None:
    """Return the index whose folder a file would lie in; None if there is none."""
    for folder in Path(os.path.realpath(file.absolute().parent), file.name).parents:
        if any(folder.glob(f"manifests/{'[0-9]' * 12}.json")):
            return folder
    return None


def _files_of(given: str | Path) -> Iterator[Path]:
    """Yield the files that a path or glob names, and those in folders."""
    path = Path(source_place(given)).expanduser()
    for found in [path] if path.exists() else map(Path, glob.glob(str(path), recursive=True)):
        if not found.is_dir():
            yield found
        for parent, _, names in os.walk(found):
            yield from (Path(parent, name) for name in names)


def _is_same(one: Path, other: Path) -> bool:
    return os.path.exists(other) and os.path.samefile(one, other)
