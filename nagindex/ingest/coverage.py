"""Which rows of which source files the versions of an index account for, as documents or as skipped rows."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from nagindex.corpus.sources import Source
from nagindex.storage.manifest import Manifest
from nagindex.storage.segment import Segment, SourceSpan

Key = tuple[str, str]
"""A source as it was read: its name and the SHA-256 of its content."""


class Coverage:
    """What has been read of each source; grows as versions are looked at."""

    def __init__(self, index: Path, manifest: Manifest) -> None:
        """Take in one version; see `learn`."""
        self._index = index
        self._segments: set[str] = set()
        self._ranges: dict[Key, list[tuple[int, int]]] = {}  # disjoint, ascending, with gaps between them
        self._lengths: dict[Key, int] = {}
        self._names: set[str] = set()
        self._places: dict[Key, Key] = {}
        self.learn(manifest)

    def learn(self, manifest: Manifest) -> None:
        """Take in the segments of a version that have not been looked at yet."""
        for entry in manifest.segments:
            if entry.id not in self._segments:
                self._segments.add(entry.id)
                for span in Segment(self._index, entry, manifest.fingerprint.spec).spans():
                    self.add(span)

    def add(self, span: SourceSpan) -> None:
        """Take in some rows of a source."""
        key = span.name, span.sha256
        self._names.add(span.name)
        if span.complete:
            self._lengths[key] = span.stop
            self._places[os.path.join(span.root, span.name), span.sha256] = key
        if span.start < span.stop:
            merged: list[tuple[int, int]] = []
            for start, stop in sorted([*self._ranges.get(key, ()), (span.start, span.stop)]):
                if merged and start <= merged[-1][1]:
                    merged[-1] = merged[-1][0], max(stop, merged[-1][1])
                else:
                    merged.append((start, stop))
            self._ranges[key] = merged

    def first_gap(self, key: Key) -> int:
        """Return the first row of a source that is not accounted for."""
        ranges = self._ranges.get(key)
        return ranges[0][1] if ranges and ranges[0][0] == 0 else 0

    def length(self, source: Source, sha256: str) -> int | None:
        """Return how many rows a source has if all are accounted for, under its name or, where another root names it, its place."""
        key = source.name, sha256
        if not self._is_complete(key):
            key = self._places.get((str(source.path), sha256), key)
        return self._lengths[key] if self._is_complete(key) else None

    def covers(self, key: Key, row: int) -> bool:
        """Whether a row of a source is accounted for."""
        return self._reach(key, row) > row

    def holds(self, span: SourceSpan) -> bool:
        """Whether all of a span is accounted for, and the source's end too where it reaches that."""
        key = span.name, span.sha256
        rows = span.start == span.stop or self._reach(key, span.start) >= span.stop
        return rows and (not span.complete or self._lengths.get(key) == span.stop)

    def has_other(self, name: str, sha256: str) -> bool:
        """Whether a source of this name is known with other content, and not with this."""
        key = name, sha256
        return name in self._names and key not in self._ranges and key not in self._lengths

    def _is_complete(self, key: Key) -> bool:
        return key in self._lengths and self.first_gap(key) >= self._lengths[key]

    def _reach(self, key: Key, row: int) -> int:
        """Return the end of the range that holds a row, 0 where none does."""
        ranges = self._ranges.get(key, [])
        place = bisect_right(ranges, row, key=lambda known: known[0]) - 1
        return ranges[place][1] if place >= 0 and row < ranges[place][1] else 0


class JointCoverage:
    """What all of several indexes account for: the rows that one of them lacks must be read."""

    def __init__(self, parts: Sequence[Coverage]) -> None:
        """Look at some indexes as one; what they learn later is seen."""
        self.parts = parts

    def first_gap(self, key: Key) -> int:
        """Return the first row of a source that an index lacks."""
        return min(part.first_gap(key) for part in self.parts)

    def length(self, source: Source, sha256: str) -> int | None:
        """Return how many rows a source has if every index has all of them."""
        lengths = [part.length(source, sha256) for part in self.parts]
        return None if None in lengths else lengths[0]

    def covers(self, key: Key, row: int) -> bool:
        """Whether every index has a row of a source."""
        return all(part.covers(key, row) for part in self.parts)

    def holds(self, span: SourceSpan) -> bool:
        """Whether every index has all of a span."""
        return all(part.holds(span) for part in self.parts)

    def has_other(self, name: str, sha256: str) -> bool:
        """Whether an index knows a source of this name with other content."""
        return any(part.has_other(name, sha256) for part in self.parts)
