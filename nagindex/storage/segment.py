"""Segments: folders of immutable files that hold the NAGs and the metadata of some documents."""

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
from nagindex.progress import step
from nagindex.storage.arrays import data_offset, map_array, write_array
from nagindex.storage.disk_errors import writing
from nagindex.storage.files import FileEntry, sync_folder, verify_content, verify_length, verify_once
from nagindex.storage.locations import mirror_of, pin
from nagindex.storage.manifest import SegmentEntry
from nagindex.storage.tables import kept_type, read_table, write_table
from nagindex.storage.verified import require_folder
from nagindex.workers.cpus import thread_count

SEGMENT_DOCUMENTS = 131_072
DELETED_DTYPE = np.dtype("<u4")
SOURCE_COLUMNS = ("name", "root", "bytes", "sha256", "start", "stop", "complete", "text_column")
SKIPPED_COLUMNS = ("file", "row", "id", "reason")


@dataclass(frozen=True)
class SourceSpan:
    """A range of rows of one source that a segment covers, including skipped rows.

    Attributes:
        name, root, bytes, sha256: the source's name, corpus root, length and content hash.
        start, stop: the rows start <= row < stop.
        complete: whether the source ends with these rows. A span without rows that is not complete stands for a source that
            could not be read; its content hash is empty where not even that could be told.
        text_column: where the source has its texts; None where that was not recorded.
    """

    name: str
    root: str
    bytes: int
    sha256: str
    start: int
    stop: int
    complete: bool
    text_column: str | None = None

    @property
    def unread(self) -> bool:
        """Whether the source could not be read."""
        return self.start == self.stop and not self.complete


@dataclass(frozen=True)
class SkippedRow:
    """A row of a source that did not become a document, or a source that could not be read, and the reason."""

    file: str
    row: int
    id: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without its particulars, which follow a colon."""
        return self.reason.partition(":")[0]


@dataclass
class Rows:
    """Metadata of documents as columns of equal length; element i describes row i of the codes."""

    ids: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    kept: list[tuple[Value, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def extend(self, other: Rows) -> None:
        """Append other rows."""
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
    """Write and fsync the files of a new segment, and return its entry for the next manifest.

    Args:
        index: the index's folder.
        spec: shape of the NAGs.
        codes: arrays uint16 [n_i, L, K]; their concatenation has the order of `rows`.
        rows: metadata of the documents.
        keep: names of the kept columns.
        spans: rows of the sources that the segment covers.
        skipped: rows among them that did not become documents.
        libraries: versions of the libraries that computed the codes.
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
        return finish_segment(
            folder, documents=len(rows), tokens=sum(rows.tokens), skipped=len(skipped), libraries=libraries
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def new_folder(index: Path) -> Path:
    """Create an empty folder for a segment, and return its path."""
    folder = index / "segments" / secrets.token_hex(8)
    pin(folder)
    folder.mkdir()
    return folder


def write_codes(path: Path, spec: NagSpec, parts: Sequence[Codes]) -> None:
    """Write NAGs, arrays uint16 [n_i, L, K], as one little-endian .npy file."""
    shape = (sum(len(part) for part in parts), *spec.shape)
    with writing(path), open(path, "xb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": CODE_DTYPE.str, "fortran_order": False, "shape": shape})
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype=CODE_DTYPE).data)


def write_spans(path: Path, spans: Sequence[SourceSpan]) -> None:
    """Write sources.parquet."""
    types = ("VARCHAR", "VARCHAR", "BIGINT", "VARCHAR", "BIGINT", "BIGINT", "BOOLEAN", "VARCHAR")
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


def finish_segment(
    folder: Path, *, documents: int, tokens: int, skipped: int, libraries: dict[str, str]
) -> SegmentEntry:
    """Fsync a segment whose files are complete, and return its entry."""
    files = {path.name: FileEntry.of(path) for path in sorted(folder.iterdir())}
    sync_folder(folder)
    sync_folder(folder.parent)
    return SegmentEntry(folder.name, documents, tokens, skipped, files, libraries)


def with_deleted(index: Path, entry: SegmentEntry, positions: npt.NDArray[np.integer], *, tokens: int) -> SegmentEntry:
    """Write a new file of deleted rows, and return the segment's entry with this file.

    Args:
        index: the index's folder.
        entry: the current entry.
        positions: int [m], rows to delete; they may include rows that are deleted already.
        tokens: tokens of the rows that are not deleted yet.
    """
    deleted = np.union1d(deleted_rows(index, entry), positions).astype(DELETED_DTYPE)
    folder = index / "segments" / entry.id
    name = f"deleted-{secrets.token_hex(4)}.npy"
    if mirror_of(folder) is not None:
        folder.mkdir(exist_ok=True)  # the mirror may hold nothing of the segment
    write_array(folder / name, deleted)
    files = {n: f for n, f in entry.files.items() if n != entry.deleted} | {name: FileEntry.of(folder / name)}
    sync_folder(folder)
    return dataclasses.replace(
        entry, files=files, deleted=name, deleted_documents=len(deleted), deleted_tokens=entry.deleted_tokens + tokens
    )


