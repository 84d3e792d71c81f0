"""The engines that find the best documents of a large pool: scan, sketches, graphs; and scipy and faiss for comparison.

A synthetic pool with the statistics of real NAGs (`--kind absolute` or `relative`; 28 layers of 6,144 neurons, K = 20, unless others
are named) is written and optimized once, or taken from --pool, where it stays. Targets are held-out examples; weights are `frequency`
or `log-ratio`. Each line is measured in a process of its own: warm is the median of some searches after one that does not count; cold
is the first search of a process after the index's pages were dropped from memory. "auto" is what the planner chooses, its own time
included. Every exact engine's answer is compared with the scan's. scipy multiplies what fits memory and is extrapolated in proportion;
faiss searches the same sketches (8-bit) and its documents are scored exactly afterwards.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import nagindex
from benchmarks.report import emit, options
from benchmarks.scan import sparse_pool
from benchmarks.synthetic import kind_of, make_codes, write_pool
from nagindex.nag import Codes, NagSpec
from nagindex.query.engines import Engine, GraphEngine, open_engine
from nagindex.query.pool import ScoredPool, score_pool
from nagindex.search.profile import Profile
from nagindex.search.rescore import rescore
from nagindex.search.scan import Ranking
from nagindex.search.scorers import scorer_of
from nagindex.search.view import View
from nagindex.search.weights import Weighting
from nagindex.select.budget import exact_cut
from nagindex.select.candidates import Candidates
from nagindex.select.ranking_key import by_target
from nagindex.sketches.popularity import popularity_of
from nagindex.sketches.store import current_sketches
from nagindex.storage.docs import ids_at
from nagindex.storage.segment import verify_segments
from nagindex.targets.saved import TargetSet

EXAMPLES = 200
REPEAT = 3
SCIPY_DOCUMENTS = 500_000
FAISS_DOCUMENTS = 2_000_000
"""Larger pools would take faiss most of an hour to assign to its lists here."""


def spec_of(index: nagindex.Index) -> NagSpec:
    """Return the shape of an index's NAGs."""
    return index.manifest.fingerprint.spec


def targets_of(index: nagindex.Index, numbers: str) -> list[TargetSet]:
    """Return target sets of 200 examples each, none of which is in the pool, by their numbers: `3`, or `0,1,2` for several."""
    make = partial(make_codes, EXAMPLES, spec=spec_of(index), kind=kind_of(index.manifest.fingerprint.backbone))
    return [TargetSet(make(seed=900 + t, topic=t), [], [], name=f"topic-{t}") for t in map(int, numbers.split(","))]


def weighted(codes: Codes, index: nagindex.Index, weights: str) -> Profile:
    """Return the profile of examples by some weights: `frequency`, or `log-ratio` of their share of the examples and of the pool."""
    counts, documents = popularity_of(index.segments, View.of(spec_of(index)))
    return Weighting.parse(weights).profile_of(codes, counts, documents, spec_of(index))


def drop_pages(path: Path) -> None:
    """Take an index's files out of the page cache."""
    for file in path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def scored_pool(index: nagindex.Index, profiles: list[Profile]) -> ScoredPool:
    """Return all documents of an index, scored by some profiles."""
    parts, segments = Candidates(index.snapshot).parts(tokens=False), index.manifest.segments
    view = View.of(spec_of(index))
    return score_pool(parts, segments, profiles, view, keep_sums=False, size=len(index), threads=None)


def rankings_of(index: nagindex.Index, pool: ScoredPool, budget: int) -> list[Ranking]:
    """Return what is to be ranked: the best documents of each target."""
    cut = partial(exact_cut, budget=budget, ids_of=partial(ids_at, index.snapshot))
    keys = [by_target(number, target) for number, target in enumerate(pool.targets)]
    return [Ranking(key.key, *key.bounds, budget, cut) for key in keys]


def engine(path: str, mode: str, weights: str, targets: str, budget: int, cold: bool) -> dict[str, Any]:
    """Search with one engine; seconds are of the ranking alone, from opening its files to the last document."""
    index = nagindex.open(path)
    sets = targets_of(index, targets)
    profiles = [weighted(own.codes, index, weights) for own in sets]
    warm_up = nagindex.open(path).query  # compiled code and libraries are loaded, whatever the page cache holds
    if cold:
        warm_up({own.name: own.codes for own in sets}, n=len(sets), mode=mode)
        drop_pages(Path(path))
    verify_segments(index.segments)
    seconds, found = [], np.empty(0)
    for _ in range(1 if cold else REPEAT + 1):
        pool = scored_pool(index, profiles)
        started = time.perf_counter()
        one: Engine = open_engine(index.snapshot, pool, mode=mode, score="mean")
        hits = one.rank(rankings_of(index, pool, budget))
        seconds.append(time.perf_counter() - started)
        found = np.concatenate([np.sort(own.positions) for own in hits])
    np.save(Path(path).parent / f"found-{mode}-{weights}-{targets}-{budget}.npy", found)
    actual = one.plan.actual
    share = float(actual.get("documents", 0)) / len(index)
    recall = [own["recall"] for own in actual.get("recall", [])]
    taken = statistics.median(seconds[min(1, len(seconds) - 1) :])
    if mode == "graph":  # the estimate of recall is a search of its own, and reported beside
        taken = statistics.median(_graph_only(index, profiles, budget))
    return {"seconds": taken, "read": share, "estimate": recall, "engine": one.plan.engine}


