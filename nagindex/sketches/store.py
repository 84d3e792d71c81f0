"""Sketches on disk: derived from the segments, rebuildable at any time, and never the truth.

    derived/sketch-000003/basis.json      how the basis was fitted; the folder counts once this file is there
    derived/sketch-000003/basis.npy       float32 [neurons, d]
    derived/sketch-000003/<segment>.json  how the segment's sketches are decoded; they count once this file is there
    derived/sketch-000003/<segment>-*.npy int8 or float16 [documents, d + 1]

The folder of the highest number is current. Segments are immutable, so a segment's sketches stay right as long as it is
there; segments without any are scanned.
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
from nagindex.storage.arrays import first_byte, mapped, write_array
from nagindex.storage.checksummed_json import damaged, described, load_json, seal
from nagindex.storage.files import FileEntry, create_exclusively, make_folders, sync_folder, verify_content, verify_once
from nagindex.storage.manifest import SegmentEntry

FORMAT_VERSION = 1
DTYPES: dict[str, np.dtype[Any]] = {"i8": np.dtype(np.int8), "f16": np.dtype("<f2")}
_FOLDER = re.compile(r"sketch-([0-9]{6})")


@dataclass(frozen=True)
class _Sketched:
    """What a segment's JSON says: its file's name, length and checksum, and how the file is decoded."""

    file: str
    bytes: int
    content: str  # the checksum that the JSON itself carries is called sha256
    offsets: tuple[float, ...]
    steps: tuple[float, ...]
    errors: tuple[float, ...]
    residual: float


@dataclass(frozen=True)
class Fitted:
    """How a basis was fitted.

    Attributes:
        dims: values a document, as asked for; a basis of a small pool has fewer.
        dtype: `i8` or `f16`.
        seed: of the sample.
        sample: documents that the basis was fitted to.
        documents: that the index had then.
        kept: share of the sample's variance that the basis keeps, 0 to 1.
        residual: mean square of the sample's lengths beside the basis.
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
class _Stated(Fitted):
    """What a basis's JSON says: that, and its file's length and checksum."""

    bytes: int
    content: str


@dataclass(frozen=True)
class SketchSet(Fitted):
    """A basis and the sketches of segments in it.

    Attributes:
        folder: where they lie.
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

    @cached_property
    def basis(self) -> Basis:
        """The basis, mapped from the disk.

        Raises:
            DamagedIndexError: its file is not what was written.
        """
        path = self.folder / "basis.npy"
        verify_once(path, self.file, segment=self.name)
        vectors = mapped(path, np.dtype(np.float32), (int(self.spec.offsets[-1]), len(self.rounding)))
        return Basis(vectors, self.skew, np.array(self.rounding), self.spec)

    def has(self, entry: SegmentEntry) -> bool:
        """Return whether a segment is sketched."""
        return (self.folder / f"{entry.id}.json").exists()

    def write(self, entry: SegmentEntry, sketch: Sketch) -> None:
        """Publish a segment's sketches; where another process was first, its are kept."""
        path = self.folder / f"{entry.id}-{secrets.token_hex(4)}.npy"
        stated = self.folder / f"{entry.id}.json"
        published = False
        try:
            write_array(path, sketch.values[:])
            file = FileEntry.of(path)
            offsets, steps, errors = (tuple(own.tolist()) for own in (sketch.offsets, sketch.steps, sketch.errors))
            content = _Sketched(path.name, file.bytes, file.sha256, offsets, steps, errors, sketch.residual)
            sync_folder(self.folder)
            published = create_exclusively(stated, seal({"format_version": FORMAT_VERSION} | vars(content)))
        except BaseException:
            published = stated.exists()  # it may have been before its folder could be forced to the disk
            raise
        finally:
            if not published:
                path.unlink(missing_ok=True)

    def read(self, entry: SegmentEntry) -> Sketch | None:
        """Return a segment's sketches, to be read from the disk; None where it has none.

        Raises:
            DamagedIndexError: its files are not what was written.
            UnknownFormatError: a newer nagindex wrote them.
        """
        shape = (entry.documents, len(self.rounding) + 1)
        if entry.id not in self._decoding:
            stated = self._stated(entry)
            if stated is None:
                return None
            path, file = self.folder / stated.file, FileEntry(stated.bytes, stated.content)
            verify_once(path, file, segment=entry.id)
            start = first_byte(path, DTYPES[self.dtype], shape)
            arrays = [np.array(own, np.float64) for own in (stated.offsets, stated.steps, stated.errors)]
            self._decoding[entry.id] = path, file, start, *arrays, stated.residual
        path, file, start, *decoding = self._decoding[entry.id]
        verify_once(path, file, segment=entry.id)
        return Sketch(FileRows(path, start, DTYPES[self.dtype], shape), *decoding)

    def residual_of(self, entry: SegmentEntry) -> float | None:
        """Return the mean square of a segment's lengths beside the basis, None where it is not sketched."""
        stated = self._stated(entry)
        return None if stated is None else stated.residual

    def damage(self, entry: SegmentEntry | None = None) -> NagIndexError | None:
        """Return what is wrong with the basis, or with a segment's sketches, down to every byte; None where nothing is."""
        try:
            if entry is None:
                verify_content(self.folder / "basis.npy", self.file, segment=self.name)
            elif stated := self._stated(entry):
                verify_content(self.folder / stated.file, FileEntry(stated.bytes, stated.content), segment=entry.id)
        except (DamagedIndexError, UnknownFormatError) as error:
            return error
        return None

    def drop_damaged(self, segments: Sequence[SegmentEntry]) -> None:
        """Take what describes sketches away where they are not what was written, down to every byte: they do not count any more."""
        for entry in segments:
            if isinstance(self.damage(entry), DamagedIndexError):
                self._decoding.pop(entry.id, None)
                (self.folder / f"{entry.id}.json").unlink(missing_ok=True)

    def _stated(self, entry: SegmentEntry) -> _Sketched | None:
        """Return what is said of a segment's sketches, None where it has none."""
        path = self.folder / f"{entry.id}.json"
        try:
            stated = described(path, _Sketched, FORMAT_VERSION, "the sketches")
        except FileNotFoundError:
            return None
        lengths = {len(stated.offsets), len(stated.steps), len(stated.errors)}
        if lengths != {len(self.rounding) + 1} or not re.fullmatch(rf"{entry.id}-[0-9a-f]{{8}}\.npy", stated.file):
            raise damaged(path, "the sketches")
        return stated


