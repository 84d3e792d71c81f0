"""Finding the source files of a corpus: files, globs and folders become one sorted list of sources."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from nagindex.corpus.local_files import absolute_path, expand, problem_of, walk
from nagindex.corpus.remote_globs import expand_url
from nagindex.errors import BadInputError, InputNotFoundError
from nagindex.stores.remote_files import RemoteFile, common_folder
from nagindex.stores.urls import is_remote, source_place

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
HASHED_AT_ONCE = 1 << 20
OnError = Literal["stop", "skip"]
ON_ERROR: tuple[str, ...] = get_args(OnError)


SourcePath = Path | RemoteFile
"""Where a file to read lies: on a local disk, or behind a URL."""


@dataclass(frozen=True)
class Source:
    """One file of a corpus.

    Attributes:
        name: path relative to the corpus root, with `/` on every system; part of default document ids.
        path: absolute path of the file, or the file behind a URL.
        format: parquet, jsonl, json, csv, tsv or txt.
        compression: gzip, zstd or none.
        size: bytes, as they are stored.
        problem: why it cannot be read, None where nothing is known against it; a source with a problem may be a folder.
    """

    name: str
    path: SourcePath
    format: str
    compression: str
    size: int
    problem: str | None = None

    @property
    def root(self) -> str:
        """The corpus root that `name` is relative to."""
        return str(self.path)[: -len(self.name)].rstrip(os.sep) or os.sep

    @property
    def version(self) -> str | None:
        """What tells this content from others of a remote file; None of a local one, whose bytes are hashed."""
        return self.path.entry.version if isinstance(self.path, RemoteFile) else None


@dataclass
class Position:
    """How far a source has been read.

    Attributes:
        bytes: of the file as it is stored.
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
    ignored: list[Path] | list[RemoteFile]


Paths = str | Path | Iterable[str | Path]
"""One file, glob, folder or URL of these, or several."""


def find_sources(paths: Paths, *, root: str | Path | None = None, on_error: OnError = "stop") -> Listing:
    """Return the source files of a corpus, sorted by name, each once.

    Folders are searched recursively, except those whose name starts with a dot or ends in `.nagindex`.

    Args:
        paths: files, globs or folders, local ones or URLs of one store.
        root: names are relative to it; by default the deepest folder that holds all of `paths`.
        on_error: `stop` raises for a file, folder or link that cannot be read; `skip` lists it as a source with a `problem`.

    Raises:
        InputNotFoundError: a path or glob matches nothing, or there is no file of a known format.
        BadInputError: a file has an unknown format (files in folders are listed as ignored instead), lies outside
            `root`, has a name that is not UTF-8, or, under `stop`, cannot be read; or local files and URLs are mixed.
        ObjectStoreError: a store does not answer, or refuses.
    """
    items = [source_place(item) for item in ([paths] if isinstance(paths, (str, Path)) else paths)]
    remote = [str(item) for item in items if is_remote(item)]
    if not remote:
        return _local_listing(items, root, on_error)
    if len(remote) < len(items):
        raise BadInputError(
            f"{remote[0]}: read together with local files; read the ones, and then the others, with two commands"
        )
    return _remote_listing(remote, None if root is None else str(source_place(root)))


def _local_listing(items: Sequence[str | Path], root: str | Path | None, on_error: OnError) -> Listing:
    files: dict[Path, None] = {}
    ignored: dict[Path, None] = {}
    problems: dict[Path, str] = {}
    bases: list[Path] = []
    for item in items:
        for path, base in expand(item, problems):
            bases.append(base)
            if os.path.isdir(path):
                for file in walk(path, problems):
                    (files if format_of(file) else ignored)[file] = None
            elif format_of(path) is None and base != path.parent:
                ignored[path] = None
            elif format_of(path) is None and path not in problems and os.path.exists(path):
                raise _unknown_format(path)
            else:
                files[path] = None
    for path in (*files, *ignored):
        if (problem := problem_of(path, readable=path in files)) is not None:
            problems.setdefault(path, problem)
    if not files and not problems:
        raise _nothing_found(items)
    top = (
        absolute_path(root)
        if root is not None
        else Path(os.path.commonpath([*bases, *(path.parent for path in problems)]))
    )
    found = (_source(file, top, problems.get(file)) for file in files | problems)
    sources = sorted(found, key=lambda source: source.name)
    if on_error == "stop":
        for source in sources:
            require_readable(source)
    return Listing(sources, [path for path in ignored if path not in problems])


