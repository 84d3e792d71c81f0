"""Finding the source files of a corpus: files, globs and folders become one sorted list of sources."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nagindex.errors import BadInputError, InputNotFoundError

FORMATS = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "txt",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
INDEX_SUFFIX = ".nagindex"


@dataclass(frozen=True)
class Source:
    """One file of a corpus.

    Attributes:
        name: path relative to the corpus root, with `/` on every system; part of default document ids.
        path: absolute path of the file.
        format: parquet, jsonl, json, csv, tsv or txt.
        compression: gzip, zstd or none.
        size: bytes on disk.
    """

    name: str
    path: Path
    format: str
    compression: str
    size: int

    @property
    def root(self) -> str:
        """The corpus root that `name` is relative to."""
        return str(self.path)[: -len(self.name)].rstrip(os.sep) or os.sep


@dataclass
class Position:
    """How far a source has been read.

    Attributes:
        bytes: of the file on disk.
    """

    bytes: int = 0


@dataclass(frozen=True)
class Listing:
    """The files of a corpus.

    Attributes:
        sources: sorted by name.
        ignored: files inside the named folders whose suffix is no known format.
    """

    sources: list[Source]
    ignored: list[Path]


Paths = str | Path | Iterable[str | Path]
"""One file, glob or folder, or several."""


def find_sources(paths: Paths, *, root: str | Path | None = None) -> Listing:
    """Return the source files of a corpus, sorted by name, each once.

    Folders are searched recursively, except those whose name starts with a dot or ends in `.nagindex`.

    Args:
        paths: files, globs or folders.
        root: names are relative to it; by default the deepest folder that holds all of `paths`.

    Raises:
        InputNotFoundError: a path or glob matches nothing, or there is no file of a known format.
        BadInputError: a file has an unknown format (files in folders are listed as ignored instead), lies outside
            `root`, or has a name that is not UTF-8.
    """
    files: dict[Path, None] = {}
    ignored: dict[Path, None] = {}
    bases: list[Path] = []
    items = [paths] if isinstance(paths, (str, Path)) else list(paths)
    for item in items:
        for path, base in _expand(item):
            bases.append(base)
            if path.is_dir():
                for file in _walk(path):
                    (files if format_of(file) else ignored)[file] = None
            elif format_of(path) is None and base != path.parent:
                ignored[path] = None
            elif format_of(path) is None:
                raise BadInputError(
                    f"{path}: not a format nagindex reads; it reads {', '.join(FORMATS)} (text formats also with .gz or .zst)"
                )
            else:
                files[path] = None
    if not files:
        raise InputNotFoundError(
            f"{', '.join(map(str, items)) or 'no path'}: no file to read; looked for {', '.join(FORMATS)}"
        )
    top = _absolute(root) if root is not None else Path(os.path.commonpath(bases))
    sources = sorted((_source(file, top) for file in files), key=lambda s: s.name)
    return Listing(sources, list(ignored))


def format_of(path: Path) -> tuple[str, str] | None:
    """Return (format, compression) by the suffixes of a file's name, None where they are unknown."""
    suffixes = [s.lower() for s in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "none") if suffixes else "none"
    if compression != "none":
        suffixes.pop()
    kind = FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None or (kind == "parquet" and compression != "none"):
        return None
    return kind, compression


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _expand(item: str | Path) -> list[tuple[Path, Path]]:
    """Return (path, base) for each match of a path or glob; the corpus root holds all bases."""
    path = _absolute(item)
    if path.is_dir():
        return [(path, path)]
    if path.exists():
        return [(path, path.parent)]
    matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(str(path)) else []
    if not matches:
        raise InputNotFoundError(f"{item}: no such file or folder")
    fixed = Path(*_before_magic(path.parts))
    kept = [match for match in map(Path, matches) if not any(map(_is_skipped_name, match.relative_to(fixed).parts))]
    return [(match, fixed) for match in kept]


def _before_magic(parts: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for part in parts:
        if glob.has_magic(part):
            break
        kept.append(part)
    return kept


def _is_skipped_name(name: str) -> bool:
    return name.startswith(".") or name.endswith(INDEX_SUFFIX)


def _walk(folder: Path) -> Iterable[Path]:
    """Yield the files below a folder; links to folders are followed, except to a folder above the link."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        above = {os.path.realpath(p) for p in (Path(parent), *Path(parent).parents)}
        folders[:] = sorted(
            name for name in folders if not _is_skipped_name(name) and os.path.realpath(Path(parent, name)) not in above
        )
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _source(path: Path, root: Path) -> Source:
    try:
        name = str(PurePosixPath(path.relative_to(root)))
        name.encode()
    except UnicodeEncodeError:
        raise BadInputError(f"{os.fsencode(path)!r}: the file's name is not UTF-8; rename it") from None
    except ValueError:
        raise BadInputError(f"{path}: lies outside the corpus root {root}; name a root that holds it") from None
    kind = format_of(path)
    if kind is None:
        raise BadInputError(f"{path}: not a format nagindex reads")
    return Source(name, path, kind[0], kind[1], path.stat().st_size)


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))
