"""Index: a pool of documents encoded once, and everything that can be done with it. The facade over the rooms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
import numpy.typing as npt

from nagindex.arguments import checked, written_layers
from nagindex.backbone.devices import require_devices
from nagindex.backbone.options import ModelKeywords, ModelOptions
from nagindex.cluster.ingest import append_on_cluster, require_cluster
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import corpus_sources
from nagindex.corpus.sources import OnError, Paths
from nagindex.errors import BadInputError, NagIndexError, plural
from nagindex.ingest.columns import check_append
from nagindex.ingest.estimate import require_place
from nagindex.ingest.jobs import Job, run_job, visible_devices
from nagindex.ingest.options import IngestOptions, OnDuplicate, Shard
from nagindex.ingest.writer import IngestReport
from nagindex.maintenance.compact import compact
from nagindex.maintenance.delete import delete
from nagindex.maintenance.info import info
from nagindex.maintenance.vacuum import GRACE_SECONDS, Vacuumed, vacuum
from nagindex.maintenance.verify import verify
from nagindex.nag import Codes
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.query.selection import Selection
from nagindex.search.view import View
from nagindex.select.budget import Budget
from nagindex.select.fit import require_fit
from nagindex.select.labels import Relevant, RelevantIds, labels_of
from nagindex.select.options import AskKeywords, QueryOptions, split_keywords
from nagindex.sketches.build import Optimized, optimize
from nagindex.storage.calibration import read_calibration
from nagindex.storage.create import create_index
from nagindex.storage.docs import open_docs, positions_of, require_ids, run_select
from nagindex.storage.fingerprint import Fingerprint, installed_libraries
from nagindex.storage.locations import index_folder, location
from nagindex.storage.manifest import Manifest
from nagindex.storage.places import check_output, check_output_beside
from nagindex.storage.segment import Segment, SkippedRow
from nagindex.storage.settings import Settings
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.targets.cache import TargetCache
from nagindex.targets.given import EncodeKeywords, TargetFiles, Targets, TextColumn, repeatable, rewritten, written
from nagindex.targets.load import load_targets, require_encodable
from nagindex.targets.saved import TargetSet, write_nags, write_profiles

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from nagindex.analysis.agreement import Agreement
    from nagindex.analysis.choice import NeuronChoice
    from nagindex.analysis.maps import NagMap
    from nagindex.backbone.load import Backbone
    from nagindex.maintenance.reencode import Reencoding
    from nagindex.query.compare import Comparison
    from nagindex.query.curve import ScoreCurve
    from nagindex.query.evaluate import Evaluation
    from nagindex.query.explain import Explanation
    from nagindex.query.neighbors import Neighbors
    from nagindex.query.neurons import Neuron
    from nagindex.query.target_profile import TargetProfile


class Index:
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
        return info(self.snapshot)

    @checked
    @reports_progress
    def verify(self, *, progress: ProgressCallback | None = None) -> list[NagIndexError]:
        """Return one error for each damage found in the index, down to every byte and every code.

        Args:
            progress: called with a `Progress` as each step begins, advances and ends.
        """
        return list(verify(self.snapshot))

    @checked
    def backbone(self, **model: Unpack[ModelKeywords]) -> Backbone:
        """Return the model that encodes as this index does, loaded on the first call; library versions may differ.

        Args:
            model: fields of `ModelOptions`: model, device (one) and trust_remote_code.

        Raises:
            SettingsMismatchError: the model is another one; names both values.
        """
        return self._load(ModelOptions(**model))

    def _load(self, options: ModelOptions) -> Backbone:
        from nagindex.backbone.load import load_matching_backbone

        fingerprint = self.manifest.fingerprint
        means = read_calibration(self.path, fingerprint)
        self._backbone = load_matching_backbone(fingerprint, self._backbone, options, where=str(self.path), means=means)
        return self._backbone

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
        from nagindex.maintenance.reencode import reencode

        options = ModelOptions(**model)
        load = partial(self._load, dataclasses.replace(options, device=visible_devices(options.device)[0]))
        return reencode(self.snapshot, load, corpus, corpus_root=corpus_root, documents=documents, seed=seed)

    @checked
    @reports_progress
    def encode(
        self,
        targets: Targets,
        *,
        text_column: TextColumn | None = None,
        target_column: str | None = None,
        model: str | None = None,
        device: str = "auto",
        cache: bool = True,
        progress: ProgressCallback | None = None,
    ) -> list[TargetSet]:
        """Return target sets, from texts or from saved NAGs, as codes of this index's encoding.

        Args:
            targets: a file, glob or folder, as a Path or one str; a list of texts; or codes uint16 [n, L, K]. Several of them, or a
                mapping of names to them, are several targets; a list of nothing but strings is one target, of texts.
            text_column: column of the texts, of all targets or by target (`*` stands for the others); by default found in each file.
            target_column: column of the target's name, where one file holds several targets.
            model: where the backbone lies now, if it was moved.
            device: a torch device.
            cache: whether to look codes up in, and add them to, the index's cache of target texts.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: a target has no example, or saved NAGs are damaged.
            SettingsMismatchError: saved NAGs have another encoding.
        """
        require_devices([device])
        fingerprint = self.manifest.fingerprint
        here = dataclasses.replace(fingerprint, libraries=installed_libraries())  # the index's may be older
        return load_targets(
            targets,
            fingerprint=fingerprint,
            backbone=partial(self._load, ModelOptions(model, device)),
            text_column=text_column,
            target_column=target_column,
            batch_tokens=self.manifest.settings.batch_tokens,
            cache=TargetCache(self.path / "derived" / "targets", here) if cache else None,
        )

    @checked
    def check_output(
        self, path: str | Path, *, inputs: Iterable[str | Path] = (), corpus_root: str | Path | None = None
    ) -> None:
        """Raise BadInputError unless a file can be written at a path without loss: to be called before something is computed.

        Args:
            path: the file; one that exists will be replaced.
            inputs: files, globs and folders that must not be overwritten, besides the index and its sources.
            corpus_root: where the sources lie now, if they were moved.

        Raises:
            BadInputError: the path is an input or a source, lies in an index, or cannot be written.
        """
        check_output(path, inputs=inputs)
        check_output_beside(path, self.snapshot, corpus_root)

    @checked
    def save_targets(self, targets: Sequence[TargetSet], path: str | Path) -> None:
        """Write encoded target sets as a Parquet file that can be used as targets of this index, without its backbone.

        Args:
            targets: what `encode` returns.
            path: the file; one that exists is replaced, unless it is a source of the index.

        Raises:
            BadInputError: the file's name does not end in .parquet, or it must not be overwritten.
        """
        file = Path(path)
        if file.suffix != ".parquet":
            raise BadInputError(f"{file}: NAGs are saved as Parquet; name a file that ends in .parquet")
        check_output_beside(file, self.snapshot)
        write_nags(file, targets, self.manifest.fingerprint)

    @checked
    @reports_progress
    def query(
        self,
        targets: Targets,
        *,
        n: float | str | None = None,
        tokens: float | str | None = None,
        fraction: float | str | None = None,
        options: QueryOptions | None = None,
        corpus_root: str | Path | None = None,
        threads: int | None = None,
        ray: str | None = None,
        progress: ProgressCallback | None = None,
        **keywords: Unpack[AskKeywords],
    ) -> Selection:
        """Return the documents that best match one or several target sets within one budget.

        Args:
            targets: as in `encode`.
            n: the budget as a number of documents; also as text such as `1M` or `1e6`.
            tokens: the budget as a number of tokens, written likewise.
            fraction: the budget as a share of the candidates' tokens, above 0 and at most 1, or text such as `20%`; exactly one of
                the three is given, or none with the option `min_score`.
            options: the query options; by default the paper's.
            corpus_root: where the sources lie now, if decontamination needs texts and they were moved.
            threads: threads of the search; by default one for each CPU.
            ray: the Ray cluster whose tasks read the index's codes; see `build`. The targets are encoded here.
            progress: called with a `Progress` as each step begins, advances and ends.
            keywords: fields of `QueryOptions`, in place of `options`; and keyword arguments of `encode`.

        Raises:
            BadInputError: the budget, the targets or the options are out of range or contradict each other.
            MissingDependencyError: `ray` is given, and Ray is not installed.
        """
        from nagindex.query.remote import passes_on
        from nagindex.query.run import prepare, query

        targets, (chosen, encoding) = repeatable(targets), self._options(options, keywords)
        budget = Budget.parse(n, tokens, fraction, unlimited=chosen.min_score is not None)
        require_encodable(targets, encoding)
        root = {} if corpus_root is None else {"corpus-root": str(Path(corpus_root).absolute())}
        with passes_on(ray, self.snapshot, approx=chosen.approx, threads=threads) as passes:
            prepared = prepare(self.snapshot, budget, chosen, passes)  # before a model is loaded
            return query(
                self.snapshot,
                self.encode(targets, **encoding),
                budget,
                chosen,
                prepared=prepared,
                recorded=written(targets, encoding) | root,
                corpus_root=corpus_root,
                passes=passes,
            )

    @checked
    def selection(
        self,
        path: str | Path,
        *,
        targets: Targets | None = None,
        **encoding: Unpack[EncodeKeywords],
    ) -> Selection:
        """Return a selection from its Parquet file, to explain it or write a report; documents that are gone are left out with a warning.

        Args:
            path: the file that `Selection.write` wrote.
            targets: its targets, where they were moved or are not recorded; by default the files and texts that its record names, which
                are read when something needs them.
            encoding: keyword arguments of `encode`; by default the columns that were recorded.

        Raises:
            InputNotFoundError, BadInputError: the file is not there, is no selection, or none of its documents is in the index.
        """
        from nagindex.query.stored import read_selection

        def encode(query: Mapping[str, Any]) -> list[TargetSet]:
            given, columns = (targets, EncodeKeywords()) if targets is not None else rewritten(query)
            return self.encode(given, **columns | encoding)

        return read_selection(self.snapshot, Path(path), encode)

    @checked
    @reports_progress
    def score_curve(
        self,
        targets: Targets,
        *,
        options: QueryOptions | None = None,
        columns: Sequence[str] | None = (),
        values: int = 6,
        fine: bool = False,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
        **keywords: Unpack[AskKeywords],
    ) -> ScoreCurve:
        """Return the scores of the candidates by rank, for each target: a help to choose `n` or `min_score`.

        Of the options, those of the score and of the candidates count: `layers`, `top_k`, `score`, `weights`, `background`,
        `where`, `exclude`.

        Args:
            targets: as in `encode`.
            options: the query options.
            columns: kept columns, or `file`, whose values' shares down the ranking are wanted; None for all kept columns of at most 50
                values.
            values: number of values of each column, the commonest of the index.
            fine: whether there are ten ranks for each power of ten, in place of three.
            threads: threads of the scan; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.
            keywords: fields of `QueryOptions`, in place of `options`; and keyword arguments of `encode`.

        Raises:
            BadInputError: there is no such column; or as in `query`.
        """
        from nagindex.query.curve import score_curve
        from nagindex.query.values import require_columns

        targets, (chosen, encoding) = repeatable(targets), self._options(options, keywords)
        require_encodable(targets, encoding)
        require_columns(self.snapshot, columns)  # before a model is loaded
        encoded = self.encode(targets, **encoding)
        return score_curve(self.snapshot, encoded, chosen, columns=columns, values=values, fine=fine, threads=threads)

    @checked
    @reports_progress
    def evaluate(
        self,
        targets: Targets,
        *,
        relevant: Relevant | None = None,
        relevant_ids: RelevantIds | None = None,
        weights: str | Sequence[str] = (),
        score: str | Sequence[str] = (),
        top_k: int | Sequence[int] = (),
        layers: str | Sequence[str] = (),
        where: str | None = None,
        exclude: str | Path | Iterable[str | Path] = (),
        resamples: int | None = None,
        seed: int = 0,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
        **encoding: Unpack[EncodeKeywords],
    ) -> Evaluation:
        """Return how well settings of a query rank, by labels of documents or by held-out examples: a help to choose a setting.

        By default each of the weights `frequency`, `log-ratio`, `log-odds` and `contrast:1` is compared with the index's K, half and a
        quarter of it; the scores `max` and `top:10`, and the first two thirds, half and third of the layers, each with everything else
        as in a query without options. Where any of `weights`, `score`, `top_k` and `layers` is given, all values given are combined
        instead; weights go with the score `mean` alone.

        With labels, average precision and precisions are computed from the order of a query for all documents. Without, each half of a
        target's examples is scored among the documents by the other half. That prefers settings which recognize the form of the
        examples, such as short questions, so labels tell more.

        Args:
            targets: as in `encode`.
            relevant: values of columns, such as `{"subject": ["biology"]}`: documents with one of them are relevant. Or such a mapping
                for each target by its name (`*` stands for the others).
            relevant_ids: files of ids, such as one a line, of documents that are relevant, too; or the files of each target.
            weights: weights to compare, as in `QueryOptions`, like the following three.
            score: scores to compare.
            top_k: numbers of neurons in a layer to compare.
            layers: sets of layers to compare, each as text, such as `first-half` or `0-13`.
            where: SQL condition on the documents; only those that meet it are ranked.
            exclude: files of ids, or earlier selections, whose documents are not ranked.
            resamples: bootstrap resamples of the examples, from which intervals are computed; 0 for none. By default 1,000 without
                labels; with labels, where each needs scores of all documents, 50 for up to 50,000 documents and none for more.
            seed: of resamples and halves.
            threads: threads of the scan; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.
            encoding: keyword arguments of `encode`.

        Raises:
            InputNotFoundError, BadInputError: the index keeps no such column, no document has a value, a file cannot be read, all or none
                of the documents are relevant, a target has fewer than two examples and no labels, or a setting does not fit the index.
        """
        from nagindex.query.evaluate import evaluate, prepare
        from nagindex.query.settings import settings_of

        targets = repeatable(targets)
        spec = self.manifest.fingerprint.spec
        settings = settings_of(spec, weights=weights, score=score, top_k=top_k, layers=layers)
        require_encodable(targets, encoding)
        prepared = prepare(  # before a model is loaded
            self.snapshot,
            labels_of(relevant, relevant_ids),
            where=where,
            exclude=QueryOptions(exclude=exclude).excluded_files,
            resampled=resamples,
            seed=seed,
            threads=threads,
        )
        encoded = self.encode(targets, **encoding)
        return evaluate(self.snapshot, encoded, settings, prepared, threads=threads)

    @checked
    @reports_progress
    def explain(
        self,
        ids: str | Sequence[str],
        targets: Targets,
        *,
        options: QueryOptions | None = None,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
        **keywords: Unpack[AskKeywords],
    ) -> list[Explanation]:
        """Return what the scores of documents are made of, layer by layer and neuron by neuron: for each, one explanation a target.

        Of the options, those of the score count: `layers`, `top_k`, `score`, `weights`; and `background`, with the candidates that
        `where` and `exclude` leave.

        Args:
            ids: ids of documents, or one id.
            targets: as in `encode`.
            options: the query options.
            threads: threads that count neurons; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.
            keywords: fields of `QueryOptions`, in place of `options`; and keyword arguments of `encode`.

        Raises:
            BadInputError: an id is not in the index; or as in `query`.
        """
        from nagindex.query.explain import explain

        targets, (chosen, encoding) = repeatable(targets), self._options(options, keywords)
        wanted = [ids] if isinstance(ids, str) else list(ids)
        require_encodable(targets, encoding)
        require_ids(self.snapshot, wanted)  # before a model is loaded
        encoded = self.encode(targets, **encoding)
        return explain(self.snapshot, wanted, encoded, chosen, threads=threads)

    @checked
    @reports_progress
    def choose_neurons(
        self,
        target: TargetFiles,
        *,
        count: int = 20,
        by: str = "frequency",
        layers: str | int | Sequence[int] | None = None,
        seed: int = 0,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
        **encoding: Unpack[EncodeKeywords],
    ) -> NeuronChoice:
        """Return the neurons of each layer that stand most for a target, to be switched off by `nagindex.analysis.deactivated`.

        Only neurons that some example's NAG holds are chosen, except at random, so a layer may have fewer than `count`.

        Args:
            target: one target, as in `encode`.
            count: number of neurons of each layer.
            by: `frequency` among the examples, as in the published code; `contrast[:A]`, `log-odds[:m]` or `log-ratio[:m]`, the weights
                of a query that compare it with the pool; `impact`, their places in the examples' orders of impact, K points for the
                strongest neuron of a layer, K - 1 for the next and so on; or `random`, of all neurons of a layer.
            layers: layers whose neurons are chosen, as in `QueryOptions`; by default all of the index.
            seed: of the random choice.
            threads: threads that count the pool's neurons; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.
            encoding: keyword arguments of `encode`.

        Raises:
            BadInputError: there is no such `by`, a layer has fewer neurons than `count`, or several targets are given.
        """
        from nagindex.analysis.choice import choose_for, require_choosable

        require_choosable(self.manifest.fingerprint.spec, count, by, layers)
        require_encodable(target, encoding)  # before a model is loaded
        encoded = self.encode(target, **encoding)
        return choose_for(self.snapshot, encoded, count, by, layers=layers, seed=seed, threads=threads)

    @checked
    @reports_progress
    def map(
        self,
        targets: Targets = (),
        *,
        pool: int = 20_000,
        label: str | None = None,
        layers: str | int | Sequence[int] | None = None,
        top_k: int | None = None,
        perplexity: float = 30.0,
        seed: int = 0,
        with_text: bool = False,
        corpus_root: str | Path | None = None,
        progress: ProgressCallback | None = None,
        **encoding: Unpack[EncodeKeywords],
    ) -> NagMap:
        """Return the examples of targets and a sample of the pool on a plane, by t-SNE on the distance 1 - overlap.

        Args:
            targets: as in `encode`; none for a map of the pool alone.
            pool: documents of the sample; 0 for none.
            label: kept column whose values are the documents' labels; by default all are labeled `pool`.
            layers: layers that count, as in `QueryOptions`.
            top_k: neurons of each layer that count; by default all that the index keeps.
            perplexity: of t-SNE, about the number of neighbors that count; at most a third of the points is taken.
            seed: of the sample and of the layout.
            with_text: whether to read the beginnings of the texts.
            corpus_root: where the sources lie now, if the texts are read and they were moved.
            progress: called with a `Progress` as each step begins, advances and ends.
            encoding: keyword arguments of `encode`.

        Raises:
            BadInputError: the index keeps no such column, there are fewer than ten points, or a value is out of range.
            MissingDependencyError: scikit-learn is not installed.
        """
        from nagindex.analysis.maps import make_map, require_mappable

        view = View.of(self.manifest.fingerprint.spec, written_layers(layers), top_k)
        require_mappable(self.snapshot, pool, label, perplexity)
        root = None if corpus_root is None else str(corpus_root)
        return make_map(
            self.snapshot, self._encoded(targets, encoding), view, pool=pool, label=label, seed=seed,
            perplexity=perplexity, with_text=with_text, corpus_root=root,
        )  # fmt: skip

    @checked
    @reports_progress
    def map_sweep(
        self,
        targets: Targets = (),
        *,
        pool: int = 5_000,
        label: str | None = None,
        layers: str | Sequence[str] = (),
        top_k: int | Sequence[int] = (),
        seed: int = 0,
        progress: ProgressCallback | None = None,
        **encoding: Unpack[EncodeKeywords],
    ) -> Agreement:
        """Return how well clusters of NAGs agree with labels, for some K and sets of layers: a help to choose both.

        Points are clustered by k-means on their NAGs as 0/1 vectors, into as many clusters as there are labels. The smaller K are
        prefixes of the codes, so one index tells of them all.

        Args:
            targets: as in `encode`: their examples, labeled by their names, are the points where `label` names no column.
            pool: documents of the sample of the pool, where it does.
            label: kept column whose values are the labels of the sample.
            layers: sets of layers to compare, each as text, such as `first-half` or `0-13`; by default all, the first half and third, and
                the last layer.
            top_k: values of K to compare; by default that of the index, a half and a quarter of it, and 1.
            seed: of the sample and of the clustering.
            progress: called with a `Progress` as each step begins, advances and ends.
            encoding: keyword arguments of `encode`.

        Raises:
            BadInputError: the index keeps no such column or no such layers, or there are fewer than two labels.
            MissingDependencyError: scikit-learn is not installed.
        """
        from nagindex.analysis.agreement import measure_agreement, sweep_views
        from nagindex.analysis.maps import require_mappable

        named = [layers] if isinstance(layers, str) else list(layers)
        wanted = [top_k] if isinstance(top_k, int) else list(top_k)
        views = sweep_views(self.manifest.fingerprint.spec, wanted, named)
        require_mappable(self.snapshot, pool, label, 2.0)
        encoded = self._encoded(targets, encoding) if label is None else []
        return measure_agreement(self.snapshot, encoded, views, pool=pool, label=label, seed=seed)

    def _encoded(self, targets: Targets, encoding: EncodeKeywords) -> list[TargetSet]:
        """Return target sets, or none where no target is given."""
        given = repeatable(targets)
        if isinstance(given, (list, tuple, dict)) and not given:
            return []
        require_encodable(given, encoding)
        return self.encode(given, **encoding)

    def _options(self, options: QueryOptions | None, keywords: AskKeywords) -> tuple[QueryOptions, EncodeKeywords]:
        """Return query options given as an object or as keywords, and how targets are encoded.

        Options that do not fit the index are refused before any encoding.
        """
        own, encoding = split_keywords(keywords)
        if options is not None and own:
            raise BadInputError(f"options are given as an object and as {', '.join(own)}; give one of the two")
        chosen = options or QueryOptions.of(**own)
        require_fit(chosen, self.manifest.fingerprint, where=self.path)
        return chosen, encoding

    @checked
    def changes_since(self, settings: Mapping[str, Any], *, ignored: Iterable[str] = ()) -> list[str]:
        """Return one sentence for each difference between what a selection was made of and what there is now.

        The content of the files of targets, evaluation texts, excluded ids and scores is compared, and the index's encoding and
        version. What earlier versions of nagindex did not record is not compared.

        Args:
            settings: the selection's `settings`, or what `settings_of` reads from its file.
            ignored: options, by their names on the command line, that will not be as in `settings`, such as `targets`.
        """
        from nagindex.query.replay import changes_since

        return changes_since(settings, self.snapshot, ignored=ignored)

    @checked
    @reports_progress
    def near_misses(
        self,
        selection: str | Path,
        *,
        n: int = 10,
        model: str | None = None,
        device: str = "auto",
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[dict[str, Any]]:
        """Return the best documents that a selection did not choose, `n` of each target, each as its values by column.

        The query is made again, from the record in the selection's file, for `n` documents past those that were chosen and without its
        rules: `rank` is a document's place in that ranking, and one before the cut was left out by a rule, such as `cap` or `dedup`.

        Args:
            selection: a Parquet file that `Selection.write` wrote; other formats hold no record.
            n: number of documents of each target.
            model: where the backbone lies now, if it was moved.
            device: a torch device.
            threads: threads of the search; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            InputNotFoundError: the selection, or a file of its targets, is not there.
            BadInputError: the file has no record, or this does not name its targets; or as in `query`.
        """
        from nagindex.query.export import settings_of
        from nagindex.query.near_misses import Asked, chosen_ids, documents_to_ask, not_chosen

        if n < 1:
            raise BadInputError(f"n {n}: at least one document must be asked for")
        path = Path(selection)
        asked = Asked.of(settings_of(path), path)
        targets = self.encode(asked.targets, **asked.encoding | {"model": model, "device": device})
        chosen = chosen_ids(path)
        documents = documents_to_ask(chosen, asked, n, len(targets))
        ranking = self.query(targets, n=documents, options=asked.options, threads=threads)
        return not_chosen(ranking, chosen, asked, n)

    @checked
    @reports_progress
    def neighbors(
        self,
        of: str | Sequence[str | TargetSet] | Codes,
        *,
        k: int = 10,
        exact: bool = False,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Neighbors:
        """Return the documents whose NAGs overlap most with those of some documents or texts.

        Args:
            of: ids of documents, target sets as `encode` returns them, or codes uint16 [n, L, K].
            k: number of neighbors of each.
            exact: whether to search without graphs, which are otherwise used if there are any.
            threads: threads of the search; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: an id is not in the index, or codes are no NAGs of its encoding.
        """
        from nagindex.query.neighbors import named_codes, neighbors

        names, codes = named_codes(self.snapshot, of)
        return neighbors(self.snapshot, names, codes, k, exact=exact, threads=threads)

    @checked
    @reports_progress
    def profile(
        self,
        targets: Targets,
        *,
        options: QueryOptions | None = None,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
        **keywords: Unpack[AskKeywords],
    ) -> list[TargetProfile]:
        """Return the profile of each target: how much more frequent each neuron is among its examples than in the pool.

        Of the options, `weights` (here `log-odds:40` by default), `layers` and `top_k` count; and `background`, with the candidates that
        `where` and `exclude` leave.

        Args:
            targets: as in `encode`.
            options: the query options.
            threads: threads that count neurons; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.
            keywords: fields of `QueryOptions`, in place of `options`; and keyword arguments of `encode`.

        Raises:
            BadInputError: the index holds no document; or as in `query`.
        """
        from nagindex.query.target_profile import profiles_of

        if options is None:
            keywords.setdefault("weights", "log-odds")
        targets, (chosen, encoding) = repeatable(targets), self._options(options, keywords)
        require_encodable(targets, encoding)
        return profiles_of(self.snapshot, self.encode(targets, **encoding), chosen, threads=threads)

    @checked
    def save_profiles(self, profiles: Sequence[TargetProfile], path: str | Path, *, neurons: int = 10) -> None:
        """Write profiles, with the NAGs of their examples, as a JSON file that can be used as targets of this index.

        Args:
            profiles: what `profile` returns.
            path: the file; one that exists is replaced, unless it is a source of the index.
            neurons: number of neurons of each layer that the file lists for people; as targets the examples count.

        Raises:
            BadInputError: the file's name does not end in .json, or it must not be overwritten.
        """
        file = Path(path)
        if file.suffix != ".json":
            raise BadInputError(f"{file}: profiles are saved as JSON; name a file that ends in .json")
        check_output_beside(file, self.snapshot)
        told = [own.to_json(neurons=neurons) for own in profiles]
        write_profiles(file, [own.examples for own in profiles], self.manifest.fingerprint, told)

    @checked
    @reports_progress
    def neurons(
        self,
        layer: int | None = None,
        *,
        n: int = 5,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[dict[str, Any]]:
        """Return the most frequent neurons: layer, neuron, documents whose NAG holds it, and their share of the index.

        Args:
            layer: the layer's number in the backbone; by default all layers.
            n: number of neurons of each layer.
            threads: threads that count; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: the index holds no document, or has no such layer.
        """
        from nagindex.query.neurons import most_frequent

        return most_frequent(self.snapshot, layer, count=n, threads=threads)

    @checked
    @reports_progress
    def neuron(
        self,
        layer: int,
        neuron: int,
        *,
        columns: Sequence[str] | None = None,
        values: int = 10,
        n: int = 10,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Neuron:
        """Return which documents hold a neuron, by kept column, where it is strongest, and which neurons they hold with it.

        Args:
            layer: the layer's number in the backbone.
            neuron: the neuron's number in the layer.
            columns: kept columns, or `file`; None for all kept columns of at most 50 values.
            values: number of values of each column, the commonest of the index.
            n: number of documents, and of other neurons.
            threads: threads of the pass over the codes; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: the index holds no document, or has no such layer, neuron or column.
        """
        from nagindex.query.neurons import neuron_of

        return neuron_of(self.snapshot, layer, neuron, columns=columns, values=values, count=n, threads=threads)

    @checked
    def compare(
        self, a: str | Path, b: str | Path, *, columns: Sequence[str] | None = None, values: int = 10
    ) -> Comparison:
        """Return what two selections share, how alike they order it, and what they hold by kept column and source file.

        Args:
            a: a selection's file, or any other that names ids, such as a .txt with one a line.
            b: another.
            columns: kept columns, or `file`; by default all of these.
            values: number of values of each column, those that most selected documents have.

        Raises:
            InputNotFoundError, BadInputError: a file is not there, cannot be read or has no column of ids; or there is no such column.
        """
        from nagindex.query.compare import compare

        return compare(self.snapshot, Path(a), Path(b), columns=columns, values=values)

    @checked
    @reports_progress
    def texts(
        self,
        ids: Sequence[str],
        *,
        corpus_root: str | Path | None = None,
        required: bool = True,
        progress: ProgressCallback | None = None,
    ) -> dict[str, str]:
        """Return the texts of documents by their ids, read again from the sources.

        Sources above 64 MiB are compared by size, and not by content.

        Args:
            ids: ids of documents.
            corpus_root: where the sources lie now; by default where they were read.
            required: whether an id that is not in the index is an error; it is left out otherwise.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: an id is not in the index.
            SourceChangedError: a source is missing or no longer holds what was encoded.
        """
        if not required:
            there = positions_of(self.snapshot, ids)
            ids = [one for one in ids if one in there]
        positions = require_ids(self.snapshot, ids)
        texts = SourceTexts(self.snapshot, corpus_root, hashed=False)
        return {ids[place]: text for place, text in texts.read(positions)}

    @checked
    def delete(self, *, ids: Iterable[str] | None = None, where: str | None = None) -> int:
        """Delete documents by id or by a SQL condition on `docs`, pin the result and return how many were deleted.

        Args:
            ids: ids of documents; ids that are not in the index are ignored.
            where: a SQL condition on the columns of `docs`.

        Raises:
            BadInputError: neither or both are given, or the condition is not SQL.
        """
        removed = delete(self.path, ids=ids, where=where)
        self.refresh()
        return removed

    @checked
    @reports_progress
    def compact(self, *, progress: ProgressCallback | None = None) -> None:
        """Merge small segments, drop deleted rows for good, and pin the result; the order of documents stays.

        Args:
            progress: called with a `Progress` as each step begins, advances and ends.
        """
        self.refresh()
        compact(self.path, self.manifest)
        self.refresh()

    @checked
    @reports_progress
    def optimize(
        self,
        *,
        refit: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Optimized:
        """Connect the documents that no neighbor graph covers yet: graphs are for approximate answers and `neighbors`.

        Args:
            refit: whether to build all graphs anew, from a new sample.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: the index is empty.
        """
        return optimize(self.path, refit=refit)

    @checked
    def vacuum(self, *, keep: int = 1, grace: float = GRACE_SECONDS) -> Vacuumed:
        """Remove old versions, and files that no kept version names; return what was removed.

        Args:
            keep: newest versions to keep, at least one.
            grace: seconds for which versions and files stay after they were current or written, for running readers and writers.
        """
        return vacuum(self.path, keep=keep, grace=grace)