def current_sketches(index: Path, spec: NagSpec) -> SketchSet | None:
    """Return the index's current sketches, None where it has none.

    Raises:
        DamagedIndexError: what describes their basis is not what was written.
        UnknownFormatError: a newer nagindex wrote them.
    """
    for folder in sorted(_folders(index), reverse=True):
        path = folder / "basis.json"
        try:
            stated = vars(described(path, _Stated, FORMAT_VERSION, "the sketches"))
        except FileNotFoundError:
            continue  # its writer was killed, or is at it
        file = FileEntry(stated.pop("bytes"), stated.pop("content"))
        return SketchSet(folder=folder, spec=spec, file=file, **stated)
    return None


def create_sketches(index: Path, basis: Basis, **fitted: Any) -> SketchSet:
    """Publish a basis, whose sketches are then the current ones, and return the set, which holds none yet.

    Args:
        index: the index's folder.
        basis: the basis.
        fitted: `dims`, `dtype`, `seed`, `sample`, `documents`, `kept` and `residual` of `SketchSet`.
    """
    make_folders(index / "derived")
    number = max((_number(folder) for folder in _folders(index)), default=0)
    while True:
        number += 1
        folder = index / "derived" / f"sketch-{number:06d}"
        try:
            folder.mkdir()
        except FileExistsError:  # another process is at it too
            continue
        break
    sync_folder(folder.parent)
    path = folder / "basis.npy"
    write_array(path, np.asarray(basis.vectors))
    entry = FileEntry.of(path)
    sync_folder(folder)
    stored = fitted | {"skew": basis.skew, "rounding": basis.rounding.tolist()}
    content = {"format_version": FORMAT_VERSION, "bytes": entry.bytes, "content": entry.sha256}
    create_exclusively(folder / "basis.json", seal(content | stored))
    return SketchSet(folder=folder, spec=basis.spec, file=entry, **stored)


def stale(index: Path, segments: set[str]) -> list[Path]:
    """Return the files of sketches that are not current, and those of the current ones that are of no use any more.

    Args:
        index: the index's folder.
        segments: ids of the segments that kept versions name.
    """
    folders = sorted(_folders(index), reverse=True)
    current = next((folder for folder in folders if (folder / "basis.json").exists()), None)
    found = [path for folder in folders if folder != current for path in folder.iterdir()]
    if current is None:
        return found
    used = {"basis.json", "basis.npy"}
    for path in current.glob("*.json"):
        try:
            content, _ = load_json(path, "")
        except (DamagedIndexError, FileNotFoundError):
            continue
        listed = content.get("segments")
        if path.name.startswith("graph-") and isinstance(listed, list) and segments.issuperset(map(str, listed)):
            used |= {path.name, path.with_suffix(".usearch").name}
        elif path.stem in segments:
            used |= {path.name, str(content.get("file"))}
    return found + [path for path in current.iterdir() if path.name not in used and not path.name.endswith(".tmp")]


def _folders(index: Path) -> list[Path]:
    found = (index / "derived").glob("sketch-*")
    return [path for path in found if _FOLDER.fullmatch(path.name) and not path.is_symlink()]


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
