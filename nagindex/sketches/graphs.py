"""Neighbor graphs on disk, beside the sketches that they connect: derived, rebuildable, and never changed once written.

derived/sketch-000003/graph-<id>.json   the segments that it connects, in order; it counts once this file is there
derived/sketch-000003/graph-<id>.usearch
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nagindex.errors import DamagedIndexError, NagIndexError, UnknownFormatError
from nagindex.sketches.store import SketchSet
from nagindex.storage.checksummed_json import damaged, described, seal
from nagindex.storage.files import FileEntry, create_exclusively, sync_folder, verify_content, verify_once, writing
from nagindex.storage.manifest import SegmentEntry

FORMAT_VERSION = 1
_NAME = re.compile(r"graph-[0-9a-f]{8}\.json")


@dataclass(frozen=True)
class _Connected:
    """What a graph's JSON says: its file's length and checksum, and the rest of `GraphFile`."""

    bytes: int
    content: str
    segments: tuple[str, ...]
    dims: int
    centre: tuple[float, ...]


@dataclass(frozen=True)
class GraphFile:
    """A graph as it lies on the disk.

    Attributes:
        path: the file that usearch reads.
        entry: its length and checksum.
        segments: ids of the segments that it connects; node i is document i of their concatenation.
        dims: values of a vector in it.
        centre: what was subtracted from coordinates, float [dims - 1].
    """

    path: Path
    entry: FileEntry
    segments: tuple[str, ...]
    dims: int
    centre: tuple[float, ...]

    def check(self) -> None:
        """Raise DamagedIndexError unless the file holds what was written; usearch believes whatever it maps."""
        verify_once(self.path, self.entry, segment=self.path.parent.name)

    def damage(self) -> DamagedIndexError | None:
        """Return what is wrong with the file, down to every byte; None where nothing is."""
        try:
            verify_content(self.path, self.entry, segment=self.path.parent.name)
        except DamagedIndexError as error:
            return error
        return None


def graphs_of(
    sketches: SketchSet,
    segments: Sequence[SegmentEntry],
    damage: Callable[[NagIndexError], object] | None = None,
) -> list[GraphFile]:
    """Return the graphs whose segments are all among those given, none of them in two.

    Args:
        sketches: what they connect.
        segments: of a version.
        damage: called for each graph whose description is not what was written, which is left out; without, the first is raised.

    Raises:
        DamagedIndexError, UnknownFormatError: there is such a graph, or one of a newer nagindex, and nothing to call for it.
    """
    present, taken, found = {entry.id for entry in segments}, set[str](), []
    for path in sorted(sketches.folder.glob("graph-*.json")):
        if not _NAME.fullmatch(path.name):
            continue
        try:
            graph = _described(path)
        except FileNotFoundError:  # vacuumed, or taken away as damaged
            continue
        except (DamagedIndexError, UnknownFormatError) as error:
            if damage is None:
                raise
            damage(error)
            continue
        if present.issuperset(graph.segments) and taken.isdisjoint(graph.segments):
            taken.update(graph.segments)
            found.append(graph)
    return found


def drop_damaged(sketches: SketchSet) -> None:
    """Take what describes graphs away where they are not what was written, down to every byte: they do not count any more."""
    for path in sorted(sketches.folder.glob("graph-*.json")):
        try:
            whole = _described(path).damage() is None
        except (FileNotFoundError, UnknownFormatError):
            continue
        except DamagedIndexError:
            whole = False
        if not whole:
            path.unlink(missing_ok=True)


def _described(path: Path) -> GraphFile:
    stated = described(path, _Connected, FORMAT_VERSION, "the graph")
    if len(stated.centre) + 1 != stated.dims:
        raise damaged(path, "the graph")
    entry = FileEntry(stated.bytes, stated.content)
    return GraphFile(path.with_suffix(".usearch"), entry, stated.segments, stated.dims, stated.centre)


def write_graph(sketches: SketchSet, segments: Sequence[SegmentEntry], centre: Sequence[float], content: bytes) -> None:
    """Publish a graph over some segments, as the bytes that usearch reads; its own writing into files does not notice a full disk."""
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
            "dims": len(centre) + 1,
            "centre": list(centre),
        }
        published = create_exclusively(sketches.folder / f"{name}.json", seal(fields))
    except BaseException:
        published = path.with_suffix(".json").exists()
        raise
    finally:
        if not published:
            path.unlink(missing_ok=True)
