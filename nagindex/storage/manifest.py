"""Manifests: one immutable JSON file a version, numbered, created only if absent; the highest number is current."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nagindex._version import __version__
from nagindex.corpus.columns import Columns
from nagindex.errors import (
    BadInputError,
    DamagedIndexError,
    InputNotFoundError,
    SettingsMismatchError,
    UnknownFormatError,
)
from nagindex.storage.checksummed_json import damaged, load_json, seal
from nagindex.storage.files import FileEntry, create_exclusively
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.schema import LARGEST, typed
from nagindex.storage.verified import require_folder

FORMAT_VERSION = 1
FLAGS: frozenset[str] = frozenset()
OWN_FOLDERS = ("manifests", "segments", "derived")
_NAME = re.compile(r"[0-9]{12}\.json")
_SEGMENT_ID = re.compile(r"[0-9a-f]{16}")
_FILE_NAME = re.compile(r"nags\.npy|(docs|sources|skipped)\.parquet|deleted-[0-9a-f]{8}\.npy")


@dataclass(frozen=True)
class SegmentEntry:
    """What a manifest says of one segment.

    Attributes:
        id: name of its folder, 16 hexadecimal digits.
        documents: rows in its files, deleted ones included.
        tokens: tokens of those rows.
        skipped: rows of the sources that became no document.
        files: its files by name.
        deleted: name of the file with the positions of deleted rows, None while there are none.
        deleted_documents, deleted_tokens: how many rows those are, and their tokens.
        libraries: versions that encoded it.
        run: which list of sources it was read from; empty where several became one.
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
class Settings:
    """How an index reads corpora: fixed when it is created, taken from it by every append.

    Attributes:
        text_column, id_column, token_column: names given by the user, None where they are found in each source.
        keep_columns: columns carried into the index.
        window: rows of the input whose documents are batched together.
        batch_tokens: padded tokens in a batch.
        count_tokens: whether documents whose source states no token count are counted; otherwise they count as 0.
    """

    text_column: str | None = None
    id_column: str | None = None
    token_column: str | None = None
    keep_columns: tuple[str, ...] = ()
    window: int = 256
    batch_tokens: int = 2048
    count_tokens: bool = True

    def differences(self, other: Settings) -> list[str]:
        """Return one phrase for each setting that differs, naming both; windows and batches are the index's own."""
        names = ("text_column", "id_column", "token_column", "keep_columns", "count_tokens")
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        return [
            f"{name} is {_shown(mine)} in the index and {_shown(here)} here"
            for name, mine, here in pairs
            if mine != here
        ]

    def require(self, other: Settings, *, where: str) -> None:
        """Raise SettingsMismatchError, naming both values, unless `other` reads corpora as this index does."""
        if found := self.differences(other):
            raise SettingsMismatchError(
                f"{where}: {'; '.join(found)}; use the index's settings, or build another index"
            )


@dataclass(frozen=True)
class Manifest:
    """One version of an index."""

    version: int
    operation: str
    created: str
    fingerprint: Fingerprint
    settings: Settings
    segments: tuple[SegmentEntry, ...] = ()

    @property
    def documents(self) -> int:
        """Documents in this version, deleted ones not counted."""
        return sum(s.documents - s.deleted_documents for s in self.segments)

    @property
    def tokens(self) -> int:
        """Tokens of this version's documents."""
        return sum(s.tokens - s.deleted_tokens for s in self.segments)

    def following(self, operation: str, segments: tuple[SegmentEntry, ...], **changes: Any) -> Manifest:
        """Return the next version with other segments, and with other fields where they change."""
        return dataclasses.replace(
            self, version=self.version + 1, operation=operation, created=now(), segments=segments, **changes
        )


def now() -> str:
    """Return the time as ISO 8601 text in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def manifest_path(index: Path, version: int) -> Path:
    """Return where a version's manifest lies."""
    return index / "manifests" / f"{version:012d}.json"


def versions(index: Path) -> list[int]:
    """Return the numbers of the versions that an index holds, ascending.

    Raises:
        DamagedIndexError: a folder of the index is a link, which would lead out of it.
    """
    for name in OWN_FOLDERS:
        require_folder(index / name)
    try:
        names = [p.name for p in (index / "manifests").iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name[:12]) for name in names if _NAME.fullmatch(name))


def read_latest(index: Path) -> Manifest:
    """Return the current version's manifest.

    Raises:
        InputNotFoundError: there is no index.
        DamagedIndexError, UnknownFormatError: as `read_manifest`.
    """
    found = versions(index)
    if not found:
        raise InputNotFoundError(f"{index}: no index here; make one with: nagindex build CORPUS -i {index}")
    return read_manifest(index, found[-1])


