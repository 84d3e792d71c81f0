"""Segments: folders of immutable files that hold the NAGs of some documents and what is known of those documents."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex.corpus.reading import Value
from nagindex.errors import DamagedIndexError
from nagindex.nag import CODE_DTYPE, Codes, NagSpec
from nagindex.storage.arrays import first_byte, mapped, write_array
from nagindex.storage.files import FileEntry, check_length, sync_folder, verify_content, verify_once, writing
from nagindex.storage.manifest import Manifest, SegmentEntry
from nagindex.storage.tables import kept_type, read_table, write_table
from nagindex.storage.verified import require_folder
from nagindex.workers.cpus import thread_count

SEGMENT_DOCUMENTS = 131_072
DELETED_DTYPE = np.dtype("<u4")
SOURCE_COLUMNS = ("name", "root", "bytes", "sha256", "start", "stop", "complete")
SKIPPED_COLUMNS = ("file", "row", "id", "reason")


@dataclass(frozen=True)
class SourceSpan:
    """Rows of one source that a segment accounts for, whether they became documents or were skipped.

    Attributes:
        name, root, bytes, sha256: the source's name, corpus root, length and content hash.
        start, stop: the rows are start <= row < stop.
        complete: no row follows them.
    """

    name: str
    root: str
    bytes: int
    sha256: str
    start: int
    stop: int
    complete: bool


@dataclass(frozen=True)
class SkippedRow:
    """A row of a source that is no document of the index, and why."""

    file: str
    row: int
    id: str
    reason: str


@dataclass
class Rows:
    """Documents as columns of equal length; element i describes row i of a segment's codes."""

    ids: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    kept: list[tuple[Value, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def extend(self, other: Rows) -> None:
        """Append the rows of another."""
        for f in dataclasses.fields(self):
            getattr(self, f.name).extend(getattr(other, f.name))

    def take(self, positions: npt.NDArray[np.int64]) -> Rows:
        """Return the rows at int64 [m] positions."""
        return Rows(*([getattr(self, f.name)[p] for p in positions] for f in dataclasses.fields(self)))


def write_segment(
    index: Path,
    spec: NagSpec,
    *,
    codes: Sequence[Codes],
    rows: Rows,
    keep: Sequence[str],
    spans: Sequence[SourceSpan],
    skipped: Sequence[SkippedRow],
    libraries: dict[str, str],
) -> SegmentEntry:
    """Write a new segment's files, force them to the disk and return its entry; no version names it yet.

    Args:
        index: the index's folder.
        spec: shape of the NAGs.
        codes: uint16 [n_i, L, K] arrays whose concatenation belongs to `rows`.
        rows: the documents, in order.
        keep: names of the kept columns.
        spans: the sources' rows that the segment accounts for.
        skipped: rows among them that became no document.
        libraries: versions that computed the codes.
    """
    folder = new_folder(index)
    try:
        write_codes(folder / "nags.npy", spec, codes)
        columns: dict[str, tuple[str, object]] = {
            "id": ("VARCHAR", rows.ids),
            "file": ("VARCHAR", rows.files),
            "row": ("BIGINT", rows.rows),
            "tokens": ("BIGINT", rows.tokens),
        }
        for position, name in enumerate(keep):
            columns[name] = kept_type([values[position] for values in rows.kept])
        write_table(folder / "docs.parquet", columns)
        write_spans(folder / "sources.parquet", spans)
        write_skipped(folder / "skipped.parquet", skipped)
        return seal(folder, documents=len(rows), tokens=sum(rows.tokens), skipped=len(skipped), libraries=libraries)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def new_folder(index: Path) -> Path:
    """Return a new empty folder for a segment."""
    folder = index / "segments" / secrets.token_hex(8)
    folder.mkdir()
    return folder


def write_codes(path: Path, spec: NagSpec, parts: Sequence[Codes]) -> None:
    """Write NAGs, a sequence of uint16 [n_i, L, K], as one little-endian .npy file."""
    shape = (sum(len(part) for part in parts), *spec.shape)
    with writing(path), open(path, "xb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": CODE_DTYPE.str, "fortran_order": False, "shape": shape})
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype=CODE_DTYPE).data)


def write_spans(path: Path, spans: Sequence[SourceSpan]) -> None:
    """Write sources.parquet."""
    types = ("VARCHAR", "VARCHAR", "BIGINT", "VARCHAR", "BIGINT", "BIGINT", "BOOLEAN")
    write_table(
        path,
        {name: (kind, [getattr(s, name) for s in spans]) for name, kind in zip(SOURCE_COLUMNS, types, strict=True)},
    )


def write_skipped(path: Path, skipped: Sequence[SkippedRow]) -> None:
    """Write skipped.parquet."""
    types = ("VARCHAR", "BIGINT", "VARCHAR", "VARCHAR")
    write_table(
        path,
        {name: (kind, [getattr(s, name) for s in skipped]) for name, kind in zip(SKIPPED_COLUMNS, types, strict=True)},
    )


def seal(folder: Path, *, documents: int, tokens: int, skipped: int, libraries: dict[str, str]) -> SegmentEntry:
    """Force a finished folder to the disk and return its entry."""
    files = {path.name: FileEntry.of(path) for path in sorted(folder.iterdir())}
    sync_folder(folder)
    sync_folder(folder.parent)
    return SegmentEntry(folder.name, documents, tokens, skipped, files, libraries)


