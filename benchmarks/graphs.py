"""Approximate answers: neighbor graphs against the scan, and against faiss over the same sketches.

On a synthetic pool with the statistics of real NAGs (`--kind absolute` or `relative`; 28 layers of 6,144 neurons, K = 20, unless others
are named), written and optimized once, or taken from --pool, where it stays; or on real NAGs (`--nags FILE`, an .npz of codes `absolute`
and `relative`, uint16 [n, L, 20], and `target_NAME_KIND`). All arms of a row run in this process by turns; seconds and processor seconds
are medians. faiss takes as many candidates as graphs do, 5 % of the lists for IVF, and they are scored exactly by the same code.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import nagindex
from benchmarks.report import emit, options
from benchmarks.synthetic import kind_of, make_codes, write_pool
from nagindex.nag import Codes, NagSpec
from nagindex.query.engines import GraphEngine
from nagindex.query.pool import Passes, ScoredPool, score_pool
from nagindex.search import graph_search
from nagindex.search.profile import Profile
from nagindex.search.rescore import rescore
from nagindex.search.scan import Part, Ranking, scan, sums_from_codes
from nagindex.search.top_n import Hits
from nagindex.search.view import View
from nagindex.search.weights import Weighting
from nagindex.select.budget import exact_cut
from nagindex.select.candidates import Candidates
from nagindex.select.ranking_key import by_target
from nagindex.sketches.popularity import popularity_of
from nagindex.storage.docs import ids_at

EXAMPLES = 200
ROUNDS = 7
Arm = Callable[[], Hits]


def ranking_of(index: nagindex.Index, profile: Profile, budget: int) -> Ranking:
    """Return the ranking of the best documents of one target."""
    cut = partial(exact_cut, budget=budget, ids_of=partial(ids_at, index.snapshot))
    key = by_target(0, profile)
    return Ranking(key.key, *key.bounds, budget, cut)


def pool_of(index: nagindex.Index, profile: Profile) -> ScoredPool:
    """Return all documents of an index, scored by a profile."""
    parts, view = Candidates(index.snapshot).parts(tokens=False), View.of(profile.spec)
    entries = index.manifest.segments
    return score_pool(parts, entries, [profile], view, keep_sums=False, passes=Passes())


def faiss_indexes(coordinates: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return faiss's flat and inverted-list indexes of eight-bit coordinates, float32 [n, d]."""
    import faiss

    dims, lists = coordinates.shape[1], max(1, int(4 * len(coordinates) ** 0.5))
    kind, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    flat = faiss.IndexScalarQuantizer(dims, kind, metric)
    inverted = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(dims), dims, lists, kind, metric)
    inverted.cp.niter, inverted.nprobe = 4, max(1, lists // 20)
    for own in (flat, inverted):
        own.train(coordinates)
        own.add(coordinates)
    return {"faiss flat": flat, "faiss IVF": inverted}


def arms_of(engine: GraphEngine, ranking: Ranking, peers: dict[str, Any]) -> dict[str, Arm]:
    """Return the ways to find the best documents of a target among those that graphs cover."""
    covered = [part for graph in engine.graphs for part in graph.parts]
    target = engine._target(0, ranking)

    def searched(peer: Any) -> Hits:
        documents = sum(part.documents for part in covered)
        wanted = round(graph_search.candidates_per_hit(ranking.budget, documents) * ranking.budget)
        wanted = min(wanted + graph_search.EXTRA_CANDIDATES * len(engine.graphs), documents)
        nodes = peer.search(target.queries[0].astype(np.float32)[None], wanted)[1][0]
        whole = graph_search.Graph(None, tuple(covered))
        positions = np.sort(whole.positions(nodes[nodes >= 0]))
        hits = Hits(positions, rescore(covered, positions, target.scorer), np.ones(len(positions), np.int64))
        return ranking.cut(hits)

    def with_recall() -> Hits:
        hits, _ = graph_search.search(covered, engine.graphs, target)
        graph_search.estimated_recall(covered, engine.graphs, target, hits)
        return hits

    return {
        "scan": lambda: scan(covered, sums_from_codes(target.scorer, 1), [ranking])[0],
        "graph": lambda: graph_search.search(covered, engine.graphs, target)[0],
        "graph and its recall": with_recall,
        **{name: partial(searched, peer) for name, peer in peers.items()},
    }


def compared(arms: dict[str, Arm], rounds: int) -> dict[str, dict[str, float]]:
    """Run the arms by turns; return their median seconds, processor seconds and recall."""
    best = {name: arm() for name, arm in arms.items()}
    lowest = int(best["scan"].keys.min())
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, arm in arms.items():
            started, used = time.perf_counter(), time.process_time()
            arm()
            taken[name].append((time.perf_counter() - started, time.process_time() - used))
    return {
        name: {
            "seconds": statistics.median(own for own, _ in taken[name]),
            "processor": statistics.median(own for _, own in taken[name]),
            "recall": float((hits.keys >= lowest).sum() / len(best["scan"].keys)),
        }
        for name, hits in best.items()
    }


def targets_of(index: nagindex.Index, real: Any, kind: str, asked: list[str]) -> Iterator[tuple[str, Codes]]:
    """Yield target sets by name: those of real NAGs, or synthetic ones by number, none of whose examples is in the pool."""
    spec = index.manifest.fingerprint.spec
    for name in asked:
        if real is None:
            yield (
                f"target {name}",
                make_codes(EXAMPLES, seed=900 + int(name), topic=int(name), spec=spec, kind=kind_of(kind)),
            )
        else:
            yield name, np.ascontiguousarray(real[f"target_{name}_{kind}"][:, :, : spec.top_k])


def main() -> None:
    """Measure and report."""
    arguments = options(
        __doc__ or "",
        documents={"type": int, "default": 1_000_000},
        pool={"type": Path, "help": "index to use, or to write and leave there"},
        nags={"type": Path, "help": "real NAGs"},
        kind={"choices": ["absolute", "relative"], "default": "absolute"},
        layers={"type": int, "default": 28},
        width={"type": int, "default": 6144},
        k={"type": int, "default": 20, "help": "neurons of a layer"},
        weights={"nargs": "+", "default": ["frequency", "log-ratio"]},
        budgets={"type": int, "nargs": "+", "default": [10, 100, 1000]},
        targets={"nargs": "+", "default": ["0", "3"], "help": "numbers of targets, 0 to 5; with --nags their names"},
        peers={"action": "store_true", "help": "compare with faiss, too"},
    )
    documents = 10_000 if arguments.quick else arguments.documents
    real = np.load(arguments.nags) if arguments.nags else None
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.pool or Path(folder, "pool.nagindex")
        if real is not None:
            codes = np.ascontiguousarray(real[arguments.kind][:, :, : arguments.k])
            spec = NagSpec("up", (real["mean_impact"].shape[1],) * codes.shape[1], arguments.k)
            write_pool(path, len(codes), spec=spec, kind=arguments.kind, codes=codes)
        elif not path.exists():
            spec = NagSpec("up", (arguments.width,) * arguments.layers, arguments.k)
            write_pool(path, documents, spec=spec, kind=arguments.kind)
        index, started = nagindex.open(path), time.perf_counter()
        if index.info()["graphs"] is None:
            index.optimize()
        print(f"optimized in {time.perf_counter() - started:.0f} s")
        kind = arguments.kind if real is not None else index.manifest.fingerprint.backbone
        _report(index, list(targets_of(index, real, kind, arguments.targets)), arguments)


def _report(index: nagindex.Index, targets: list[tuple[str, Codes]], arguments: Any) -> None:
    spec = index.manifest.fingerprint.spec
    counts, documents = popularity_of(index.segments, View.of(spec))
    rows, results, peers = [], {}, dict[str, Any]()
    for name, codes in targets:
        for weights in arguments.weights:
            profile = Weighting.parse(weights).profile_of(codes, counts, documents, spec)
            engine = GraphEngine.open(index.snapshot, pool_of(index, profile))
            covered: list[Part] = [part for graph in engine.graphs for part in graph.parts]
            if arguments.peers and not peers:
                peers = faiss_indexes(np.concatenate([engine.basis.coordinates(part.codes()) for part in covered]))
            for budget in arguments.budgets:
                found = compared(arms_of(engine, ranking_of(index, profile, budget), peers), ROUNDS)
                case = f"{name}, {weights}, n = {budget:,}"
                results[case] = found
                for arm, own in found.items():
                    gain = found["scan"]["processor"] / own["processor"]
                    figures = f"{own['seconds']:.4f}", f"{own['processor']:.4f}", f"{own['recall']:.3f}", f"{gain:.1f}"
                    rows.append([case if arm == "scan" else "", arm, *figures])
    shape = f"{spec.layers} x {spec.widths[0]}, K = {spec.top_k}"
    print(f"{sum(part.documents for part in covered):,} documents that graphs cover, {shape}")
    headings = ["", "", "seconds", "processor seconds", "recall", "times the scan"]
    emit(headings, rows, {"documents": len(index), "results": results}, arguments.json)


if __name__ == "__main__":
    main()
