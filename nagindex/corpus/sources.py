"""Finding the source files of a corpus: files, globs and folders become one sorted list of sources."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

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
LINE_FORMATS = ("jsonl", "csv", "tsv")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
INDEX_SUFFIX = ".nagindex"
HASHED_AT_ONCE = 1 << 20
OnError = Literal["stop", "skip"]
ON_ERROR: tuple[str, ...] = get_args(OnError)


@dataclass(frozen=True)
class Source:
    """One file of a corpus.

    Attributes:
        name: path relative to the corpus root, with `/` on every system; part of default document ids.
        path: absolute path of the file.
        format: parquet, jsonl, json, csv, tsv or txt.
        compression: gzip, zstd or none.
        size: bytes on disk.
        problem: why it cannot be read, None where nothing is known against it; a source with a problem may be a folder.
    """

    name: str
    path: Path
    format: str
    compression: str
    size: int
    problem: str | None = None

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
        sources: sorted by name; those that cannot be read are among them if they were to be skipped.
        ignored: files inside the named folders whose suffix is no known format.
    """

    sources: list[Source]
    ignored: list[Path]


Paths = str | Path | Iterable[str | Path]
"""One file, glob or folder, or several."""


def find_sources(paths: Paths, *, root: str | Path | None = None, on_error: OnError = "stop") -> Listing:
    """Return the source files of a corpus, sorted by name, each once.

    Folders are searched recursively, except those whose name starts with a dot or ends in `.nagindex`.

    Args:
        paths: files, globs or folders.
        root: names are relative to it; by default the deepest folder that holds all of `paths`.
        on_error: `stop` raises for a file, folder or link that cannot be read; `skip` lists it as a source with a `problem`.

    Raises:
        InputNotFoundError: a path or glob matches nothing, or there is no file of a known format.
        BadInputError: a file has an unknown format (files in folders are listed as ignored instead), lies outside
            `root`, has a name that is not UTF-8, or, under `stop`, cannot be read.
    """
    files: dict[Path, None] = {}
    ignored: dict[Path, None] = {}
    problems: dict[Path, str] = {}
    bases: list[Path] = []
    items = [paths] if isinstance(paths, (str, Path)) else list(paths)
    for item in items:
        for path, base in _expand(item, problems):
            bases.append(base)
            if os.path.isdir(path):
                for file in _walk(path, problems):
                    (files if format_of(file) else ignored)[file] = None
            elif format_of(path) is None and base != path.parent:
                ignored[path] = None
            elif format_of(path) is None and path not in problems and os.path.exists(path):
                raise BadInputError(
                    f"{path}: not a format nagindex reads; it reads {', '.join(FORMATS)} (text formats also with .gz or .zst)"
                )
            else:
                files[path] = None
    for path in (*files, *ignored):
        if (problem := _problem(path, readable=path in files)) is not None:
            problems.setdefault(path, problem)
    if not files and not problems:
        raise InputNotFoundError(
            f"{', '.join(map(str, items)) or 'no path'}: no file to read; looked for {', '.join(FORMATS)}"
        )
    top = (
        _absolute(root) if root is not None else Path(os.path.commonpath([*bases, *(path.parent for path in problems)]))
    )
    found = (_source(file, top, problems.get(file)) for file in files | problems)
    sources = sorted(found, key=lambda source: source.name)
    if on_error == "stop":
        for source in sources:
            require_readable(source)
    return Listing(sources, [path for path in ignored if path not in problems])


def require_readable(source: Source) -> None:
    """Raise BadInputError if it is known that a source cannot be read."""
    if source.problem is not None:
        raise BadInputError(f"{source.path}: cannot be read ({source.problem}); make it readable or remove it")


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


def prefix_hashes(path: Path, sizes: Iterable[int]) -> dict[int, str]:
    """Return the SHA-256 of the first bytes of a file, by their number; of numbers up to the file's length only."""
    hashes, digest, done = {}, hashlib.sha256(), 0
    with open(path, "rb") as file:
        for size in sorted(set(sizes)):
            while done < size and (read := file.read(min(HASHED_AT_ONCE, size - done))):
                digest.update(read)
                done += len(read)
            if done == size:
                hashes[size] = digest.hexdigest()
    return hashes


def can_grow(source: Source) -> bool:
    """Return whether lines appended to a source leave its other rows as they are."""
    return source.format in LINE_FORMATS and source.compression == "none"


def still_holds(source: Source, size: int, sha256: str) -> bool:
    """Return whether a source is the content of a length and hash, as it was or with lines appended."""
    if source.size == size:
        return content_hash(source.path) == sha256
    grown = size < source.size and can_grow(source) and has_line_end_at(source, size)
    return grown and prefix_hashes(source.path, [size])[size] == sha256


def has_line_end_at(source: Source, size: int) -> bool:
    """Return whether the first `size` bytes of a source of lines are whole lines."""
    with open(source.path, "rb") as file:
        file.seek(max(size - 1, 0))
        last, following = file.read(1), file.read(1)
    return last == b"\n" or following in (b"\r", b"\n")


def _expand(item: str | Path, problems: dict[Path, str]) -> list[tuple[Path, Path]]:
    """Return (path, base) for each match of a path or glob; the corpus root holds all bases.

    Folders that a glob cannot look into are added to `problems`.
    """
    path = _absolute(item)
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
    unlistable = {folder: why for folder, why in _unlistable(path) if not _is_skipped_below(folder, fixed)}
    problems |= unlistable
    if not matches and not unlistable:
        remote = "; files are read from local disks: copy them, or mount what holds them" if "://" in str(item) else ""
        raise InputNotFoundError(f"{item}: no such file or folder{remote}")
    kept = [match for match in map(Path, matches) if not _is_skipped_below(match, fixed)]
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


def _is_skipped_below(path: Path, folder: Path) -> bool:
    return any(map(_is_skipped_name, path.relative_to(folder).parts))


def _walk(folder: Path, problems: dict[Path, str]) -> Iterator[Path]:
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


def _problem(path: Path, *, readable: bool) -> str | None:
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


def _source(path: Path, root: Path, problem: str | None) -> Source:
    try:
        name = str(PurePosixPath(path.relative_to(root)))
        name.encode()
    except UnicodeEncodeError:
        raise BadInputError(f"{os.fsencode(path)!r}: the file's name is not UTF-8; rename it") from None
    except ValueError:
        raise BadInputError(f"{path}: lies outside the corpus root {root}; name a root that holds it") from None
    kind, compression = format_of(path) or ("unknown", "none")
    return Source(name, path, kind, compression, 0 if problem else path.stat().st_size, problem)


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))
