"""Coverage: the rows of source files that an index accounts for, as documents or as skipped rows."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from nagindex.corpus.sources import Source, can_grow, has_line_end_at, prefix_hashes
from nagindex.ingest.duplicates import DUPLICATE
from nagindex.storage.manifest import Manifest
from nagindex.storage.segment import Segment, SourceSpan

TAG_DIGITS = 8
Key = tuple[str, str]
"""A source as it was read: its name and the SHA-256 of its content."""


class Coverage:
    """The rows of each source that an index accounts for."""

    def __init__(self, index: Path, manifest: Manifest) -> None:
        """Start with the segments of one version."""
        self._index = index
        self._segments: dict[str, Segment] = {}
        self._ranges: dict[Key, list[tuple[int, int]]] = {}  # disjoint, ascending, with gaps between them
        self._lengths: dict[Key, int] = {}  # of sources that were read to the end
        self._text_columns: dict[Key, str] = {}
        self._contents: dict[
            str, dict[str, int]
        ] = {}  # sizes of the contents read by a name, by SHA-256, earliest first
        self._unread: set[Key] = set()
        self._prefixes: dict[Key, dict[int, str]] = {}  # SHA-256 of first bytes, by their number
        self._lost: dict[Key, set[int]] | None = None
        self._places: dict[tuple[str, str], Key] = {}  # by path and SHA-256
        self.update(manifest)

    def update(self, manifest: Manifest) -> None:
        """Add the segments of a later version that are not covered yet."""
        for entry in manifest.segments:
            if entry.id not in self._segments:
                self._segments[entry.id] = Segment(self._index, entry, manifest.fingerprint.spec)
                for span in self._segments[entry.id].spans():
                    self.add(span)
                self._lost = None

    def add(self, span: SourceSpan) -> None:
        """Add some rows of a source."""
        key = span.name, span.sha256
        if span.unread:
            self._unread.add(key)
            return
        if span.start < span.stop:
            self._contents.setdefault(span.name, {}).setdefault(span.sha256, span.bytes)
        if span.text_column is not None:
            self._text_columns[key] = span.text_column
        if span.complete:
            self._lengths[key] = span.stop
            self._places.setdefault((os.path.join(span.root, span.name), span.sha256), key)
        self._add_rows(key, [(span.start, span.stop)])

    def _add_rows(self, key: Key, ranges: Iterable[tuple[int, int]]) -> None:
        merged: list[tuple[int, int]] = []
        for start, stop in sorted([*self._ranges.get(key, ()), *ranges]):
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(stop, merged[-1][1])
            elif start < stop:
                merged.append((start, stop))
        if merged:
            self._ranges[key] = merged

    def first_gap(self, key: Key) -> int:
        """Return the first row of a source that is not covered."""
        ranges = self._ranges.get(key)
        return ranges[0][1] if ranges and ranges[0][0] == 0 else 0

    def length(self, source: Source, sha256: str) -> int | None:
        """Return the number of rows of a source if all are covered, else None.

        Rows of the same bytes count as covered too: those of the same file under another corpus root, where it has
        another name, and those that the source had before lines were appended to it. A row whose made-up id the index
        held already is not covered under another name, as there it has another id.
        """
        key = source.name, sha256
        if self._is_complete(key):
            return self._lengths[key]
        known = self._places.get((str(source.path), sha256), key)
        if known != key and self._is_complete(known):
            lost = sorted(self._lost_rows().get(known, ()))
            if not lost:
                return self._lengths[known]
            self._add_rows(key, [(row + 1, stop) for row, stop in pairwise([-1, *lost, self._lengths[known]])])
            self._lengths[key] = self._lengths[known]
        self._add_rows(key, [(0, rows) for rows in self._continued(source, sha256).values()])
        return self._lengths[key] if self._is_complete(key) else None

    def text_column(self, key: Key) -> str | None:
        """Return the column from which the texts of a source were read; None where that is not known."""
        return self._text_columns.get(key)

    def continues(self, source: Source, sha256: str) -> bool:
        """Return whether a source is one that the index read by this name, with lines appended."""
        return bool(self._continued(source, sha256))

    def id_tag(self, source: Source, sha256: str) -> str:
        """Return what distinguishes a source's made-up ids from those of other contents of its name.

        Empty for the first content that the index read by the name, and for what continues that.
        """
        contents = self._contents.get(source.name, {})
        continued = self._continued(source, sha256)
        origin = next((known for known in contents if known == sha256 or known in continued), sha256)
        return "" if origin == next(iter(contents), origin) else f"@{origin[:TAG_DIGITS]}"

    def _continued(self, source: Source, sha256: str) -> dict[str, int]:
        """Return the SHA-256 of earlier contents of a source to which lines were appended, and how many rows each lends it."""
        contents = self._contents.get(source.name, {})
        shorter = {known: size for known, size in contents.items() if known != sha256 and size < source.size}
        if not shorter or not can_grow(source):
            return {}
        hashes = self._prefixes.setdefault((source.name, sha256), {})
        if set(shorter.values()) - hashes.keys():
            hashes |= prefix_hashes(source.path, shorter.values())
        rows = {}
        for known, size in shorter.items():
            if hashes.get(size) == known:
                read = self.first_gap((source.name, known))
                cut = read == self._lengths.get((source.name, known)) and not has_line_end_at(source, size)
                rows[known] = max(read - cut, 0)  # the last row may go on in what was appended
        return rows

    def _lost_rows(self) -> dict[Key, set[int]]:
        """Return the rows of each source that were skipped because the id that was made up for them was in the index."""
        if self._lost is None:
            self._lost = defaultdict(set)
            for segment in self._segments.values():
                hashes = {span.name: span.sha256 for span in segment.spans()} if segment.entry.skipped else {}
                for row in segment.skipped() if hashes else ():
                    if row.reason == DUPLICATE and row.id == f"{row.file}:{row.row}":
                        self._lost[row.file, hashes[row.file]].add(row.row)
        return self._lost

    def covers_row(self, key: Key, row: int) -> bool:
        """Return whether a row of a source is covered."""
        return self._end_of_range(key, row) > row

    def covers_span(self, span: SourceSpan) -> bool:
        """Return whether all rows of a span are covered, and the end of the source where the span reaches it."""
        key = span.name, span.sha256
        if span.unread:
            return key in self._unread
        rows = span.start == span.stop or self._end_of_range(key, span.start) >= span.stop
        return rows and (not span.complete or self._lengths.get(key) == span.stop)

    def lists_unread(self, name: str, sha256: str) -> bool:
        """Return whether a source is listed already as one that could not be read, with this content."""
        return (name, sha256) in self._unread

    def has_other_content(self, name: str, sha256: str) -> bool:
        """Return whether a source of this name was read with other content, and never with this."""
        return bool(self._contents.get(name)) and sha256 not in self._contents[name]

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

    def continues(self, source: Source, sha256: str) -> bool:
        """Return whether in some index a source is one that was read by this name, with lines appended."""
        return any(part.continues(source, sha256) for part in self.parts)

    def has_other_content(self, name: str, sha256: str) -> bool:
        """Return whether an index read a source of this name with other content only."""
        return any(part.has_other_content(name, sha256) for part in self.parts)