class Segment:
    """Read access to a segment: its codes, tables and deleted rows. Files are verified on first use."""

    def __init__(self, index: Path, entry: SegmentEntry, spec: NagSpec) -> None:
        self.index, self.entry, self.spec = index, entry, spec
        self.folder = index / "segments" / entry.id
        self._data_offset: int | None = None

    @property
    def docs_path(self) -> Path:
        """The Parquet file whose row i describes document i."""
        return self._verified_path("docs.parquet")

    def codes(self) -> Codes:
        """Return the NAGs, uint16 [documents, L, K], memory-mapped read-only."""
        path = self._verified_path("nags.npy")
        shape = (self.entry.documents, *self.spec.shape)
        if self._data_offset is None:
            self._data_offset = data_offset(path, CODE_DTYPE, shape)
        return map_array(path, CODE_DTYPE, shape, self._data_offset)

    def deleted(self) -> npt.NDArray[np.uint32]:
        """Return the positions of deleted rows, uint32 [m], ascending."""
        return deleted_rows(self.index, self.entry)

    def alive(self) -> npt.NDArray[np.bool_]:
        """Return a mask of the rows that are not deleted, bool [documents]."""
        alive = np.ones(self.entry.documents, bool)
        alive[self.deleted()] = False
        return alive

    def spans(self) -> list[SourceSpan]:
        """Return the rows of the sources that the segment covers."""
        table = read_table(self._verified_path("sources.parquet"), SOURCE_COLUMNS, optional=("text_column",))
        return [SourceSpan(*values) for values in zip(*table.values(), strict=True)]

    def skipped(self) -> list[SkippedRow]:
        """Return the rows of the sources that did not become documents."""
        table = read_table(self._verified_path("skipped.parquet"), SKIPPED_COLUMNS)
        return [SkippedRow(*values) for values in zip(*table.values(), strict=True)]

    def check_lengths(self) -> None:
        """Raise DamagedIndexError unless every file exists with its length, and the folder is not a symbolic link."""
        require_folder(self.folder)
        codes = self.folder / "nags.npy"
        if self.entry.files[codes.name].bytes < self.entry.documents * self.spec.bytes_per_document:
            raise DamagedIndexError(
                codes, f"too short for the {self.entry.documents} documents of segment {self.entry.id}"
            )
        for name, entry in self.entry.files.items():
            verify_length(self.folder / name, entry, owner=f"segment {self.entry.id}")

    def check(self) -> None:
        """Raise DamagedIndexError unless every file is intact; files that are known to be intact are not read again."""
        for name in self.entry.files:
            self._verified_path(name)

    def damage(self) -> Iterator[DamagedIndexError]:
        """Read every file, and yield one error for each whose length or checksum is not that of the manifest."""
        for name, entry in self.entry.files.items():
            try:
                verify_content(self.folder / name, entry, owner=f"segment {self.entry.id}")
            except DamagedIndexError as error:
                yield error

    def _verified_path(self, name: str) -> Path:
        """Return the path of a file, verified if it may have changed since it was last verified."""
        verify_once(self.folder / name, self.entry.files[name], owner=f"segment {self.entry.id}")
        return self.folder / name


def verify_segments(segments: Sequence[Segment], *, threads: int | None = None) -> None:
    """Verify all files of segments that may have changed since they were last verified, in parallel.

    Args:
        segments: the segments.
        threads: number of segments that are verified at a time; by default the number of cores.

    Raises:
        DamagedIndexError: a file is not what was written.
    """
    sizes = [sum(file.bytes for file in segment.entry.files.values()) for segment in segments]
    with ThreadPoolExecutor(thread_count(threads)) as pool, step("verifying checksums", sum(sizes), "bytes") as advance:
        for size, _ in zip(sizes, pool.map(Segment.check, segments), strict=True):
            advance(size)


def deleted_rows(index: Path, entry: SegmentEntry) -> npt.NDArray[np.uint32]:
    """Return the positions of a segment's deleted rows, uint32 [m], ascending."""
    if entry.deleted is None:
        return np.empty(0, np.uint32)
    path = index / "segments" / entry.id / entry.deleted
    verify_once(path, entry.files[entry.deleted], owner=f"segment {entry.id}")
    rows = np.array(map_array(path, DELETED_DTYPE, (entry.deleted_documents,)))
    if len(rows) and (rows[-1] >= entry.documents or (rows[1:] <= rows[:-1]).any()):
        raise DamagedIndexError(path, f"not ascending rows of segment {entry.id}")
    return rows
