"""A query, from encoded target sets to a selection: its stages, in one function."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex._version import __version__
from nagindex.errors import BadInputError, plural
from nagindex.query.engines import Engine, open_engine
from nagindex.query.pool import Passes, ScoredPool, score_pool, score_targets
from nagindex.query.replay import hashed_files, index_record
from nagindex.query.rows import PARTS, PARTS_BY_TASKS, Batches, Chosen, part_edges, parts_of
from nagindex.query.selection import Selection
from nagindex.search.scan import Ranking
from nagindex.search.top_n import Hits
from nagindex.search.view import View
from nagindex.select.budget import Budget, exact_cut, shares_of
from nagindex.select.candidates import Candidates
from nagindex.select.choose import Constraints, Outcome, choose, contaminated_examples
from nagindex.select.options import QueryOptions, exact_decimal
from nagindex.select.query_files import QueryFiles
from nagindex.select.ranking_key import RankingKey, Standardized, by_best, by_target, with_minimum, with_quality
from nagindex.select.signals import Quality
from nagindex.storage.docs import ids_at
from nagindex.storage.fingerprint import installed_libraries
from nagindex.storage.locations import location
from nagindex.storage.manifest import lost_version
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.targets.saved import TargetSet

logger = logging.getLogger(__name__)

BATCH = 1 << 18
"""Documents that are looked up at once."""


@dataclass(frozen=True)
class Prepared:
    """What a query knows before its targets are encoded: the content of the files it names, and the candidates."""

    files: QueryFiles
    candidates: Candidates


def prepare(snapshot: Snapshot, budget: Budget, options: QueryOptions, passes: Passes) -> Prepared:
    """Read the files that a query names and find its candidates; all that can be refused without the targets is refused here.

    Args:
        snapshot: the version of the index.
        budget: how much to select.
        options: the query options.
        passes: checks the index's files.

    Raises:
        BadInputError: no document can be selected, or the options contradict the index or the files.
    """
    _require_counted(snapshot, budget)
    files = QueryFiles.read(options.excluded_files, options.quality, options.decontamination)
    passes.verify(snapshot)
    cap_columns = list(options.cap)
    found = Candidates.find(snapshot, files, where=options.where, quality=options.quality, cap_columns=cap_columns)
    return Prepared(files, found)


def query(
    snapshot: Snapshot,
    targets: Sequence[TargetSet],
    budget: Budget,
    options: QueryOptions = QueryOptions(),
    *,
    prepared: Prepared | None = None,
    recorded: Mapping[str, Any] | None = None,
    corpus_root: str | Path | None = None,
    passes: Passes | None = None,
) -> Selection:
    """Return the documents of a snapshot that best match target sets, within a budget.

    Args:
        snapshot: the version of the index.
        targets: the encoded target sets, at least one.
        budget: how much to select.
        options: the query options.
        prepared: what `prepare` returned for the same budget and options, if it was called.
        recorded: further entries of the selection's record: how targets were named and read.
        corpus_root: where the sources lie now, if texts are needed and the sources were moved.
        passes: makes the passes over the codes; by default a thread for each CPU.

    Raises:
        BadInputError: no document can be selected, or the options contradict each other or the index.
        SourceChangedError: a text is needed and its source is gone or has changed.
    """
    for target in targets:
        logger.info("target %s: %s examples", target.name, f"{len(target.codes):,}")
    names, asked, options = [target.name for target in targets], options, options.for_targets(len(targets))
    shares_of = partial(_shares, names, options, budget)
    # Weights that contradict each other are refused before any file is read.
    shares_of(documents=snapshot.manifest.documents, tokens=max(snapshot.manifest.tokens, 1))
    view = View.of(snapshot.manifest.fingerprint.spec, options.written_layers, options.top_k)
    passes = passes or Passes()
    prepared = prepared or prepare(snapshot, budget, options, passes)
    files, candidates = prepared.files, prepared.candidates
    shares = shares_of(documents=candidates.documents, tokens=candidates.tokens)
    scored = score_targets(candidates, targets, view, options, passes=passes)
    parts = candidates.parts(
        tokens=budget.counts_tokens, values=options.quality is not None, changing=files.evaluation is not None
    )
    segments, keep_sums = snapshot.manifest.segments, options.needs_all_scores
    pool = score_pool(parts, segments, scored, view, keep_sums=keep_sums, passes=passes)
    engine = open_engine(snapshot, pool, approx=options.approx)
    keys = _ranking_keys(pool, options)
    caps = {column: exact_decimal(share) for column, share in options.cap.items()}
    ranking_names = names if len(shares) > 1 else [""]
    constraints = Constraints(
        mix=options.mix,
        caps=caps,
        dedup=options.dedup,
        evaluation=files.evaluation,
        view=view,
        names=ranking_names,
        counts_tokens=budget.counts_tokens,
        unlimited=budget.unlimited,
        min_score=options.min_score,
    )
    limits = shares if constraints.end_by_count and not options.approx else None
    rank = partial(_rank, engine, keys.keys, snapshot, limits is not None)
    outcome = choose(rank, shares, candidates, constraints, SourceTexts(snapshot, corpus_root))

    logger.info("engine %s: %s", engine.plan.engine, engine.plan.why)
    examples, notes = contaminated_examples(targets, files.evaluation) if files.evaluation else ([], [])
    warnings = target_warnings(targets, nearest=options.nearest, score=options.score) + candidates.notes
    if not constraints.depend_on_order and not budget.unlimited:
        warnings += _budget_warnings(snapshot, candidates, shares, budget)
    warnings += list(filter(None, [lost_version(snapshot.path)]))
    warnings += [*engine.notes, *library_warnings(snapshot), *notes, *outcome.notes]
    most_parts = PARTS if passes.ray is None else PARTS_BY_TASKS
    batches = partial(_batches, outcome, pool, keys, candidates, names, options.quality, most_parts)
    return Selection(
        Batches(sum(len(own.positions) for own in outcome.hits), batches),
        columns=_further_columns(names, options),
        limits=limits,
        snapshot=snapshot,
        settings=_record(snapshot, targets, budget, asked, recorded or {})
        | ({"evaluation": files.evaluation.files} if files.evaluation else {})
        | {"plan": engine.plan.to_json(timed=False)},
        targets=lambda: targets,
        warnings=warnings,
        dropped=[*outcome.dropped, *examples],
        plan=engine.plan,
        ray=passes.ray,
    )


def _require_counted(snapshot: Snapshot, budget: Budget) -> None:
    """Raise BadInputError if the index is empty, or the budget is of tokens and its tokens were not counted."""
    manifest = snapshot.manifest
    if not manifest.documents:
        raise BadInputError(f"{location(snapshot.path)}: the index holds no document; append some")
    if budget.counts_tokens and not (manifest.tokens or manifest.settings.count_tokens):
        remedy = "ask for documents with `n`, or build without `count_tokens=False`"
        raise BadInputError(f"{location(snapshot.path)}: its tokens were not counted; {remedy}")


def _shares(names: Sequence[str], options: QueryOptions, budget: Budget, *, documents: int, tokens: int) -> list[int]:
    """Return each ranking's share of a budget: one ranking for each target, or one for all with the mix `max`."""
    amount, weights = budget.amount(documents=documents, tokens=tokens), options.target_weights
    if budget.unlimited and (weights or options.cap):
        name = "target_weights" if weights else "cap"
        raise BadInputError(f"`{name}` gives shares of a budget, and there is none; give `n`, `tokens` or `fraction`")
    if (options.mix == "max" or len(names) == 1) and not weights:
        return [amount]
    if budget.unlimited:
        return [amount] * len(names)
    return shares_of(amount, names, weights, counts_tokens=budget.counts_tokens)


