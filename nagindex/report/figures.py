"""The figures of a report, as plain data: what `query/` computes and the template shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.report.point_map import PointMap


@dataclass(frozen=True)
class Size:
    """A number of documents and their tokens."""

    documents: int
    tokens: int


@dataclass(frozen=True)
class Histogram:
    """Documents of the pool and of the selection by a number.

    Attributes:
        edges: float64 [bins + 1], ascending.
        pool: int64 [bins], documents of the pool.
        selected: int64 [bins], selected documents.
    """

    edges: npt.NDArray[np.float64]
    pool: npt.NDArray[np.int64]
    selected: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ValueCount:
    """Documents with one value of a column.

    Attributes:
        value: the value as text; None for documents without one.
        pool: documents of the pool.
        selected: selected documents.
        by_target: selected documents of each target.
    """

    value: str | None
    pool: int
    selected: int
    by_target: Sequence[int]


@dataclass(frozen=True)
class ColumnValues:
    """The commonest values of a column.

    Attributes:
        column: the column's name, `file` for the sources.
        rows: the values that most selected documents have, then those that most of the pool has.
        others: number of further values.
        rest: the documents with these.
    """

    column: str
    rows: Sequence[ValueCount]
    others: int
    rest: ValueCount


@dataclass(frozen=True)
class ColumnNumbers:
    """A column of many different numbers.

    Attributes:
        column: the column's name.
        pool: its values at `LEVELS` in the pool.
        selected: those in the selection.
    """

    column: str
    pool: Sequence[float]
    selected: Sequence[float]


LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of the documents that have at most the values which `ColumnNumbers` gives."""


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


@dataclass(frozen=True)
class Table:
    """Rows of the selection, best first, as many as fit.

    Attributes:
        columns: names of the columns.
        numeric: whether each holds numbers.
        rows: the rows' values; a text is cut.
        total: documents of the selection.
    """

    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[Any]]
    total: int


@dataclass(frozen=True)
class Report:
    """All that a page shows.

    Attributes:
        title: its title.
        query: the budget, the options and the engine of the query, by name, as text.
        index: what the index is, by name, as text.
        notes: sentences for the reader, such as warnings of the query.
        stored: documents of the index.
        pool: the candidates.
        selected: the selection.
        distinct: its different documents.
        targets: the targets.
        overlaps: each two targets, in both directions.
        columns: the kept columns and the sources.
        map: the map; a sentence that says why there is none; None where none was asked for.
        lengths: documents by tokens; None where tokens were not counted.
        dropped: contaminated documents and examples, as `Selection.dropped` lists them; None where that is not recorded.
        table: the selection's rows.
        command: the command that makes the selection again.
        configuration: the query as a config file.
        record: the selection's record, as JSON.
        version: of nagindex.
        made: when the page was made.
    """

    title: str
    query: Mapping[str, str]
    index: Mapping[str, str]
    notes: Sequence[str]
    stored: int
    pool: Size
    selected: Size
    distinct: int
    targets: Sequence[TargetFigures]
    overlaps: Sequence[TargetOverlap]
    columns: Sequence[ColumnValues | ColumnNumbers]
    map: PointMap | str | None
    lengths: Histogram | None
    dropped: Sequence[Mapping[str, Any]] | None
    table: Table
    command: str
    configuration: str
    record: str
    version: str
    made: str
