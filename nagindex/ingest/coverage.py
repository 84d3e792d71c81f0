"""Coverage: the rows of source files that an index accounts for, as documents or as skipped rows."""

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
    """The rows of each source that an index accounts for."""

    def __init__(self, index: Path, manifest: Manifest) -> None:
        """Start with the segments of one version."""
        self._index = index
        self._segments: set[str] = set()
        self._ranges: dict[Key, list[tuple[int, int]]] = {}  # disjoint, ascending, with gaps between them
        self._lengths: dict[Key, int] = {}  # of sources that were read to the end
        self._names: set[str] = set()
        self._text_columns: dict[Key, str] = {}
        self._places: dict[tuple[str, str], Key] = {}  # by path and SHA-256
        self.update(manifest)

    def update(self, manifest: Manifest) -> None:
        """Add the segments of a later version that are not covered yet."""
        for entry in manifest.segments:
            if entry.id not in self._segments:
                self._segments.add(entry.id)
                for span in Segment(self._index, entry, manifest.fingerprint.spec).spans():
                    self.add(span)

    def add(self, span: SourceSpan) -> None:
        """Add some rows of a source."""
        key = span.name, span.sha256
        self._names.add(span.name)
        if span.text_column is not None:
            self._text_columns[key] = span.text_column
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
        """Return the first row of a source that is not covered."""
        ranges = self._ranges.get(key)
        return ranges[0][1] if ranges and ranges[0][0] == 0 else 0

    def length(self, source: Source, sha256: str) -> int | None:
        """Return the number of rows of a source if all are covered, else None.

        The source is looked up by name, then by path: under another corpus root the same file has another name.
        """
        key = source.name, sha256
        if not self._is_complete(key):
            key = self._places.get((str(source.path), sha256), key)
        return self._lengths[key] if self._is_complete(key) else None

    def text_column(self, key: Key) -> str | None:
        """Return the column from which the texts of a source were read; None where that is not known."""
        return self._text_columns.get(key)

    def covers_row(self, key: Key, row: int) -> bool:
        """Return whether a row of a source is covered."""
        return self._end_of_range(key, row) > row

    def covers_span(self, span: SourceSpan) -> bool:
        """Return whether all rows of a span are covered, and the end of the source where the span reaches it."""
        key = span.name, span.sha256
        rows = span.start == span.stop or self._end_of_range(key, span.start) >= span.stop
        return rows and (not span.complete or self._lengths.get(key) == span.stop)

    def has_other_content(self, name: str, sha256: str) -> bool:
        """Return whether a source of this name was read with other content, and never with this."""
        key = name, sha256
        return name in self._names and key not in self._ranges and key not in self._lengths

    def _is_complete(self, key: Key) -> bool:
        return key in self._lengths and self.first_gap(key) >= self._lengths[key]

    def _end_of_range(self, key: Key, row: int) -> int:
        """Return the end of the covered range that holds a row, 0 where none does."""
        ranges = self._ranges.get(key, [])
        place = bisect_right(ranges, row, key=lambda covered: covered[0]) - 1
        return ranges[place][1] if place >= 0 and row < ranges[place][1] else 0


class JointCoverage:
    """The rows that each of several indexes accounts for; a row that one of them lacks is not covered."""

    def __init__(self, parts: Sequence[Coverage]) -> None:
        """Combine coverages, including what is added to them later."""
        self.parts = parts

    def first_gap(self, key: Key) -> int:
        """Return the first row of a source that an index lacks."""
        return min(part.first_gap(key) for part in self.parts)

    def length(self, source: Source, sha256: str) -> int | None:
        """Return the number of rows of a source if every index has all of them, else None."""
        lengths = [part.length(source, sha256) for part in self.parts]
        return None if None in lengths else lengths[0]

    def text_column(self, key: Key) -> str | None:
        """Return the column from which the texts of a source were read; None where that is not known."""
        return next(filter(None, (part.text_column(key) for part in self.parts)), None)

    def covers_row(self, key: Key, row: int) -> bool:
        """Return whether every index has a row of a source."""
        return all(part.covers_row(key, row) for part in self.parts)

    def covers_span(self, span: SourceSpan) -> bool:
        """Return whether every index has all of a span."""
        return all(part.covers_span(span) for part in self.parts)

    def has_other_content(self, name: str, sha256: str) -> bool:
        """Return whether an index read a source of this name with other content only."""
        return any(part.has_other_content(name, sha256) for part in self.parts)
