"""Weights that compare with the pool: what they cost beside frequencies.

Six targets in one pass against six passes of one, and against the loop of `former_loop.py`, on one thread; and the popularity of
neurons, kept with the index, against the pass over the codes that it saves. Codes are synthetic, or drawn from those of an .npz file,
with replacement.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

import nagindex
from benchmarks.former_loop import former_scorer
from benchmarks.report import emit, median_seconds, options
from benchmarks.synthetic import SPEC, make_codes, write_pool
from nagindex.nag import NagSpec
from nagindex.search.profile import Profile
from nagindex.search.scorers import Scorer, scorer_of
from nagindex.search.view import View
from nagindex.search.weights import Weighting
from nagindex.sketches.popularity import popularity_of

TARGETS, EXAMPLES, DRAWN = 6, 300, 1_000_000
WEIGHTS = ("frequency", "log-ratio", "log-odds", "contrast:0.5")
ROWS = 8192


def codes_of(file: Path | None, array: str, top_k: int | None, documents: int) -> tuple[np.ndarray, NagSpec]:
    """Return the codes of some documents, uint16 [n, L, K], and their shape."""
    if file is None:
        return make_codes(documents, seed=1), SPEC
    with np.load(file) as arrays:
        stored = arrays[array][:, :, :top_k]
    codes = stored[np.random.default_rng(0).integers(0, len(stored), documents)]
    return codes, NagSpec("up", (int(stored.max()) + 1,) * codes.shape[1], codes.shape[2])


def seconds_of(scorers: list[tuple[Scorer, int]], flat: np.ndarray) -> float:
    """Return the seconds in which scorers, each of a number of targets, sum all documents."""

    def work() -> None:
        for scorer, targets in scorers:
            for first in range(0, len(flat), ROWS):
                block = flat[first : first + ROWS]
                scorer(block, np.empty((targets, len(block)), np.int64))

    return median_seconds(work)


def main() -> None:
    """Measure and report."""
    arguments = options(
        __doc__ or "",
        nags={"type": Path, "metavar": "FILE", "help": "an .npz file of codes, uint16 [n, L, K]"},
        array={"default": "relative", "help": "name of its array"},
        k={"type": int, "help": "neurons of a layer; by default all"},
        documents={"type": int, "default": 1_000_000},
    )
    documents = 50_000 if arguments.quick else arguments.documents
    codes, spec = codes_of(arguments.nags, arguments.array, arguments.k, min(documents, DRAWN))
    view, flat = View.of(spec), codes.reshape(len(codes), -1)
    pool = np.stack([np.bincount(codes[:, layer].ravel(), minlength=spec.widths[0]) for layer in range(spec.layers)])
    sets = [codes[np.random.default_rng(seed).integers(0, len(codes) // 4, EXAMPLES)] for seed in range(TARGETS)]
    rows, results = [], {}
    for written in WEIGHTS:
        weighting = Weighting.parse(written)
        profiles: list[Profile] = [weighting.profile_of(own, pool, len(codes), spec) for own in sets]
        alone = seconds_of([(scorer_of([own], view), 1) for own in profiles], flat)
        together = seconds_of([(scorer_of(profiles, view), TARGETS)], flat)
        former = seconds_of([(former_scorer(profiles, view), TARGETS)], flat)
        weighing = median_seconds(lambda w=weighting: w.profile_of(sets[0], pool, len(codes), spec))
        results[written] = {"alone": alone, "together": together, "former": former, "weights": weighing}
        rates = [f"{len(codes) * TARGETS / seconds / 1e6:.1f}" for seconds in (alone, together, former)]
        rows.append(
            [written, *rates, f"{6 * together / alone:.2f}", f"{former / together:.2f}", f"{1000 * weighing:.0f}"]
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pool.nagindex")
        write_pool(path, documents)
        index = nagindex.open(path)
        own_view = View.of(index.manifest.fingerprint.spec)

        def count() -> None:
            shutil.rmtree(path / "derived", ignore_errors=True)
            popularity_of(index.segments, own_view)

        counting = median_seconds(count)
        kept = median_seconds(lambda: popularity_of(index.segments, own_view))
        size = sum(file.stat().st_size for file in path.glob("derived/popularity/*"))
    results["popularity"] = {"documents": documents, "counting": counting, "kept": kept, "bytes": size}
    print(
        f"{len(codes):,} documents of {spec.layers} layers of {spec.top_k}, {TARGETS} targets of {EXAMPLES} examples, one thread"
    )
    headings = [
        *("weights", "M scores/s, alone", "together", "former loop", "time of six / of one", "of former / of six"),
        "weights of a target, ms",
    ]
    emit(headings, rows, {"results": results}, arguments.json)
    print(
        f"\npopularity of {documents:,} synthetic documents: counted in {counting:.2f} s, read in {1000 * kept:.0f} ms "
        f"({counting / kept:,.0f} times), {size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
