"""A snapshot: one pinned version of an index, which nothing that others commit later can change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.storage.calibration import check_calibration
from nagindex.storage.fingerprint import LIBRARIES, installed_libraries
from nagindex.storage.locations import index_folder, mirror_of
from nagindex.storage.manifest import Manifest, read_latest, read_manifest, versions
from nagindex.storage.segment import Segment, SkippedRow


@dataclass(frozen=True)
class Snapshot:
    """One version of an index on disk. A document's position is its row in the concatenation of the segments' rows.

    Attributes:
        path: the index's folder.
        manifest: what the version consists of.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, *, version: int | None = None, check: bool = True) -> Snapshot:
        """Return the current version of an index, or an older one.

        Args:
            path: the index's folder.
            version: its number; by default the highest.
            check: whether to check that every file is there with its length.

        Raises:
            InputNotFoundError: there is no index, or no such version.
            DamagedIndexError: a file is missing or has the wrong length.
            UnknownFormatError: a newer nagindex wrote it.
        """
        folder = index_folder(path)
        if version is not None and mirror_of(folder) is not None:
            versions(folder)  # the mirror may hold the manifest of one that was vacuumed
        snapshot = cls(folder, read_latest(folder) if version is None else read_manifest(folder, version))
        if check:
            snapshot.check_lengths()
        return snapshot

    def check_lengths(self) -> None:
        """Raise DamagedIndexError unless every file is there with the length that the manifest states.

        Objects of an index in a store are not asked for: they are verified as they are fetched.
        """
        if mirror_of(self.path) is not None:
            return
        check_calibration(self.path, self.manifest.fingerprint)
        for segment in self.segments:
            segment.check_lengths()

    def __len__(self) -> int:
        return self.manifest.documents

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, in the order of the documents."""
        spec = self.manifest.fingerprint.spec
        return tuple(Segment(self.path, entry, spec) for entry in self.manifest.segments)

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Position of each segment's first document, and the number of stored documents; int64 [segments + 1]."""
        return np.cumsum([0, *(entry.documents for entry in self.manifest.segments)])

    def locate(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where documents are stored: the number of each one's segment, and its row there; int64 [m] both.

        Args:
            positions: int64 [m], of the documents.
        """
        numbers = np.searchsorted(self.starts, positions, side="right") - 1
        return numbers, positions - self.starts[numbers]

    def by_segment(
        self, positions: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Yield, for each segment that holds any of some documents, (its number, places in `positions`, rows in the segment).

        Args:
            positions: int64 [m], of the documents.
        """
        numbers, rows = self.locate(positions)
        for number in map(int, np.unique(numbers)):
            places = np.flatnonzero(numbers == number)
            yield number, places, rows[places]

    def codes_at(self, positions: npt.NDArray[np.int64]) -> Codes:
        """Return the NAGs, uint16 [m, L, K], of documents at positions, int64 [m]."""
        codes = np.empty((len(positions), *self.manifest.fingerprint.spec.shape), np.uint16)
        for number, places, rows in self.by_segment(positions):
            codes[places] = self.segments[number].codes()[rows]
        return codes

    def skipped(self) -> list[SkippedRow]:
        """Return the rows of the sources that became no document, with the reason."""
        return [row for segment in self.segments for row in segment.skipped()]

    def recorded_libraries(self) -> dict[str, list[str]]:
        """Return, for each library that computes NAGs, the versions that the fingerprint and the segments state."""
        stated = [self.manifest.fingerprint.libraries, *(entry.libraries for entry in self.manifest.segments)]
        return {name: sorted({libraries[name] for libraries in stated if name in libraries}) for name in LIBRARIES}

    def other_libraries(self) -> dict[str, list[str]]:
        """Return the recorded versions of each library whose installed version is not the only one recorded."""
        installed = installed_libraries()
        return {name: found for name, found in self.recorded_libraries().items() if found != [installed.get(name)]}