@dataclass(frozen=True)
class _Keys:
    """The key of each ranking, and what standardizes sums where one ranking serves all targets."""

    keys: list[RankingKey]
    standardized: Standardized | None


def _ranking_keys(pool: ScoredPool, options: QueryOptions) -> _Keys:
    standardized = None
    if options.mix == "max":
        best, standardized = by_best(pool.parts, pool.sums_of, pool.targets)
        keys = [best]
    else:
        keys = [by_target(number, target) for number, target in enumerate(pool.targets)]
    if options.quality is not None:
        keys = with_quality(keys, pool.parts, pool.sums_of, options.quality)
    if options.min_score is not None:
        keys = with_minimum(keys, pool.targets, options.min_score, standardized)
    return _Keys(keys, standardized)


def _rank(
    engine: Engine, keys: Sequence[RankingKey], snapshot: Snapshot, cut_later: bool, budgets: Sequence[int]
) -> list[Hits]:
    """Return the best candidates of each ranking within budgets; with ties at its end if they are `cut_later`."""
    ids_of = partial(ids_at, snapshot)
    return engine.rank(
        [
            Ranking(
                key.key,
                *key.bounds,
                budget,
                partial(exact_cut, budget=budget, ids_of=ids_of),
                key.minimum,
                cut_later,
            )
            for key, budget in zip(keys, budgets, strict=True)
        ]
    )


