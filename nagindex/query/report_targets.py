"""One target's part of a report: which documents are shown, and the figures about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.query import exhibits
from nagindex.query.contributions import SAMPLE, counts_at, counts_of_pool, parts_of, strongest
from nagindex.query.cuts import PoolScores, cuts_of, score_histogram
from nagindex.query.explain import explanation_of
from nagindex.query.passed_over import Reasons, examined_of
from nagindex.report.counts import Size
from nagindex.report.target_figures import Group, LeftOut, Parts, Passage, PassedOver, TargetFigures
from nagindex.search.profile import Profile
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.options import QueryOptions
from nagindex.sketches.popularity import popularity_of
from nagindex.storage.docs import ids_at
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet

SEED = 0
"""Of the documents that are drawn at random."""
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Selected:
    """A selection, as a report needs it; arrays are in its order.

    Attributes:
        snapshot: the version that was searched.
        settings: the selection's record.
        options: the query options.
        targets: the encoded target sets.
        positions: int64 [n], positions of the documents.
        ranks: int64 [n], their ranks.
        scores: float64 [n], their scores.
        owners: int64 [n], numbers of the targets that they were chosen for.
        columns: further columns [n], by name, such as a combined key.
        warnings: sentences for the user.
        dropped: contaminated documents and examples; None where they are not known.
    """

    snapshot: Snapshot
    settings: Mapping[str, Any]
    options: QueryOptions
    targets: Sequence[TargetSet]
    positions: Positions
    ranks: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    owners: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[Any]]
    warnings: Sequence[str]
    dropped: Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True)
class Scored:
    """A selection among the scores of all candidates.

    Attributes:
        selected: the selection.
        view: the codes that count.
        candidates: the candidates.
        scores: their scores.
        of_index: float64 [layers, max d_l], share of the index's documents that hold each neuron.
        of_pool: how many candidates hold each neuron, int64 [layers, max d_l], and how many candidates there are.
        threads: threads of the scan; None for one for each CPU.
    """

    selected: Selected
    view: View
    candidates: Candidates
    scores: PoolScores
    of_index: npt.NDArray[np.float64]
    of_pool: tuple[npt.NDArray[np.int64], int]
    threads: int | None

    @classmethod
    def of(cls, selected: Selected, candidates: Candidates, view: View, threads: int | None) -> Scored:
        """Return a selection with the scores of all candidates."""
        snapshot = selected.snapshot
        scores = PoolScores.of(candidates, selected.targets, view, selected.options, threads=threads)
        held, documents = popularity_of(snapshot.segments, view, threads=threads)
        of_pool = counts_of_pool(candidates, view, threads=threads)
        return cls(selected, view, candidates, scores, held / documents, of_pool, threads)

    def places(self, target: int) -> npt.NDArray[np.int64]:
        """Return the places of a target's documents in the selection, best first, int64 [m]."""
        return np.flatnonzero(self.selected.owners == target)

    def not_chosen(self, target: int) -> npt.NDArray[np.bool_]:
        """Return which candidates were not selected, for this target where targets choose independently; bool [stored]."""
        own = self.selected.positions
        free = self.scores.alive.copy()
        free[own[self.places(target)] if self.selected.options.mix == "merge" else own] = False
        return free


@dataclass(frozen=True)
class Shown:
    """Positions of the documents that are shown of one target, int64 [m] each.

    Attributes:
        best, at_cut, random, missed: those of the groups.
        passages: for each listed neuron, (position, place of the neuron) of the documents where it is strongest.
        passed_over: the best documents at or above the cut that were not selected.
        reached: how many of these there are.
        parts: what the scores are made of; None for scores that weigh no neurons.
    """

    best: Positions
    at_cut: Positions
    random: Positions
    missed: Positions
    passages: Sequence[Sequence[tuple[int, int]]]
    passed_over: Positions
    reached: int
    parts: Parts | None

    @property
    def exhibits(self) -> int:
        """How many documents the groups show."""
        return sum(map(len, (self.best, self.at_cut, self.random, self.missed)))

    @property
    def positions(self) -> Positions:
        """All whose texts are shown."""
        passages = np.array([own for neuron in self.passages for own, _ in neuron], np.int64)
        return np.concatenate([self.best, self.at_cut, self.random, self.missed, passages])


def shown_of(scored: Scored, target: int) -> Shown:
    """Return which documents are shown of a target.

    Args:
        scored: the selection.
        target: the target's number; at least one document was selected for it.
    """
    own, places = scored.selected, scored.places(target)
    positions, count = own.positions[places], exhibits.documents_of_group(len(own.targets))
    rng = np.random.default_rng(SEED)
    drawn = np.sort(rng.choice(len(positions), min(count, len(positions)), replace=False))
    free = scored.not_chosen(target)
    cut = own.scores[places].min()
    over = free & scored.scores.reach(target, cut)
    reached = int(over.sum())
    by_what = scored.scores.targets[target]
    parts, passages = None, []
    if isinstance(by_what, Profile):
        held = counts_at(own.snapshot, positions, scored.view, threads=scored.threads)
        parts = parts_of(by_what, own.targets[target], (held, len(positions)), scored.of_pool, scored.view)
        passages = _passages(scored, positions[np.sort(rng.permutation(len(positions))[:SAMPLE])], parts)
    return Shown(
        positions[:count],
        positions[-count:],
        positions[drawn],
        scored.scores.best(target, count, free),
        passages,
        scored.scores.best(target, examined_of(reached, len(own.positions)), over),
        reached,
        parts,
    )


