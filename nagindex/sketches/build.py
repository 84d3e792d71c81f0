"""Build graphs: fit a basis to a sample of the pool, then connect the sketches of every segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nagindex.cluster.connection import require_ray
from nagindex.cluster.tasks import Tasks, tasks
from nagindex.cluster.worker import require_folders
from nagindex.errors import BadInputError, NagIndexError, ObjectStoreError
from nagindex.nag import Codes, NagSpec
from nagindex.progress import step
from nagindex.search.basis import Basis, fit
from nagindex.search.view import View
from nagindex.sketches import popularity
from nagindex.sketches.graphs import GraphSet, create_graphs, current_graphs
from nagindex.storage.locations import absolute_location, index_folder, location, mirror_of
from nagindex.storage.manifest import Manifest, SegmentEntry, read_latest
from nagindex.storage.mirrored_graphs import push_graphs
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


def optimize(index: Path, *, refit: bool = False, ray: str | None = None) -> Optimized:
    """Build graphs over an index's segments, and count how many documents hold each neuron; fits a basis first if necessary.

    Tasks of a cluster count the segments of an index in an object store only as they connect them: the counts stay in a node's cache.

    A new basis is fitted if there is none, if the pool has doubled since it was fitted, if it is damaged, or if `refit` is
    true. Otherwise only segments without a graph, or with a damaged one, are connected. After an interruption, the next call
    continues where this one stopped.

    Args:
        index: the index's folder.
        refit: whether to fit a new basis in any case.
        ray: the Ray cluster whose tasks build graphs and count neurons; by default this process does. The basis is fitted here, and no
            cluster is asked for where nothing is left to do.

    Raises:
        BadInputError: the index is empty, or there is no such cluster.
        InputNotFoundError: there is no such cluster, or a node of it does not see the index.
        MissingDependencyError: Ray is not installed.
    """
    if ray is not None:
        require_ray(ray)
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
    groups = _groups(current, members)
    if ray is None:
        popularity.popularity_of(members, View.of(manifest.fingerprint.spec))
        with step("connecting documents", _documents(groups), "documents") as advance:
            for group in groups:
                _connect(current, group, advance)
        _push(index)
    else:
        _push(index)
        connected = {member.entry.id for group in groups for member in group}
        uncounted = [] if mirror_of(index) is not None else popularity.uncounted(members)
        counting = [member.entry for member in uncounted if member.entry.id not in connected]
        if groups or counting:
            with tasks(ray) as cluster:
                _run_on(cluster, index, current, groups, counting)
            read_latest(index)  # asks an object store what is new, of graphs as well
    return Optimized(current, why, _documents(groups))


def _push(index: Path) -> None:
    """Write graphs to the object store of an index that lies in one."""
    if (remote := mirror_of(index)) is not None:
        push_graphs(remote)


def _documents(groups: Sequence[Sequence[Segment]]) -> int:
    return sum(member.entry.documents for group in groups for member in group)


def _groups(graphs: GraphSet, members: Sequence[Segment]) -> list[list[Segment]]:
    """Return the segments that no graph covers, those of one graph together: about a quarter of a million documents.

    A graph with a segment that is gone covers nothing.
    """
    from nagindex.search.hnsw import GROUP_DOCUMENTS

    connected = {segment for own in graphs.graphs([m.entry for m in members]) for segment in own.segments}
    groups, size = list[list[Segment]](), 0
    for member in members:
        documents = member.entry.documents
        if documents and member.entry.id not in connected:
            if not groups or size + documents > GROUP_DOCUMENTS:
                groups.append([])
                size = 0
            groups[-1].append(member)
            size += documents
    return groups


def _connect(
    graphs: GraphSet, group: Sequence[Segment], advance: Callable[[int], None], *, threads: int | None = None
) -> None:
    """Build the graph of some segments and publish it."""
    from nagindex.search import hnsw

    coordinates = np.concatenate([graphs.basis.coordinates(member.codes()) for member in group])
    graphs.write([member.entry for member in group], hnsw.build(coordinates, advance, threads=threads).save())


def _run_on(
    cluster: Tasks, index: Path, graphs: GraphSet, groups: Sequence[Sequence[Segment]], counting: Sequence[SegmentEntry]
) -> None:
    """Have tasks build a graph each, and count the neurons of other segments."""
    place, spec, threads = absolute_location(index), graphs.spec, cluster.slots.cpus
    members = [[member.entry for member in group] for group in groups]
    started = [cluster.start(f"{__name__}:connect_there", place, spec, graphs.name, own, threads) for own in members]
    started += [
        cluster.start(f"{__name__}:count_there", place, spec, share, threads) for share in cluster.split(counting)
    ]
    with step("connecting documents", _documents(groups), "documents") as advance:
        for number, _ in cluster.answers(started):
            if number < len(groups):
                advance(_documents([groups[number]]))


def connect_there(
    place: str, spec: NagSpec, graphs: str, entries: Sequence[SegmentEntry], threads: int
) -> tuple[None, None]:
    """Build the graph of some segments and publish it, and count their neurons. A task.

    What a task of the same segments did before, on a node that was lost, is not done again.

    Args:
        place: the index's folder, or its URL.
        spec: shape of the NAGs.
        graphs: name of the folder of the graphs to add to.
        entries: the segments.
        threads: threads of the task.

    Raises:
        InputNotFoundError: this node does not see the index.
        NagIndexError: other graphs are current now.
    """
    index = index_folder(place)
    require_folders(index)
    read_latest(index)  # asks an object store what is new, of graphs as well
    current = current_graphs(index, spec)
    if current is None or current.name != graphs:
        raise NagIndexError(f"{location(index)}: another process has begun new graphs; run the same command again")
    if not current.graphs(entries):
        _connect(current, [Segment(index, entry, spec) for entry in entries], lambda documents: None, threads=threads)
        _push(index)
    return count_there(place, spec, entries, threads)


def count_there(place: str, spec: NagSpec, entries: Sequence[SegmentEntry], threads: int) -> tuple[None, None]:
    """Count how many documents of segments hold each neuron, where that is not known yet. A task.

    Args:
        place: the index's folder, or its URL.
        spec: shape of the NAGs.
        entries: the segments.
        threads: threads of the task.

    Raises:
        InputNotFoundError: this node does not see the index.
    """
    index = index_folder(place)
    require_folders(index)
    popularity.popularity_of([Segment(index, entry, spec) for entry in entries], View.of(spec), threads=threads)
    return None, None


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
