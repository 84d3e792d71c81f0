"""A version of an index as it lies on disk: what can be told of it without a model, and without writing anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nagindex.errors import NagIndexError
from nagindex.maintenance.verify import verify
from nagindex.nag import Codes
from nagindex.storage.docs import open_docs, run_select
from nagindex.storage.manifest import Manifest, read_latest, read_manifest
from nagindex.storage.segment import SkippedRow, segments_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


class Pinned:
    """One version of an index on disk: what others commit later changes nothing until `refresh`.

    Attributes:
        path: the index's folder.
        manifest: the pinned version.
        segments: its segments, in the order of the documents.
    """

    def __init__(self, path: str | Path, manifest: Manifest) -> None:
        self.path = Path(path).expanduser()
        self._pin(manifest)

    @classmethod
    def open(cls, path: str | Path, *, version: int | None = None) -> Self:
        """Return an index as its current, or an older, version; every file's presence and length is checked.

        Raises:
            InputNotFoundError: there is no index.
            DamagedIndexError: a file is missing or has the wrong length.
            UnknownFormatError: a newer nagindex wrote it.
        """
        folder = Path(path).expanduser()
        return cls(folder, read_latest(folder) if version is None else read_manifest(folder, version))

    def __repr__(self) -> str:
        return f"<Index {self.path} version {self.manifest.version}: {self.manifest.documents} documents>"

    def __len__(self) -> int:
        return self.manifest.documents

    def refresh(self) -> None:
        """Pin the current version."""
        self._pin(read_latest(self.path))

    def _pin(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.segments = segments_of(self.path, manifest)
        for segment in self.segments:
            segment.check_lengths()

    @property
    def codes(self) -> list[Codes]:
        """NAGs of each segment, uint16 [documents, L, K], memory-mapped; deleted documents are still among them."""
        return [segment.codes() for segment in self.segments]

    @property
    def docs(self) -> DuckDBPyRelation:
        """The documents as a DuckDB relation; `_segment` and `_position` say where a document's NAG lies in `codes`."""
        return self._open_docs().sql("SELECT * FROM docs")

    def verify(self) -> Iterator[NagIndexError]:
        """Yield one error for each thing wrong with the pinned version, down to every byte and every code."""
        return verify(self.path, self.manifest)

    def sql(self, statement: str) -> DuckDBPyConnection:
        """Return the result of one SELECT statement over the view `docs`; nothing else can be read, nothing written.

        Raises:
            BadInputError: it is not one SELECT statement.
        """
        return run_select(self._open_docs(), statement)

    def skipped(self) -> list[SkippedRow]:
        """Return the rows of the sources that became no document, with the reason."""
        return [row for segment in self.segments for row in segment.skipped()]

    def info(self) -> dict[str, Any]:
        """Return what there is to know about the pinned version, as JSON values."""
        from nagindex.maintenance.info import info

        return info(self)

    def _open_docs(self) -> DuckDBPyConnection:
        return open_docs(self.path, self.segments, self.manifest.settings.keep_columns)
