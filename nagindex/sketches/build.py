"""Build sketches and graphs: fit a basis to a sample of the pool, then sketch every segment."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nagindex.errors import BadInputError, NagIndexError, ObjectStoreError
from nagindex.nag import Codes, NagSpec
from nagindex.progress import step
from nagindex.search.basis import Basis, fit
from nagindex.search.sketch import Sketch, SketchType
from nagindex.search.view import View
from nagindex.sketches import popularity
from nagindex.sketches.graphs import drop_damaged, graphs_of, write_graph
from nagindex.sketches.store import DTYPES, SketchSet, create_sketches, current_sketches
from nagindex.storage.locations import mirror_of
from nagindex.storage.manifest import Manifest, read_latest
from nagindex.storage.segment import Segment
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.cache import damaged_files

DIMS = (64, 128)
SAMPLE = 32_768
FROM_DOCUMENTS = 1_000_000
"""Pool size from which on a build ends with `optimize`."""
GROWTH = 2.0
"""Growth of the pool from which on a new basis is fitted."""


@dataclass(frozen=True)
class Optimized:
    """The result of `optimize`.

    Attributes:
        sketches: the current sketches.
        why: why a new basis was fitted; empty if the current one was kept.
        documents: documents that were sketched.
        connected: documents that were added to graphs.
    """

    sketches: SketchSet
    why: str
    documents: int
    connected: int = 0


def optimize(
    index: Path,
    *,
    dims: int | None = None,
    dtype: SketchType | None = None,
    seed: int = 0,
    refit: bool = False,
    graph: bool = False,
) -> Optimized:
    """Sketch an index's segments, and count how many documents hold each neuron; fits a basis first if necessary.

    A new basis is fitted if there is none, if it has other dims or another dtype, if the pool has doubled since it was
    fitted, if it is damaged, or if `refit` is true. Otherwise only segments without a sketch, or with a damaged one,
    are sketched. After an interruption, the next call continues where this one stopped.

    Args:
        index: the index's folder.
        dims: values of a sketch, 64 or 128; by default those of the current basis, or 128.
        dtype: `i8` or `f16`; by default that of the current basis, or `i8`.
        seed: seed of the sample.
        refit: whether to fit a new basis in any case.
        graph: whether to build neighbor graphs, too, for approximate answers.

    Raises:
        BadInputError: the index is empty, or `dims` or `dtype` has none of these values.
    """
    if dims is not None and dims not in DIMS:
        raise BadInputError(f"dims {dims}: a sketch has {' or '.join(map(str, DIMS))}")
    if dtype is not None and dtype not in DTYPES:
        raise BadInputError(f"dtype {dtype!r}: one of {', '.join(DTYPES)}")
    manifest = read_latest(index)
    if not manifest.documents:
        raise BadInputError(f"{index}: the index holds no document to sketch; append some")
    members = Snapshot(index, manifest).segments
    try:
        current = current_sketches(index, manifest.fingerprint.spec)
        if current is not None and (damage := current.damage()) is not None:
            raise damage
    except ObjectStoreError:  # passes, and is no reason for a new basis
        raise
    except NagIndexError as error:
        current, why = None, f"the current basis cannot be used ({error})"
    else:
        why = _reason_to_refit(current, manifest, dims, dtype, refit)
    if current is None or why:
        default_dims, default_dtype = (current.dims, current.dtype) if current else (DIMS[-1], "i8")
        with step("fitting a basis"):
            current = _fit_sketches(index, manifest, members, dims or default_dims, dtype or default_dtype, seed)
    current.drop_damaged(manifest.segments)
    drop_damaged(current)
    for path in (*popularity.damaged_files(index, manifest.segments), *damaged_files(index / "derived" / "targets")):
        path.unlink(missing_ok=True)
    popularity.popularity_of(members, View.of(manifest.fingerprint.spec))
    sketched = sketch_missing(current, members)
    connected = _connect(current, members) if graph else 0
    if (remote := mirror_of(index)) is not None:
        remote.push_derived()
    return Optimized(current, why, sketched, connected)


def _connect(sketches: SketchSet, members: Sequence[Segment]) -> int:
    """Build graphs over the segments that no graph covers; return the number of documents in them.

    A graph holds about a quarter of a million documents. Existing graphs are kept. A graph with a segment that is gone
    covers nothing.
    """
    from nagindex.search import hnsw

    connected = {segment for own in graphs_of(sketches, [m.entry for m in members]) for segment in own.segments}
    left = [member for member in members if member.entry.documents and member.entry.id not in connected]
    total = sum(member.entry.documents for member in left)
    with step("connecting documents", total, "documents") as advance:
        while left:
            group = [left.pop(0)]
            while left and sum(m.entry.documents for m in [*group, left[0]]) <= hnsw.GROUP_DOCUMENTS:
                group.append(left.pop(0))
            opened = [sketch for member in group if (sketch := sketches.read(member.entry)) is not None]
            if len(opened) < len(group):  # removed meanwhile
                continue
            index, center = hnsw.build(opened, sketches.dtype, advance)
            write_graph(sketches, [member.entry for member in group], center.tolist(), index.save())
    return total


def sketch_missing(sketches: SketchSet, members: Sequence[Segment]) -> int:
    """Sketch the segments that have no sketch yet; return the number of documents in them."""
    missing = [member for member in members if member.entry.documents and not sketches.has(member.entry)]
    total = sum(member.entry.documents for member in missing)
    with step("sketching documents", total, "documents") as advance:
        for member in missing:
            coordinates = sketches.basis.coordinates(member.codes())
            sketches.write(member.entry, Sketch.of(sketches.basis, coordinates, sketches.dtype))
            advance(member.entry.documents)
    return total


def sketch_new_segments(index: Path, members: Sequence[Segment]) -> None:
    """Sketch new segments of an index that has sketches; does nothing if these cannot be used."""
    with suppress(NagIndexError, FileNotFoundError):  # a vacuum may remove former sketches meanwhile
        sketches = current_sketches(index, members[0].spec) if members else None
        if sketches is not None:
            sketch_missing(sketches, members)
            if (remote := mirror_of(index)) is not None:
                remote.push_derived()


def residual_drift(sketches: SketchSet, members: Sequence[Segment]) -> tuple[int, float]:
    """Return the number of sketched documents, and how much less well the basis fits them.

    The second is the growth of the mean square residual norm over that of the fitted sample: 0.05 for 5 %.
    """
    documents, total = 0, 0.0
    for member in members:
        residual = sketches.residual_of(member.entry)
        if residual is not None:
            documents += member.entry.documents
            total += residual * member.entry.documents
    return documents, total / documents / max(sketches.residual, 1e-9) - 1 if documents else 0.0


def _reason_to_refit(
    current: SketchSet | None, manifest: Manifest, dims: int | None, dtype: SketchType | None, refit: bool
) -> str:
    """Return why a new basis has to be fitted; empty if the current one serves."""
    if current is None:
        return "there was none"
    if refit:
        return "requested"
    if dims not in (None, current.dims) or dtype not in (None, current.dtype):
        return f"the current one has {current.dims} dims in {current.dtype}"
    if manifest.documents > GROWTH * current.documents:
        return f"the pool has grown from {current.documents:,} to {manifest.documents:,} documents"
    return ""


def _fit_sketches(
    index: Path, manifest: Manifest, members: Sequence[Segment], dims: int, dtype: SketchType, seed: int
) -> SketchSet:
    """Fit a basis to a sample and publish it, without any sketches yet."""
    spec = manifest.fingerprint.spec
    codes = sample_of(members, spec, SAMPLE, seed)
    vectors, kept = fit(codes, spec, dims - 1, seed)
    basis = Basis.of(vectors, spec)
    residual = float((basis.residuals(basis.coordinates(codes)) ** 2).mean())
    return create_sketches(
        index,
        basis,
        dims=dims,
        dtype=dtype,
        seed=seed,
        sample=len(codes),
        documents=manifest.documents,
        kept=kept,
        residual=residual,
    )


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
