"""From ranked lists to chosen documents: budgets, mixtures, caps, near duplicates and contamination together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import connect, quote_name
from nagindex.errors import BadInputError
from nagindex.search.top_n import Hits
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.decontaminate import EvaluationTexts, Match
from nagindex.select.greedy import Ranked, walk
from nagindex.select.near_duplicates import NearDuplicates
from nagindex.select.options import QueryOptions, exactly
from nagindex.storage.docs import places_of
from nagindex.storage.source_texts import Texts
from nagindex.targets.saved import TargetSet

GROWTH = 4
SAMPLE = 1000
"""NAGs that tell which neurons are rare, where near duplicates are looked for."""
TEXTS_PER_BATCH = 4096


@dataclass(frozen=True)
class Constraints:
    """What a selection must keep to beside its budget.

    Attributes:
        mix: how several targets share the budget.
        caps: for columns, the largest share that documents of one value may take.
        dedup: overlap from which on a document is a duplicate of a chosen one.
        evaluation: texts that no document may share an n-gram with.
        view: which codes overlaps are counted on.
        names: of the lists, empty where there is one.
    """

    mix: str
    caps: Mapping[str, Fraction]
    dedup: float | None
    evaluation: EvaluationTexts | None
    view: View
    names: Sequence[str]

    @classmethod
    def of(cls, options: QueryOptions, view: View, names: Sequence[str]) -> Constraints:
        """Return the rules that a query's options state; evaluation texts are read.

        Raises:
            BadInputError: there is no evaluation text.
        """
        texts = _evaluation(options) if options.decontaminate else None
        return cls(options.mix, {c: exactly(s) for c, s in options.cap.items()}, options.dedup, texts, view, names)

    @property
    def one_by_one(self) -> bool:
        """Whether a document's choice depends on those before it."""
        return bool(self.caps) or self.dedup is not None or self.mix == "union"


def _evaluation(options: QueryOptions) -> EvaluationTexts:
    try:
        return EvaluationTexts.read(options.decontaminate, ngram=options.ngram, text_column=options.evaluation_column)
    except BadInputError as error:
        raise BadInputError(str(error).replace("--text-column", "--evaluation-column")) from error


@dataclass
class Outcome:
    """What was chosen.

    Attributes:
        hits: the chosen documents of each list.
        notes: sentences for the user.
        dropped: what evaluation texts ruled out, as JSON values.
    """

    hits: list[Hits]
    notes: list[str] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)


def choose(
    ranked: Callable[[Sequence[int]], list[Hits]],
    shares: Sequence[int],
    candidates: Candidates,
    rules: Constraints,
    texts: Texts,
) -> Outcome:
    """Return what the rules choose of ranked lists within each list's share of the budget.

    Contaminated documents are found by reading the chosen ones' texts; they stop being candidates, and the choice is made again
    until all that is chosen is known to be clean. That is what leaving out all contaminated documents first would choose.

    Args:
        ranked: f(budgets): the best candidates of each list within budgets.
        shares: each list's budget.
        candidates: shrink by the contaminated documents.
        rules: what to keep to.
        texts: reads documents' texts.

    Raises:
        BadInputError: the rules leave no document, or a column is unknown.
        SourceChangedError: a text is needed and its source is gone or has changed.
    """
    outcome = Outcome([])
    clean: set[int] = set()
    while True:
        hits, notes = _walked(ranked, shares, candidates, rules) if rules.one_by_one else (ranked(shares), [])
        outcome.hits = _distinct(hits) if rules.mix == "distinct" else hits
        positions = np.concatenate([h.positions for h in outcome.hits])
        if not len(positions):
            raise BadInputError(
                "no document can be selected: the constraints leave none; loosen the cap, or ask for more"
            )
        if rules.evaluation is None:
            break
        unknown = np.array(sorted(set(positions.tolist()) - clean), np.int64)
        found = _contaminated(unknown, texts, rules.evaluation) if len(unknown) else {}
        if not found:
            break
        clean.update(set(unknown.tolist()) - set(found))
        outcome.dropped += _records(found, candidates)
        candidates.drop(np.array(sorted(found), np.int64))
        if not candidates.documents:
            raise BadInputError("no document can be selected: all share an n-gram with the evaluation texts")
    outcome.notes += notes
    if outcome.dropped and rules.evaluation is not None:
        shared = f"a {rules.evaluation.ngram}-gram with evaluation texts"
        outcome.notes.append(f"left out, for sharing {shared}: {len(outcome.dropped):,}")
    return outcome


