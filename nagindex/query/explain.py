"""Explanations: which layers, neurons and examples a document's score for a target is made of, to the last integer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.query.html import table
from nagindex.query.pool import Passes, score_targets
from nagindex.search.profile import Nearest, Target, profile_of
from nagindex.search.scorers import score
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.options import QueryOptions
from nagindex.select.query_files import QueryFiles
from nagindex.sketches.popularity import popularity_of
from nagindex.storage.docs import require_ids
from nagindex.storage.segment import verify_segments
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet

NEURONS, EXAMPLES = 20, 5
"""Neurons and examples that `Explanation.to_json` gives by default."""
ROWS_SHOWN = 10
"""Neurons that a notebook shows."""
NEURON_COLUMNS = ("layer", "neuron", "place", "examples", "pool", "contribution")
EXAMPLE_COLUMNS = ("id", "overlap", "contribution", "text")


@dataclass(frozen=True)
class Explanation:
    """What a document's score for one target is made of. A score is `sum / scale`, and the sums of its parts add up to `sum`.

    The arrays [l, K] belong to the document's neurons, in order of impact, in the l layers that count.

    Attributes:
        id: the document's id.
        target: the target's name.
        scoring: the scoring, such as `mean, log-ratio:40`.
        sum: the document's integer sum.
        scale: what a sum is divided by.
        layers: int64 [l], the layers' numbers in the backbone.
        neurons: uint16 [l, K], the neurons.
        sums: int64 [l, K], each neuron's part of the sum.
        of_examples: float64 [l, K], the share of the examples whose NAG holds the neuron.
        of_pool: float64 [l, K], the share of the index's documents whose NAG holds it.
        example_ids: ids of the n examples.
        overlaps: float64 [n], the share of its neurons that the document has in common with each example.
        example_sums: int64 [n], each example's part of the sum; None where weights compare with the pool, as a weight is then no sum
            over examples.
        example_texts: the examples' texts; None where only their NAGs are known.
    """

    id: str
    target: str
    scoring: str
    sum: int
    scale: int
    layers: npt.NDArray[np.int64]
    neurons: Codes
    sums: npt.NDArray[np.int64]
    of_examples: npt.NDArray[np.float64]
    of_pool: npt.NDArray[np.float64]
    example_ids: Sequence[str]
    overlaps: npt.NDArray[np.float64]
    example_sums: npt.NDArray[np.int64] | None
    example_texts: Sequence[str] | None

    @property
    def score(self) -> float:
        """The document's score, as in a selection."""
        return self.sum / self.scale

    @property
    def no_example_parts(self) -> str | None:
        """Why examples have no part of the score; None where they have one."""
        if self.example_sums is not None:
            return None
        return f"examples have no part of this score: {self.scoring} compares them with the pool, and is no sum over examples"

    def to_json(self, *, neurons: int = NEURONS, examples: int = EXAMPLES) -> dict[str, Any]:
        """Return the explanation as JSON values: all layers, the neurons of the largest parts and the nearest examples.

        Args:
            neurons: number of neurons.
            examples: number of examples.
        """
        return {
            "id": self.id,
            "target": self.target,
            "scoring": self.scoring,
            "score": self.score,
            "sum": self.sum,
            "scale": self.scale,
            "layers": [
                {"layer": layer, "sum": own, "contribution": own / self.scale}
                for layer, own in zip(self.layers.tolist(), self.sums.sum(axis=1).tolist(), strict=True)
            ],
            "neurons": [self._neuron(*divmod(place, self.sums.shape[1])) for place in self._largest(neurons)],
            "examples": [self._example(place) for place in self._nearest(examples)],
            "no_example_parts": self.no_example_parts,
        }

    def _repr_html_(self) -> str:
        """Return the score, and the neurons and examples with the largest parts, as HTML tables, for notebooks."""
        told = self.to_json(neurons=ROWS_SHOWN, examples=EXAMPLES)
        neurons = [[row[name] for name in NEURON_COLUMNS] for row in told["neurons"]]
        examples = [[row[name] for name in EXAMPLE_COLUMNS] for row in told["examples"]]
        heading = f"{self.id}, for {self.target}: score {self.score:.4f} ({self.scoring})"
        return f"<p>{escape(heading)}</p>{table(NEURON_COLUMNS, neurons)}{table(EXAMPLE_COLUMNS, examples)}"

    def _largest(self, count: int) -> list[int]:
        """Return the places of the largest parts in the flattened sums, the largest first."""
        places: list[int] = np.argsort(-self.sums.ravel(), kind="stable")[:count].tolist()
        return places

    def _neuron(self, layer: int, place: int) -> dict[str, Any]:
        own = int(self.sums[layer, place])
        return {
            "layer": int(self.layers[layer]),
            "neuron": int(self.neurons[layer, place]),
            "place": place + 1,
            "examples": float(self.of_examples[layer, place]),
            "pool": float(self.of_pool[layer, place]),
            "sum": own,
            "contribution": own / self.scale,
        }

    def _nearest(self, count: int) -> list[int]:
        places: list[int] = np.argsort(-self.overlaps, kind="stable")[:count].tolist()
        return places

    def _example(self, place: int) -> dict[str, Any]:
        own = None if self.example_sums is None else int(self.example_sums[place])
        return {
            "id": self.example_ids[place],
            "overlap": float(self.overlaps[place]),
            "sum": own,
            "contribution": None if own is None else own / self.scale,
            "text": None if self.example_texts is None else self.example_texts[place],
        }


