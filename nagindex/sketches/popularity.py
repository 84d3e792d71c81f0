"""Popularity of neurons on disk: how many documents of a segment hold each neuron.

    derived/popularity/<segment>-<K'>-<SHA-256>.npy   unsigned [L, max d_l]: rows that hold a neuron among a layer's K' strongest

Counts are of all rows of a segment, which never change; deleted rows are counted at each use and subtracted. A file is written on
first use, or by `optimize`, and named by its own SHA-256. One that is damaged, or gone, is made again from the codes.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError, DamagedIndexError
from nagindex.progress import step
from nagindex.search.scan import flattened, neuron_counter
from nagindex.search.view import View
from nagindex.storage.arrays import map_array
from nagindex.storage.files import FileEntry, create_exclusively, verify_content, verify_once
from nagindex.storage.manifest import SegmentEntry
from nagindex.storage.segment import Segment
from nagindex.workers.cpus import thread_count

_NAME = re.compile(r"([0-9a-f]{16})-([0-9]+)-([0-9a-f]{64})\.npy")

Counts = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)


def popularity_of(
    segments: Sequence[Segment], view: View, *, threads: int | None = None
) -> tuple[npt.NDArray[np.int64], int]:
    """Return the number of living documents that hold each neuron.

    Counts come from the files in `derived/popularity`; those that are missing or damaged are computed from the codes and written again,
    if the index can be written.

    Args:
        segments: segments of one index: all of a snapshot's, or some.
        view: the layers and neurons to count.
        threads: segments that are counted at a time; by default one for each CPU.

    Returns:
        Counts, int64 [layers, max d_l] of the view, and the number of living documents.

    Raises:
        DamagedIndexError: codes or deletions of a segment are not what was written.
    """
    counts = np.zeros((view.whole.layers, max(view.whole.widths)), np.int64)
    segments = [segment for segment in segments if segment.entry.documents]
    files = _files(segments[0].index) if segments else {}
    missing = []
    for segment in segments:
        own = _kept(files.get((segment.entry.id, view.top_k), ()), segment, view.top_k)
        if own is None:
            missing.append(segment)
        else:
            counts += own
        if segment.entry.deleted_documents:
            counts -= _counted(segment, view.top_k, ~segment.alive())

    def count(segment: Segment) -> Counts:
        found = _counted(segment, view.top_k, np.ones(segment.entry.documents, bool))
        _keep(segment, view.top_k, found)
        return found

    if missing:
        total = sum(segment.entry.documents for segment in missing)
        with (
            ThreadPoolExecutor(thread_count(threads)) as pool,
            step("counting the pool's neurons", total, "documents") as advance,
        ):
            for segment, found in zip(missing, pool.map(count, missing), strict=True):
                counts += found
                advance(segment.entry.documents)
    living = sum(segment.entry.documents - segment.entry.deleted_documents for segment in segments)
    return counts[list(view.layers), : max(view.spec.widths)], living


def uncounted(segments: Sequence[Segment]) -> list[Segment]:
    """Return those of an index's segments whose neurons, all K of a layer, are not counted yet."""
    files = _files(segments[0].index) if segments else {}
    return [own for own in segments if own.entry.documents and (own.entry.id, own.spec.top_k) not in files]


def damaged_files(index: Path, segments: Sequence[SegmentEntry]) -> Iterator[Path]:
    """Yield the files of some segments whose content does not have the SHA-256 in their names."""
    ids = {entry.id for entry in segments}
    for path in [path for (segment, _), paths in _files(index).items() if segment in ids for path in paths]:
        with suppress(FileNotFoundError):  # removed by a query or a vacuum
            try:
                verify_content(path, _entry(path), owner="its name")
            except DamagedIndexError:
                yield path


def unused_files(index: Path, segments: set[str]) -> list[Path]:
    """Return the files of segments that are gone.

    Args:
        index: the index's folder.
        segments: ids of the segments that any kept version names.
    """
    return [path for (segment, _), paths in _files(index).items() if segment not in segments for path in paths]


def _files(index: Path) -> dict[tuple[str, int], list[Path]]:
    """Return the files of an index by segment and K'; none where a symbolic link could lead out of the index."""
    found: dict[tuple[str, int], list[Path]] = {}
    folder = _folder(index)
    if not _is_linked(folder):
        with suppress(OSError):
            for path in sorted(folder.iterdir()):
                if (match := _NAME.fullmatch(path.name)) is not None:
                    found.setdefault((match[1], int(match[2])), []).append(path)
    return found


def _folder(index: Path) -> Path:
    return index / "derived" / "popularity"


def _is_linked(folder: Path) -> bool:
    return folder.is_symlink() or folder.parent.is_symlink()


def _entry(path: Path) -> FileEntry:
    """Return the length that a file has, and the checksum that its name states."""
    return FileEntry(path.lstat().st_size, path.stem.rpartition("-")[2])


def _kept(paths: Sequence[Path], segment: Segment, top_k: int) -> npt.NDArray[Any] | None:
    """Return a segment's counts, unsigned [L, max d_l], memory-mapped; None, and damaged files removed, where none are intact."""
    dtype, shape = _dtype(segment), (segment.spec.layers, max(segment.spec.widths))
    for path in paths:
        try:
            verify_once(path, _entry(path), owner="its name")
            counts = map_array(path, dtype, shape)
            if (counts.sum(axis=1, dtype=np.int64) == segment.entry.documents * top_k).all():
                return counts
            raise DamagedIndexError(path, "not the counts of its segment")
        except (DamagedIndexError, OSError) as error:
            logger.info("counted again: %s", error)
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return None


def _counted(segment: Segment, top_k: int, rows: npt.NDArray[np.bool_]) -> Counts:
    """Count the rows, of a mask [documents], that hold each neuron among a layer's K' strongest; int64 [L, max d_l]."""
    view = View.of(segment.spec, top_k=top_k)
    count = neuron_counter(len(rows), view)
    counts = np.zeros((segment.spec.layers, max(segment.spec.widths)), np.int64)
    count(flattened(segment.codes()), view.columns, top_k, rows, counts)
    return counts


def _keep(segment: Segment, top_k: int, counts: Counts) -> None:
    """Write a segment's counts, unless they are there, or the index cannot be written."""
    folder, buffer = _folder(segment.index), io.BytesIO()
    np.lib.format.write_array(buffer, counts.astype(_dtype(segment)), version=(1, 0))
    content = buffer.getvalue()
    if _is_linked(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_exclusively(folder / f"{segment.entry.id}-{top_k}-{hashlib.sha256(content).hexdigest()}.npy", content)
    except (OSError, BadInputError) as error:  # read-only media, or a full disk: they are counted again each time
        logger.info("counts of neurons cannot be kept: %s", error)


def _dtype(segment: Segment) -> np.dtype[Any]:
    """Return the narrowest dtype that holds the number of a segment's rows."""
    return np.min_scalar_type(segment.entry.documents).newbyteorder("<")