def with_deleted(index: Path, entry: SegmentEntry, positions: npt.NDArray[np.integer], *, tokens: int) -> SegmentEntry:
    """Return the entry with more rows deleted; the rows are written beside the segment's files under a new name.

    Args:
        index: the index's folder.
        entry: the segment as it is now.
        positions: int [m], rows to delete; rows deleted already may be among them.
        tokens: tokens of the rows among them that are not deleted yet.
    """
    deleted = np.union1d(deleted_rows(index, entry), positions).astype(DELETED_DTYPE)
    folder = index / "segments" / entry.id
    name = f"deleted-{secrets.token_hex(4)}.npy"
    write_array(folder / name, deleted)
    files = {n: f for n, f in entry.files.items() if n != entry.deleted} | {name: FileEntry.of(folder / name)}
    sync_folder(folder)
    return dataclasses.replace(
        entry, files=files, deleted=name, deleted_documents=len(deleted), deleted_tokens=entry.deleted_tokens + tokens
    )


class Segment:
    """A segment as a reader sees it: mapped codes, its tables' paths, its deleted rows."""

    def __init__(self, index: Path, entry: SegmentEntry, spec: NagSpec) -> None:
        self.index, self.entry, self.spec = index, entry, spec
        self.folder = index / "segments" / entry.id
        self._first_byte: int | None = None

    @property
    def docs_path(self) -> Path:
        """The Parquet file whose row i describes document i."""
        return self._whole("docs.parquet")

    def codes(self) -> Codes:
        """Return the NAGs, uint16 [documents, L, K], memory-mapped read-only."""
        path = self._whole("nags.npy")
        shape = (self.entry.documents, *self.spec.shape)
        if self._first_byte is None:
            self._first_byte = first_byte(path, CODE_DTYPE, shape)
        return mapped(path, CODE_DTYPE, shape, self._first_byte)

    def deleted(self) -> npt.NDArray[np.uint32]:
        """Return the positions of deleted rows, uint32 [m], ascending."""
        return deleted_rows(self.index, self.entry)

    def alive(self) -> npt.NDArray[np.bool_]:
        """Return which rows are not deleted, bool [documents]."""
        alive = np.ones(self.entry.documents, bool)
        alive[self.deleted()] = False
        return alive

    def spans(self) -> list[SourceSpan]:
        """Return the sources' rows that the segment accounts for."""
        table = read_table(self._whole("sources.parquet"), SOURCE_COLUMNS)
        return [SourceSpan(*values) for values in zip(*table.values(), strict=True)]

    def skipped(self) -> list[SkippedRow]:
        """Return the rows that became no document."""
        table = read_table(self._whole("skipped.parquet"), SKIPPED_COLUMNS)
        return [SkippedRow(*values) for values in zip(*table.values(), strict=True)]

    def check_lengths(self) -> None:
        """Raise DamagedIndexError unless every file exists with its length, in a folder that is no link, with room for the codes."""
        require_folder(self.folder)
        codes = self.folder / "nags.npy"
        if self.entry.files[codes.name].bytes < self.entry.documents * self.spec.bytes_per_document:
            raise DamagedIndexError(
                codes, f"too short for the {self.entry.documents} documents of segment {self.entry.id}"
            )
        for name, entry in self.entry.files.items():
            check_length(self.folder / name, entry, segment=self.entry.id)

    def check(self) -> None:
        """Raise DamagedIndexError unless every file holds what was written; those that were found to do so before are not read again."""
        for name in self.entry.files:
            self._whole(name)

    def _whole(self, name: str) -> Path:
        """Return the path of a file whose content has been checked since it came here."""
        verify_once(self.folder / name, self.entry.files[name], segment=self.entry.id)
        return self.folder / name

    def damage(self) -> Iterator[DamagedIndexError]:
        """Yield one error for each file whose length or checksum is not the manifest's."""
        for name, entry in self.entry.files.items():
            try:
                verify_content(self.folder / name, entry, segment=self.entry.id)
            except DamagedIndexError as error:
                yield error


def segments_of(index: Path, manifest: Manifest) -> list[Segment]:
    """Return a version's segments, in the order of the documents."""
    return [Segment(index, entry, manifest.fingerprint.spec) for entry in manifest.segments]


def check_all(members: Sequence[Segment], *, threads: int | None = None) -> None:
    """Check the content of all files that came here since they were last checked, side by side.

    Args:
        members: the segments.
        threads: how many files are read at a time; by default one for each core.

    Raises:
        DamagedIndexError: a file does not hold what was written.
    """
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        list(pool.map(Segment.check, members))


def deleted_rows(index: Path, entry: SegmentEntry) -> npt.NDArray[np.uint32]:
    """Return the positions of a segment's deleted rows, uint32 [m], ascending."""
    if entry.deleted is None:
        return np.empty(0, np.uint32)
    path = index / "segments" / entry.id / entry.deleted
    verify_once(path, entry.files[entry.deleted], segment=entry.id)
    rows = np.array(mapped(path, DELETED_DTYPE, (entry.deleted_documents,)))
    if len(rows) and (rows[-1] >= entry.documents or (rows[1:] <= rows[:-1]).any()):
        raise DamagedIndexError(path, f"no rows of segment {entry.id} in their order")
    return rows
