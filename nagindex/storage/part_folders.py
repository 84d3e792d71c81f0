"""Folders of Parquet parts with one `_metadata` that holds all their footers: recognized, read in order, replaced as a whole."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nagindex.errors import BadInputError, require_package
from nagindex.storage.disk_errors import writing
from nagindex.storage.files import sync_folder
from nagindex.storage.remote_outputs import check_remote_folder, filling
from nagindex.stores.urls import is_remote, source_place

METADATA = "_metadata"
_PART = re.compile(r"part-\d{5,}\.parquet")


def part_name(number: int) -> str:
    """Return the name of a part by its number from 0; names are ascending like numbers."""
    return f"part-{number:05d}.parquet"


def names_parts(path: str | Path) -> bool:
    """Return whether an output is to be a folder of parts: its name ends with a slash, or it is such a folder."""
    return str(path).endswith("/") or (not is_remote(path) and is_parts(Path(source_place(path))))


def is_parts(path: Path) -> bool:
    """Return whether a path is a folder of parts."""
    return (path / METADATA).is_file()


def file_with_metadata(path: Path) -> Path:
    """Return the file that holds the metadata of Parquet rows: of a folder of parts its `_metadata`, else the file itself."""
    return path / METADATA if path.is_dir() else path


def part_paths(folder: Path) -> list[Path]:
    """Return the parts of a folder, in order."""
    names = [name for name in os.listdir(folder) if _PART.fullmatch(name)]
    return [folder / name for name in sorted(names, key=lambda name: (len(name), name))]


def require_part_folder(path: str | Path) -> None:
    """Raise an error unless a folder of parts can be made at a path, or replace one that is there.

    Raises:
        BadInputError: a folder holds other files, or objects; its own folder does not exist; or a file is there.
        MissingDependencyError: pyarrow is not installed.
        ObjectStoreError: the store of a URL does not answer, or refuses.
    """
    require_package("pyarrow", "arrow", f"{path}: a folder of parts needs pyarrow, which is not installed")
    place = source_place(path)
    if is_remote(place):
        check_remote_folder(str(place))
        return
    folder = Path(place)
    if not folder.absolute().parent.is_dir():
        raise BadInputError(f"{path}: its folder does not exist; name one in a folder that exists")
    if folder.is_dir():
        other = [name for name in sorted(os.listdir(folder)) if name != METADATA and not _PART.fullmatch(name)]
        if other:
            raise BadInputError(f"{path}: holds {other[0]}, which is no part of a selection; name another folder")
    elif os.path.lexists(folder):
        raise BadInputError(f"{path}: is a file; name a folder, or leave the slash out")


@contextmanager
def replacing_parts(path: str | Path) -> Iterator[str]:
    """Provide where parts and metadata are written, which become the folder of a path when the block ends; if it raises, they are removed.

    That is a new folder beside it, which then takes its name; or the URL itself, where the metadata must be written last.

    Raises:
        BadInputError, MissingDependencyError, ObjectStoreError: as `require_part_folder`.
    """
    require_part_folder(path)
    place = source_place(path)
    with filling(str(place)) if is_remote(place) else _replacing(Path(os.path.realpath(place))) as written:
        yield written


@contextmanager
def _replacing(folder: Path) -> Iterator[str]:
    temporary, former = (folder.parent / f".{folder.name}.{secrets.token_hex(4)}.{kind}" for kind in ("tmp", "old"))
    with writing(folder):
        temporary.mkdir()
    try:
        yield str(temporary)
        require_part_folder(folder)  # nothing else came into it meanwhile
        if folder.is_dir():
            os.rename(folder, former)
        try:
            os.rename(temporary, folder)
        except OSError:
            if former.is_dir():
                os.rename(former, folder)
            raise
        sync_folder(folder.parent)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
