"""Neighbor graphs on disk: derived from sketches, immutable, and rebuildable at any time.

derived/sketch-000003/graph-<id>.json     the graph's segments, in order; the graph counts once this file exists
derived/sketch-000003/graph-<id>.usearch  the index that usearch reads
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nagindex.errors import DamagedIndexError, NagIndexError, UnknownFormatError
from nagindex.sketches.store import SketchSet
from nagindex.storage.checksummed_json import damage_error, load_dataclass
from nagindex.storage.disk_errors import writing
from nagindex.storage.files import FileEntry, create_exclusively, sync_folder, verify_content, verify_once
from nagindex.storage.json_bytes import dump_json
from nagindex.storage.manifest import SegmentEntry

FORMAT_VERSION = 1
_NAME = re.compile(r"graph-[0-9a-f]{8}\.json")


@dataclass(frozen=True)
class _GraphJson:
    """The JSON file of a graph: length and checksum of its usearch file, and the fields of `GraphFile`."""

    bytes: int
    content: str
    segments: tuple[str, ...]
    dims: int
    centre: tuple[float, ...]


@dataclass(frozen=True)
class GraphFile:
    """A graph on disk.

    Attributes:
        path: the usearch file.
        entry: its length and checksum.
        segments: ids of the segments that it covers; node i is document i of their concatenation.
        dims: values of a vector.
        center: the center that was subtracted from coordinates, float [dims - 1].
    """

    path: Path
    entry: FileEntry
    segments: tuple[str, ...]
    dims: int
    center: tuple[float, ...]

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


def graphs_of(
    sketches: SketchSet,
    segments: Sequence[SegmentEntry],
    damage: Callable[[NagIndexError], object] | None = None,
) -> list[GraphFile]:
    """Return graphs whose segments are all among those given, no two of them with a segment in common.

    Args:
        sketches: the sketches that they connect.
        segments: the segments of a version.
        damage: called with the error of each graph whose JSON file cannot be read, which is left out; by default the
            first is raised.

    Raises:
        DamagedIndexError: a JSON file is damaged, and `damage` is None.
        UnknownFormatError: a newer nagindex wrote a JSON file, and `damage` is None.
    """
    present, taken = {entry.id for entry in segments}, set[str]()
    graphs = []
    for path in sorted(sketches.folder.glob("graph-*.json")):
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


def drop_damaged(sketches: SketchSet) -> None:
    """Check every byte of the graphs, and remove the JSON files of damaged ones."""
    for path in sorted(sketches.folder.glob("graph-*.json")):
        try:
            intact = _read(path).damage() is None
        except (FileNotFoundError, UnknownFormatError):
            continue
        except DamagedIndexError:
            intact = False
        if not intact:
            path.unlink(missing_ok=True)


def _read(path: Path) -> GraphFile:
    stored = load_dataclass(path, _GraphJson, FORMAT_VERSION, "the graph")
    if len(stored.centre) + 1 != stored.dims:
        raise damage_error(path, "the graph")
    entry = FileEntry(stored.bytes, stored.content)
    return GraphFile(path.with_suffix(".usearch"), entry, stored.segments, stored.dims, stored.centre)


def write_graph(sketches: SketchSet, segments: Sequence[SegmentEntry], center: Sequence[float], content: bytes) -> None:
    """Publish a graph over some segments.

    Args:
        sketches: the sketches that it connects.
        segments: the segments that it covers, in the order of its nodes.
        center: the center that was subtracted from coordinates.
        content: the usearch index as bytes; usearch's own file writer does not notice a full disk.
    """
    name = f"graph-{secrets.token_hex(4)}"
    path = sketches.folder / f"{name}.usearch"
    published = False
    try:
        with writing(path), open(path, "xb") as file:
            file.write(content)
        entry = FileEntry.of(path)
        sync_folder(sketches.folder)
        fields = {
            "format_version": FORMAT_VERSION,
            "bytes": entry.bytes,
            "content": entry.sha256,
            "segments": [segment.id for segment in segments],
            "dims": len(center) + 1,
            "centre": list(center),
        }
        published = create_exclusively(sketches.folder / f"{name}.json", dump_json(fields))
    except BaseException:
        published = path.with_suffix(".json").exists()
        raise
    finally:
        if not published:
            path.unlink(missing_ok=True)
