"""Graphs on disk: derived from segments, immutable, and rebuildable at any time.

    derived/graph-000003/basis.json            how the basis was fitted; the folder counts once this file exists
    derived/graph-000003/basis.npy             float32 [neurons, d]
    derived/graph-000003/graph-<id>.json       the graph's segments, in order; the graph counts once this file exists
    derived/graph-000003/graph-<id>.usearch    the index that usearch reads

The folder of the highest number is current. Segments are immutable, so their graphs stay valid; segments without a graph
are scanned. Folders `sketch-*`, which earlier versions made, are not read, and `vacuum` removes them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nagindex.errors import DamagedIndexError, NagIndexError, UnknownFormatError
from nagindex.nag import NagSpec
from nagindex.search.basis import Basis
from nagindex.storage.arrays import map_array, write_array
from nagindex.storage.checksummed_json import load_dataclass, load_json
from nagindex.storage.disk_errors import writing
from nagindex.storage.files import FileEntry, create_exclusively, make_folders, sync_folder, verify_content, verify_once
from nagindex.storage.json_bytes import dump_json
from nagindex.storage.locations import mirror_of
from nagindex.storage.manifest import SegmentEntry
from nagindex.storage.mirrored_graphs import CLAIM, claim_graphs, fetch_graphs

FORMAT_VERSION = 1
_FOLDER = re.compile(r"graph-([0-9]{6})")
_FORMER_FOLDER = re.compile(r"sketch-[0-9]{6}")
_NAME = re.compile(r"graph-[0-9a-f]{8}\.json")


@dataclass(frozen=True)
class BasisInfo:
    """How a basis was fitted.

    Attributes:
        dims: directions of the basis.
        sample: documents of the sample that it was fitted to.
        documents: documents of the index at that time.
        kept: share of the sample's variance that the basis keeps, 0 to 1.
    """

    dims: int
    sample: int
    documents: int
    kept: float


@dataclass(frozen=True)
class _BasisJson(BasisInfo):
    """The JSON file of a basis: how it was fitted, and length and checksum of its array."""

    bytes: int
    content: str  # checksum of the array; `sha256` is that of the JSON file itself


@dataclass(frozen=True)
class _GraphJson:
    """The JSON file of a graph: length and checksum of its usearch file, and its segments."""

    bytes: int
    content: str
    segments: tuple[str, ...]


@dataclass(frozen=True)
class GraphFile:
    """A graph on disk.

    Attributes:
        path: the usearch file.
        entry: its length and checksum.
        segments: ids of the segments that it covers; node i is document i of their concatenation.
    """

    path: Path
    entry: FileEntry
    segments: tuple[str, ...]

    def check(self) -> None:
        """Raise DamagedIndexError unless the file is intact; usearch does not check what it maps."""
        verify_once(self.path, self.entry, owner=self.path.parent.name)

    def damage(self) -> DamagedIndexError | None:
        """Check every byte of the file; return its damage, or None if it is intact."""
        try:
            verify_content(self.path, self.entry, owner=self.path.parent.name)
        except DamagedIndexError as error:
            return error
        return None


@dataclass(frozen=True)
class GraphSet(BasisInfo):
    """A basis on disk, and the graphs in it.

    Attributes:
        folder: the folder that holds them.
        spec: shape of the NAGs.
        file: length and checksum of basis.npy.
    """

    folder: Path
    spec: NagSpec
    file: FileEntry

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @cached_property
    def basis(self) -> Basis:
        """The basis, memory-mapped.

        Raises:
            DamagedIndexError: its file is damaged.
        """
        path = self.folder / "basis.npy"
        verify_once(path, self.file, owner=self.name)
        return Basis(map_array(path, np.dtype(np.float32), (int(self.spec.offsets[-1]), self.dims)), self.spec)

    def damage(self) -> NagIndexError | None:
        """Check every byte of the basis; return the damage, or None."""
        try:
            verify_content(self.folder / "basis.npy", self.file, owner=self.name)
        except DamagedIndexError as error:
            return error
        return None

    def graphs(
        self, segments: Sequence[SegmentEntry], damage: Callable[[NagIndexError], object] | None = None
    ) -> list[GraphFile]:
        """Return graphs whose segments are all among those given, no two of them with a segment in common.

        Args:
            segments: the segments of a version.
            damage: called with the error of each graph whose JSON file cannot be read, which is left out; by default the
                first is raised.

        Raises:
            DamagedIndexError: a JSON file is damaged, and `damage` is None.
            UnknownFormatError: a newer nagindex wrote a JSON file, and `damage` is None.
        """
        present, taken = {entry.id for entry in segments}, set[str]()
        graphs = []
        for path in sorted(self.folder.glob("graph-*.json")):
            if not _NAME.fullmatch(path.name):
                continue
            try:
                graph = _read(path)
            except FileNotFoundError:  # removed meanwhile
                continue
            except (DamagedIndexError, UnknownFormatError) as error:
                if damage is None:
                    raise
                damage(error)
                continue
            if present.issuperset(graph.segments) and taken.isdisjoint(graph.segments):
                taken.update(graph.segments)
                graphs.append(graph)
        return graphs

    def drop_damaged(self) -> None:
        """Check every byte of the graphs, and remove the JSON files of damaged ones."""
        for path in sorted(self.folder.glob("graph-*.json")):
            try:
                intact = _read(path).damage() is None
            except (FileNotFoundError, UnknownFormatError):
                continue
            except DamagedIndexError:
                intact = False
            if not intact:
                path.unlink(missing_ok=True)

    def write(self, segments: Sequence[SegmentEntry], content: bytes) -> None:
        """Publish a graph.

        Args:
            segments: the segments that it covers, in the order of its nodes.
            content: the usearch index as bytes; usearch's own file writer does not notice a full disk.
        """
        name = f"graph-{secrets.token_hex(4)}"
        path = self.folder / f"{name}.usearch"
        published = False
        try:
            with writing(path), open(path, "xb") as file:
                file.write(content)
            entry = FileEntry.of(path)
            sync_folder(self.folder)
            graph = _GraphJson(entry.bytes, entry.sha256, tuple(segment.id for segment in segments))
            published = create_exclusively(self.folder / f"{name}.json", _dumped(graph))
        except BaseException:
            published = path.with_suffix(".json").exists()  # the link may exist although syncing its folder failed
            raise
        finally:
            if not published:
                path.unlink(missing_ok=True)


def _read(path: Path) -> GraphFile:
    stored = load_dataclass(path, _GraphJson, FORMAT_VERSION, "the graph")
    return GraphFile(path.with_suffix(".usearch"), FileEntry(stored.bytes, stored.content), stored.segments)


def _dumped(values: Any) -> bytes:
    return dump_json({"format_version": FORMAT_VERSION} | vars(values))


def current_graphs(index: Path, spec: NagSpec) -> GraphSet | None:
    """Return the index's current graphs; None if it has none.

    Raises:
        DamagedIndexError: the JSON file of their basis is damaged.
        UnknownFormatError: a newer nagindex wrote them.
    """
    if (remote := mirror_of(index)) is not None:
        fetch_graphs(remote)
    for folder in sorted(_folders(index), reverse=True):
        path = folder / "basis.json"
        try:
            stored = vars(load_dataclass(path, _BasisJson, FORMAT_VERSION, "the graphs"))
        except FileNotFoundError:
            continue  # its writer was killed, or is not done
        file = FileEntry(stored.pop("bytes"), stored.pop("content"))
        return GraphSet(folder=folder, spec=spec, file=file, **stored)
    return None


def create_graphs(index: Path, basis: Basis, *, sample: int, documents: int, kept: float) -> GraphSet:
    """Publish a basis, which makes its set of graphs the current one; return the set, still empty.

    Args:
        index: the index's folder.
        basis: the basis.
        sample: documents of the sample that it was fitted to.
        documents: documents of the index.
        kept: share of the sample's variance that it keeps, 0 to 1.
    """
    make_folders(index / "derived")
    remote = mirror_of(index)
    number = max((_number(folder) for folder in _folders(index)), default=0)
    while True:
        number += 1
        folder = index / "derived" / f"graph-{number:06d}"
        try:
            folder.mkdir()
        except FileExistsError:  # another process took this number
            continue
        if remote is None or claim_graphs(remote, folder):
            break
    sync_folder(folder.parent)
    path = folder / "basis.npy"
    write_array(path, np.asarray(basis.vectors))
    entry = FileEntry.of(path)
    sync_folder(folder)
    info = BasisInfo(basis.vectors.shape[1], sample, documents, kept)
    create_exclusively(
        folder / "basis.json", _dumped(_BasisJson(**vars(info), bytes=entry.bytes, content=entry.sha256))
    )
    return GraphSet(**vars(info), folder=folder, spec=basis.spec, file=entry)


def unused_files(index: Path, segments: set[str]) -> list[Path]:
    """Return the files of former graphs and of sketches, and those of current graphs whose segments are gone.

    Args:
        index: the index's folder.
        segments: ids of the segments that any kept version names.
    """
    used = used_files(index, segments)
    folders = [*sorted(_folders(index), reverse=True), *_folders(index, _FORMER_FOLDER)]
    files = [path for folder in folders for path in folder.iterdir()]
    current = next(iter(used)).parent if used else None
    return [path for path in files if path not in used and not (path.parent == current and path.name.endswith(".tmp"))]


def used_files(index: Path, segments: set[str]) -> set[Path]:
    """Return the paths of the files of the current graphs whose segments are there; a mirror may lack their arrays.

    Args:
        index: the index's folder.
        segments: ids of the segments that any kept version names.
    """
    folders = sorted(_folders(index), reverse=True)
    current = next((folder for folder in folders if (folder / "basis.json").exists()), None)
    if current is None:
        return set()
    used = {"basis.json", "basis.npy", CLAIM}
    for path in current.glob("graph-*.json"):
        try:
            content, _ = load_json(path, "")
        except (DamagedIndexError, FileNotFoundError):
            continue
        members = content.get("segments")
        if isinstance(members, list) and segments.issuperset(map(str, members)):
            used |= {path.name, path.with_suffix(".usearch").name}
    return {current / name for name in used}


def _folders(index: Path, name: re.Pattern[str] = _FOLDER) -> list[Path]:
    return [path for path in (index / "derived").glob("*") if name.fullmatch(path.name) and not path.is_symlink()]


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
