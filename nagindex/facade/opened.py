"""An open index: its pinned version, the documents and codes in it, and whether they are whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nagindex.arguments import checked
from nagindex.errors import NagIndexError, plural
from nagindex.nag import Codes
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.storage.docs import open_docs, run_select
from nagindex.storage.locations import index_folder, location
from nagindex.storage.manifest import Manifest
from nagindex.storage.segment import Segment, SkippedRow
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from nagindex.backbone.load import Backbone


class OpenedIndex:
    """An index on disk, pinned at one version: what others commit later changes nothing until `refresh`.

    Attributes:
        snapshot: the pinned version.
    """

    def __init__(self, path: str | Path, manifest: Manifest, *, backbone: Backbone | None = None) -> None:
        self.snapshot = Snapshot(index_folder(path), manifest)
        self._backbone = backbone

    @classmethod
    @checked
    def open(cls, path: str | Path, *, version: int | None = None, check: bool = True) -> Self:
        """Return an index at its current version, or at an older one.

        Args:
            path: the index's folder, or its URL in an object store.
            version: number of the version; by default the highest.
            check: whether to check that every file is there with its length; `verify` finds damage without that.

        Raises:
            InputNotFoundError: there is no index, or no such version.
            DamagedIndexError: a file is missing or has the wrong length.
            UnknownFormatError: a newer nagindex wrote it.
        """
        snapshot = Snapshot.open(path, version=version, check=check)
        return cls(snapshot.path, snapshot.manifest)

    def __repr__(self) -> str:
        return f"<Index {self.location} version {self.manifest.version}: {plural(self.manifest.documents, 'document')}>"

    def _repr_html_(self) -> str:
        """Return size, encoding and columns as an HTML table, for notebooks."""
        from nagindex.query.html import table

        manifest, spec = self.manifest, self.manifest.fingerprint.spec
        rows = {
            "index": str(self.path),
            "version": manifest.version,
            "documents": f"{manifest.documents:,}",
            "tokens": f"{manifest.tokens:,}",
            "backbone": manifest.fingerprint.backbone,
            "neurons": f"{spec.neuron_type}, {plural(spec.layers, 'layer')}, top {spec.top_k}",
            "columns": ", ".join(manifest.settings.keep_columns),
        }
        return table([], [[name, value] for name, value in rows.items()])

    def __len__(self) -> int:
        return self.manifest.documents

    @property
    def path(self) -> Path:
        """The index's folder; of an index in an object store, the local folder with the files fetched so far."""
        return self.snapshot.path

    @property
    def location(self) -> str:
        """The URL of an index in an object store, or the path of the index's folder."""
        return location(self.path)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the pinned version."""
        return self.snapshot.manifest

    @property
    def segments(self) -> Sequence[Segment]:
        """The segments of the pinned version, in the order of the documents."""
        return self.snapshot.segments

    @property
    def codes(self) -> list[Codes]:
        """NAGs of each segment, uint16 [documents, L, K], memory-mapped; deleted documents are among them."""
        return [segment.codes() for segment in self.segments]

    @property
    def docs(self) -> DuckDBPyRelation:
        """The documents as a DuckDB relation; `_segment` and `_position` locate a document's NAG in `codes`."""
        return open_docs(self.snapshot).sql("SELECT * FROM docs")

    def refresh(self) -> None:
        """Pin the current version."""
        self.snapshot = Snapshot.open(self.path)

    @checked
    def sql(self, statement: str) -> DuckDBPyConnection:
        """Return the result of one SELECT statement over the view `docs`; nothing else can be read, and nothing written.

        Args:
            statement: the statement, in the SQL of DuckDB.

        Raises:
            BadInputError: it is not one SELECT statement.
        """
        return run_select(open_docs(self.snapshot), statement)

    def skipped(self) -> list[SkippedRow]:
        """Return the rows of the sources that became no document, with the reason."""
        return self.snapshot.skipped()

    def info(self) -> dict[str, Any]:
        """Return the size, encoding, graphs and warnings of the pinned version, as JSON values."""
        from nagindex.maintenance.info import info

        return info(self.snapshot)

    @checked
    @reports_progress
    def verify(self, *, ray: str | None = None, progress: ProgressCallback | None = None) -> list[NagIndexError]:
        """Return one error for each damage found in the index, down to every byte and every code.

        Args:
            ray: the Ray cluster whose tasks read the segments; see `build`.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError, InputNotFoundError: there is no such cluster, or a node of it does not see the index.
            MissingDependencyError: `ray` is given, and Ray is not installed.
        """
        from nagindex.maintenance.verify import verify

        return list(verify(self.snapshot, ray=ray))
