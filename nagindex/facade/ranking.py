"""Questions to an index that rank its documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nagindex.arguments import checked
from nagindex.errors import BadInputError
from nagindex.facade.encoding import EncodingIndex
from nagindex.nag import Codes
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.query.selection import Selection
from nagindex.select.budget import Budget
from nagindex.select.labels import Relevant, RelevantIds, labels_of
from nagindex.select.options import AskKeywords, QueryOptions
from nagindex.stores.urls import absolute
from nagindex.targets.given import EncodeKeywords, Targets, repeatable, rewritten, written
from nagindex.targets.load import require_encodable
from nagindex.targets.saved import TargetSet

if TYPE_CHECKING:
    from nagindex.query.curve import ScoreCurve
    from nagindex.query.evaluate import Evaluation
    from nagindex.query.neighbors import Neighbors
    from nagindex.query.pool import Passes
    from nagindex.storage.snapshot import Snapshot


class RankingIndex(EncodingIndex):
    """An index that ranks its documents for targets."""

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
            ray: the Ray cluster whose tasks read the index's codes, and write the selection where it becomes a folder; see `build`. The
                targets are encoded here. `nagindex.connected` holds one connection for both.
            progress: called with a `Progress` as each step begins, advances and ends.
            keywords: fields of `QueryOptions`, in place of `options`; and keyword arguments of `encode`.

        Raises:
            BadInputError: the budget, the targets or the options are out of range or contradict each other.
            MissingDependencyError: `ray` is given, and Ray is not installed.
        """
        from nagindex.query.run import prepare, query

        targets, chosen, encoding = self._asked(targets, options, keywords)
        budget = Budget.parse(n, tokens, fraction, unlimited=chosen.min_score is not None)
        root = {} if corpus_root is None else {"corpus-root": absolute(corpus_root)}
        with _passes(ray, self.snapshot, approx=chosen.approx, threads=threads) as passes:
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
        """Return a selection that was written as Parquet, to explain or report it; documents that are gone are left out with a warning.

        Args:
            path: the file, or the folder of parts, that `Selection.write` wrote.
            targets: its targets, where they were moved or are not recorded; by default the files and texts that its record names, which
                are read when something needs them.
            encoding: keyword arguments of `encode`; by default the columns that were recorded.

        Raises:
            InputNotFoundError, BadInputError: it is not there, is no selection, or none of its documents is in the index.
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

        targets, chosen, encoding = self._asked(targets, options, keywords)
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

        The query is made again, from the record in the selection, for `n` documents past those that were chosen and without its
        rules: `rank` is a document's place in that ranking, and one before the cut was left out by a rule, such as `cap` or `dedup`.

        Args:
            selection: a Parquet file, or a folder of parts, that `Selection.write` wrote; other formats hold no record.
            n: number of documents of each target.
            model: where the backbone lies now, if it was moved.
            device: a torch device.
            threads: threads of the search; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            InputNotFoundError: the selection, or a file of its targets, is not there.
            BadInputError: the selection has no record, or this does not name its targets; or as in `query`.
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


def _passes(
    ray: str | None, snapshot: Snapshot, *, approx: bool, threads: int | None
) -> AbstractContextManager[Passes]:
    """Return a context with the passes of a query: on a Ray cluster if one is named, or in this process."""
    if ray is None:
        from nagindex.query.pool import Passes

        return nullcontext(Passes(threads))
    from nagindex.query.remote import passes_on

    return passes_on(ray, snapshot, approx=approx, threads=threads)