def _remote_listing(urls: Sequence[str], root: str | None) -> Listing:
    """Return the source files behind URLs."""
    files: dict[str, RemoteFile] = {}
    ignored: dict[str, RemoteFile] = {}
    bases = []
    for url in urls:
        found, base, named = expand_url(url)
        bases.append(base)
        for file in found:
            if named and format_of(file) is None:
                raise _unknown_format(file)
            (ignored if format_of(file) is None else files)[str(file)] = file
    if not files:
        raise _nothing_found(urls)
    top = common_folder(bases) if root is None else root.rstrip("/")
    sources = []
    for url, file in files.items():
        if not url.startswith(f"{top}/"):
            raise _outside(url, top)
        kind, compression = format_of(file) or ("unknown", "none")
        sources.append(Source(url[len(top) + 1 :], file, kind, compression, file.entry.size))
    return Listing(sorted(sources, key=lambda source: source.name), list(ignored.values()))


def _unknown_format(path: object) -> BadInputError:
    return BadInputError(
        f"{path}: not a format nagindex reads; it reads {', '.join(FORMATS)} (text formats also with .gz or .zst)"
    )


def _nothing_found(items: Iterable[object]) -> InputNotFoundError:
    listed = ", ".join(map(str, items)) or "no path"
    return InputNotFoundError(f"{listed}: no file to read; looked for {', '.join(FORMATS)}")


def _outside(path: object, root: object) -> BadInputError:
    return BadInputError(f"{path}: lies outside the corpus root {root}; name a root that holds it")


def require_readable(source: Source) -> None:
    """Raise BadInputError if it is known that a source cannot be read."""
    if source.problem is not None:
        raise BadInputError(f"{source.path}: cannot be read ({source.problem}); make it readable or remove it")


def format_of(path: SourcePath) -> tuple[str, str] | None:
    """Return (format, compression) by the suffixes of a file's name, None where they are unknown."""
    suffixes = [s.lower() for s in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "none") if suffixes else "none"
    if compression != "none":
        suffixes.pop()
    kind = FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None or (kind == "parquet" and compression != "none"):
        return None
    return kind, compression


def content_hash(path: SourcePath) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(source: Source) -> str:
    """Return what an index knows the content of a source by, 64 hexadecimal digits: the SHA-256 of its bytes.

    A remote file is not read for it: what is hashed is its length and its version, such as an ETag.
    """
    if source.version is None:
        return content_hash(source.path)
    return hashlib.sha256(f"{source.size} {source.version}".encode()).hexdigest()


def prefix_hashes(path: SourcePath, sizes: Iterable[int]) -> dict[int, str]:
    """Return the SHA-256 of the first bytes of a file, by their number; of numbers up to the file's length only."""
    hashes, digest, done = {}, hashlib.sha256(), 0
    with path.open("rb") as file:
        for size in sorted(set(sizes)):
            while done < size and (read := file.read(min(HASHED_AT_ONCE, size - done))):
                digest.update(read)
                done += len(read)
            if done == size:
                hashes[size] = digest.hexdigest()
    return hashes


def can_grow(source: Source) -> bool:
    """Return whether a source is one that lines can be appended to, which leave its other rows as they are: a local file of lines."""
    return source.format in LINE_FORMATS and source.compression == "none" and source.version is None


def still_holds(source: Source, size: int, sha256: str) -> bool:
    """Return whether a source is the content of a length and hash, as it was or with lines appended."""
    if source.size == size:
        return content_hash(source.path) == sha256
    grown = size < source.size and can_grow(source) and has_line_end_at(source, size)
    return grown and prefix_hashes(source.path, [size])[size] == sha256


def has_line_end_at(source: Source, size: int) -> bool:
    """Return whether the first `size` bytes of a source of lines are whole lines."""
    with source.path.open("rb") as file:
        file.seek(max(size - 1, 0))
        last, following = file.read(1), file.read(1)
    return last == b"\n" or following in (b"\r", b"\n")


def _source(path: Path, root: Path, problem: str | None) -> Source:
    try:
        name = str(PurePosixPath(path.relative_to(root)))
        name.encode()
    except UnicodeEncodeError:
        raise BadInputError(f"{os.fsencode(path)!r}: the file's name is not UTF-8; rename it") from None
    except ValueError:
        raise _outside(path, root) from None
    kind, compression = format_of(path) or ("unknown", "none")
    return Source(name, path, kind, compression, 0 if problem else path.stat().st_size, problem)
