"""Finding files behind URLs: one, those of a folder, or those that a glob matches."""

from __future__ import annotations

import glob
import re
from pathlib import PurePosixPath

from nagindex.corpus.local_files import is_skipped_below
from nagindex.errors import InputNotFoundError
from nagindex.stores.remote_files import RemoteFile, find_files


def expand_url(url: str) -> tuple[list[RemoteFile], str, bool]:
    """Return the files that a URL or glob names, the folder that names are relative to, and whether it names a single file.

    Folders are searched recursively, except hidden ones and indexes, as on local disks.

    Raises:
        InputNotFoundError: there is none.
        ObjectStoreError: the store does not answer, or refuses.
    """
    scheme, _, rest = url.partition("://")
    parts = rest.split("/")
    magic = next((number for number, part in enumerate(parts) if number and glob.has_magic(part)), None)
    fixed = url if magic is None else f"{scheme}://{'/'.join(parts[:magic])}"
    found, base = find_files(fixed)
    if magic is None and base != url:
        return found, base, True
    if magic is not None:
        matches = re.compile(_pattern("/".join(parts[magic:]))).fullmatch
        found = [file for file in found if matches(str(file)[len(fixed) + 1 :])]
    folder = PurePosixPath(fixed)
    kept = [file for file in found if not is_skipped_below(PurePosixPath(str(file)), folder)]
    if not found:
        raise InputNotFoundError(f"{url}: no such file or folder")
    return kept, fixed, False


def _pattern(pattern: str) -> str:
    """Return a glob as a regular expression; a folder that it matches stands for all files below it."""
    from fsspec.utils import glob_translate

    translated: str = glob_translate(pattern.rstrip("/"))
    return f"{translated.removesuffix('$').removesuffix(chr(92) + 'Z')}(/.*)?"
