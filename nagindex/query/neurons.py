"""Neurons of a pool: how many documents hold each, and for one of them which documents do, and with which other neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.query.html import records
from nagindex.query.values import ColumnValues
from nagindex.search.scan import Part, flattened, neuron_counter, sweep
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.query_files import QueryFiles
from nagindex.sketches.popularity import popularity_of
from nagindex.storage.docs import ids_at
from nagindex.storage.locations import location
from nagindex.storage.segment import verify_segments
from nagindex.storage.snapshot import Snapshot

FEWEST_TOGETHER = 5
"""Documents that two neurons must share before their lift says anything."""


@dataclass(frozen=True)
class Neuron:
    """A neuron of an index.

    Attributes:
        layer: number of its layer in the backbone.
        neuron: its number in the layer.
        documents: documents whose NAG holds it.
        pool: documents of the index.
        columns: for each column its commonest values: the value as text (None for documents without one), the documents of it, how many
            of these hold the neuron (`held`), and `lift`, the share of them that do over the share of the pool.
        strongest: ids of the documents in whose impact order it stands first, each with its `place` there from 1.
        together: neurons that the same documents hold, the highest lift first: layer, neuron, number of such `documents`, `share` of the
            documents with this neuron, and `lift`, that share over the other neuron's share of the pool. Those in fewer than five such
            documents, or in fewer than one of a hundred, are left out.
    """

    layer: int
    neuron: int
    documents: int
    pool: int
    columns: Mapping[str, Sequence[Mapping[str, Any]]]
    strongest: Sequence[Mapping[str, Any]]
    together: Sequence[Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return the neuron as JSON values."""
        return dict(vars(self))

    def _repr_html_(self) -> str:
        """Return where the neuron occurs, and with which others, as HTML tables, for notebooks."""
        heading = f"layer {self.layer}, neuron {self.neuron}: in {self.documents:,} of {self.pool:,} documents"
        columns = [{"column": column, **row} for column, rows in self.columns.items() for row in rows]
        return f"<p>{heading}</p>{records(columns)}{records(self.strongest)}{records(self.together)}"


def most_frequent(
    snapshot: Snapshot, layer: int | None = None, *, count: int = 5, threads: int | None = None
) -> list[dict[str, Any]]:
    """Return the most frequent neurons of each layer, or of one: layer, neuron, documents that hold it, and their share of the pool.

    Args:
        snapshot: the version of the index.
        layer: the layer's number in the backbone; None for all.
        count: number of neurons of a layer.
        threads: threads that count; by default one for each CPU.

    Raises:
        BadInputError: the index is empty, or has no such layer.
    """
    view = _view(snapshot, layer)
    verify_segments(snapshot.segments, threads=threads)
    held, documents = popularity_of(snapshot.segments, view, threads=threads)
    rows = []
    for own, place, width in zip(held, view.layers, view.spec.widths, strict=True):
        for neuron in np.argsort(-own[:width], kind="stable")[:count].tolist():
            found = int(own[neuron])
            rows.append(
                {
                    "layer": view.whole.layer_numbers[place],
                    "neuron": neuron,
                    "documents": found,
                    "share": found / documents,
                }
            )
    return rows


def neuron_of(
    snapshot: Snapshot,
    layer: int,
    neuron: int,
    *,
    columns: Sequence[str] | None = None,
    values: int = 6,
    count: int = 10,
    threads: int | None = None,
) -> Neuron:
    """Return what one neuron is in a pool, from one pass over the codes.

    Args:
        snapshot: the version of the index.
        layer: the layer's number in the backbone.
        neuron: the neuron's number in it.
        columns: kept columns, or `file`; None for all kept columns of few values.
        values: number of values of each, the commonest of the index.
        count: number of documents, and of other neurons.
        threads: threads of the pass; by default one for each CPU.

    Raises:
        BadInputError: the index is empty, or has no such layer, neuron or column.
    """
    view = View.of(snapshot.manifest.fingerprint.spec)
    place = _view(snapshot, layer).layers[0]
    if not 0 <= neuron < view.spec.widths[place]:
        raise BadInputError(f"neuron {neuron}: layer {layer} has neurons 0 to {view.spec.widths[place] - 1}")
    described = ColumnValues.read(snapshot, columns, values)
    verify_segments(snapshot.segments, threads=threads)
    held, documents = popularity_of(snapshot.segments, view, threads=threads)
    candidates = Candidates.find(snapshot, QueryFiles.read())
    found = _Found(view, place, neuron, count, [len(own.values) for own in described])
    found.read(candidates.parts(tokens=False), [own.numbers for own in described], threads)
    total = int(held[place, neuron])
    return Neuron(
        layer,
        neuron,
        total,
        documents,
        {
            own.column: _by_value(own, counts, total / documents)
            for own, counts in zip(described, found.of_values, strict=True)
        },
        [
            {"id": one, "place": int(rank) + 1}
            for one, rank in zip(ids_at(snapshot, found.positions).tolist(), found.places.tolist(), strict=True)
        ],
        _together(view, found.together, held, place, neuron, documents, count),
    )


