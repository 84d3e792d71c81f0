"""Manifests: immutable JSON files, one for each version of an index; the version with the highest number is current."""

from __future__ import annotations

import dataclasses
import glob
import re
import textwrap
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nagindex._version import __version__
from nagindex.corpus.columns import RESERVED
from nagindex.errors import (
    DamagedIndexError,
    InputNotFoundError,
    UnknownFormatError,
)
from nagindex.storage.checksummed_json import damage_error, load_json
from nagindex.storage.files import FileEntry
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.locations import location, mirror_of
from nagindex.storage.schema import LARGEST, from_json
from nagindex.storage.settings import Settings
from nagindex.storage.verified import require_folder
from nagindex.storage.version_hint import hint_path, read_hint

FORMAT_VERSION = 1
COLUMNS_FLAG = "columns"
"""Feature flag of indexes whose columns do not all have the corpus's names, or whose sources name their text columns."""
CALIBRATION_FLAG, LAYERS_FLAG = "calibration", "layers"
"""Feature flags of indexes of relative impact, and of indexes of some of their backbone's layers."""
FLAGS = frozenset({COLUMNS_FLAG, CALIBRATION_FLAG, LAYERS_FLAG})
OWN_FOLDERS = ("manifests", "segments", "derived", "calibration")
_NAME = re.compile(r"[0-9]{12}\.json")
_SEGMENT_ID = re.compile(r"[0-9a-f]{16}")
_FILE_NAME = re.compile(r"nags\.npy|(docs|sources|skipped)\.parquet|deleted-[0-9a-f]{8}\.npy")


@dataclass(frozen=True)
class SegmentEntry:
    """A segment as a manifest lists it.

    Attributes:
        id: name of the segment's folder, 16 hexadecimal digits.
        documents: number of rows, including deleted ones.
        tokens: tokens of these rows.
        skipped: number of source rows that did not become documents.
        files: length and checksum of each file, by name.
        libraries: versions of the libraries that encoded it.
        deleted: name of the file with the positions of deleted rows; None if no row is deleted.
        deleted_documents, deleted_tokens: number of deleted rows, and their tokens.
        run: id of the list of sources that it was read from; empty for a merged segment.
    """

    id: str
    documents: int
    tokens: int
    skipped: int
    files: dict[str, FileEntry]
    libraries: dict[str, str]
    deleted: str | None = None
    deleted_documents: int = 0
    deleted_tokens: int = 0
    run: str = ""


