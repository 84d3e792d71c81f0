"""Sketches on disk: derived from segments and rebuildable at any time.

    derived/sketch-000003/basis.json       how the basis was fitted; the folder counts once this file exists
    derived/sketch-000003/basis.npy        float32 [neurons, d]
    derived/sketch-000003/<segment>.json   how the segment's sketches are decoded; they count once this file exists
    derived/sketch-000003/<segment>-*.npy  int8 or float16 [documents, d + 1]

The folder of the highest number is current. Segments are immutable, so their sketches stay valid; segments without
sketches are scanned.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nagindex.errors import DamagedIndexError, NagIndexError, UnknownFormatError
from nagindex.nag import NagSpec
from nagindex.search.basis import Basis
from nagindex.search.file_rows import FileRows
from nagindex.search.sketch import Sketch, SketchType
from nagindex.storage.arrays import data_offset, map_array, write_array
from nagindex.storage.checksummed_json import damage_error, load_dataclass, load_json
from nagindex.storage.files import FileEntry, create_exclusively, make_folders, sync_folder, verify_content, verify_once
from nagindex.storage.json_bytes import dump_json
from nagindex.storage.locations import mirror_of
from nagindex.storage.manifest import SegmentEntry
from nagindex.storage.mirror import CLAIM

FORMAT_VERSION = 1
DTYPES: dict[str, np.dtype[Any]] = {"i8": np.dtype(np.int8), "f16": np.dtype("<f2")}
_FOLDER = re.compile(r"sketch-([0-9]{6})")


@dataclass(frozen=True)
class _SegmentJson:
    """The JSON file of a segment's sketches: their array's name, length and checksum, and its decoding."""

    file: str
    bytes: int
    content: str  # checksum of the array; `sha256` is that of the JSON file itself
    offsets: tuple[float, ...]
    steps: tuple[float, ...]
    errors: tuple[float, ...]
    residual: float


@dataclass(frozen=True)
class BasisInfo:
    """How a basis was fitted.

    Attributes:
        dims: requested number of values of a sketch; the basis of a small pool has fewer.
        dtype: `i8` or `f16`.
        seed: seed of the sample.
        sample: documents of the sample that the basis was fitted to.
        documents: documents of the index at that time.
        kept: share of the sample's variance that the basis keeps, 0 to 1.
        residual: mean square of the sample's residual norms.
        skew, rounding: see `Basis`.
    """

    dims: int
    dtype: SketchType
    seed: int
    sample: int
    documents: int
    kept: float
    residual: float
    skew: float
    rounding: tuple[float, ...]


@dataclass(frozen=True)
class _BasisJson(BasisInfo):
    """The JSON file of a basis: how it was fitted, and length and checksum of its array."""

    bytes: int
    content: str


@dataclass(frozen=True)
class SketchSet(BasisInfo):
    """A basis on disk, and the sketches of segments in it.

    Attributes:
        folder: the folder that holds them.
        spec: shape of the NAGs.
        file: length and checksum of basis.npy.
    """

    folder: Path
    spec: NagSpec
    file: FileEntry
    _decoding: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def width(self) -> int:
        """Values of a document's sketch: its coefficients, and its residual norm."""
        return len(self.rounding) + 1

    @cached_property
    def basis(self) -> Basis:
        """The basis, memory-mapped.

        Raises:
            DamagedIndexError: its file is damaged.
        """
        path = self.folder / "basis.npy"
        verify_once(path, self.file, owner=self.name)
        vectors = map_array(path, np.dtype(np.float32), (int(self.spec.offsets[-1]), len(self.rounding)))
        return Basis(vectors, self.skew, np.array(self.rounding), self.spec)

    def has(self, entry: SegmentEntry) -> bool:
        """Return whether a segment is sketched."""
        return (self.folder / f"{entry.id}.json").exists()

    def write(self, entry: SegmentEntry, sketch: Sketch) -> None:
        """Publish a segment's sketches; those that another process published first are kept."""
        path = self.folder / f"{entry.id}-{secrets.token_hex(4)}.npy"
        description = self.folder / f"{entry.id}.json"
        published = False
        try:
            write_array(path, sketch.values[:])
            file = FileEntry.of(path)
            offsets, steps, errors = (
                tuple(values.tolist()) for values in (sketch.offsets, sketch.steps, sketch.errors)
            )
            content = _SegmentJson(path.name, file.bytes, file.sha256, offsets, steps, errors, sketch.residual)
            sync_folder(self.folder)
            published = create_exclusively(description, dump_json({"format_version": FORMAT_VERSION} | vars(content)))
        except BaseException:
            published = description.exists()  # the link may exist although syncing its folder failed
            raise
        finally:
            if not published:
                path.unlink(missing_ok=True)

    def read(self, entry: SegmentEntry) -> Sketch | None:
        """Return a segment's sketches, read from disk on access; None if it has none.

        Raises:
            DamagedIndexError: its files are damaged or gone.
            UnknownFormatError: a newer nagindex wrote them.
        """
        shape = (entry.documents, self.width)
        if entry.id not in self._decoding:
            stored = self._segment_json(entry)
            if stored is None:
                return None
            path, file = self.folder / stored.file, FileEntry(stored.bytes, stored.content)
            verify_once(path, file, owner=f"segment {entry.id}")
            start = data_offset(path, DTYPES[self.dtype], shape)
            arrays = [np.array(own, np.float64) for own in (stored.offsets, stored.steps, stored.errors)]
            self._decoding[entry.id] = path, file, start, *arrays, stored.residual
        path, file, start, *decoding = self._decoding[entry.id]
        verify_once(path, file, owner=f"segment {entry.id}")
        try:
            rows = FileRows(path, start, DTYPES[self.dtype], shape)
        except FileNotFoundError as error:  # removed since it was verified
            raise DamagedIndexError(path, f"cannot be read ({error.strerror})") from None
        return Sketch(rows, *decoding)

    def residual_of(self, entry: SegmentEntry) -> float | None:
        """Return the mean square of a segment's residual norms; None if it is not sketched."""
        stored = self._segment_json(entry)
        return None if stored is None else stored.residual

    def damage(self, entry: SegmentEntry | None = None) -> NagIndexError | None:
        """Check every byte of the basis, or of a segment's sketches; return the damage, or None."""
        try:
            if entry is None:
                verify_content(self.folder / "basis.npy", self.file, owner=self.name)
            elif stored := self._segment_json(entry):
                verify_content(
                    self.folder / stored.file, FileEntry(stored.bytes, stored.content), owner=f"segment {entry.id}"
                )
        except (DamagedIndexError, UnknownFormatError) as error:
            return error
        return None

    def drop_damaged(self, segments: Sequence[SegmentEntry]) -> None:
        """Check every byte of the sketches, and remove the JSON files of damaged ones."""
        for entry in segments:
            if isinstance(self.damage(entry), DamagedIndexError):
                self._decoding.pop(entry.id, None)
                (self.folder / f"{entry.id}.json").unlink(missing_ok=True)

    def _segment_json(self, entry: SegmentEntry) -> _SegmentJson | None:
        """Read the JSON file of a segment's sketches; None if it has none."""
        path = self.folder / f"{entry.id}.json"
        try:
            stored = load_dataclass(path, _SegmentJson, FORMAT_VERSION, "the sketches")
        except FileNotFoundError:
            return None
        lengths = {len(stored.offsets), len(stored.steps), len(stored.errors)}
        if lengths != {self.width} or not re.fullmatch(rf"{entry.id}-[0-9a-f]{{8}}\.npy", stored.file):
            raise damage_error(path, "the sketches")
        return stored