def _view(snapshot: Snapshot, layer: int | None) -> View:
    if not snapshot.manifest.documents:
        raise BadInputError(f"{location(snapshot.path)}: the index holds no document; append some")
    return View.of(snapshot.manifest.fingerprint.spec, None if layer is None else str(layer))


class _Found:
    """What a pass over the codes finds of one neuron.

    Attributes:
        together: int64 [L, max d_l], documents with the neuron that hold each other one.
        of_values: int64 [2, v + 1] for each column: documents of each value, and those of them with the neuron.
        positions: int64 [m], positions of the documents where it is strongest; `places`, int64 [m], its places there from 0.
    """

    def __init__(self, view: View, layer: int, neuron: int, count: int, values: Sequence[int]) -> None:
        self.view, self.layer, self.neuron, self.count = view, layer, neuron, count
        self.together = np.zeros((view.spec.layers, max(view.spec.widths)), np.int64)
        self.of_values = [np.zeros((2, own + 1), np.int64) for own in values]
        self.positions, self.places = np.empty(0, np.int64), np.empty(0, np.int64)
        self._lock = Lock()

    def read(self, parts: Sequence[Part], numbers: Sequence[npt.NDArray[np.uint8]], threads: int | None) -> None:
        """Go through all documents once.

        Args:
            parts: the pool.
            numbers: for each column, uint8 [documents], which value each document has.
            threads: threads of the pass.
        """
        count = neuron_counter(sum(part.documents for part in parts), self.view)

        def open_part(part: Part) -> Callable[[slice], Any]:
            codes, flat = part.codes(), flattened(part.codes())
            alive = part.alive() if part.alive else np.ones(part.documents, bool)

            def look(rows: slice) -> Any:
                hits = codes[rows, self.layer] == self.neuron
                has = hits.any(axis=1) & alive[rows]
                block = np.zeros_like(self.together)
                if has.any():
                    count(flat[rows], self.view.columns, self.view.top_k, has, block)
                held = np.flatnonzero(has)
                return alive[rows], has, block, held + part.start + rows.start, hits[held].argmax(axis=1)

            return look

        def take(part: Part, rows: slice, found: Any) -> None:
            alive, has, block, positions, places = found
            first = part.start + rows.start
            with self._lock:
                self.together += block
                for counts, own in zip(self.of_values, numbers, strict=True):
                    values = own[first : first + len(alive)]
                    counts += [np.bincount(values[mask], minlength=counts.shape[1]) for mask in (alive, has)]
                self._keep(positions, places)

        sweep([part for part in parts if part.documents], open_part, take, threads=threads)

    def _keep(self, positions: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> None:
        """Keep the documents where the neuron stands first; of equal places those that come first in the index."""
        positions, places = np.concatenate([self.positions, positions]), np.concatenate([self.places, places])
        best = np.lexsort((positions, places))[: self.count]
        self.positions, self.places = positions[best], places[best]


def _by_value(column: ColumnValues, counts: npt.NDArray[np.int64], share: float) -> list[dict[str, Any]]:
    rows = []
    for value, documents, held in zip(column.values, *counts[:, :-1].tolist(), strict=True):
        lift = held / documents / share if documents and share else 0.0
        rows.append({"value": value, "documents": documents, "held": held, "lift": lift})
    return rows


def _together(
    view: View,
    shared: npt.NDArray[np.int64],
    held: npt.NDArray[np.int64],
    layer: int,
    neuron: int,
    pool: int,
    count: int,
) -> list[dict[str, Any]]:
    """Return the neurons of the highest lift."""
    total = int(held[layer, neuron])
    lifts = np.where(shared >= max(FEWEST_TOGETHER, total / 100), shared * pool / np.maximum(held * total, 1), 0.0)
    lifts[layer, neuron] = 0.0
    rows = []
    for flat in np.argsort(-lifts.ravel(), kind="stable")[:count].tolist():
        own, other = divmod(flat, lifts.shape[1])
        if lifts[own, other]:
            documents = int(shared[own, other])
            rows.append(
                {
                    "layer": view.spec.layer_numbers[own],
                    "neuron": other,
                    "documents": documents,
                    "share": documents / total,
                    "lift": float(lifts[own, other]),
                }
            )
    return rows