def _batches(
    outcome: Outcome,
    pool: ScoredPool,
    ranking_keys: _Keys,
    candidates: Candidates,
    names: Sequence[str],
    quality: Quality | None,
    most_parts: int,
) -> Iterator[Chosen]:
    """Yield the chosen documents of all rankings with their scores and further columns."""
    scales = np.array([target.scale for target in pool.targets], np.float64)
    first_part = 0
    for number, hits in enumerate(map(_in_pool_order, outcome.hits)):
        edges = part_edges(hits.keys, most_parts)
        for first in range(0, len(hits.positions), BATCH):
            positions, keys = (own[first : first + BATCH] for own in (hits.positions, hits.keys))
            rankings = owners = np.full(len(positions), number)
            columns: dict[str, npt.NDArray[Any]] = {}
            if pool.kept is None:  # keys are then the sums themselves
                sums = keys
            else:
                all_sums = pool.kept.sums[:, positions].astype(np.int64)
                if ranking_keys.standardized is not None:
                    standardized = ranking_keys.standardized(all_sums)
                    owners, columns["standardized"] = standardized.argmax(axis=0), standardized.max(axis=0)
                sums = all_sums[owners, np.arange(len(positions))]
            if quality is not None:
                columns["quality_value"] = candidates.values_at(positions)
                columns["combined"] = -keys
            if len(names) > 1:
                columns["target"] = np.array(names, dtype=object)[owners]
            parts = first_part + parts_of(keys, edges)
            yield Chosen(positions, rankings, keys, sums / scales[owners], columns, parts)
        first_part += len(edges) + 1


def _in_pool_order(hits: Hits) -> Hits:
    """Return hits in the order of the pool, unless they are nearly in it: a batch of them is then of few segments."""
    nearly = (np.diff(hits.positions[:: BATCH // 8]) >= -BATCH).all()  # threads add blocks out of turn
    return hits if nearly else hits.take(np.argsort(hits.positions))


def _further_columns(names: Sequence[str], options: QueryOptions) -> list[str]:
    """Return the names of the columns that batches add."""
    several = len(names) > 1
    standardized = ["standardized"] * (options.mix == "max")
    return [*standardized, *["quality_value", "combined"] * (options.quality is not None), *["target"] * several]


def target_warnings(targets: Sequence[TargetSet], *, nearest: int | None, score: str) -> list[str]:
    """Return sentences about rows that are no examples, and about targets with fewer examples than a score uses."""
    warnings = [f"not an example: {reason}" for target in targets for reason in target.skipped]
    warnings += [warning for target in targets for warning in target.warnings]
    for target in targets:
        if nearest is not None and len(target.codes) < nearest:
            warnings.append(
                f"target {target.name} has only {plural(len(target.codes), 'example')} for score {score}: all of them count"
            )
    return warnings


def _budget_warnings(snapshot: Snapshot, candidates: Candidates, shares: Sequence[int], budget: Budget) -> list[str]:
    """Return a sentence if a share of the budget is more than all candidates."""
    unit, size = ("token", candidates.tokens) if budget.counts_tokens else ("document", candidates.documents)
    if max(shares) <= size:
        return []
    what = "the pool has" if candidates.documents == snapshot.manifest.documents else "the candidates have"
    return [f"{plural(max(shares), unit)} asked for, and {what} {size:,}: all of it is selected"]


def library_warnings(snapshot: Snapshot) -> list[str]:
    """Return a sentence if the installed libraries are not those that the index was encoded with."""
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
    manifest, path = snapshot.manifest, location(Path(os.path.abspath(snapshot.path)))
    scores = [] if options.quality is None or options.quality.scores is None else [str(options.quality.scores)]
    read = {"exclude": hashed_files(options.excluded_files), "scores": hashed_files(scores)}
    return {
        "nagindex": __version__,
        "index": index_record(snapshot),
        "fingerprint": manifest.fingerprint.to_json(),
        "corpus": {name: getattr(manifest.settings, name) for name in ("text_column", "id_column")},
        "targets": [{"name": t.name, "examples": len(t.codes), "files": t.files} for t in targets],
        **{name: files for name, files in read.items() if files},
        "query": {"index": path, **recorded, **budget.to_json(), **options.to_json()},
    }