def _walked(
    ranked: Callable[[Sequence[int]], list[Hits]], shares: Sequence[int], candidates: Candidates, rules: Constraints
) -> tuple[list[Hits], list[str]]:
    """Return what is chosen one by one, from as much of the lists as that needs, and sentences for the user."""
    together, least = rules.mix == "union", rules.dedup
    amounts = [2 * share + 1 for share in shares]
    codes_at, sample = candidates.codes_at(rules.view), None
    while True:
        hits = [_in_order(h) for h in ranked(amounts)]
        hits, groups = _by_id(hits, candidates, list(rules.caps))
        lists = [
            Ranked(h.positions, h.weights, own, len(h.positions) == candidates.documents)
            for h, own in zip(hits, groups, strict=True)
        ]
        if least is not None and sample is None:
            heads = [own.positions[: SAMPLE // len(lists) + 1] for own in lists]
            sample = np.stack([codes_at(position) for position in np.concatenate(heads).tolist()])
        walks = walk(
            lists,
            shares,
            caps=[partial(_part, share) for share in rules.caps.values()],
            together=together,
            neighbors=None if least is None else partial(NearDuplicates, rules.view.spec, least, sample=sample),
            codes_at=codes_at,
        )
        if walks is not None:
            break
        amounts = [amount * GROWTH for amount in amounts]
    notes = [
        f"{f'target {name}: ' if name else ''}the rules leave {len(w.places):,} documents, less than was asked for"
        for name, w in zip(rules.names, walks, strict=True)
        if w.exhausted
    ]
    return [h.take(w.places) for h, w in zip(hits, walks, strict=True)], notes


def _part(share: Fraction, budget: int) -> int:
    return math.floor(share * budget)


def _in_order(hits: Hits) -> Hits:
    return hits.take(np.argsort(-hits.keys, kind="stable"))


def _by_id(hits: Sequence[Hits], candidates: Candidates, caps: Sequence[str]) -> tuple[list[Hits], list[Any]]:
    """Return lists in order of falling key and ascending id, and for each int64 [caps, m], which value of a column a document has."""
    lists = np.repeat(np.arange(len(hits)), [len(h.positions) for h in hits])
    places = np.concatenate([np.arange(len(h.positions)) for h in hits])
    arrays = {"_list": lists, "_place": places, "_key": np.concatenate([h.keys for h in hits])}
    with connect() as connection:
        positions = np.concatenate([h.positions for h in hits])
        ranks = "".join(
            f", dense_rank() OVER (ORDER BY d.{quote_name(column)}) AS g{number}" for number, column in enumerate(caps)
        )
        ordered = connection.execute(
            f"""SELECT _list, _place {ranks} {places_of(connection, candidates.segments, positions, arrays)}
            ORDER BY _list, _key DESC, d.id"""
        ).fetchnumpy()
    found, groups = [], []
    for number, own in enumerate(hits):
        here = ordered["_list"] == number
        found.append(own.take(ordered["_place"][here]))
        groups.append(np.array([ordered[f"g{i}"][here] for i in range(len(caps))]).reshape(len(caps), int(here.sum())))
    return found, groups


def _distinct(hits: Sequence[Hits]) -> list[Hits]:
    """Return lists without the documents that an earlier list holds."""
    seen = np.empty(0, np.int64)
    kept = []
    for own in hits:
        kept.append(own.take(~np.isin(own.positions, seen)))
        seen = np.concatenate([seen, own.positions])
    return kept


def _contaminated(positions: npt.NDArray[np.int64], texts: Texts, evaluation: EvaluationTexts) -> dict[int, Match]:
    """Return which documents share an n-gram with evaluation texts, and which one."""
    found: dict[int, Match] = {}
    batch: list[tuple[int, str]] = []

    def check() -> None:
        for (at, _), match in zip(batch, evaluation.matches([text for _, text in batch]), strict=True):
            if match is not None:
                found[int(positions[at])] = match
        batch.clear()

    for at, text in texts.read(positions):
        batch.append((at, text))
        if len(batch) == TEXTS_PER_BATCH:
            check()
    check()
    return found


def _records(found: Mapping[int, Match], candidates: Candidates) -> list[dict[str, Any]]:
    positions = np.array(sorted(found), np.int64)
    with connect() as connection:
        from_places = places_of(connection, candidates.segments, positions, {"_at": np.arange(len(positions))})
        rows = connection.execute(f"SELECT d.id, d.file, d.row {from_places} ORDER BY _at").fetchall()
    return [
        {"kind": "document", "id": i, "file": file, "row": row, **described(found[position])}
        for (i, file, row), position in zip(rows, positions.tolist(), strict=True)
    ]


def check_targets(targets: Sequence[TargetSet], evaluation: EvaluationTexts) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the examples that share an n-gram with evaluation texts, as JSON values, and sentences for the user.

    They stay examples: what is selected is checked in itself.
    """
    found: list[dict[str, Any]] = []
    notes = []
    for target in targets:
        if target.texts is None:
            notes.append(
                f"target {target.name}: only NAGs are known, so its examples were not checked for contamination"
            )
            continue
        own = [
            {"kind": "example", "target": target.name, "id": i, **described(match)}
            for i, match in zip(target.ids, evaluation.matches(target.texts), strict=True)
            if match is not None
        ]
        found += own
        if own:
            share = f"{len(own):,} of {len(target.ids):,} examples"
            notes.append(f"target {target.name}: {share} share a {evaluation.ngram}-gram with evaluation texts")
    notes += [f"not an evaluation text: {reason}" for reason in evaluation.skipped]
    if evaluation.short:
        few = f"{evaluation.short:,} of {evaluation.texts:,} evaluation texts have fewer than {evaluation.ngram} words"
        notes.append(f"{few}: nothing is checked against them")
    return found, notes


def described(match: Match) -> dict[str, Any]:
    """Return a match as JSON values."""
    return {"ngram": match.gram, "evaluation": {"file": match.file, "row": match.row, "id": match.id}}
