"""The figures of one target in a report: cutoffs, what scores are made of, documents to look at, documents left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nagindex.report.counts import Histogram, Size


@dataclass(frozen=True)
class CutAt:
    """What a target's ranking holds down to one rank.

    Attributes:
        documents: the rank.
        score: the score of the document there.
        tokens: tokens down to there.
        shares: share of each value in `Cuts.values`.
    """

    documents: int
    score: float
    tokens: int
    shares: Sequence[float]


@dataclass(frozen=True)
class Cuts:
    """A target's ranking by score alone, down to several ranks.

    Attributes:
        column: the column whose values are counted; None where the index keeps none.
        values: its commonest values in the ranking.
        rows: the cutoffs, in the order of their ranks.
        own: number of the row that is the selection's.
    """

    column: str | None
    values: Sequence[str]
    rows: Sequence[CutAt]
    own: int


@dataclass(frozen=True)
class LayerPart:
    """A layer's part of the mean score: of selected documents and of the pool."""

    layer: int
    selected: float
    pool: float


@dataclass(frozen=True)
class Passage:
    """The beginning of the text of a document where a neuron is among the strongest."""

    id: str
    place: int
    text: str | None


@dataclass(frozen=True)
class NeuronPart:
    """A neuron's part of the distance between the mean scores of selection and pool.

    Attributes:
        layer, neuron: which one.
        part: the part; those of all neurons add up to the distance.
        examples, selected, pool: share of the examples, selected documents and documents of the pool whose NAG holds it.
        passages: selected documents in which it is strongest.
    """

    layer: int
    neuron: int
    part: float
    examples: float
    selected: float
    pool: float
    passages: Sequence[Passage]


@dataclass(frozen=True)
class Parts:
    """What the mean scores are made of.

    Attributes:
        selected, pool: mean score of the selected documents and of the pool.
        layers: the layers; their parts add up to the mean scores.
        neurons: those with the largest parts of the distance.
    """

    selected: float
    pool: float
    layers: Sequence[LayerPart]
    neurons: Sequence[NeuronPart]


@dataclass(frozen=True)
class Exhibit:
    """One document of the pool, with what its score is made of.

    Attributes:
        id: its id.
        rank: its rank in the selection; None if it was not selected.
        score: its score.
        tokens: its tokens.
        labels: its kept columns, file and row.
        text: the beginning of its text; None where texts are left out or cannot be read.
        cut: whether the text goes on.
        why: why it was not selected; empty if it was.
        explanation: as `Explanation.to_json` gives it.
    """

    id: str
    rank: int | None
    score: float
    tokens: int
    labels: Mapping[str, Any]
    text: str | None
    cut: bool
    why: str
    explanation: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Some documents that belong together, such as the best ones."""

    title: str
    about: str
    exhibits: Sequence[Exhibit]


@dataclass(frozen=True)
class LeftOut:
    """A document that was not selected despite its score: its id, its score, the kind of the reason and the reason in words."""

    id: str
    score: float
    kind: str
    why: str


@dataclass(frozen=True)
class PassedOver:
    """Documents at or above a target's cutoff that were not selected.

    Attributes:
        documents: how many there are.
        examined: the best of them, which were looked at.
    """

    documents: int
    examined: Sequence[LeftOut]

    @property
    def reasons(self) -> Counter[str]:
        """Number of those that were looked at, by the kind of the reason."""
        return Counter(own.kind for own in self.examined)


@dataclass(frozen=True)
class TargetFigures:
    """What there is to say about one target.

    Attributes:
        name: its name.
        examples: number of its examples.
        files: its files, each with `name`, `sha256` and `examples`.
        selected: what was selected for it.
        cut: the lowest score among these.
        scores: documents by score.
        cuts: the ranking at other cutoffs.
        parts: what the scores are made of; None for scores that weigh no neurons.
        passed_over: documents that were not selected despite their scores.
        groups: documents to look at.
    """

    name: str
    examples: int
    files: Sequence[Mapping[str, Any]]
    selected: Size
    cut: float
    scores: Histogram
    cuts: Cuts
    parts: Parts | None
    passed_over: PassedOver
    groups: Sequence[Group]


@dataclass(frozen=True)
class TargetOverlap:
    """How alike two targets are.

    Attributes:
        a, b: their names.
        examples: mean overlap of an example of one with an example of the other.
        documents: of the documents that reach A's cutoff, the share that reaches B's too.
    """

    a: str
    b: str
    examples: float
    documents: float
