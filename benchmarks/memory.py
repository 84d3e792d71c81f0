"""Peak memory of a query and of an append, on a pool of 100,000 and on one of 1,000,000 synthetic documents.

Each measurement runs in a separate process, which first performs the same operation on a tiny pool, so that memory taken by
compilers and libraries is not counted. The figure is the peak resident set, mapped pages included, minus the resident set before. An
append draws random codes instead of running a model, whose memory does not depend on the pool. The peer is scipy's sparse matrix of
the pool, which a product needs in memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import nagindex
from benchmarks.report import emit, in_a_process, options
from nagindex.backbone import load as backbone
from nagindex.encode import encoder as encode
from nagindex.encode.tokenize import Tokens
from nagindex.ingest import pipeline

TOP = 10_000
NEW_DOCUMENTS = 131_072
CASES = {
    "query": f"query -n {TOP:,}",
    "query_tokens": f"query --tokens {TOP * 1000:,}",
    "append": f"append {NEW_DOCUMENTS:,} documents",
    "scipy": "scipy CSR matrix of the pool",
}


def memory_mb(field: str) -> float:
    """Return a field of this process's memory status in MB: VmRSS (current resident set) or VmHWM (its peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def do(case: str, folder: Path, pool: str) -> None:
    """Run one case on one of the pools."""
    index = nagindex.open(folder / pool)
    if case == "query":
        index.query(np.load(folder / "targets.npy"), n=TOP).to_parquet(folder / "selection.parquet")
    elif case == "query_tokens":
        index.query(np.load(folder / "targets.npy"), tokens=TOP * 1000).to_parquet(folder / "selection.parquet")
    elif case == "append":
        index.append(folder / f"new-{pool}.jsonl", workers=0)
    else:
        from benchmarks.scan import sparse_pool

        sparse_pool(index.codes)


class Model:
    """Stub for a backbone and its tokenizer: every text is one token."""

    tokenizer = None
    model = SimpleNamespace(device=SimpleNamespace(type="cpu"))
    portable = False

    def __init__(self, _tokenizer: object = None) -> None:
        pass

    def __call__(self, texts: list[str], **_: object) -> Tokens:
        """Return the token 1 for each text."""
        return Tokens([[1]] * len(texts), np.ones(len(texts), np.int64))


def random_codes(encoder: encode.Encoder, ids: list[Any]) -> list[Any]:
    """Return NAGs of consecutive neurons from a random start, uint16 [n, L, K]."""
    [spec] = encoder.specs
    starts = np.random.default_rng(len(ids)).integers(0, spec.widths[0] - spec.top_k, (len(ids), spec.layers, 1))
    return [(starts + np.arange(spec.top_k)).astype(np.uint16)]


def measure(case: str, folder: Path) -> None:
    """Run a case on the small pool, then on the pool, and print the second run's peak memory as JSON."""
    backbone.load_matching_backbone = lambda *_, **__: Model()
    pipeline.PrefixTokenizer = Model
    encode.CpuWorkers = SimpleNamespace(of=lambda _: None)
    encode.Encoder.encode = random_codes
    do(case, folder, "small.nagindex")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory_mb("VmRSS")
    do(case, folder, "pool.nagindex")
    print(json.dumps(memory_mb("VmHWM") - before))


def write_new(path: Path, documents: int) -> None:
    """Write short new documents as JSON lines."""
    path.write_text("".join(json.dumps({"id": f"new-{i}", "text": f"text {i}"}) + "\n" for i in range(documents)))


def main() -> None:
    """Measure each case in a fresh process and report."""
    arguments = options(__doc__ or "", measure={"nargs": 2, "help": argparse.SUPPRESS})
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
        return
    from benchmarks.synthetic import make_codes, write_pool

    sizes = [20_000, 100_000] if arguments.quick else [100_000, 1_000_000]
    peaks: dict[str, list[float]] = {case: [] for case in CASES}
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_pool(folder / "pool.nagindex", size)
            write_pool(folder / "small.nagindex", 1000)
            write_new(folder / "new-pool.nagindex.jsonl", NEW_DOCUMENTS // (10 if arguments.quick else 1))
            write_new(folder / "new-small.nagindex.jsonl", 1000)
            np.save(folder / "targets.npy", make_codes(200, seed=900, topic=3))
            for case in CASES:
                peaks[case].append(in_a_process("benchmarks.memory", "--measure", case, name))
    rows = [
        [CASES[case], *(f"{value:.0f}" for value in values), f"{values[1] - values[0]:+.0f}"]
        for case, values in peaks.items()
    ]
    headings = ["MB above what it took before", *(f"{size:,} documents" for size in sizes), "difference"]
    emit(headings, rows, {"sizes": sizes, "peaks_mb": peaks}, arguments.json)


if __name__ == "__main__":
    main()