def current_sketches(index: Path, spec: NagSpec) -> SketchSet | None:
    """Return the index's current sketches; None if it has none.

    Raises:
        DamagedIndexError: the JSON file of their basis is damaged.
        UnknownFormatError: a newer nagindex wrote them.
    """
    if (remote := mirror_of(index)) is not None:
        remote.fetch_derived()
    for folder in sorted(_folders(index), reverse=True):
        path = folder / "basis.json"
        try:
            stored = vars(load_dataclass(path, _BasisJson, FORMAT_VERSION, "the sketches"))
        except FileNotFoundError:
            continue  # its writer was killed, or is not done
        file = FileEntry(stored.pop("bytes"), stored.pop("content"))
        return SketchSet(folder=folder, spec=spec, file=file, **stored)
    return None


def create_sketches(index: Path, basis: Basis, **fitted: Any) -> SketchSet:
    """Publish a basis, which makes its set of sketches the current one; return the set, still empty.

    Args:
        index: the index's folder.
        basis: the basis.
        fitted: `dims`, `dtype`, `seed`, `sample`, `documents`, `kept` and `residual` of `BasisInfo`.
    """
    make_folders(index / "derived")
    remote = mirror_of(index)
    number = max((_number(folder) for folder in _folders(index)), default=0)
    while True:
        number += 1
        folder = index / "derived" / f"sketch-{number:06d}"
        try:
            folder.mkdir()
        except FileExistsError:  # another process took this number
            continue
        if remote is None or remote.claim_derived(folder):
            break
    sync_folder(folder.parent)
    path = folder / "basis.npy"
    write_array(path, np.asarray(basis.vectors))
    entry = FileEntry.of(path)
    sync_folder(folder)
    info = fitted | {"skew": basis.skew, "rounding": basis.rounding.tolist()}
    content = {"format_version": FORMAT_VERSION, "bytes": entry.bytes, "content": entry.sha256}
    create_exclusively(folder / "basis.json", dump_json(content | info))
    return SketchSet(folder=folder, spec=basis.spec, file=entry, **info)


def unused_files(index: Path, segments: set[str]) -> list[Path]:
    """Return the files of former sketches, and those of current ones whose segments are gone.

    Args:
        index: the index's folder.
        segments: ids of the segments that any kept version names.
    """
    used = used_files(index, segments)
    files = [path for folder in sorted(_folders(index), reverse=True) for path in folder.iterdir()]
    current = next(iter(used)).parent if used else None
    return [path for path in files if path not in used and not (path.parent == current and path.name.endswith(".tmp"))]


def used_files(index: Path, segments: set[str]) -> set[Path]:
    """Return the paths of the files of the current sketches whose segments are there; a mirror may lack their arrays.

    Args:
        index: the index's folder.
        segments: ids of the segments that any kept version names.
    """
    folders = sorted(_folders(index), reverse=True)
    current = next((folder for folder in folders if (folder / "basis.json").exists()), None)
    if current is None:
        return set()
    used = {"basis.json", "basis.npy", CLAIM}
    for path in current.glob("*.json"):
        try:
            content, _ = load_json(path, "")
        except (DamagedIndexError, FileNotFoundError):
            continue
        members = content.get("segments")
        if path.name.startswith("graph-") and isinstance(members, list) and segments.issuperset(map(str, members)):
            used |= {path.name, path.with_suffix(".usearch").name}
        elif path.stem in segments:
            used |= {path.name, str(content.get("file"))}
    return {current / name for name in used}


def _folders(index: Path) -> list[Path]:
    paths = (index / "derived").glob("sketch-*")
    return [path for path in paths if _FOLDER.fullmatch(path.name) and not path.is_symlink()]


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
