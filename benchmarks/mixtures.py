"""Six targets at once over a synthetic pool: mixtures, quality and a filter, against the published ranking.

The published code reads every document's features from JSON lines for each target, sums a dictionary of frequencies in Python
and sorts. `published` reimplements this for the comparison, on a smaller number of documents, and its figures are also given per
document. Each row runs in a separate process, which reports its seconds and its peak memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import nagindex
from benchmarks.report import emit, options
from benchmarks.synthetic import SPEC, make_codes, write_pool

EXAMPLES, TARGETS = 200, 6
QUERIES = {
    "merge": {"mix": "merge"},
    "distinct": {"mix": "distinct"},
    "union": {"mix": "union"},
    "max": {"mix": "max"},
    "merge, quality": {"mix": "merge", "quality": nagindex.Quality("quality")},
    "merge, filter": {"mix": "merge", "where": "quality > 0.5"},
    "merge, quality and filter": {"mix": "merge", "quality": nagindex.Quality("quality"), "where": "tokens > 200"},
    "union, quality and filter": {"mix": "union", "quality": nagindex.Quality("quality"), "where": "tokens > 200"},
    "union, cap 10 % a source": {"mix": "union", "cap": {"file": 0.1}},
    "merge, dedup 0.9": {"mix": "merge", "dedup": 0.9},
    "merge, contrast 0.5": {"mix": "merge", "contrast": 0.5},
}


def examples() -> dict[str, np.ndarray]:
    """Return six target sets, each of one topic."""
    return {f"topic-{topic}": make_codes(EXAMPLES, seed=900 + topic, topic=topic) for topic in range(TARGETS)}


def query(path: str, name: str, budget: int, targets: dict[str, np.ndarray]) -> int:
    """Run one query and return how many documents it selects."""
    return len(nagindex.open(path).query(targets, n=budget, **QUERIES[name]))


def published(features: str, budget: int, targets: dict[str, np.ndarray]) -> int:
    """Rank as the published code does, target by target, and return the number of selected documents."""
    selected = 0
    for target in targets.values():
        frequency = [Counter(target[:, layer].ravel().tolist()) for layer in range(SPEC.layers)]
        distances = []
        with open(features) as file:
            for line in file:
                record = json.loads(line)
                shares = [
                    sum(frequency[layer][neuron] for neuron in neurons) / len(target) / SPEC.top_k
                    for layer, neurons in enumerate(record["nag"])
                ]
                distances.append((1 - sum(shares) / SPEC.layers, record["id"], record))
        distances.sort(key=lambda row: row[:2])
        selected += len(distances[: budget // TARGETS])
    return selected


def measured(*arguments: object) -> tuple[float, float]:
    """Run this script for one row and return its seconds, without Python startup, and its peak memory in MB."""
    command = [sys.executable, "-m", "benchmarks.mixtures", "--one", *map(str, arguments)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(output[-2]), float(output[-1])


def one(kind: str, path: str, budget: str, name: str = "") -> None:
    """Do one row's work twice and print the seconds of the second run; the first one compiles and maps."""
    with np.load(Path(path).parent / "targets.npz") as file:
        targets = dict(file)
    if kind == "query":
        query(path, name, int(budget), targets)
    started = time.perf_counter()
    if kind == "query":
        query(path, name, int(budget), targets)
    else:
        published(path, int(budget), targets)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()  # a child's getrusage() would begin with its parent's peak
    print(seconds, int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6)


def main() -> None:
    """Measure and report."""
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
        return
    arguments = options(__doc__ or "", documents={"type": int, "default": 1_000_000})
    documents = 50_000 if arguments.quick else arguments.documents
    peers = [1_000] if arguments.quick else [10_000, 50_000]
    share = 0.05
    rows, results = [], {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pool.nagindex")
        write_pool(path, documents, quality=True)
        np.savez(Path(folder, "targets.npz"), **examples())
        budget = round(documents * share)
        for name in list(QUERIES)[: 5 if arguments.quick else None]:
            seconds, peak = measured("query", path, budget, name)
            results[name] = {"documents": documents, "seconds": seconds, "peak_mb": peak}
        for count in peers:
            features = Path(folder, "features.jsonl")
            codes = make_codes(count, seed=1)
            features.write_text(
                "".join(json.dumps({"id": f"doc-{i:010d}", "nag": nag.tolist()}) + "\n" for i, nag in enumerate(codes))
            )
            seconds, peak = measured("published", features, round(count * share))
            results[f"published way, {count:,} documents"] = {"documents": count, "seconds": seconds, "peak_mb": peak}
    base = [r["seconds"] / r["documents"] for name, r in results.items() if name.startswith("published")][-1]
    for name, r in results.items():
        each = r["seconds"] / r["documents"]
        rows.append([name, f"{r['seconds']:.2f}", f"{1e6 * each:.2f}", f"{r['peak_mb']:.0f}", f"{base / each:,.0f}"])
    headings = ["", "seconds", "µs a document", "peak MB", "times the published way"]
    print(f"six targets of {EXAMPLES} examples, {documents:,} documents, budget {share:.0%}")
    emit(headings, rows, {"documents": documents, "results": results}, arguments.json)


if __name__ == "__main__":
    main()
