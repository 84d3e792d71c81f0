"""Index: a pool of documents encoded once, and everything that can be done with it. The facade over the rooms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
import numpy.typing as npt

from nagindex.arguments import checked
from nagindex.backbone.devices import require_devices
from nagindex.backbone.options import ModelKeywords, ModelOptions
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
from nagindex.search.sketch import SketchType
from nagindex.select.budget import Budget
from nagindex.select.fit import require_fit
from nagindex.select.labels import Relevant, RelevantIds, labels_of
from nagindex.select.options import AskKeywords, QueryOptions, split_keywords
from nagindex.sketches.build import Optimized, optimize, sketch_new_segments
from nagindex.storage.calibration import read_calibration
from nagindex.storage.create import create_index
from nagindex.storage.docs import open_docs, require_ids, run_select
from nagindex.storage.fingerprint import Fingerprint, installed_libraries
from nagindex.storage.manifest import Manifest
from nagindex.storage.places import check_output, check_output_beside
from nagindex.storage.segment import Segment, SkippedRow
from nagindex.storage.settings import Settings
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.targets.cache import TargetCache
from nagindex.targets.given import EncodeKeywords, Targets, TextColumn, repeatable, rewritten, written
from nagindex.targets.load import load_targets, require_encodable
from nagindex.targets.saved import TargetSet, write_nags

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from nagindex.backbone.load import Backbone
    from nagindex.maintenance.reencode import Reencoding
    from nagindex.query.compare import Comparison
    from nagindex.query.curve import ScoreCurve
    from nagindex.query.evaluate import Evaluation
    from nagindex.query.explain import Explanation
    from nagindex.query.neighbors import Neighbors


class Index:
    """An index on disk, pinned at one version: what others commit later changes nothing until `refresh`.

    Attributes:
        snapshot: the pinned version.
    """

    def __init__(self, path: str | Path, manifest: Manifest, *, backbone: Backbone | None = None) -> None:
        self.snapshot = Snapshot(Path(path).expanduser(), manifest)
        self._backbone = backbone

    @classmethod
    @checked
    def open(cls, path: str | Path, *, version: int | None = None, check: bool = True) -> Self:
        """Return an index at its current version, or at an older one.

        Args:
            path: the index's folder.
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
        folder = Path(path).expanduser()
        created = cls(folder, create_index(folder, fingerprint, settings, means=means, seen=seen), backbone=backbone)
        created.snapshot.check_lengths()
        return created

    def __repr__(self) -> str:
        return f"<Index {self.path} version {self.manifest.version}: {plural(self.manifest.documents, 'document')}>"

    def __len__(self) -> int:
        return self.manifest.documents

    @property
    def path(self) -> Path:
        """The index's folder."""
        return self.snapshot.path

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
        """Return the size, encoding, sketches and warnings of the pinned version, as JSON values."""
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
            progress: called with a `Progress` as each step begins, advances and ends.
            model: fields of `ModelOptions`: model, device and trust_remote_code.

        Raises:
            InputNotFoundError, BadInputError: the corpus cannot be read; what was committed stays.
            SettingsMismatchError: the model or the libraries are not the index's.
            DuplicateIdError: an id occurs twice and `on_duplicate` is `error`.
        """
        sources = tuple(corpus_sources(corpus, root=corpus_root, on_error=on_error))
        notes = check_append(sources, columns, self.snapshot, on_error=on_error)
        options = IngestOptions(
            shard, on_duplicate, workers, accept_libraries=accept_libraries, columns=columns, on_error=on_error
        )
        job = Job((self.path,), sources, options, ModelOptions(**model))
        require_devices(visible_devices(job.model.device))
        require_place(self.path, self.manifest, sources, shard, columns)
        try:
            [report] = run_job(job, backbone=self._backbone)
        finally:
            self.refresh()
        report.warnings += notes
        sketch_new_segments(self.path, self.segments)
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
            progress: called with a `Progress` as each step begins, advances and ends.
            keywords: fields of `QueryOptions`, in place of `options`; and keyword arguments of `encode`.

        Raises:
            BadInputError: the budget, the targets or the options are out of range or contradict each other.
        """
        from nagindex.query.run import prepare, query

        targets, (chosen, encoding) = repeatable(targets), self._options(options, keywords)
        budget = Budget.parse(n, tokens, fraction, unlimited=chosen.min_score is not None)
        require_encodable(targets, encoding)
        prepared = prepare(self.snapshot, budget, chosen, threads=threads)  # before a model is loaded
        encoded = self.encode(targets, **encoding)
        root = {} if corpus_root is None else {"corpus-root": str(Path(corpus_root).absolute())}
        return query(
            self.snapshot,
            encoded,
            budget,
            chosen,
            prepared=prepared,
            recorded=written(targets, encoding) | root,
            corpus_root=corpus_root,
            threads=threads,
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
            threads: threads of the scan; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.
            keywords: fields of `QueryOptions`, in place of `options`; and keyword arguments of `encode`.

        Raises:
            BadInputError: as in `query`.
        """
        from nagindex.query.curve import score_curve

        targets, (chosen, encoding) = repeatable(targets), self._options(options, keywords)
        require_encodable(targets, encoding)
        encoded = self.encode(targets, **encoding)
        return score_curve(self.snapshot, encoded, chosen, threads=threads)

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
        progress: ProgressCallback | None = None,
    ) -> dict[str, str]:
        """Return the texts of documents by their ids, read again from the sources.

        Sources above 64 MiB are compared by size, and not by content.

        Args:
            ids: ids of documents.
            corpus_root: where the sources lie now; by default where they were read.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: an id is not in the index.
            SourceChangedError: a source is missing or no longer holds what was encoded.
        """
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
        sketch_new_segments(self.path, self.segments)

    @checked
    @reports_progress
    def optimize(
        self,
        *,
        dims: int | None = None,
        dtype: SketchType | None = None,
        refit: bool = False,
        graph: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Optimized:
        """Make sketches, from which exact queries read only part of the codes, and graphs for approximate ones.

        Args:
            dims: values of a sketch, 64 or 128; by default those of the current basis, or 128.
            dtype: `i8` or `f16`; by default that of the current basis, or `i8`.
            refit: whether to fit a new basis in any case.
            graph: whether to build neighbor graphs, too, for approximate answers.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: the index is empty, or there are no such dims or dtype.
        """
        return optimize(self.path, dims=dims, dtype=dtype, refit=refit, graph=graph)

    @checked
    def vacuum(self, *, keep: int = 1, grace: float = GRACE_SECONDS) -> Vacuumed:
        """Remove old versions, and files that no kept version names; return what was removed.

        Args:
            keep: newest versions to keep, at least one.
            grace: seconds for which versions and files stay after they were current or written, for running readers and writers.
        """
        return vacuum(self.path, keep=keep, grace=grace)