def read_manifest(index: Path, version: int) -> Manifest:
    """Return one version's manifest.

    Raises:
        DamagedIndexError: the file is missing or is not what was written.
        UnknownFormatError: it is of a format or has a flag that this nagindex does not know.
    """
    path = manifest_path(index, version)
    try:
        content, whole = load_json(path, "the manifest")
    except FileNotFoundError:
        kept = ", ".join(map(str, versions(index))) or "none"
        raise InputNotFoundError(f"{index}: no version {version}; versions kept are {kept}") from None
    remedy = f"install the nagindex that wrote it ({_quoted(content.get('writer'))})"
    if content.get("format_version") != FORMAT_VERSION:
        found = f"format version {_quoted(content.get('format_version'))}"
        raise UnknownFormatError(f"{path}: {found}, nagindex {__version__} reads {FORMAT_VERSION}; {remedy}")
    flags = content.get("flags")
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        raise _damaged(path)
    if unknown := set(flags) - FLAGS:
        raise UnknownFormatError(f"{path}: unknown feature flag {_quoted(', '.join(sorted(unknown)))}; {remedy}")
    if not whole:
        raise _damaged(path)
    try:
        manifest = _from_json(content)
    except ValueError:
        raise _damaged(path) from None
    if manifest.version != version:
        raise DamagedIndexError(path, f"holds version {manifest.version}")
    return manifest


def publish(index: Path, manifest: Manifest) -> bool:
    """Make a version current; return False, changing nothing, where another writer has taken its number."""
    path = manifest_path(index, manifest.version)
    if not create_exclusively(path, seal(_to_json(manifest))):
        return False
    found = versions(index)
    if found[-1] > manifest.version and manifest.version - 1 not in found:
        path.unlink(missing_ok=True)  # this number was used and vacuumed while the writer slept: it must read again
        return False
    return True


def commit(index: Path, change: Callable[[Manifest], Manifest | None]) -> Manifest:
    """Publish `change(current)`; where another writer was first, re-read and apply the change again.

    Args:
        index: the index's folder.
        change: from the current version to the following one, or None where nothing is left to do.

    Returns:
        The version that holds the change.
    """
    while True:
        current = read_latest(index)
        wanted = change(current)
        if wanted is None:
            return current
        _require_files(index, current, wanted)
        if publish(index, wanted):
            return wanted


def _require_files(index: Path, current: Manifest, wanted: Manifest) -> None:
    """Raise BadInputError where a file that was written for the next version is gone: versions never name what is not there."""
    known = {(entry.id, entry.deleted) for entry in current.segments}
    for entry in wanted.segments:
        if (entry.id, entry.deleted) not in known:
            for name in entry.files:
                path = index / "segments" / entry.id / name
                if not path.exists():
                    by_whom = "a vacuum whose clock is ahead of this one removed it, or somebody did"
                    raise BadInputError(f"{path}: gone before it was published: {by_whom}; run the same command again")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return (", ".join(value) if isinstance(value, tuple) else str(value or "")) or "not given"


def _quoted(value: object) -> str:
    """Return what a file says of itself as a few words of one line."""
    return textwrap.shorten(ascii(value).strip("'"), 80, placeholder=" ...")


def _damaged(path: Path) -> DamagedIndexError:
    return damaged(path, "the manifest")


def _to_json(manifest: Manifest) -> dict[str, Any]:
    fields = dataclasses.asdict(manifest)
    fields["fingerprint"] = manifest.fingerprint.to_json()
    fields["settings"]["keep_columns"] = list(manifest.settings.keep_columns)
    fields["segments"] = list(fields["segments"])
    return {"format_version": FORMAT_VERSION, "flags": sorted(FLAGS), "writer": f"nagindex {__version__}"} | fields


def _from_json(content: dict[str, Any]) -> Manifest:
    known = {field.name for field in dataclasses.fields(Manifest)}
    manifest = typed(Manifest, {name: value for name, value in content.items() if name in known})
    Columns(keep=manifest.settings.keep_columns)  # refuses names that are taken, or given twice
    if not manifest.settings.window or not manifest.settings.batch_tokens:
        raise ValueError(manifest.settings)
    if datetime.fromisoformat(manifest.created).tzinfo is None:
        raise ValueError(manifest.created)
    for entry in manifest.segments:
        _require_segment(entry)
    ids = {entry.id for entry in manifest.segments}
    if len(ids) < len(manifest.segments) or max(manifest.documents, manifest.tokens) > LARGEST:
        raise ValueError(manifest.segments)
    return manifest


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