def explain(
    snapshot: Snapshot,
    ids: Sequence[str],
    targets: Sequence[TargetSet],
    options: QueryOptions = QueryOptions(),
    *,
    threads: int | None = None,
) -> list[Explanation]:
    """Return what the scores of some documents are made of: for each document, an explanation for each target.

    Of the options, those of the score count: `layers`, `top_k`, `score`, `weights`; and `background`, with the candidates that `where`
    and `exclude` leave.

    Args:
        snapshot: the version of the index.
        ids: ids of documents.
        targets: the encoded target sets, at least one.
        options: the query options.
        threads: threads that count neurons; by default one for each CPU.

    Raises:
        BadInputError: an id is not in the index, or an option does not fit it.
    """
    view = View.of(snapshot.manifest.fingerprint.spec, options.written_layers, options.top_k)
    positions = require_ids(snapshot, ids)
    verify_segments(snapshot.segments, threads=threads)
    files = QueryFiles.read(options.excluded_files)
    candidates = Candidates.find(snapshot, files, where=options.where)
    scored = score_targets(candidates, targets, view, options, passes=Passes(threads))
    held, documents = popularity_of(snapshot.segments, view, threads=threads)
    codes = view(snapshot.codes_at(positions))
    explain_for = [
        partial(explanation_of, examples=own, target=target, view=view, options=options, of_pool=held / documents)
        for own, target in zip(targets, scored, strict=True)
    ]
    return [explained(one, own) for one, own in zip(ids, codes, strict=True) for explained in explain_for]


def explanation_of(
    name: str,
    codes: Codes,
    *,
    examples: TargetSet,
    target: Target,
    view: View,
    options: QueryOptions,
    of_pool: npt.NDArray[np.float64],
) -> Explanation:
    """Return the explanation of one document for one target.

    Args:
        name: the document's id.
        codes: its codes in the view, uint16 [l, K].
        examples: the target's examples.
        target: what documents are scored by.
        view: the codes that count.
        options: of them, `score` and `weights` count.
        of_pool: share of the pool's documents that hold each neuron, float64 [l, max d_l].
    """
    theirs, rows = view(examples.codes), np.arange(len(codes))[:, None]
    frequency = profile_of(theirs, view.spec).weights
    overlaps = score(theirs, profile_of(codes[None], view.spec))  # neurons that each example shares with the document
    example_sums: npt.NDArray[np.int64] | None
    if isinstance(target, Nearest):
        nearest = np.argsort(-overlaps, kind="stable")[: target.nearest]
        weights = profile_of(theirs[nearest], view.spec).weights
        scoring, example_sums = options.score, np.where(np.isin(np.arange(len(theirs)), nearest), overlaps, 0)
    else:
        weights = target.weights
        scoring = f"{options.score}, {options.weighting}"
        example_sums = None if options.weighting.compares_with_pool else overlaps
    sums = weights[rows, codes]
    return Explanation(
        id=name,
        target=examples.name,
        scoring=scoring,
        sum=int(sums.sum()),
        scale=target.scale,
        layers=np.array(view.whole.layer_numbers, np.int64)[list(view.layers)],
        neurons=codes,
        sums=sums,
        of_examples=frequency[rows, codes] / len(theirs),
        of_pool=of_pool[rows, codes],
        example_ids=examples.ids,
        overlaps=overlaps / codes.size,
        example_sums=example_sums,
        example_texts=examples.texts,
    )