@dataclass(frozen=True)
class Manifest:
    """One version of an index: its number, its settings and its segments.

    Attributes:
        version: number of the version, from 1.
        operation: what created it: create, append, delete or compact.
        created: time of creation, ISO 8601.
        fingerprint: the encoding.
        settings: how corpora are read.
        segments: the segments, in the order of the documents.
        flags: features of the format that a reader must know.
    """

    version: int
    operation: str
    created: str
    fingerprint: Fingerprint
    settings: Settings
    segments: tuple[SegmentEntry, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def documents(self) -> int:
        """Number of documents, without deleted ones."""
        return sum(s.documents - s.deleted_documents for s in self.segments)

    @property
    def tokens(self) -> int:
        """Tokens of the documents, without deleted ones."""
        return sum(s.tokens - s.deleted_tokens for s in self.segments)

    def following(
        self,
        operation: str,
        segments: tuple[SegmentEntry, ...],
        *,
        settings: Settings | None = None,
        flags: tuple[str, ...] | None = None,
    ) -> Manifest:
        """Return the next version, with these segments; settings and flags are this one's unless others are given."""
        return dataclasses.replace(
            self,
            version=self.version + 1,
            operation=operation,
            created=now(),
            settings=self.settings if settings is None else settings,
            segments=segments,
            flags=self.flags if flags is None else flags,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values, with the flags that its content needs and the writer."""
        fields = dataclasses.asdict(self)
        settings = fields["settings"]
        later = {name: settings.pop(name) for name in ("keep_paths", "keep_all", "calibrate", "sample")}
        # What an index does without is left out, so that earlier versions of nagindex read it.
        used = {name: value for name, value in later.items() if value}
        needed = {
            COLUMNS_FLAG: used.keys() - {"calibrate", "sample"},
            CALIBRATION_FLAG: self.fingerprint.calibration,
            LAYERS_FLAG: self.fingerprint.spec.numbers,
        }
        flags = {*fields.pop("flags"), *(flag for flag, reason in needed.items() if reason)}
        fields |= {"fingerprint": self.fingerprint.to_json(), "settings": settings | used}
        return {"format_version": FORMAT_VERSION, "flags": sorted(flags), "writer": f"nagindex {__version__}"} | fields


def now() -> str:
    """Return the current time in UTC as ISO 8601 text."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def manifest_path(index: Path, version: int) -> Path:
    """Return the path of a version's manifest."""
    return index / "manifests" / f"{version:012d}.json"


def versions(index: Path) -> list[int]:
    """Return the numbers of the versions of an index, ascending; empty if there is no index.

    Raises:
        DamagedIndexError: a folder of the index is a symbolic link or a file.
    """
    for name in OWN_FOLDERS:
        require_folder(index / name)
    if (remote := mirror_of(index)) is not None:
        return remote.versions()
    try:
        names = [p.name for p in (index / "manifests").iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name[:12]) for name in names if _NAME.fullmatch(name))


def newest_version(index: Path) -> int:
    """Return the number of the newest version of an index, 0 if there is no index; an object store is asked once.

    Raises:
        DamagedIndexError: a folder of the index is a symbolic link or a file.
        ObjectStoreError: the store does not answer.
    """
    remote = mirror_of(index)
    return max(versions(index), default=0) if remote is None else remote.newest_version()


def read_latest(index: Path) -> Manifest:
    """Return the manifest of the current version.

    Raises:
        InputNotFoundError: there is no index.
        DamagedIndexError, UnknownFormatError: as `read_manifest`.
    """
    newest = newest_version(index)
    if not newest:
        if index.name and mirror_of(index) is None:  # a build of several neuron types adds the type to it
            stem = glob.escape(index.name.removesuffix(".nagindex"))
            beside = [index.with_name(f"{index.name}.nagindex"), *sorted(index.parent.glob(f"{stem}.*.nagindex"))]
        else:
            beside = []
        if found := [str(path) for path in dict.fromkeys(beside) if versions(path)]:
            there = f"there is one in {found[0]}" if len(found) == 1 else f"there are {', '.join(found)}"
            raise InputNotFoundError(f"{index}: no index here; {there}")
        if has_segments(index) or hint_path(index).exists():
            raise DamagedIndexError(index / "manifests", "no version of the index is left, though its other files are")
        raise InputNotFoundError(f"{index}: no index here; make one with: `build(CORPUS, index={str(index)!r})`")
    return read_manifest(index, newest)


def has_segments(index: Path) -> bool:
    """Return whether an index holds files of segments, named by a version or not."""
    remote = mirror_of(index)
    return any(index.glob("segments/*")) if remote is None else bool(remote.store.listing("segments"))


def missing_version(index: Path) -> int | None:
    """Return the newest version that was published, if its manifest is lost; None if it is there, or without a hint.

    An object store is asked again only if the hint is of a version that it did not hold when the index was opened.

    Raises:
        DamagedIndexError: the version hint is not what was written.
    """
    hinted = read_hint(index)  # read first: a version may be published before the versions are listed
    remote = mirror_of(index)
    newest = max(versions(index), default=0) if remote is None else remote.known_version
    if remote is not None and hinted is not None and hinted > newest:
        newest = remote.newest_version()  # another process of this cache may have fetched the hint of a version since
    return hinted if hinted is not None and hinted > newest else None


def lost_version(index: Path) -> str | None:
    """Return a sentence if the newest version is lost and an older one is current in its place; None if it is there."""
    with suppress(DamagedIndexError, OSError):  # `verify` reports a damaged hint
        if (missing := missing_version(index)) is not None:
            current = max(versions(index))
            lost = f"{location(index)}/manifests/{manifest_path(index, missing).name}"
            return (
                f"version {missing} was published, but its manifest {lost} is missing; version {current} "
                "is current now; restore the file, and see the damage with `verify()`"
            )
    return None


def require_newest(index: Path) -> None:
    """Raise DamagedIndexError if the newest version is known to be lost: what only it names would be written over or removed."""
    missing = None
    if (remote := mirror_of(index)) is not None:
        remote.newest_version()
    with suppress(DamagedIndexError, OSError):  # of the hint itself, which `verify` reports
        missing = missing_version(index)
    if missing is not None and (left := versions(index)):
        remedy = f"put it back, or remove {hint_path(index)} to go on from version {left[-1]}"
        path = manifest_path(index, missing)
        raise DamagedIndexError(path, f"missing, though version {missing} was published; {remedy}")


def read_manifest(index: Path, version: int) -> Manifest:
    """Return the manifest of one version.

    Raises:
        InputNotFoundError: there is no such version.
        DamagedIndexError: the content is not what was written.
        UnknownFormatError: the format version or a feature flag is unknown.
    """
    path = manifest_path(index, version)
    remote = mirror_of(index)
    try:
        if remote is not None and not path.exists():
            remote.fetch_small(path)
        try:
            content, intact = load_json(path, "the manifest")
        except FileNotFoundError:  # another process of this cache, which has not heard of the version, removed it
            if remote is None:
                raise
            remote.fetch_small(path)
            content, intact = load_json(path, "the manifest")
    except FileNotFoundError:
        kept = ", ".join(map(str, versions(index))) or "none"
        raise InputNotFoundError(f"{index}: no version {version}; versions kept are {kept}") from None
    remedy = f"install the nagindex that wrote it ({_quoted(content.get('writer'))})"
    if content.get("format_version") != FORMAT_VERSION:
        stored = f"format version {_quoted(content.get('format_version'))}"
        raise UnknownFormatError(f"{path}: {stored}, nagindex {__version__} reads {FORMAT_VERSION}; {remedy}")
    flags = content.get("flags")
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        raise _damaged(path)
    if unknown := set(flags) - FLAGS:
        raise UnknownFormatError(f"{path}: unknown feature flag {_quoted(', '.join(sorted(unknown)))}; {remedy}")
    if not intact:
        raise _damaged(path)
    try:
        manifest = _from_json(content)
    except ValueError:
        raise _damaged(path) from None
    if manifest.version != version:
        raise DamagedIndexError(path, f"holds version {manifest.version}")
    return manifest


def _quoted(value: object) -> str:
    """Return an untrusted value as one short line of ASCII."""
    return textwrap.shorten(ascii(value).strip("'"), 80, placeholder=" ...")


def _damaged(path: Path) -> DamagedIndexError:
    return damage_error(path, "the manifest")


def _from_json(content: dict[str, Any]) -> Manifest:
    known = {field.name for field in dataclasses.fields(Manifest)}
    manifest = from_json(Manifest, {name: value for name, value in content.items() if name in known})
    _require_names(manifest.settings)
    if not manifest.settings.window or not manifest.settings.batch_tokens:
        raise ValueError(manifest.settings)
    if manifest.settings.calibrate is not None and manifest.fingerprint.calibration is None:
        raise ValueError(manifest.settings)
    if datetime.fromisoformat(manifest.created).tzinfo is None:
        raise ValueError(manifest.created)
    for entry in manifest.segments:
        _require_segment(entry)
    ids = {entry.id for entry in manifest.segments}
    if len(ids) < len(manifest.segments) or max(manifest.documents, manifest.tokens) > LARGEST:
        raise ValueError(manifest.segments)
    return manifest


def _require_names(settings: Settings) -> None:
    """Raise ValueError if a kept column has a reserved or a repeated name, or if not all have a path."""
    names = [name.lower() for name in settings.keep_columns]
    if len({*names, *RESERVED}) < len(names) + len(RESERVED):
        raise ValueError(settings.keep_columns)
    if len(settings.keep_paths) not in (0, len(names)):
        raise ValueError(settings.keep_paths)


def _require_segment(entry: SegmentEntry) -> None:
    names = entry.files.keys()
    deletions = {name for name in names if name.startswith("deleted-")}
    if (
        not _SEGMENT_ID.fullmatch(entry.id)
        or not all(_FILE_NAME.fullmatch(name) for name in names)
        or not names >= {"nags.npy", "docs.parquet", "sources.parquet", "skipped.parquet"}
        or deletions != ({entry.deleted} if entry.deleted is not None else set())
        or not entry.deleted_documents <= entry.documents
        or not entry.deleted_tokens <= entry.tokens
        or (entry.deleted is None and (entry.deleted_documents or entry.deleted_tokens))
    ):
        raise ValueError(entry.id)
