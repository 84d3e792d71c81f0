"""Choosing documents from rankings under all constraints: calls the greedy selection and the decontamination."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import connect, quote_name
from nagindex.errors import BadInputError, plural
from nagindex.search.top_n import Hits
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.greedy import GreedyChoice, RankedPrefix, select_greedily
from nagindex.storage.docs import join_documents
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.targets.saved import TargetSet

if TYPE_CHECKING:
    from nagindex.select.decontaminate import EvaluationTexts, Match
    from nagindex.select.near_duplicates import NearDuplicates

GROWTH = 4
SAMPLE = 1000
"""NAGs from which the rarity of neurons is estimated, for near-duplicates."""
TEXTS_PER_BATCH = 4096

Rank = Callable[[Sequence[int]], list[Hits]]
"""f(budgets): the best candidates of each ranking within budgets."""


@dataclass(frozen=True)
class Constraints:
    """Constraints on a selection other than its budget: caps, near-duplicates, contamination.

    Attributes:
        mix: how several targets share the budget.
        caps: for each capped column, the largest share of the budget that documents with the same value may take.
        dedup: overlap from which a document is a near-duplicate of a chosen one; None for no limit.
        evaluation: evaluation texts that no document may share an n-gram with; None for no limit.
        view: the codes that overlaps are counted on.
        names: names of the rankings, empty where there is one.
        counts_tokens: whether the budget is in tokens.
        unlimited: whether there is no budget.
        min_score: lowest score of a document; None for no limit. The rankings end there.
    """

    mix: str
    caps: Mapping[str, Fraction]
    dedup: float | None
    evaluation: EvaluationTexts | None
    view: View
    names: Sequence[str]
    counts_tokens: bool = False
    unlimited: bool = False
    min_score: float | None = None

    @property
    def depend_on_order(self) -> bool:
        """Whether documents must be taken one by one, since a choice depends on those before it.

        In a budget of tokens the first document that does not fit ends a ranking, so with evaluation texts it must be known.
        """
        checked = self.evaluation is not None and self.counts_tokens
        return bool(self.caps) or self.dedup is not None or self.mix == "union" or checked

    @property
    def end_by_count(self) -> bool:
        """Whether each ranking's choice is its first documents, a number that is known before their order is."""
        alone = not self.depend_on_order and self.evaluation is None and self.mix != "distinct"
        return alone and not self.counts_tokens


@dataclass
class Outcome:
    """The documents chosen.

    Attributes:
        hits: the chosen documents of each ranking.
        notes: sentences for the user.
        dropped: contaminated documents, as JSON values.
    """

    hits: list[Hits]
    notes: list[str] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)


def choose(
    rank: Rank, shares: Sequence[int], candidates: Candidates, constraints: Constraints, texts: SourceTexts
) -> Outcome:
    """Return the best documents of each ranking that satisfy the constraints, within each ranking's share of the budget.

    Contaminated documents are found by reading the texts of chosen ones, and of those that ended a ranking because they did not fit
    the budget. They are removed from the candidates and the choice is repeated until none is found: the same result as removing all
    contaminated documents first.

    Args:
        rank: ranks the candidates.
        shares: each ranking's share of the budget.
        candidates: the candidates, from which contaminated documents are removed.
        constraints: the constraints.
        texts: reads the documents' texts.

    Raises:
        BadInputError: no document satisfies the constraints, or a column is unknown.
        SourceChangedError: a text is needed and its source is gone or has changed.
    """
    outcome = Outcome([])
    clean: set[int] = set()
    while True:
        hits, ended_by, notes = (
            _choose_greedily(rank, shares, candidates, constraints)
            if constraints.depend_on_order
            else (rank(shares), [], [])
        )
        outcome.hits = _without_repetitions(hits) if constraints.mix == "distinct" else hits
        if not any(len(own.positions) for own in outcome.hits):
            raise BadInputError(f"no document can be selected: {_why_none(constraints)}")
        if constraints.evaluation is None:
            break
        positions = np.concatenate([own.positions for own in outcome.hits]).tolist()
        unchecked = np.array(sorted({*positions, *ended_by} - clean), np.int64)
        contaminated = _contaminated(unchecked, texts, constraints.evaluation) if len(unchecked) else {}
        if not contaminated:
            break
        clean.update(set(unchecked.tolist()) - set(contaminated))
        outcome.dropped += _records(contaminated, candidates.snapshot)
        candidates.drop(np.array(sorted(contaminated), np.int64))
        if not candidates.documents:
            raise BadInputError("no document can be selected: all share an n-gram with the evaluation texts")
    outcome.notes += notes
    if outcome.dropped and constraints.evaluation is not None:
        shared = f"a {constraints.evaluation.ngram}-gram with evaluation texts"
        outcome.notes.append(f"left out, for sharing {shared}: {len(outcome.dropped):,}")
    return outcome


