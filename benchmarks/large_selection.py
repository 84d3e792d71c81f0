"""Seconds and memory of selections from a thousand documents to nearly all of a synthetic pool, written as Parquet, against DuckDB alone.

    python -m benchmarks.large_selection [--documents 10M] [--index INDEX] [--ray] [--parts] [--quick] [--json FILE]

With --ray, tasks of a local cluster read the codes; times and memory are those of the process that asks. With --parts, selections are
folders of parts, which with --ray are written by tasks as well.

Each selection runs in a process of its own, which first performs the same query on a tiny pool. The memory is the peak of what the process
allocates (anonymous pages) beyond what it had then; files, mapped or cached, do not count, as the system takes them back when it needs
room. The peer is what a script would do that has the scores in memory: one DuckDB statement that joins as many rows with the documents'
tables, numbers them by score and id, and writes them; it computes no score.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

import nagindex
from benchmarks.memory import memory_mb
from benchmarks.report import emit, in_a_process, options
from benchmarks.synthetic import POOL_OPTIONS, kind_of, make_codes, pool_of, write_pool
from nagindex.cluster.connection import AUTO, LOCAL, connected
from nagindex.corpus.sql import connect
from nagindex.storage.docs import join_documents
from nagindex.storage.snapshot import Snapshot

SHARES = (0.01, 0.2, 0.9)
SMALL = 10_000
INTERVAL = 0.01
"""Seconds between two looks at the memory."""


class Peak:
    """Context that notes the largest number of megabytes of anonymous memory of this process while it is entered."""

    def __enter__(self) -> Peak:
        self.before = self.most = memory_mb("RssAnon")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            self.most = max(self.most, memory_mb("RssAnon"))

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def select(index: Path, n: int, target: np.ndarray, output: str, ray: str | None) -> dict[str, float]:
    """Select and write n documents; return the seconds of the ranking, of the rows and of writing."""
    started = time.perf_counter()
    selection = nagindex.open(index).query(target, n=n, ray=ray)
    found = time.perf_counter()
    selection.to_parquet(output)
    ranking = selection.plan.actual["seconds"]
    return {"ranking": ranking, "rows": found - started - ranking, "writing": time.perf_counter() - found}


def join_in_one_statement(index: Path, n: int, output: Path) -> dict[str, float]:
    """Join n random documents with random scores, order and write them by one DuckDB statement; return the seconds."""
    snapshot, random = Snapshot.open(index), np.random.default_rng(0)
    positions = np.sort(random.choice(len(snapshot), n, replace=False)).astype(np.int64)
    keys = random.integers(0, 5000, n)
    started = time.perf_counter()
    with connect() as connection:
        joined = join_documents(connection, snapshot, positions, {"_key": keys})
        connection.execute(
            f"""COPY (SELECT row_number() OVER (ORDER BY _key DESC, d.id) AS rank, d.id, _key / 112000 AS score, d.tokens, d.file, d.row
            {joined} ORDER BY rank) TO '{output}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)"""
        )
    return {"writing": time.perf_counter() - started}


def measure(case: str, n: int, index: Path, folder: Path) -> None:
    """Run a case on a tiny pool, then on the index, and print the second run's seconds and peak memory as JSON."""
    target, output = np.load(folder / "target.npy"), f"{folder}/selection{'/' if 'parts' in case else '.parquet'}"
    ray = AUTO if "ray" in case else None

    def run(pool: Path, count: int) -> dict[str, float]:
        if case == "join":
            return join_in_one_statement(pool, count, Path(output))
        return select(pool, count, target, output, ray)

    with connected(LOCAL) if ray else nullcontext():
        run(folder / "tiny.nagindex", 100)
        with Peak() as peak:
            seconds = run(index, n)
    print(json.dumps(seconds | {"memory_mb": peak.most - peak.before}))


def main() -> None:
    """Measure each selection and its peer in fresh processes, and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **POOL_OPTIONS,
        shares={"type": float, "nargs": "+", "default": SHARES, "help": "shares of the pool to select"},
        ray={"action": "store_true", "help": "have the tasks of a local Ray cluster read the codes"},
        parts={"action": "store_true", "help": "write folders of parts, with --ray by tasks"},
        measure={"nargs": 3, "help": argparse.SUPPRESS},
        folder={"type": Path, "help": argparse.SUPPRESS},
    )
    if arguments.measure:
        case, n, index = arguments.measure
        measure(case, int(n), Path(index), arguments.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = pool_of(arguments, folder, quick=200_000)
        opened = nagindex.open(index)
        spec, kind, documents = (
            opened.manifest.fingerprint.spec,
            kind_of(opened.manifest.fingerprint.backbone),
            len(opened),
        )
        write_pool(folder / "tiny.nagindex", 1000, spec=spec, kind=kind)
        np.save(folder / "target.npy", make_codes(200, seed=900, topic=3, spec=spec, kind=kind))
        rows, results = [], {}
        for n in (min(SMALL, documents // 100), *(int(share * documents) for share in arguments.shares)):
            own, peer = (
                in_a_process("benchmarks.large_selection", "--folder", folder, "--measure", case, n, index)
                for case in (f"{'ray' if arguments.ray else 'query'}{' parts' * arguments.parts}", "join")
            )
            own_seconds, peer_seconds = (
                sum(s for key, s in found.items() if key != "memory_mb") for found in (own, peer)
            )
            results[f"{n}"] = {"query": own, "duckdb": peer}
            rows.append(
                [
                    f"{n:,}",
                    *(f"{own[stage]:.2f}" for stage in ("ranking", "rows", "writing")),
                    f"{own_seconds:.2f}",
                    f"{own['memory_mb']:.0f}",
                    f"{peer_seconds:.2f}",
                    f"{peer['memory_mb']:.0f}",
                    f"{(own['rows'] + own['writing']) / peer_seconds:.2f}",
                ]
            )
    headings = [
        "documents selected",
        "s: ranking",
        "rows",
        "writing",
        "in all",
        "MB",
        "DuckDB: s",
        "MB",
        "rows and writing / DuckDB",
    ]
    print(f"{documents:,} documents of {spec.layers} x {spec.top_k} neurons")
    emit(headings, rows, {"documents": documents, "shape": list(spec.shape), "selections": results}, arguments.json)


if __name__ == "__main__":
    main()
