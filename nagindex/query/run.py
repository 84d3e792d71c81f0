"""A query from encoded targets to a selection: score, rank, choose within the budget, and record what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex._version import __version__
from nagindex.corpus.columns import Columns
from nagindex.errors import BadInputError
from nagindex.query.engines import Ranker
from nagindex.query.selection import Chosen, Selection
from nagindex.search.profile import Nearest, Target, contrast_of, profile_of
from nagindex.search.scan import KeptSums, Ranking, SumsOf, counts_of, sums_from_codes
from nagindex.search.scorers import scorer_of
from nagindex.search.top_n import Hits
from nagindex.search.view import View
from nagindex.select.budget import Budget, exact_cut, shares_of
from nagindex.select.candidates import Candidates
from nagindex.select.choose import Constraints, check_targets, choose
from nagindex.select.options import QueryOptions, exactly
from nagindex.select.ranking_key import RankingKey, Standardized, by_best, by_target, with_quality
from nagindex.storage.docs import ids_at
from nagindex.storage.fingerprint import installed_libraries
from nagindex.storage.segment import check_all
from nagindex.storage.source_texts import Texts
from nagindex.targets.saved import TargetSet

if TYPE_CHECKING:
    from pathlib import Path

    from nagindex.index import Index


def query(
    index: Index,
    targets: Sequence[TargetSet],
    budget: Budget,
    options: QueryOptions = QueryOptions(),
    *,
    asked: Mapping[str, Any] | None = None,
    corpus_root: str | Path | None = None,
    threads: int | None = None,
) -> Selection:
    """Return the documents of a pinned index that a query asks for, exactly, within a budget.

    Args:
        index: the index.
        targets: the encoded target sets, one or more.
        budget: how much to select.
        options: everything else that can be asked.
        asked: what else belongs to the query's record: how targets were named and read.
        corpus_root: where the sources lie now, where texts are needed and the sources were moved.
        threads: threads of the scan; by default one a core.

    Raises:
        BadInputError: the index holds no document that may be selected, or what is asked contradicts itself or the index.
    """
    return _Query(index, list(targets), budget, options, threads).select(asked or {}, corpus_root)


class _Query:
    """One query while it is answered: what it reads and what it has found out."""

    def __init__(
        self, index: Index, targets: list[TargetSet], budget: Budget, options: QueryOptions, threads: int | None
    ) -> None:
        self.index, self.targets, self.budget, self.options, self.threads = index, targets, budget, options, threads
        manifest = index.manifest
        if not manifest.documents:
            raise BadInputError(f"{index.path}: the index holds no document; append some")
        if budget.counts_tokens and not (manifest.tokens or manifest.settings.count_tokens):
            remedy = "ask for documents with -n, or build without --no-count-tokens"
            raise BadInputError(f"{index.path}: its tokens were not counted; {remedy}")
        self.view = View.of(manifest.fingerprint.spec, options.layers, options.top_k)
        self.names = [target.name for target in targets]
        self.notes: list[str] = []
        # Weights that fit no target and shares that leave one nothing are told before anything is read.
        self._shares(max(budget.amount(pool_tokens=manifest.tokens), 1))
        check_all(index.segments, threads=threads)
        self.rules = Constraints.of(options, self.view, self.names if self._lists > 1 else [""])
        self.candidates = Candidates(index, options)
        self.amount = budget.amount(pool_tokens=self.candidates.tokens)
        self.shares = self._shares(self.amount)
        self.scored = self._scored()
        self.parts = self.candidates.parts(
            tokens=budget.counts_tokens, values=options.has_quality, changing=bool(options.decontaminate)
        )
        self.sums_of: SumsOf = sums_from_codes(scorer_of(self.scored, self.view), len(self.scored))
        self.kept: KeptSums | None = None
        if (
            options.has_quality
            or options.mix in ("max", "union")
            or options.cap
            or options.dedup
            or options.decontaminate
        ):
            largest = max(max(-target.low, target.high) for target in self.scored)
            self.kept = KeptSums(self.parts, self.sums_of, targets=len(self.scored), largest=largest, threads=threads)
            self.sums_of = self.kept
        pool = self.candidates.tokens if budget.counts_tokens else self.candidates.documents
        self.ranker = Ranker(index, self.view, self.scored, self.parts, options, pool=pool, threads=threads)
        self.standardized: Standardized | None = None
        self.criteria = self._criteria()

    @property
    def _lists(self) -> int:
        """How many lists are made."""
        return 1 if self.options.mix == "max" else len(self.targets)

    def _shares(self, amount: int) -> list[int]:
        """Return the budgets of the lists."""
        if self._lists == 1 and not self.options.target_weights:
            return [amount]
        return shares_of(amount, self.names, self.options.target_weights, counts_tokens=self.budget.counts_tokens)

    def _scored(self) -> list[Target]:
        """Return what documents are scored by, for each target."""
        spec, options = self.view.spec, self.options
        seen = [self.view(target.codes) for target in self.targets]
        if options.nearest is not None:
            for target in self.targets:
                if len(target.codes) < options.nearest:
                    self.notes.append(
                        f"target {target.name} has {len(target.codes)} examples: all count in score {options.score}"
                    )
            return [Nearest(codes, min(options.nearest, len(codes)), spec) for codes in seen]
        if options.contrast:
            whole = Candidates(self.index, QueryOptions()).parts(tokens=False)
            pool, documents = counts_of(whole, self.view, threads=self.threads)
            return [contrast_of(codes, pool, documents, exactly(options.contrast), spec) for codes in seen]
        return [profile_of(codes, spec) for codes in seen]

    def _criteria(self) -> list[RankingKey]:
        """Return how each list is ordered."""
        if self.options.mix == "max":
            best, self.standardized = by_best(self.parts, self.sums_of, self.scored)
            found = [best]
        else:
            found = [by_target(number, target) for number, target in enumerate(self.scored)]
        if self.options.has_quality:
            return with_quality(found, self.parts, self.sums_of, self.options)
        return found

    def ranked(self, budgets: Sequence[int]) -> list[Hits]:
        """Return the best candidates of each list within budgets."""
        return self.ranker(self.rankings(budgets), self.sums_of, sums_are_kept=self.kept is not None)

    def rankings(self, budgets: Sequence[int]) -> list[Ranking]:
        """Return what is to be ranked for each list within budgets."""
        ids_of = partial(ids_at, self.index.segments)
        return [
            Ranking(criterion.key, *criterion.bounds, budget, partial(exact_cut, budget=budget, ids_of=ids_of))
            for criterion, budget in zip(self.criteria, budgets, strict=True)
        ]

    def select(self, asked: Mapping[str, Any], corpus_root: str | Path | None) -> Selection:
        """Return the selection."""
        manifest = self.index.manifest
        rules = self.rules
        columns = Columns(manifest.settings.text_column, manifest.settings.id_column)
        texts = Texts(self.index.segments, columns, corpus_root)
        examples, notes = check_targets(self.targets, rules.evaluation) if rules.evaluation else ([], [])
        outcome = choose(self.ranked, self.shares, self.candidates, rules, texts)
        chosen = self._chosen(outcome.hits)
        return Selection(
            chosen,
            segments=self.index.segments,
            keep=manifest.settings.keep_columns,
            settings=_record(self.index, self.targets, self.budget, self.options, asked)
            | ({"evaluation": rules.evaluation.files} if rules.evaluation else {})
            | {"plan": self.ranker.plan.to_json(timed=False)},
            warnings=[*self._warnings(walked=rules.one_by_one), *notes, *outcome.notes],
            dropped=[*outcome.dropped, *examples],
            plan=self.ranker.plan,
        )

    def _chosen(self, hits: Sequence[Hits]) -> Chosen:
        """Return the chosen documents of all lists with their scores and what orders them."""
        positions = np.concatenate([h.positions for h in hits])
        keys = np.concatenate([h.keys for h in hits])
        lists = np.repeat(np.arange(len(hits)), [len(h.positions) for h in hits])
        extra: dict[str, npt.NDArray[Any]] = {}
        sums = keys[None] if self.kept is None else self.kept.sums[:, positions].astype(np.int64)
        of = np.zeros_like(lists) if self.kept is None else lists
        if self.standardized is not None:
            standardized = self.standardized(sums)
            of, extra["standardized"] = standardized.argmax(axis=0), standardized.max(axis=0)
        scales = np.array([target.scale for target in self.scored], np.float64)
        scores = sums[of, np.arange(len(positions))] / scales[of if self.kept is not None else lists]
        if self.options.has_quality:
            extra["quality_value"] = self.candidates.values_at(positions)
            extra["combined"] = -keys
        if len(self.targets) > 1:
            owner = of if self.standardized is not None else lists
            extra["target"] = np.array(self.names, dtype=object)[owner]
        return Chosen(positions, lists, keys, scores, extra)

    def _warnings(self, *, walked: bool) -> list[str]:
        manifest, candidates = self.index.manifest, self.candidates
        warnings = [f"not an example: {reason}" for target in self.targets for reason in target.skipped]
        warnings += [*self.notes, *candidates.notes, *self.ranker.notes]
        unit, pool = ("tokens", candidates.tokens) if self.budget.counts_tokens else ("documents", candidates.documents)
        if max(self.shares) > pool and not walked:
            what = "the pool has" if candidates.documents == manifest.documents else "the candidates have"
            warnings.append(f"{max(self.shares):,} {unit} were asked for and {what} {pool:,}: all of it is selected")
        installed, recorded = installed_libraries(), manifest.fingerprint.libraries
        if installed != recorded:
            warnings.append(f"targets were encoded with {_versions(installed)}, the index with {_versions(recorded)}")
        return warnings


def _record(
    index: Index, targets: Sequence[TargetSet], budget: Budget, options: QueryOptions, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all that the selection depends on, as JSON values; `query` is what `--config` takes."""
    manifest = index.manifest
    return {
        "nagindex": __version__,
        "index": {
            "path": str(index.path),
            "version": manifest.version,
            "documents": manifest.documents,
            "tokens": manifest.tokens,
        },
        "fingerprint": manifest.fingerprint.to_json(),
        "corpus": {name: getattr(manifest.settings, name) for name in ("text_column", "id_column")},
        "targets": [{"name": t.name, "examples": len(t.codes), "files": t.files} for t in targets],
        "query": {"index": str(index.path), **asked, **budget.to_json(), **options.to_json()},
    }


def _versions(libraries: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in libraries.items())
