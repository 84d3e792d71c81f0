"""The pipeline of a query, from encoded target sets to a selection, in one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex._version import __version__
from nagindex.errors import BadInputError
from nagindex.query.engines import Engine, open_engine
from nagindex.query.pool import ScoredPool, score_pool, score_targets
from nagindex.query.selection import Chosen, Selection
from nagindex.search.scan import Ranking
from nagindex.search.top_n import Hits
from nagindex.search.view import View
from nagindex.select.budget import Budget, exact_cut, shares_of
from nagindex.select.candidates import Candidates
from nagindex.select.choose import Constraints, Outcome, choose, contaminated_examples
from nagindex.select.options import Quality, QueryOptions, exact_decimal
from nagindex.select.query_files import QueryFiles
from nagindex.select.ranking_key import RankingKey, Standardized, by_best, by_target, with_quality
from nagindex.storage.docs import ids_at
from nagindex.storage.fingerprint import installed_libraries
from nagindex.storage.segment import verify_segments
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.targets.saved import TargetSet


def query(
    snapshot: Snapshot,
    targets: Sequence[TargetSet],
    budget: Budget,
    options: QueryOptions = QueryOptions(),
    *,
    recorded: Mapping[str, Any] | None = None,
    corpus_root: str | Path | None = None,
    threads: int | None = None,
) -> Selection:
    """Return the documents of a snapshot that best match target sets, within a budget.

    Args:
        snapshot: the version of the index.
        targets: the encoded target sets, at least one.
        budget: how much to select.
        options: the query options.
        recorded: further entries of the selection's record: how targets were named and read.
        corpus_root: where the sources lie now, if texts are needed and the sources were moved.
        threads: threads of a search; by default one for each CPU.

    Raises:
        BadInputError: no document can be selected, or the options contradict each other or the index.
        SourceChangedError: a text is needed and its source is gone or has changed.
    """
    plan_shares = _share_planner(snapshot, targets, budget, options)
    view = View.of(snapshot.manifest.fingerprint.spec, options.layers, options.top_k)
    files = QueryFiles.read(exclude=options.exclude, quality=options.quality, decontamination=options.decontamination)
    verify_segments(snapshot.segments, threads=threads)

    candidates = _find_candidates(snapshot, files, options)
    shares = plan_shares(budget.amount(pool_tokens=candidates.tokens))
    scored = score_targets(snapshot, targets, view, score=options.nearest, contrast=options.contrast, threads=threads)
    pool = score_pool(candidates, scored, view, budget, options, threads=threads)
    engine = open_engine(snapshot, pool, mode=options.mode, score=options.score)
    keys = _ranking_keys(pool, mix=options.mix, quality=options.quality)
    constraints = _constraints(options, files, view, targets)
    outcome = choose(
        partial(_rank, engine, keys.keys, snapshot), shares, candidates, constraints, SourceTexts(snapshot, corpus_root)
    )

    examples, notes = contaminated_examples(targets, files.evaluation) if files.evaluation else ([], [])
    warnings = _warnings(snapshot, targets, candidates, shares, budget, options, constraints)
    return Selection(
        _chosen(outcome, pool, keys, candidates, targets, options.quality),
        snapshot=snapshot,
        settings=_record(snapshot, targets, budget, options, recorded or {})
        | ({"evaluation": files.evaluation.files} if files.evaluation else {})
        | {"plan": engine.plan.to_json(timed=False)},
        warnings=[*warnings, *engine.notes, *_library_warnings(snapshot), *notes, *outcome.notes],
        dropped=[*outcome.dropped, *examples],
        plan=engine.plan,
    )


def _rankings_of(targets: Sequence[TargetSet], mix: str) -> int:
    """Return the number of rankings: one for each target, or one for all with the mix `max`."""
    return 1 if mix == "max" else len(targets)


def _share_planner(
    snapshot: Snapshot, targets: Sequence[TargetSet], budget: Budget, options: QueryOptions
) -> partial[list[int]]:
    """Return f(amount): each ranking's share of a budget, once weights, budget and index are known to agree.

    Raises:
        BadInputError: the index is empty, its tokens were not counted, or the weights contradict each other or the targets.
    """
    manifest = snapshot.manifest
    if not manifest.documents:
        raise BadInputError(f"{snapshot.path}: the index holds no document; append some")
    if budget.counts_tokens and not (manifest.tokens or manifest.settings.count_tokens):
        remedy = "ask for documents with `n`, or build without `count_tokens=False`"
        raise BadInputError(f"{snapshot.path}: its tokens were not counted; {remedy}")
    plan_shares = partial(_shares, targets, budget, options)
    plan_shares(max(budget.amount(pool_tokens=manifest.tokens), 1))
    return plan_shares


def _shares(targets: Sequence[TargetSet], budget: Budget, options: QueryOptions, amount: int) -> list[int]:
    if _rankings_of(targets, options.mix) == 1 and not options.target_weights:
        return [amount]
    names = [target.name for target in targets]
    return shares_of(amount, names, options.target_weights, counts_tokens=budget.counts_tokens)


def _find_candidates(snapshot: Snapshot, files: QueryFiles, options: QueryOptions) -> Candidates:
    if options.cap:
        Candidates(snapshot).require_columns(options.cap)
    return Candidates.find(
        snapshot, files.database, where=options.where, exclude=bool(options.exclude), quality=options.quality
    )


@dataclass(frozen=True)
class _Keys:
    """The key of each ranking, and what standardizes sums where one ranking serves all targets."""

    keys: list[RankingKey]
    standardized: Standardized | None


def _ranking_keys(pool: ScoredPool, *, mix: str, quality: Quality | None) -> _Keys:
    standardized = None
    if mix == "max":
        best, standardized = by_best(pool.parts, pool.sums_of, pool.targets)
        keys = [best]
    else:
        keys = [by_target(number, target) for number, target in enumerate(pool.targets)]
    if quality is not None:
        keys = with_quality(keys, pool.parts, pool.sums_of, quality)
    return _Keys(keys, standardized)


def _constraints(options: QueryOptions, files: QueryFiles, view: View, targets: Sequence[TargetSet]) -> Constraints:
    several = _rankings_of(targets, options.mix) > 1
    caps = {column: exact_decimal(share) for column, share in options.cap.items()}
    names = [target.name for target in targets] if several else [""]
    return Constraints(options.mix, caps, options.dedup, files.evaluation, view, names)


def _rank(engine: Engine, keys: Sequence[RankingKey], snapshot: Snapshot, budgets: Sequence[int]) -> list[Hits]:
    """Return the best candidates of each ranking within budgets."""
    ids_of = partial(ids_at, snapshot)
    return engine.rank(
        [
            Ranking(key.key, *key.bounds, budget, partial(exact_cut, budget=budget, ids_of=ids_of))
            for key, budget in zip(keys, budgets, strict=True)
        ]
    )


def _chosen(
    outcome: Outcome,
    pool: ScoredPool,
    ranking_keys: _Keys,
    candidates: Candidates,
    targets: Sequence[TargetSet],
    quality: Quality | None,
) -> Chosen:
    """Return the chosen documents of all rankings with their scores and further columns."""
    hits = outcome.hits
    positions = np.concatenate([own.positions for own in hits])
    keys = np.concatenate([own.keys for own in hits])
    rankings = np.repeat(np.arange(len(hits)), [len(own.positions) for own in hits])
    columns: dict[str, npt.NDArray[Any]] = {}
    owners = rankings
    if pool.kept is None:  # keys are then the sums themselves
        sums = keys
    else:
        all_sums = pool.kept.sums[:, positions].astype(np.int64)
        if ranking_keys.standardized is not None:
            standardized = ranking_keys.standardized(all_sums)
            owners, columns["standardized"] = standardized.argmax(axis=0), standardized.max(axis=0)
        sums = all_sums[owners, np.arange(len(positions))]
    scores = sums / np.array([target.scale for target in pool.targets], np.float64)[owners]
    if quality is not None:
        columns["quality_value"] = candidates.values_at(positions)
        columns["combined"] = -keys
    if len(targets) > 1:
        columns["target"] = np.array([target.name for target in targets], dtype=object)[owners]
    return Chosen(positions, rankings, keys, scores, columns)


def _warnings(
    snapshot: Snapshot,
    targets: Sequence[TargetSet],
    candidates: Candidates,
    shares: Sequence[int],
    budget: Budget,
    options: QueryOptions,
    constraints: Constraints,
) -> list[str]:
    """Return sentences about examples left out, fewer examples than a score uses, and a budget above the candidates."""
    warnings = [f"not an example: {reason}" for target in targets for reason in target.skipped]
    for target in targets if options.nearest is not None else ():
        if len(target.codes) < (options.nearest or 0):
            few = f"target {target.name} has {len(target.codes)} examples"
            warnings.append(f"{few}: all count in score {options.score}")
    warnings += candidates.notes
    unit, size = ("tokens", candidates.tokens) if budget.counts_tokens else ("documents", candidates.documents)
    if max(shares) > size and not constraints.depend_on_order:
        what = "the pool has" if candidates.documents == snapshot.manifest.documents else "the candidates have"
        warnings.append(f"{max(shares):,} {unit} were asked for and {what} {size:,}: all of it is selected")
    return warnings


def _library_warnings(snapshot: Snapshot) -> list[str]:
    installed, recorded = installed_libraries(), snapshot.manifest.fingerprint.libraries
    if installed == recorded:
        return []
    return [f"targets were encoded with {_versions(installed)}, the index with {_versions(recorded)}"]


def _versions(libraries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in libraries.items())


def _record(
    snapshot: Snapshot,
    targets: Sequence[TargetSet],
    budget: Budget,
    options: QueryOptions,
    recorded: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all that the selection depends on, as JSON values; the entry `query` is what a config file holds."""
    manifest = snapshot.manifest
    return {
        "nagindex": __version__,
        "index": {
            "path": str(snapshot.path),
            "version": manifest.version,
            "documents": manifest.documents,
            "tokens": manifest.tokens,
        },
        "fingerprint": manifest.fingerprint.to_json(),
        "corpus": {name: getattr(manifest.settings, name) for name in ("text_column", "id_column")},
        "targets": [{"name": t.name, "examples": len(t.codes), "files": t.files} for t in targets],
        "query": {"index": str(snapshot.path), **recorded, **budget.to_json(), **options.to_json()},
    }
