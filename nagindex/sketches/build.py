"""Build graphs: fit a basis to a sample of the pool, then connect the sketches of every segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nagindex.errors import BadInputError, NagIndexError, ObjectStoreError
from nagindex.nag import Codes, NagSpec
from nagindex.progress import step
from nagindex.search.basis import Basis, fit
from nagindex.search.view import View
from nagindex.sketches import popularity
from nagindex.sketches.graphs import GraphSet, create_graphs, current_graphs
from nagindex.storage.locations import mirror_of
from nagindex.storage.manifest import Manifest, read_latest
from nagindex.storage.segment import Segment
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.cache import damaged_files

DIMS = 127
"""Directions of a basis; a graph's vectors have one value more."""
SAMPLE, SEED = 32_768, 0
GROWTH = 2.0
"""Growth of the pool from which on a new basis is fitted."""


@dataclass(frozen=True)
class Optimized:
    """The result of `optimize`.

    Attributes:
        graphs: the current graphs.
        why: why a new basis was fitted; empty if the current one was kept.
        documents: documents that were added to graphs.
    """

    graphs: GraphSet
    why: str
    documents: int


def optimize(index: Path, *, refit: bool = False) -> Optimized:
    """Build graphs over an index's segments, and count how many documents hold each neuron; fits a basis first if necessary.

    A new basis is fitted if there is none, if the pool has doubled since it was fitted, if it is damaged, or if `refit` is
    true. Otherwise only segments without a graph, or with a damaged one, are connected. After an interruption, the next call
    continues where this one stopped.

    Args:
        index: the index's folder.
        refit: whether to fit a new basis in any case.

    Raises:
        BadInputError: the index is empty.
    """
    manifest = read_latest(index)
    if not manifest.documents:
        raise BadInputError(f"{index}: the index holds no document to connect; append some")
    members = Snapshot(index, manifest).segments
    try:
        current = current_graphs(index, manifest.fingerprint.spec)
        if current is not None and (damage := current.damage()) is not None:
            raise damage
    except ObjectStoreError:  # passes, and is no reason for a new basis
        raise
    except NagIndexError as error:
        current, why = None, f"the current basis cannot be used ({error})"
    else:
        why = _reason_to_refit(current, manifest, refit)
    if current is None or why:
        with step("fitting a basis"):
            current = _fit(index, manifest, members)
    current.drop_damaged()
    for path in (*popularity.damaged_files(index, manifest.segments), *damaged_files(index / "derived" / "targets")):
        path.unlink(missing_ok=True)
    popularity.popularity_of(members, View.of(manifest.fingerprint.spec))
    documents = _connect(current, members)
    if (remote := mirror_of(index)) is not None:
        remote.push_derived()
    return Optimized(current, why, documents)


def _connect(graphs: GraphSet, members: Sequence[Segment]) -> int:
    """Build graphs over the segments that no graph covers; return the number of documents in them.

    A graph holds about a quarter of a million documents. Existing graphs are kept. A graph with a segment that is gone
    covers nothing.
    """
    from nagindex.search import hnsw

    connected = {segment for own in graphs.graphs([m.entry for m in members]) for segment in own.segments}
    left = [member for member in members if member.entry.documents and member.entry.id not in connected]
    total = sum(member.entry.documents for member in left)
    with step("connecting documents", total, "documents") as advance:
        while left:
            group = [left.pop(0)]
            while left and sum(m.entry.documents for m in [*group, left[0]]) <= hnsw.GROUP_DOCUMENTS:
                group.append(left.pop(0))
            coordinates = np.concatenate([graphs.basis.coordinates(member.codes()) for member in group])
            graphs.write([member.entry for member in group], hnsw.build(coordinates, advance).save())
    return total


def _reason_to_refit(current: GraphSet | None, manifest: Manifest, refit: bool) -> str:
    """Return why a new basis has to be fitted; empty if the current one serves."""
    if current is None:
        return "there was none"
    if refit:
        return "requested"
    if manifest.documents > GROWTH * current.documents:
        return f"the pool has grown from {current.documents:,} to {manifest.documents:,} documents"
    return ""


def _fit(index: Path, manifest: Manifest, members: Sequence[Segment]) -> GraphSet:
    """Fit a basis to a sample and publish it, without any graphs yet."""
    spec = manifest.fingerprint.spec
    codes = sample_of(members, spec, SAMPLE, SEED)
    vectors, kept = fit(codes, spec, DIMS, SEED)
    return create_graphs(index, Basis(vectors, spec), sample=len(codes), documents=manifest.documents, kept=kept)


def sample_of(members: Sequence[Segment], spec: NagSpec, size: int, seed: int) -> Codes:
    """Return the codes of a random sample of living documents, stratified by segment, uint16 [n, L, K].

    Args:
        members: the segments.
        spec: shape of the NAGs.
        size: documents in the sample; all of them if there are fewer.
        seed: seed of the sample.
    """
    generator = np.random.default_rng(seed)
    living = sum(member.entry.documents - member.entry.deleted_documents for member in members)
    drawn = [np.empty((0, *spec.shape), np.uint16)]
    left, missing = living, min(size, living)
    for member in members:
        alive = np.flatnonzero(member.alive())
        count = round(missing * len(alive) / left) if left else 0
        left, missing = left - len(alive), missing - count
        if count:
            drawn.append(member.codes()[np.sort(generator.choice(alive, count, replace=False))])
    return np.concatenate(drawn)
