"""Composition of selections from a labeled pool, for several targets, against the pool's own shares (random selection).

    python -m benchmarks.selection --pool corpus/pool --targets corpus/targets/gsm8k.jsonl corpus/targets/hellaswag.jsonl

Builds an index with all-MiniLM-L6-v2 through the command line, queries it once for each target, and reports the share of each
label in the selection, the seconds of building and of each query (the first encodes the targets, the second finds them in the
cache) and the peak memory of each command. `--quick` uses the project's sample data.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nagindex
from benchmarks.report import emit, options

DATA = Path(__file__).parent.parent / "data"


def run(*arguments: str) -> tuple[float, float]:
    """Run a nagindex command and return its seconds and its peak memory in MB."""
    started = time.perf_counter()
    child = subprocess.Popen([Path(sys.executable).with_name("nagindex"), *arguments])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"nagindex {' '.join(arguments)} failed")
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Build, query, and report."""
    arguments = options(
        __doc__ or "",
        pool={"help": "folder of labeled documents"},
        targets={"nargs": "+", "type": Path, "help": "files of examples"},
        label={"default": "dataset", "help": "column of the label"},
        documents={"type": int, "default": 1500, "help": "documents to select"},
    )
    if arguments.quick:
        arguments.pool, arguments.label, arguments.documents = str(DATA / "corpus"), "subject", 30
        arguments.targets = sorted((DATA / "targets").glob("*.jsonl"))
    if not arguments.pool or not arguments.targets:
        raise SystemExit("name a pool and targets, or --quick")
    costs: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        index, output = str(Path(folder, "pool.nagindex")), str(Path(folder, "selection.parquet"))
        keep = ("--keep-column", arguments.label)
        costs["build"] = run("build", arguments.pool, "-i", index, "--model", "minilm", *keep)
        shares = {"pool": label_shares(nagindex.open(index).sql(f'SELECT "{arguments.label}" FROM docs').fetchall())}
        for path in arguments.targets:
            for cached in ("first", "again"):
                query = ("query", str(path), "-n", str(arguments.documents), "-i", index, "-o", output)
                costs[f"{path.stem}, {cached}"] = run(*query)
            selection = nagindex.open(index).query(path, n=arguments.documents)
            shares[path.stem] = label_shares([(label,) for label in selection.column(arguments.label)])
        found = nagindex.open(index).info()
    labels = sorted(shares["pool"], key=lambda label: -max(share.get(label, 0) for share in list(shares.values())[1:]))
    rows = [[label, *(f"{share.get(label, 0):.1%}" for share in shares.values())] for label in labels]
    print(f"{found['documents']:,} documents, {found['bytes_per_document']} bytes each in the index")
    for name, (seconds, peak) in costs.items():
        print(f"{name:<30} {seconds:8.1f} s  peak {peak:6.0f} MB")
    results = {"costs": costs, "documents": found["documents"], "selected": arguments.documents, "shares": shares}
    emit(["label", *shares], rows, json.loads(json.dumps(results)), arguments.json)


def label_shares(rows: list[tuple[str]]) -> dict[str, float]:
    """Return the share of each label."""
    labels = [str(row[0]) for row in rows]
    return {label: labels.count(label) / len(labels) for label in sorted(set(labels))}


if __name__ == "__main__":
    main()
