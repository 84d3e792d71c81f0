"""Make queries fast: fit a basis to a sample of the pool, sketch every segment in it, and measure how well later ones fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nagindex.errors import BadInputError, NagIndexError
from nagindex.nag import Codes, NagSpec
from nagindex.search.basis import Basis, fit
from nagindex.search.sketch import Sketch, SketchType
from nagindex.sketches.graphs import drop_damaged, graphs_of, write_graph
from nagindex.sketches.store import DTYPES, SketchSet, create_sketches, current_sketches
from nagindex.storage.manifest import Manifest, read_latest
from nagindex.storage.segment import Segment, segments_of
from nagindex.targets.cache import damaged_files

DIMS = (64, 128)
SAMPLE = 32_768
FROM_DOCUMENTS = 1_000_000
"""Documents from which on `nagindex build` ends with this."""
GROWTH = 2.0


@dataclass(frozen=True)
class Progress:
    """How far it is: what is being done, and documents sketched of all."""

    doing: str
    documents: int
    of: int


@dataclass(frozen=True)
class Optimized:
    """What was done.

    Attributes:
        sketches: the current sketches.
        why: why a new basis was fitted, empty where the present one was kept.
        documents: documents sketched now.
        connected: documents connected by graphs now.
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
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Optimized:
    """Sketch an index's segments; killed at any moment it goes on from there when it is called again.

    A new basis is fitted where there is none, where others dims or another dtype are asked for, where the pool has doubled
    since, where the present one is damaged, and where `refit` says so; otherwise only what has no sketch yet, or a damaged one, gets one.

    Args:
        index: the index's folder.
        dims: bytes (`i8`) or halves (`f16`) a document, 64 or 128; by default as before, or 128.
        dtype: `i8` or `f16`; by default as before, or `i8`.
        seed: of the sample.
        refit: whether to fit a new basis in any case.
        graph: whether to connect what is sketched by neighbor graphs, too, for approximate answers.
        progress: called before the fit and after each segment.

    Raises:
        BadInputError: the index is empty, or there are no such dims or dtype.
    """
    if dims is not None and dims not in DIMS:
        raise BadInputError(f"dims {dims}: a sketch has {' or '.join(map(str, DIMS))}")
    if dtype is not None and dtype not in DTYPES:
        raise BadInputError(f"sketch-dtype {dtype!r}: one of {', '.join(DTYPES)}")
    manifest = read_latest(index)
    if not manifest.documents:
        raise BadInputError(f"{index}: the index holds no document to sketch; append some")
    members = segments_of(index, manifest)
    try:
        current = current_sketches(index, manifest.fingerprint.spec)
        if current is not None and (damage := current.damage()) is not None:
            raise damage
    except NagIndexError as error:
        current, why = None, f"the present basis cannot be used ({error})"
    else:
        why = _why(current, manifest, dims, dtype, refit)
    if current is None or why:
        progress(Progress("fitting", 0, manifest.documents))
        kept = (current.dims, current.dtype) if current else (DIMS[-1], "i8")
        current = _fitted(index, manifest, members, dims or kept[0], dtype or kept[1], seed)
    current.drop_damaged(manifest.segments)
    drop_damaged(current)
    for path in damaged_files(index / "derived" / "targets"):
        path.unlink(missing_ok=True)
    sketched = sketch_missing(current, members, progress)
    return Optimized(current, why, sketched, _connect(current, members, progress) if graph else 0)


def _connect(sketches: SketchSet, members: Sequence[Segment], progress: Callable[[Progress], None]) -> int:
    """Make graphs over the segments that are in none, about a quarter of a million documents each; return how many documents those are.

    A graph that is there stays as it is; one over segments of which some are gone is left out by readers and by this.
    """
    from nagindex.search import hnsw

    connected = {segment for own in graphs_of(sketches, [m.entry for m in members]) for segment in own.segments}
    left = [member for member in members if member.entry.documents and member.entry.id not in connected]
    whole, done = sum(member.entry.documents for member in left), 0
    while left:
        group = [left.pop(0)]
        while left and sum(m.entry.documents for m in [*group, left[0]]) <= hnsw.GROUP_DOCUMENTS:
            group.append(left.pop(0))
        read = [sketches.read(member.entry) for member in group]
        before = done

        def report(count: int, before: int = before) -> None:
            progress(Progress("connecting", before + count, whole))

        index, centre = hnsw.build([sketch for sketch in read if sketch is not None], sketches.dtype, report)
        write_graph(sketches, [member.entry for member in group], centre.tolist(), index.save())
        done += len(index)
    return done


def sketch_missing(
    sketches: SketchSet, members: Sequence[Segment], progress: Callable[[Progress], None] = lambda progress: None
) -> int:
    """Sketch those of some segments that have no sketch in a basis yet; return how many documents those are."""
    missing = [member for member in members if member.entry.documents and not sketches.has(member.entry)]
    whole, done = sum(member.entry.documents for member in missing), 0
    for member in missing:
        progress(Progress("sketching", done, whole))
        sketches.write(
            member.entry, Sketch.of(sketches.basis, sketches.basis.coordinates(member.codes()), sketches.dtype)
        )
        done += member.entry.documents
    progress(Progress("sketching", done, whole))
    return done


def sketch_new_segments(index: Path, members: Sequence[Segment]) -> None:
    """Sketch new segments of an index that has sketches; where these cannot be used, leave everything as it is."""
    with suppress(NagIndexError):
        sketches = current_sketches(index, members[0].spec) if members else None
        if sketches is not None:
            sketch_missing(sketches, members)


def residual_drift(sketches: SketchSet, members: Sequence[Segment]) -> tuple[int, float]:
    """Return how many documents are sketched, and how much more of them the basis leaves aside than of those it was fitted to.

    The second is a share: 0.05 means that the mean square of what is left is 5 % larger.
    """
    documents, total = 0, 0.0
    for member in members:
        residual = sketches.residual_of(member.entry)
        if residual is not None:
            documents += member.entry.documents
            total += residual * member.entry.documents
    return documents, total / documents / max(sketches.residual, 1e-9) - 1 if documents else 0.0


def _why(current: SketchSet | None, manifest: Manifest, dims: int | None, dtype: SketchType | None, refit: bool) -> str:
    """Return why a new basis is to be fitted, nothing where the present one will do."""
    if current is None:
        return "there was none"
    if refit:
        return "asked for"
    if dims not in (None, current.dims) or dtype not in (None, current.dtype):
        return f"the present one has {current.dims} dims in {current.dtype}"
    if manifest.documents > GROWTH * current.documents:
        return f"the pool has grown from {current.documents:,} to {manifest.documents:,} documents"
    return ""


def _fitted(
    index: Path, manifest: Manifest, members: Sequence[Segment], dims: int, dtype: SketchType, seed: int
) -> SketchSet:
    """Fit a basis to a sample and publish it."""
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
    """Return the NAGs of living documents drawn from all segments in proportion to their size, uint16 [n, L, K], n at most `size`."""
    generator = np.random.default_rng(seed)
    whole = sum(member.entry.documents - member.entry.deleted_documents for member in members)
    drawn = [np.empty((0, *spec.shape), np.uint16)]
    left, wanted = whole, min(size, whole)
    for member in members:
        alive = np.flatnonzero(member.alive())
        own = round(wanted * len(alive) / left) if left else 0
        left, wanted = left - len(alive), wanted - own
        if own:
            drawn.append(member.codes()[np.sort(generator.choice(alive, own, replace=False))])
    return np.concatenate(drawn)
