"""Index: a persistent pool of NAGs that any number of queries look up. Ties the rooms together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nagindex.corpus.sources import Paths, find_sources
from nagindex.ingest.pipeline import EncodingProgress
from nagindex.ingest.run import Job, run
from nagindex.ingest.windows import Shard
from nagindex.ingest.writer import IngestReport
from nagindex.maintenance.compact import compact
from nagindex.maintenance.delete import delete
from nagindex.maintenance.vacuum import GRACE_SECONDS, Vacuumed, vacuum
from nagindex.nag import Codes
from nagindex.query.selection import Selection
from nagindex.search.sketch import SketchType
from nagindex.search.view import View
from nagindex.select.budget import Budget
from nagindex.select.options import QueryOptions
from nagindex.sketches import build as optimizing
from nagindex.sketches.build import sketch_new_segments
from nagindex.storage.create import create_index
from nagindex.storage.fingerprint import Fingerprint, installed_libraries
from nagindex.storage.manifest import Manifest, Settings
from nagindex.storage.snapshot import Pinned
from nagindex.targets.cache import TargetCache
from nagindex.targets.load import Targets, load_targets, named_files, repeatable
from nagindex.targets.saved import TargetSet

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone
    from nagindex.maintenance.reencode import Recheck
    from nagindex.query.neighbors import Neighbors


class Index(Pinned):
    """One version of an index on disk, pinned, and all that can be done with it; see `Pinned` for what it holds."""

    def __init__(self, path: str | Path, manifest: Manifest, *, backbone: Backbone | None = None) -> None:
        super().__init__(path, manifest)
        self._backbone = backbone

    @classmethod
    def create(
        cls, path: str | Path, fingerprint: Fingerprint, settings: Settings, *, backbone: Backbone | None = None
    ) -> Index:
        """Return a new empty index, or the one that is there if it has the same encoding and settings.

        Raises:
            SettingsMismatchError: an index is there with others; names both values.
            BadInputError: the folder holds something else.
        """
        folder = Path(path).expanduser()
        return cls(folder, create_index(folder, fingerprint, settings), backbone=backbone)

    def backbone(self, model: str | None = None, *, device: str = "auto", trust_remote_code: bool = False) -> Backbone:
        """Return the model that encodes as this index does, loaded on the first call; library versions may differ.

        Args:
            model: where the model lies now; by default where it lay when the index was made.
            device: a torch device.
            trust_remote_code: whether code that comes with the model may run.

        Raises:
            SettingsMismatchError: the model is another one; names both values.
        """
        from nagindex.backbone.load import backbone_of

        self._backbone = backbone_of(
            self.manifest.fingerprint,
            self._backbone,
            where=str(self.path),
            model=model,
            device=device,
            trust_remote_code=trust_remote_code,
        )
        return self._backbone

    def append(
        self,
        corpus: Paths,
        *,
        corpus_root: str | Path | None = None,
        model: str | None = None,
        device: str = "auto",
        trust_remote_code: bool = False,
        on_duplicate: str = "skip",
        accept_libraries: bool = False,
        shard: Shard = Shard(),
        workers: int | None = None,
        progress: Callable[[EncodingProgress], None] = lambda progress: None,
    ) -> IngestReport:
        """Encode what the index does not hold of a corpus, publish it and pin the result; return what was done.

        Args:
            corpus: files, globs or folders.
            corpus_root: source names are relative to it; by default the deepest folder that holds everything named.
            model: where the backbone lies now, if it was moved.
            device: a torch device, several with commas between them, or `auto`: every visible GPU, else the CPU.
            trust_remote_code: whether code that comes with the model may run.
            on_duplicate: `skip`, `error` or `replace`: what happens to a document whose id is in already.
            accept_libraries: whether to mix encodings by different library versions.
            shard: which part of the corpus is this process's, where several add it to the index together.
            workers: 1 reads and tokenizes ahead in a process of its own, 0 does not; by default where the corpus is worth one.
            progress: called after each batch.

        Raises:
            InputNotFoundError, BadInputError: the corpus cannot be read; what was committed stays.
            SettingsMismatchError: the model or the libraries are not the index's.
            DuplicateIdError: an id occurs twice and `on_duplicate` is `error`.
        """
        sources = tuple(find_sources(corpus, root=corpus_root).sources)
        job = Job(
            (self.path,),
            sources,
            shard,
            on_duplicate,
            workers,
            model,
            device,
            trust_remote_code=trust_remote_code,
            accept_libraries=accept_libraries,
        )
        try:
            [report] = run(job, backbone=self._backbone, progress=progress)
        finally:
            self.refresh()
        sketch_new_segments(self.path, self.segments)
        return report

    def recheck(self, corpus: Paths | None = None, **where: Any) -> Recheck:
        """Encode a sample of stored documents again and return what differs; see `nagindex.maintenance.reencode.recheck`."""
        from nagindex.maintenance.reencode import recheck

        return recheck(self, corpus, **where)

    def encode(
        self,
        targets: Targets,
        *,
        text_column: str | None = None,
        target_column: str | None = None,
        model: str | None = None,
        device: str = "auto",
        cache: bool = True,
    ) -> list[TargetSet]:
        """Return target sets, from texts or from NAGs saved before, as codes of this index's encoding.

        Args:
            targets: a file, glob or folder, or codes uint16 [n, L, K]; several of them, or a mapping of names to them, are several
                targets.
            text_column: column of the texts.
            target_column: column of the target's name, where one file holds several targets.
            model: where the backbone lies now, if it was moved.
            device: a torch device.
            cache: whether to look codes up in, and add them to, the index's cache of target texts.
        """
        fingerprint = self.manifest.fingerprint
        here = dataclasses.replace(fingerprint, libraries=installed_libraries())  # the index's may be older
        return load_targets(
            targets,
            fingerprint=fingerprint,
            backbone=partial(self.backbone, model, device=device),
            text_column=text_column,
            target_column=target_column,
            batch_tokens=self.manifest.settings.batch_tokens,
            cache=TargetCache(self.path / "derived" / "targets", here) if cache else None,
        )

    def query(
        self,
        targets: Targets,
        *,
        n: int | None = None,
        tokens: int | None = None,
        fraction: float | None = None,
        text_column: str | None = None,
        target_column: str | None = None,
        model: str | None = None,
        device: str = "auto",
        cache: bool = True,
        corpus_root: str | Path | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> Selection:
        """Return the documents that best match one or several target sets, exactly, within one budget.

        Args:
            targets: as in `encode`: example texts, NAGs saved by `nagindex encode`, or codes; several, or a mapping, are several
                targets.
            n: the budget as a number of documents.
            tokens: the budget as a number of tokens.
            fraction: the budget as a share of the candidates' tokens, 0 to 1; exactly one of the three is given.
            text_column: as in `encode`, like the next four.
            target_column: see there.
            model: see there.
            device: see there.
            cache: see there.
            corpus_root: where the sources lie now, if `decontaminate` needs texts and they were moved.
            threads: threads of the scan; by default one a core.
            options: everything else that can be asked, by the names of `QueryOptions`.

        Raises:
            BadInputError: the budget, the targets or the options make no sense.
        """
        from nagindex.query.run import query

        targets = repeatable(targets)
        budget, settings = Budget(n, tokens, fraction), QueryOptions.of(**options)
        View.of(self.manifest.fingerprint.spec, settings.layers, settings.top_k)  # told before anything is encoded
        read = {"text_column": text_column, "target_column": target_column}
        encoded = self.encode(targets, **read, model=model, device=device, cache=cache)
        columns = {name.replace("_", "-"): column for name, column in read.items() if column is not None}
        if corpus_root is not None:
            columns["corpus-root"] = str(Path(corpus_root).absolute())
        asked = {"targets": named_files(targets), **columns}
        return query(self, encoded, budget, settings, asked=asked, corpus_root=corpus_root, threads=threads)

    def neighbors(
        self, of: str | Sequence[str] | Codes, *, k: int = 10, exact: bool = False, threads: int | None = None
    ) -> Neighbors:
        """Return the documents that are most like some, one after the other.

        Args:
            of: ids of documents, or codes uint16 [n, L, K].
            k: how many for each.
            exact: whether to leave graphs aside, which otherwise answer where there are any.
            threads: how many work side by side; by default one for each core.

        Raises:
            BadInputError: an id is not in the index.
        """
        from nagindex.query.neighbors import codes_of, neighbors

        if isinstance(of, np.ndarray):
            return neighbors(self, [f"#{n}" for n in range(len(of))], list(of), k, exact=exact, threads=threads)
        ids = [of] if isinstance(of, str) else list(of)
        return neighbors(self, ids, codes_of(self, ids), k, exact=exact, threads=threads)

    def delete(self, *, ids: Iterable[str] | None = None, where: str | None = None) -> int:
        """Delete documents by id or by a SQL condition on `docs`, pin the result and return how many went.

        Raises:
            BadInputError: neither or both are given, or the condition is not SQL.
        """
        removed = delete(self.path, ids=ids, where=where)
        self.refresh()
        return removed

    def compact(self) -> None:
        """Merge small segments, drop deleted rows for good, and pin the result; the order of documents stays."""
        self.refresh()
        compact(self.path, self.manifest)
        self.refresh()
        sketch_new_segments(self.path, self.segments)

    def optimize(
        self,
        *,
        dims: int | None = None,
        dtype: SketchType | None = None,
        refit: bool = False,
        graph: bool = False,
        progress: Callable[[optimizing.Progress], None] = lambda progress: None,
    ) -> optimizing.Optimized:
        """Make sketches, with which queries read only what can win, and graphs; see `nagindex.sketches.build.optimize`."""
        return optimizing.optimize(self.path, dims=dims, dtype=dtype, refit=refit, graph=graph, progress=progress)

    def vacuum(self, *, keep: int = 1, grace: float = GRACE_SECONDS) -> Vacuumed:
        """Remove old versions and files that no kept version names; see `nagindex.maintenance.vacuum`."""
        return vacuum(self.path, keep=keep, grace=grace)
