"""The texts of stored documents, read again from their sources, which must still hold what was encoded."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import Columns, SourceColumns
from nagindex.corpus.reading import find_columns, read_documents
from nagindex.corpus.sources import Source, digest_of, format_of, still_holds
from nagindex.corpus.sql import connect
from nagindex.errors import SourceChangedError
from nagindex.progress import step
from nagindex.storage.docs import join_documents
from nagindex.storage.snapshot import Snapshot
from nagindex.stores.remote_files import remote_file
from nagindex.stores.urls import is_remote, source_place

if TYPE_CHECKING:
    from nagindex.storage.segment import SourceSpan

Key = tuple[str, str, str | None]
"""A source as it was read: its name, the SHA-256 of its content and the column of its texts."""


HASHED_ALWAYS = 64 << 20
"""Bytes of a source up to which it is compared by content in any case."""


class SourceTexts:
    """Reads texts of a snapshot's documents from their sources.

    Args:
        snapshot: the version.
        corpus_root: where the sources lie now; by default where they were read.
        hashed: whether all sources are compared by their content, for which they are read completely; large ones are otherwise
            compared by their size alone.
    """

    def __init__(self, snapshot: Snapshot, corpus_root: str | Path | None = None, *, hashed: bool = True) -> None:
        self.snapshot = snapshot
        self.root = None if corpus_root is None else source_place(corpus_root)
        self.hashed = hashed
        self._spans: dict[int, dict[str, SourceSpan]] = {}
        self._sources: dict[Key, Source] = {}

    def read(self, positions: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        """Yield (index in `positions`, text) of documents, source by source.

        Args:
            positions: int64 [m], positions of the documents.

        Raises:
            SourceChangedError: a source is missing or no longer holds what was encoded.
        """
        wanted: dict[Key, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        spans: dict[Key, SourceSpan] = {}
        for number, name, row, index in self._rows(positions):
            span = self._span(number, name)
            key = name, span.sha256, span.text_column
            spans[key] = span
            wanted[key][row].append(index)
        with step("reading texts", len(positions), "documents") as advance:
            for key, rows in wanted.items():
                if key not in self._sources:
                    self._sources[key] = _located(spans[key], self.root, hashed=self.hashed)
                last = max(rows)
                columns = self._columns(spans[key], self._sources[key])
                for document in read_documents(self._sources[key], columns, start=min(rows), wanted=rows.__contains__):
                    for index in rows.get(document.row, ()):
                        yield index, document.text or ""
                        advance(1)
                    if document.row == last:
                        break

    def _columns(self, span: SourceSpan, source: Source) -> SourceColumns | None:
        """Return the column of a source's texts: the one they were encoded from."""
        named = span.text_column or self.snapshot.manifest.settings.text_column
        found = find_columns(source, Columns(named))
        return None if found is None else SourceColumns(found.text)

    def _rows(self, positions: npt.NDArray[np.int64]) -> list[tuple[int, str, int, int]]:
        """Return (segment, file, row in the file, index in `positions`) of documents, in the order of the files."""
        if not len(positions):
            return []
        with connect() as connection:
            documents = join_documents(connection, self.snapshot, positions, {"_at": np.arange(len(positions))})
            return connection.execute(
                f"SELECT hits._segment, d.file, d.row, hits._at {documents} ORDER BY hits._segment, d.file, d.row"
            ).fetchall()

    def _span(self, number: int, name: str) -> SourceSpan:
        if number not in self._spans:
            self._spans[number] = {
                span.name: span for span in self.snapshot.segments[number].spans() if not span.unread
            }
        return self._spans[number][name]


def _located(span: SourceSpan, corpus_root: str | Path | None, *, hashed: bool) -> Source:
    """Return the file that a source is in now, once its content is known to be what was encoded, or to begin with that.

    Raises:
        SourceChangedError: it is missing or differs.
    """
    root = corpus_root or span.root
    source = _remote_source(span, str(root)) if is_remote(root) else _local_source(span, Path(root))
    path = source.path
    if is_remote(span.root):
        # What a remote source is known by is of one store alone: copies of it elsewhere are compared by their size.
        same = source.size == span.bytes and (str(root) != span.root or digest_of(source) == span.sha256)
    else:
        hashed = hashed or source.size <= HASHED_ALWAYS
        same = not hashed and source.size == span.bytes
        same = same or still_holds(source, span.bytes, span.sha256)
    if not same:
        remedy = "restore it, or name another folder with `corpus_root`"
        raise SourceChangedError(
            f"{path}: the source has changed since it was encoded, and its texts are needed; {remedy}"
        )
    return source


def _local_source(span: SourceSpan, root: Path) -> Source:
    path = root / span.name
    kind = format_of(path)
    if kind is None or not os.path.isfile(path):
        raise _gone(path)
    if not os.access(path, os.R_OK):
        raise SourceChangedError(f"{path}: the source cannot be read, and its texts are needed; make it readable")
    return Source(span.name, path, kind[0], kind[1], path.stat().st_size)


def _remote_source(span: SourceSpan, root: str) -> Source:
    file = remote_file(f"{root.rstrip('/')}/{span.name}")
    kind = None if file is None else format_of(file)
    if file is None or kind is None:
        raise _gone(f"{root}/{span.name}")
    return Source(span.name, file, kind[0], kind[1], file.entry.size)


def _gone(path: object) -> SourceChangedError:
    return SourceChangedError(
        f"{path}: the source is not there any more, and its texts are needed; name the folder it lies in with `corpus_root`"
    )
