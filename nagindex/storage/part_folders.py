"""Folders of Parquet parts with one `_metadata` that holds all their footers: recognized, read in order, written whole."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nagindex.corpus.sql import connect, quote_path
from nagindex.errors import BadInputError, InputNotFoundError, require_package
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
    """Return whether an output is to be a folder of parts: its name ends with a slash."""
    return str(path).endswith("/")


def is_parts(path: Path) -> bool:
    """Return whether a path is a folder of parts."""
    return (path / METADATA).is_file()


def file_with_metadata(path: Path) -> Path:
    """Return the file that holds the metadata of a selection: of a folder of parts its `_metadata`, else the file itself.

    Raises:
        InputNotFoundError: it is not there.
    """
    file = path / METADATA if path.is_dir() else path
    if not file.is_file():
        fault = f"a folder without {METADATA}" if path.is_dir() else "no such file"
        raise InputNotFoundError(f"{path}: {fault}; name a selection that a query wrote")
    return file


def part_paths(folder: Path) -> list[Path]:
    """Return the parts of a folder, in order.

    Raises:
        BadInputError: parts are missing, or cannot be read.
    """
    names = [name for name in os.listdir(folder) if _PART.fullmatch(name)]
    paths = [folder / name for name in sorted(names, key=lambda name: (len(name), name))]
    rows, stated = _rows_of(paths), _rows_of([folder / METADATA])
    if rows != stated:
        raise BadInputError(f"{folder}: its parts have {rows:,} rows, and {METADATA} states {stated:,}; select again")
    return paths


def _rows_of(paths: Sequence[Path]) -> int:
    """Return the number of rows that the footers of Parquet files state."""
    import duckdb

    listed = ", ".join(map(quote_path, paths))
    try:
        with connect(threads=1) as connection:
            sql = f"SELECT coalesce(sum(num_rows), 0)::BIGINT FROM parquet_file_metadata([{listed}])"
            [(rows,)] = connection.execute(sql).fetchall() if paths else [(0,)]
    except duckdb.Error as error:
        reason = " ".join(str(error).split())
        raise BadInputError(
            f"{paths[0].parent}: not readable as a folder of Parquet parts ({reason}); select again"
        ) from error
    return int(rows)


def require_part_folder(path: str | Path) -> None:
    """Raise an error unless a folder of parts can be made at a path, where nothing is yet, or an empty folder.

    Raises:
        BadInputError: something is there, or the folder around it does not exist.
        MissingDependencyError: pyarrow is not installed.
        ObjectStoreError: the store of a URL does not answer, or refuses.
    """
    require_package("pyarrow", "arrow", f"{path}: a folder of parts needs pyarrow, which is not installed")
    place = source_place(path)
    if is_remote(place):
        check_remote_folder(str(place).rstrip("/"))
        return
    folder = Path(place)
    if not folder.absolute().parent.is_dir():
        raise BadInputError(f"{path}: the folder around it does not exist; name one in a folder that exists")
    if folder.is_symlink() or (os.path.lexists(folder) and not folder.is_dir()):
        raise BadInputError(f"{path}: is no folder; name a new folder, or leave the slash out to write a file")
    if folder.is_dir() and (held := sorted(os.listdir(folder))):
        raise _taken(path, held[0])


@contextmanager
def writing_parts(path: str | Path) -> Iterator[str]:
    """Provide where parts and metadata are written, which become the folder of a path when the block ends; if it raises, they are removed.

    That is a new folder beside it, which then takes its name; or the URL itself, where the metadata must be written last.

    Raises:
        BadInputError, MissingDependencyError, ObjectStoreError: as `require_part_folder`, also if another process has written there
            meanwhile.
    """
    require_part_folder(path)
    place = source_place(path)
    with filling(str(place).rstrip("/")) if is_remote(place) else _taking_the_name(Path(place).absolute()) as written:
        yield written


@contextmanager
def _taking_the_name(folder: Path) -> Iterator[str]:
    temporary = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    with writing(folder):
        temporary.mkdir()
        try:
            yield str(temporary)
            if folder.is_dir():
                shutil.copymode(folder, temporary)
            try:
                os.rename(temporary, folder)  # onto an empty folder, or none
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise _taken(folder, next(iter(os.listdir(folder)), "a file")) from None
                raise
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _taken(path: str | Path, held: str) -> BadInputError:
    return BadInputError(f"{path}: holds {held}; name a new folder, or remove this one")
