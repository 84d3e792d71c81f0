"""Which rows of which source files the versions of an index account for, as documents or as skipped rows."""

from __future__ import annotations

import os
from pathlib import Path

from nagindex.corpus import Source
from nagindex.storage.manifest import Manifest
from nagindex.storage.segment import Segment, SourceSpan


class Coverage:
    """What has been read of each source, known by its name and content; grows as versions are looked at."""

    def __init__(self, index: Path, manifest: Manifest) -> None:
        """Take in one version; see `learn`."""
        self._index = index
        self._segments: set[str] = set()
        self._furthest: dict[tuple[str, str], SourceSpan] = {}
        self._names: set[str] = set()
        self._complete_places: set[tuple[str, str]] = set()
        self.learn(manifest)

    def learn(self, manifest: Manifest) -> None:
        """Take in the segments of a version that have not been looked at yet."""
        for entry in manifest.segments:
            if entry.id not in self._segments:
                self._segments.add(entry.id)
                for span in Segment(self._index, entry, manifest.fingerprint.spec).spans():
                    self._names.add(span.name)
                    if span.complete:
                        self._complete_places.add((os.path.join(span.root, span.name), span.sha256))
                    if not self.holds(span):
                        self._furthest[span.name, span.sha256] = span

    def rows(self, name: str, sha256: str) -> int:
        """Return how many rows of a source, from its first on, are accounted for."""
        known = self._furthest.get((name, sha256))
        return known.stop if known else 0

    def is_complete(self, source: Source, sha256: str) -> bool:
        """Whether a source is accounted for to its end, under its name or, where another root names it, by its place."""
        known = self._furthest.get((source.name, sha256))
        return (known is not None and known.complete) or (str(source.path), sha256) in self._complete_places

    def holds(self, span: SourceSpan) -> bool:
        """Whether all of a span is accounted for."""
        known = self._furthest.get((span.name, span.sha256))
        return known is not None and (known.stop, known.complete) >= (span.stop, span.complete)

    def has_other(self, name: str, sha256: str) -> bool:
        """Whether a source of this name is known with other content, and not with this."""
        return name in self._names and (name, sha256) not in self._furthest
