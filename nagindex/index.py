"""Index: a pool of documents encoded once, and everything that can be done with it. The facade over the rooms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

import numpy as np
import numpy.typing as npt

from nagindex.arguments import checked
from nagindex.backbone.devices import require_devices
from nagindex.backbone.options import ModelKeywords, ModelOptions
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import corpus_sources
from nagindex.corpus.sources import OnError, Paths
from nagindex.facade.analyzing import AnalyzingIndex
from nagindex.facade.describing import DescribingIndex
from nagindex.facade.ranking import RankingIndex
from nagindex.ingest.options import IngestOptions, OnDuplicate, Shard
from nagindex.maintenance.vacuum import GRACE_SECONDS, Vacuumed, vacuum
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.storage.create import create_index
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.locations import index_folder
from nagindex.storage.settings import Settings

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone
    from nagindex.ingest.writer import IngestReport
    from nagindex.maintenance.reencode import Reencoding
    from nagindex.sketches.build import Optimized


class Index(RankingIndex, DescribingIndex, AnalyzingIndex):
    """An index on disk, pinned at one version: what others commit later changes nothing until `refresh`.

    Attributes:
        snapshot: the pinned version.
    """

    @classmethod
    @checked
    def create(
        cls,
        path: str | Path,
        fingerprint: Fingerprint,
        settings: Settings,
        *,
        means: npt.NDArray[np.float32] | None = None,
        backbone: Backbone | None = None,
        seen: int | None = None,
    ) -> Self:
        """Return a new empty index, or the one that exists with the same encoding and settings; see `create_index`.

        Args:
            path: the index's folder.
            fingerprint: the encoding.
            settings: how corpora are read.
            means: the calibration, float32 [L, max d_l], for relative impact.
            backbone: the model, if it is loaded.
            seen: version that the settings are based on; see `create_index`.

        Raises:
            SettingsMismatchError: the existing index has another encoding or other settings; names both values.
            BadInputError: the folder holds something else.
        """
        folder = index_folder(path)
        created = cls(folder, create_index(folder, fingerprint, settings, means=means, seen=seen), backbone=backbone)
        created.snapshot.check_lengths()
        return created

    @checked
    @reports_progress
    def append(
        self,
        corpus: Paths,
        *,
        columns: Columns | None = None,
        corpus_root: str | Path | None = None,
        on_duplicate: OnDuplicate = "skip",
        on_error: OnError = "stop",
        accept_libraries: bool = False,
        shard: Shard = Shard(),
        workers: int | None = None,
        ray: str | None = None,
        progress: ProgressCallback | None = None,
        **model: Unpack[ModelKeywords],
    ) -> IngestReport:
        """Encode the documents of a corpus that the index lacks, publish them and pin the result; return a report.

        Args:
            corpus: files, globs or folders.
            columns: column names of this corpus, where they differ from those in the index's settings. Kept columns are written
                `NEW=OLD`: the column OLD of the corpus fills the column NEW of the index.
            corpus_root: names of sources are relative to it; by default the deepest folder that holds everything named.
            on_duplicate: `skip`, `error` or `replace`: what happens to a document whose id is in the index already.
            on_error: `stop` or `skip`: what happens to a row, file or folder that cannot be read; see `BuildOptions`.
            accept_libraries: whether to mix encodings by different library versions.
            shard: this process's part of the corpus, where several add it to the index together.
            workers: 1 reads and tokenizes ahead in a process of its own, 0 does not; by default 1 if the corpus is large enough.
            ray: the Ray cluster that encodes; see `build`.
            progress: called with a `Progress` as each step begins, advances and ends.
            model: fields of `ModelOptions`: model, device and trust_remote_code.

        Raises:
            InputNotFoundError, BadInputError: the corpus cannot be read; what was committed stays.
            MissingDependencyError: `ray` is given, and Ray is not installed.
            SettingsMismatchError: the model or the libraries are not the index's.
            DuplicateIdError: an id occurs twice and `on_duplicate` is `error`.
        """
        from nagindex.cluster.ingest import append_on_cluster, require_cluster
        from nagindex.ingest.columns import check_append
        from nagindex.ingest.estimate import require_place
        from nagindex.ingest.jobs import Job, run_job, visible_devices

        if ray is not None:
            require_cluster(ray, device=model.get("device", "auto"), shard=shard, loaded=False)
        sources = tuple(corpus_sources(corpus, root=corpus_root, on_error=on_error))
        notes = check_append(sources, columns, self.snapshot, on_error=on_error)
        options = IngestOptions(
            shard, on_duplicate, workers, accept_libraries=accept_libraries, columns=columns, on_error=on_error
        )
        job = Job((self.path,), sources, options, ModelOptions(**model))
        if ray is None:
            require_devices(visible_devices(job.model.device))
        require_place(self.path, self.manifest, sources, shard, columns)
        try:
            [report] = run_job(job, backbone=self._backbone) if ray is None else append_on_cluster(ray, job)
        finally:
            self.refresh()
        report.warnings += notes
        return report

    @checked
    @reports_progress
    def recheck(
        self,
        corpus: Paths | None = None,
        *,
        corpus_root: str | Path | None = None,
        documents: int = 64,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        **model: Unpack[ModelKeywords],
    ) -> Reencoding:
        """Encode a sample of stored documents again and return what differs; nothing is written.

        Args:
            corpus: files, globs or folders with sources of the index; only documents from these are sampled. By default, sources
                are read at their original paths.
            corpus_root: names of sources are relative to it; by default the deepest folder that holds all of `corpus`.
            documents: size of the sample.
            seed: of the sample.
            progress: called with a `Progress` as each step begins, advances and ends.
            model: fields of `ModelOptions`: model, device (one) and trust_remote_code.

        Raises:
            BadInputError: the index holds no document, or none of the named sources.
            SourceChangedError: a source is missing or no longer holds what was encoded.
            SettingsMismatchError: the model is another one; names both values.
        """
        from nagindex.ingest.jobs import visible_devices
        from nagindex.maintenance.reencode import reencode

        options = ModelOptions(**model)
        load = partial(self._load, dataclasses.replace(options, device=visible_devices(options.device)[0]))
        return reencode(self.snapshot, load, corpus, corpus_root=corpus_root, documents=documents, seed=seed)

    @checked
    def delete(self, *, ids: Iterable[str] | None = None, where: str | None = None) -> int:
        """Delete documents by id or by a SQL condition on `docs`, pin the result and return how many were deleted.

        Args:
            ids: ids of documents; ids that are not in the index are ignored.
            where: a SQL condition on the columns of `docs`.

        Raises:
            BadInputError: neither or both are given, or the condition is not SQL.
        """
        from nagindex.maintenance.delete import delete

        removed = delete(self.path, ids=ids, where=where)
        self.refresh()
        return removed

    @checked
    @reports_progress
    def compact(self, *, ray: str | None = None, progress: ProgressCallback | None = None) -> None:
        """Merge small segments, drop deleted rows for good, and pin the result; the order of documents stays.

        Args:
            ray: the Ray cluster whose tasks merge segments; see `build`.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError, InputNotFoundError: there is no such cluster, or a node of it does not see the index.
            DamagedIndexError: a segment is not what was written.
            MissingDependencyError: `ray` is given, and Ray is not installed.
        """
        from nagindex.maintenance.compact import compact

        self.refresh()
        compact(self.path, self.manifest, ray=ray)
        self.refresh()

    @checked
    @reports_progress
    def optimize(
        self,
        *,
        refit: bool = False,
        ray: str | None = None,
        progress: ProgressCallback | None = None,
    ) -> Optimized:
        """Connect the documents that no neighbor graph covers yet: graphs are for approximate answers and `neighbors`.

        Args:
            refit: whether to build all graphs anew, from a new sample.
            ray: the Ray cluster whose tasks build graphs; see `build`. The sample is read here.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: the index is empty, or there is no such cluster.
            InputNotFoundError: there is no such cluster, or a node of it does not see the index.
            MissingDependencyError: `ray` is given, and Ray is not installed.
        """
        from nagindex.sketches.build import optimize

        return optimize(self.path, refit=refit, ray=ray)

    @checked
    def vacuum(self, *, keep: int = 1, grace: float = GRACE_SECONDS) -> Vacuumed:
        """Remove old versions, and files that no kept version names; return what was removed.

        Args:
            keep: newest versions to keep, at least one.
            grace: seconds for which versions and files stay after they were current or written, for running readers and writers.
        """
        return vacuum(self.path, keep=keep, grace=grace)