def _why_none(constraints: Constraints) -> str:
    if constraints.min_score is not None:
        return f"none has a score of at least {constraints.min_score:g}; `score_curve` shows the scores that there are"
    return "the constraints leave none; loosen the cap, or ask for more"


def _choose_greedily(
    rank: Rank, shares: Sequence[int], candidates: Candidates, constraints: Constraints
) -> tuple[list[Hits], list[int], list[str]]:
    """Return the greedy choice from each ranking, the positions of the documents that ended one, and sentences for the user.

    As much of each ranking is fetched as that takes.
    """
    codes_of = candidates.codes_of(constraints.view)
    near_duplicates: Callable[[], NearDuplicates] | None = None
    amounts = [2 * share + 1 for share in shares]
    while True:
        ranked = rank(amounts)
        if not any(len(own.positions) for own in ranked):
            return ranked, [], []
        hits, groups = _in_order(ranked, candidates.snapshot, list(constraints.caps))
        prefixes = [
            RankedPrefix(own.positions, own.weights, values, complete=whole.complete)
            for whole, own, values in zip(ranked, hits, groups, strict=True)
        ]
        if constraints.dedup is not None and near_duplicates is None:
            sample = _sampled_codes(prefixes, codes_of)
            from nagindex.select.near_duplicates import NearDuplicates

            near_duplicates = partial(NearDuplicates, constraints.view.spec, constraints.dedup, sample=sample)
        choices = select_greedily(
            prefixes,
            shares,
            caps=[partial(_share_of, share) for share in constraints.caps.values()],
            together=constraints.mix == "union",
            near_duplicates=near_duplicates,
            codes_of=codes_of,
        )
        if choices is not None:
            chosen = [own.take(choice.indices) for own, choice in zip(hits, choices, strict=True)]
            ends = [
                int(own.positions[choice.ended_by])
                for own, choice in zip(hits, choices, strict=True)
                if choice.ended_by is not None
            ]
            return chosen, ends, _shortfalls(choices, constraints)
        amounts = [amount * GROWTH for amount in amounts]


def _shortfalls(choices: Sequence[GreedyChoice], constraints: Constraints) -> list[str]:
    """Return a sentence for each ranking that ended before its share was used."""
    if constraints.unlimited:
        return []
    limited = constraints.caps or constraints.dedup is not None
    sentence = "the constraints leave {}, less than was asked for" if limited else "{} selected: no other is left"
    return [
        f"{f'target {name}: ' if name else ''}{sentence.format(plural(len(choice.indices), 'document'))}"
        for name, choice in zip(constraints.names, choices, strict=True)
        if choice.exhausted
    ]