def _graph_only(index: nagindex.Index, profiles: list[Profile], budget: int) -> list[float]:
    """Return the seconds of searching graphs without the estimate of recall."""
    from nagindex.search import graph_search

    pool = scored_pool(index, profiles)
    opened = GraphEngine.open(index.snapshot, pool)
    rankings = rankings_of(index, pool, budget)
    seconds = []
    for _ in range(REPEAT + 2):
        started = time.perf_counter()
        for number, ranking in enumerate(rankings):
            graph_search.search(pool.parts, opened.graphs, opened._target(number, ranking))
        seconds.append(time.perf_counter() - started)
    return seconds[2:]


def scipy_product(path: str, weights: str, targets: str) -> dict[str, Any]:
    """Multiply what fits memory."""
    index = nagindex.open(path)
    matrix = sparse_pool(index.codes[: max(1, SCIPY_DOCUMENTS // 131_072)], spec_of(index))
    profiles = [weighted(own.codes, index, weights) for own in targets_of(index, targets)]
    columns = [np.concatenate(profile.weights).astype(np.float32) for profile in profiles]
    wanted = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    matrix @ wanted
    return {"seconds": _median(lambda: matrix @ wanted) * len(index) / matrix.shape[0], "read": 1.0}


def faiss_search(path: str, kind: str, weights: str, targets: str, budget: int) -> dict[str, Any]:
    """Search the sketches of one target with faiss, score twice the budget exactly, and say how much of the scan's answer that holds."""
    import faiss

    index = nagindex.open(path)
    [target] = targets_of(index, targets)
    sketches = current_sketches(index.path, spec_of(index))
    if sketches is None:
        raise SystemExit("no sketches")
    read = [sketches.read(segment.entry) for segment in index.segments]
    blocks = [(own.offsets[:-1] + own.steps[:-1] * own.values[:][:, :-1]).astype(np.float32) for own in read if own]
    dims = blocks[0].shape[1]
    quantizer = faiss.ScalarQuantizer.QT_8bit
    started = time.perf_counter()
    if kind == "flat":
        searched = faiss.IndexScalarQuantizer(dims, quantizer, faiss.METRIC_INNER_PRODUCT)
    else:
        lists = int(4 * len(index) ** 0.5)
        coarse = faiss.IndexFlatIP(dims)
        searched = faiss.IndexIVFScalarQuantizer(coarse, dims, lists, quantizer, faiss.METRIC_INNER_PRODUCT)
        searched.cp.niter = 4
        searched.nprobe = max(1, lists // 20)
    searched.train(blocks[0])
    for block in blocks:
        searched.add(block)
    built = time.perf_counter() - started
    del blocks
    profile = weighted(target.codes, index, weights)
    query = sketches.basis.project(profile.weights)[0].astype(np.float32)[None]
    parts = Candidates(index.snapshot).parts(tokens=False)
    scorer = scorer_of([profile], View.of(spec_of(index)))

    def search() -> np.ndarray:
        keys = np.sort(searched.search(query, min(2 * budget, len(index)))[1][0])
        keys = keys[keys >= 0]
        sums = rescore(parts, keys, scorer)
        return keys[np.argsort(-sums, kind="stable")[:budget]]

    exact = np.load(Path(path).parent / f"found-scan-{weights}-{targets}-{budget}.npy")
    recall = len(np.intersect1d(search(), exact)) / budget
    return {"seconds": _median(search), "read": 2 * budget / len(index), "recall": recall, "built": built}


def _median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEAT):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def one(kind: str, *arguments: str) -> None:
    """Do one line's work and print its results as JSON, with the process's peak memory."""
    if kind == "engine":
        path, mode, weights, targets, budget, cold = arguments
        found = engine(path, mode, weights, targets, int(budget), cold == "cold")
    elif kind == "scipy":
        found = scipy_product(*arguments)
    else:
        found = faiss_search(*arguments[:4], int(arguments[4]))
    status = Path("/proc/self/status").read_text()
    found["peak_mb"] = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    print(json.dumps(found))


def measured(*arguments: object) -> dict[str, Any] | None:
    """Run this script for one line; None where it died, for want of memory mostly."""
    command = [sys.executable, "-m", "benchmarks.engines", "--one", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def main() -> None:
    """Measure and report."""
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
        return
    arguments = options(
        __doc__ or "",
        documents={"type": int, "default": 1_000_000},
        pool={"type": Path, "help": "index to use, or to write and leave there"},
        kind={"choices": ["absolute", "relative"], "default": "absolute"},
        layers={"type": int, "default": 28},
        width={"type": int, "default": 6144},
        k={"type": int, "default": 20, "help": "neurons of a layer"},
        weights={"nargs": "+", "default": ["frequency", "log-ratio"]},
        budgets={"type": int, "nargs": "+", "default": [1_000, 10_000, 100_000]},
        targets={
            "nargs": "+",
            "default": ["0", "3", "0,1,2,3,4,5"],
            "help": "numbers of targets, 0 to 5; with commas: in one query",
        },
        engines={"nargs": "+", "default": ["scan", "sketch", "auto", "graph"]},
        peers={"nargs": "*", "default": ["scipy", "faiss"]},
        cold={"action": "store_true", "help": "also the first search from a cold disk"},
    )
    documents = 10_000 if arguments.quick else arguments.documents
    if arguments.quick:
        arguments.targets, arguments.weights = ["3", "0,1,2"], ["frequency"]
        arguments.budgets, arguments.layers, arguments.width = [200], 10, 1536
    spec = NagSpec("up", (arguments.width,) * arguments.layers, arguments.k)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.pool or Path(folder, "pool.nagindex")
        started = time.perf_counter()
        if not path.exists():
            write_pool(path, documents, spec=spec, kind=arguments.kind)
        index, written = nagindex.open(path), time.perf_counter()
        index.optimize(graph="graph" in arguments.engines)
        optimized = time.perf_counter() - written
        spec, kind = spec_of(index), kind_of(index.manifest.fingerprint.backbone)
        print(
            f"{len(index):,} documents, {kind}, {spec.layers} x {spec.widths[0]}, K = {spec.top_k}, "
            f"{spec.bytes_per_document} bytes each; written in {written - started:.0f} s, optimized in {optimized:.0f} s"
        )
        _report(len(index), _measure(path, len(index), arguments), arguments.json)


def _measure(path: Path, documents: int, arguments: argparse.Namespace) -> dict[str, dict[str, Any] | None]:
    """Return the results of all lines by name."""
    results: dict[str, Any] = {}
    for weights, targets in itertools.product(arguments.weights, arguments.targets):
        case = f"{weights}, {_named(targets)}"
        for budget, mode in itertools.product(arguments.budgets, arguments.engines):
            for cold in ("warm", "cold") if "," not in targets and arguments.cold else ("warm",):
                name = f"{mode}, {case}, n = {budget:,}, {cold}"
                results[name] = measured("engine", path, mode, weights, targets, budget, cold)
                _compare(path.parent, mode, weights, targets, budget, results[name])
        if "scipy" in arguments.peers:
            results[f"scipy CSR product, {case}"] = measured("scipy", path, weights, targets)
        if "faiss" in arguments.peers and "," not in targets and documents <= FAISS_DOCUMENTS:
            for kind, budget in itertools.product(("flat", "IVF"), [b for b in arguments.budgets if b <= 10_000]):
                results[f"faiss {kind}, {case}, n = {budget:,}"] = measured(
                    "faiss", path, kind, weights, targets, budget
                )
    return results


def _named(targets: str) -> str:
    return f"target {targets}" if "," not in targets else f"{targets.count(',') + 1} targets"


def _compare(folder: Path, mode: str, weights: str, targets: str, budget: int, result: dict[str, Any] | None) -> None:
    """Hold an answer against the scan's: exact engines must give the same, of others the share of it is noted."""
    if result is None:
        return
    found, exact = (np.load(folder / f"found-{m}-{weights}-{targets}-{budget}.npy") for m in (mode, "scan"))
    if mode != "graph" and not np.array_equal(found, exact):
        raise SystemExit(f"{mode} and the scan disagree")
    lists = zip(*(np.split(own, targets.count(",") + 1) for own in (found, exact)), strict=True)
    result["recall"] = float(np.mean([len(np.intersect1d(own, true)) / budget for own, true in lists]))


def _report(documents: int, results: dict[str, Any], path: Path | None) -> None:
    rows = []
    for name, found in results.items():
        if found is None:
            rows.append([name, "died", "", "", "", "", ""])
            continue
        peers = results.get("scipy CSR product," + ",".join(name.split(",")[1:3]))
        ratio = f"{peers['seconds'] / found['seconds']:.1f}" if peers else ""
        scan = results.get(name.replace(name.split(",")[0], "scan", 1) + ", warm" * name.startswith("faiss"))
        gain = f"{scan['seconds'] / found['seconds']:.1f}" if scan else ""
        recall = "" if "recall" not in found else f"{found['recall']:.4f}"
        if name.startswith("auto"):
            name += f" ({found['engine']})"
        seconds, peak = f"{found['seconds']:.4f}", f"{found['peak_mb']:.0f}"
        rows.append([name, seconds, f"{found['read']:.1%}", recall, peak, gain, ratio])
    headings = ["", "seconds", "documents read", "recall", "peak MB", "times the scan", "times scipy"]
    emit(headings, rows, {"documents": documents, "results": results}, path)


if __name__ == "__main__":
    main()
