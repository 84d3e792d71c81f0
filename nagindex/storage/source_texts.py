"""The texts of documents, read again from the sources they came from, which must hold what was read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import Source, content_hash, format_of
from nagindex.corpus.sql import connect
from nagindex.errors import SourceChangedError
from nagindex.storage.docs import places_of

if TYPE_CHECKING:
    from nagindex.storage.segment import Segment, SourceSpan


class Texts:
    """Reads documents' texts again.

    Args:
        segments: of a version.
        columns: how the index was told to read its sources.
        corpus_root: where the sources lie now, if not where they were read.
    """

    def __init__(self, segments: Sequence[Segment], columns: Columns, corpus_root: str | Path | None = None) -> None:
        self.segments, self.columns = segments, columns
        self.root = None if corpus_root is None else Path(corpus_root)
        self._spans: dict[int, dict[str, SourceSpan]] = {}
        self._proven: dict[tuple[str, str], Source] = {}

    def read(self, positions: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        """Yield (place in `positions`, text) of documents at positions, int64 [m], in the pool, source by source.

        Raises:
            SourceChangedError: a source is missing or no longer holds what was read.
        """
        wanted: dict[tuple[str, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        spans: dict[tuple[str, str], SourceSpan] = {}
        with connect() as connection:
            rows = connection.execute(
                f"""SELECT hits._segment, d.file, d.row, hits._at
                {places_of(connection, self.segments, positions, {"_at": np.arange(len(positions))})}
                ORDER BY hits._segment, d.file, d.row"""
            ).fetchall()
        for number, name, row, at in rows:
            if number not in self._spans:
                self._spans[number] = {span.name: span for span in self.segments[number].spans()}
            span = self._spans[number][name]
            spans[name, span.sha256] = span
            wanted[name, span.sha256][row].append(at)
        for key, places in wanted.items():
            if key not in self._proven:
                self._proven[key] = _located(spans[key], self.root)
            last = max(places)
            for document in read_documents(
                self._proven[key], self.columns, start=min(places), with_tokens=False, wanted=places.__contains__
            ):
                for at in places.get(document.row, ()):
                    yield at, document.text or ""
                if document.row == last:
                    break


def _located(span: SourceSpan, corpus_root: Path | None) -> Source:
    """Return where a source lies now, proven to hold what was read.

    Raises:
        SourceChangedError: it is missing or differs.
    """
    path = (corpus_root or Path(span.root)) / span.name
    kind = format_of(path)
    if kind is None or not path.is_file():
        raise SourceChangedError(
            f"{path}: the source is not there any more, and its texts are needed; name the folder it lies in with --corpus-root"
        )
    source = Source(span.name, path, kind[0], kind[1], path.stat().st_size)
    if source.size != span.bytes or content_hash(path) != span.sha256:
        remedy = "restore it, or name another folder with --corpus-root"
        raise SourceChangedError(
            f"{path}: the source has changed since it was encoded, and its texts are needed; {remedy}"
        )
    return source