def _passages(scored: Scored, positions: Positions, parts: Parts) -> list[list[tuple[int, int]]]:
    """Return, for each listed neuron, (position, place of the neuron) of the documents where it is strongest."""
    codes = scored.view(scored.selected.snapshot.codes_at(positions))
    numbers = np.array(scored.view.whole.layer_numbers)[list(scored.view.layers)].tolist()
    return [
        [(int(positions[own]), place) for own, place in strongest(codes, numbers.index(part.layer), part.neuron)]
        for part in parts.neurons
    ]


def target_figures(
    scored: Scored,
    target: int,
    shown: Shown,
    reasons: Reasons,
    texts: Mapping[int, str],
    *,
    with_texts: bool,
    text_size: int,
) -> TargetFigures:
    """Return the figures of a target.

    Args:
        scored: the selection.
        target: the target's number.
        shown: which documents are shown.
        reasons: tells why documents were not selected.
        texts: texts by position, as far as they are known.
        with_texts: whether texts of examples are shown.
        text_size: bytes of a document's text that are shown.
    """
    own, examples, places = scored.selected, scored.selected.targets[target], scored.places(target)
    positions, scores = own.positions[places], own.scores[places]
    cut = float(scores.min())
    kept = own.snapshot.manifest.settings.keep_columns
    over_scores = scored.scores.at(target, shown.passed_over)
    over = zip(
        ids_at(own.snapshot, shown.passed_over),
        over_scores.tolist(),
        reasons.of(shown.passed_over, over_scores, cut, texts),
        strict=True,
    )
    missed = reasons.of(shown.missed, scored.scores.at(target, shown.missed), cut, texts)
    whys = {position: why for position, (_, why) in zip(shown.missed.tolist(), missed, strict=True)}
    return TargetFigures(
        name=examples.name,
        examples=len(examples.codes),
        files=examples.files,
        selected=Size(len(positions), int(scored.scores.tokens[positions].sum())),
        cut=cut,
        scores=score_histogram(scored.scores.at(target), scores),
        cuts=cuts_of(own.snapshot, scored.scores, target, len(positions), kept[0] if kept else None),
        parts=None if shown.parts is None else _with_passages(shown.parts, scored, shown.passages, texts),
        passed_over=PassedOver(shown.reached, [LeftOut(one, score, *reason) for one, score, reason in over]),
        groups=_groups(scored, target, shown, whys, texts, with_texts=with_texts, text_size=text_size),
    )


def _with_passages(
    parts: Parts, scored: Scored, passages: Sequence[Sequence[tuple[int, int]]], texts: Mapping[int, str]
) -> Parts:
    positions = np.unique([own for neuron in passages for own, _ in neuron]).astype(np.int64)
    documents = exhibits.documents_at(scored.selected.snapshot, positions)
    found = [
        [Passage(documents[own].id, place, exhibits.beginning(texts.get(own))) for own, place in neuron]
        for neuron in passages
    ]
    neurons = [dataclasses.replace(part, passages=own) for part, own in zip(parts.neurons, found, strict=True)]
    return dataclasses.replace(parts, neurons=neurons)


def _groups(
    scored: Scored,
    target: int,
    shown: Shown,
    whys: Mapping[int, str],
    texts: Mapping[int, str],
    *,
    with_texts: bool,
    text_size: int,
) -> list[Group]:
    """Return the documents of each group with their explanations."""
    own, places = scored.selected, scored.places(target)
    positions = np.unique(np.concatenate([shown.best, shown.at_cut, shown.random, shown.missed]))
    ranks = dict(zip(own.positions[places].tolist(), own.ranks[places].tolist(), strict=True))
    documents = exhibits.documents_at(own.snapshot, positions)
    made = {
        position: exhibits.exhibit(
            documents[position],
            explanation_of(
                documents[position].id,
                codes,
                examples=own.targets[target],
                target=scored.scores.targets[target],
                view=scored.view,
                options=own.options,
                of_pool=scored.of_index,
            ),
            rank=ranks.get(position),
            text=texts.get(position),
            size=text_size,
            why=whys.get(position, ""),
            with_texts=with_texts,
        )
        for position, codes in zip(positions.tolist(), scored.view(own.snapshot.codes_at(positions)), strict=True)
    }
    groups = (
        ("Best", "the first of the selection", shown.best),
        ("At the cut", "the last that were selected", shown.at_cut),
        ("Random", "drawn from the selection with a fixed seed, in its order", shown.random),
        ("Near misses", "the best-scored documents that were not selected", shown.missed),
    )
    return [Group(title, about, [made[own] for own in members.tolist()]) for title, about, members in groups]
