"""What the mean scores of a selection and of its pool are made of: layers, neurons; and how alike targets are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import permutations

import numpy as np
import numpy.typing as npt

from nagindex.nag import Codes
from nagindex.query.cuts import PoolScores
from nagindex.report.target_figures import LayerPart, NeuronPart, Parts, TargetOverlap
from nagindex.search.profile import Profile, profile_of
from nagindex.search.scan import Part, counts_of
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.sketches.popularity import popularity_of
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet

NEURONS, PASSAGES = 12, 3
"""Neurons of each target that are listed, and passages of each."""
SAMPLE = 2000
"""Selected documents among which passages are looked for."""

Counts = npt.NDArray[np.int64]


def counts_of_pool(candidates: Candidates, view: View, *, threads: int | None = None) -> tuple[Counts, int]:
    """Return how many candidates hold each neuron, int64 [layers, max d_l], and how many candidates there are."""
    snapshot = candidates.snapshot
    if candidates.documents == snapshot.manifest.documents:
        return popularity_of(snapshot.segments, view, threads=threads)
    return counts_of(candidates.parts(tokens=False), view, threads=threads)


def counts_at(
    snapshot: Snapshot, positions: npt.NDArray[np.int64], view: View, *, threads: int | None = None
) -> Counts:
    """Return how many documents at positions, int64 [m], hold each neuron, int64 [layers, max d_l]; each document counts once."""
    parts = []
    for number, _, rows in snapshot.by_segment(positions):
        segment = snapshot.segments[number]
        held = np.zeros(segment.entry.documents, bool)
        held[rows] = True
        parts.append(
            Part(int(snapshot.starts[number]), segment.entry.documents, segment.codes, partial(np.asarray, held))
        )
    return counts_of(parts, view, threads=threads)[0]


def parts_of(
    target: Profile,
    examples: TargetSet,
    selected: tuple[Counts, int],
    pool: tuple[Counts, int],
    view: View,
) -> Parts:
    """Return what the mean scores of selection and pool for a target are made of, without passages.

    A score is a sum of weights, so a mean score is the sum over all neurons of weight times share of documents: exact, with no sample.

    Args:
        target: the profile.
        examples: its examples.
        selected: how many selected documents hold each neuron, int64 [layers, max d_l], and their number.
        pool: the same of the candidates.
        view: the codes that count.
    """
    of_selected, of_pool = selected[0] / selected[1], pool[0] / pool[1]
    weights = target.weights / target.scale
    of_examples = profile_of(view(examples.codes), view.spec).weights / len(examples.codes)
    numbers = np.array(view.whole.layer_numbers)[list(view.layers)].tolist()
    by_layer = [(weights * own).sum(axis=1) for own in (of_selected, of_pool)]
    distance = weights * (of_selected - of_pool)
    largest = np.argsort(-distance, axis=None, kind="stable")[:NEURONS]
    neurons = [
        NeuronPart(
            numbers[layer],
            neuron,
            float(distance[layer, neuron]),
            float(of_examples[layer, neuron]),
            float(of_selected[layer, neuron]),
            float(of_pool[layer, neuron]),
            (),
        )
        for layer, neuron in (divmod(int(place), distance.shape[1]) for place in largest)
        if distance[layer, neuron] > 0
    ]
    layers = [LayerPart(n, float(a), float(b)) for n, a, b in zip(numbers, *by_layer, strict=True)]
    return Parts(float(by_layer[0].sum()), float(by_layer[1].sum()), layers, neurons)


def strongest(codes: Codes, layer: int, neuron: int) -> list[tuple[int, int]]:
    """Return (number of a document, its place of the neuron, from 1) of the documents where a neuron is strongest.

    Args:
        codes: uint16 [m, l, K], best document first.
        layer: place of the layer in the codes.
        neuron: the neuron.
    """
    documents, places = np.nonzero(codes[:, layer] == neuron)
    order = np.argsort(places, kind="stable")[:PASSAGES]
    return [(int(documents[own]), int(places[own]) + 1) for own in order]


def overlaps_of(
    targets: Sequence[TargetSet], pool: PoolScores, cuts: Mapping[int, float], view: View
) -> list[TargetOverlap]:
    """Return how alike each two targets are, in both directions.

    Args:
        targets: the target sets.
        pool: the scores.
        cuts: the lowest score in the selection, of each target that has documents in it, by its number.
        view: the codes that count.
    """
    profiles = {number: profile_of(view(targets[number].codes), view.spec) for number in cuts}
    reached = {number: pool.reach(number, cut) for number, cut in cuts.items()}
    return [
        TargetOverlap(
            targets[a].name,
            targets[b].name,
            float((profiles[a].weights * profiles[b].weights).sum() / profiles[a].scale / len(targets[b].codes)),
            float((reached[a] & reached[b]).sum() / max(int(reached[a].sum()), 1)),
        )
        for a, b in permutations(cuts, 2)
    ]