def _sampled_codes(rankings: Sequence[RankedPrefix], codes_of: Callable[[int], Any]) -> npt.NDArray[np.uint16]:
    """Return the NAGs of the best documents of all rankings, uint16 [s, L, K], some SAMPLE of them."""
    heads = [own.positions[: SAMPLE // len(rankings) + 1] for own in rankings]
    return np.stack([codes_of(position) for position in np.concatenate(heads).tolist()])


def _share_of(share: Fraction, budget: int) -> int:
    return math.floor(share * budget)


def _in_order(hits: Sequence[Hits], snapshot: Snapshot, caps: Sequence[str]) -> tuple[list[Hits], list[Any]]:
    """Return hits by descending key and ascending id, and int64 [caps, m] for each ranking: which value of a column each has."""
    rankings = np.repeat(np.arange(len(hits)), [len(own.positions) for own in hits])
    indices = np.concatenate([np.arange(len(own.positions)) for own in hits])
    arrays = {"_list": rankings, "_place": indices, "_key": np.concatenate([own.keys for own in hits])}
    with connect() as connection:
        positions = np.concatenate([own.positions for own in hits])
        ranks = "".join(
            f", dense_rank() OVER (ORDER BY d.{quote_name(column)}) AS g{number}" for number, column in enumerate(caps)
        )
        ordered = connection.execute(
            f"""SELECT hits._list, hits._place {ranks} {join_documents(connection, snapshot, positions, arrays)}
            ORDER BY hits._list, hits._key DESC, d.id"""
        ).fetchnumpy()
    found, groups = [], []
    for number, own in enumerate(hits):
        here = ordered["_list"] == number
        found.append(own.take(ordered["_place"][here]))
        groups.append(np.array([ordered[f"g{i}"][here] for i in range(len(caps))]).reshape(len(caps), int(here.sum())))
    return found, groups


def _without_repetitions(hits: Sequence[Hits]) -> list[Hits]:
    """Return the hits of each ranking without the documents of an earlier one."""
    seen = np.empty(0, np.int64)
    kept = []
    for own in hits:
        kept.append(own.take(~np.isin(own.positions, seen)))
        seen = np.concatenate([seen, own.positions])
    return kept


def _contaminated(
    positions: npt.NDArray[np.int64], texts: SourceTexts, evaluation: EvaluationTexts
) -> dict[int, Match]:
    """Return, by position, the first match of each document that shares an n-gram with evaluation texts."""
    found: dict[int, Match] = {}
    batch: list[tuple[int, str]] = []

    def match_batch() -> None:
        for (index, _), match in zip(batch, evaluation.matches([text for _, text in batch]), strict=True):
            if match is not None:
                found[int(positions[index])] = match
        batch.clear()

    for index, text in texts.read(positions):
        batch.append((index, text))
        if len(batch) == TEXTS_PER_BATCH:
            match_batch()
    match_batch()
    return found


def _records(contaminated: Mapping[int, Match], snapshot: Snapshot) -> list[dict[str, Any]]:
    positions = np.array(sorted(contaminated), np.int64)
    with connect() as connection:
        documents = join_documents(connection, snapshot, positions, {"_at": np.arange(len(positions))})
        rows = connection.execute(f"SELECT d.id, d.file, d.row {documents} ORDER BY hits._at").fetchall()
    return [
        {"kind": "document", "id": i, "file": file, "row": row, **_match_record(contaminated[position])}
        for (i, file, row), position in zip(rows, positions.tolist(), strict=True)
    ]


def contaminated_examples(
    targets: Sequence[TargetSet], evaluation: EvaluationTexts
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the examples that share an n-gram with evaluation texts, as JSON values, and sentences for the user.

    They stay examples: selected documents are checked in any case.
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
            {"kind": "example", "target": target.name, "id": i, **_match_record(match)}
            for i, match in zip(target.ids, evaluation.matches(target.texts), strict=True)
            if match is not None
        ]
        found += own
        if own:
            share = f"{len(own):,} of {plural(len(target.ids), 'example')}"
            notes.append(f"target {target.name}: a {evaluation.ngram}-gram of evaluation texts is in {share}")
    notes += [f"not an evaluation text: {reason}" for reason in evaluation.skipped]
    if evaluation.short:
        few = f"evaluation texts of fewer than {evaluation.ngram} words, against which nothing is checked"
        notes.append(f"{few}: {evaluation.short:,} of {evaluation.texts:,}")
    return found, notes


def _match_record(match: Match) -> dict[str, Any]:
    return {"ngram": match.gram, "evaluation": {"file": match.file, "row": match.row, "id": match.id}}
