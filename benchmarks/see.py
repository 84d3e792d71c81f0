"""Seconds of `show`, `compare`, `curve` and `explain` on a synthetic pool, beside those of the query that they are about.

    python -m benchmarks.see [--documents 10M] [--index INDEX] [--quick] [--json FILE]

The target is the NAGs of 200 examples, and the selection a thousandth of the pool. Medians of some runs in one process, after one that
reads the files. `beyond` is what an answer takes more than the query: around the cut and for a curve documents are scored again. The
peer of `compare` is a DuckDB statement that joins the two files by id and counts what they share.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import nagindex
from benchmarks.report import emit, median_seconds, options
from benchmarks.synthetic import POOL_OPTIONS, kind_of, make_codes, pool_of
from nagindex.corpus.sql import connect
from nagindex.targets.saved import TargetSet

EXAMPLES, RUNS, SHARE = 200, 3, 0.001


def shared_by_duckdb(one: Path, other: Path) -> object:
    """Count the ids of two selections that both have, by one statement."""
    with connect() as connection:
        joined = f"read_parquet('{one}') JOIN read_parquet('{other}') USING (id)"
        return connection.execute(f"SELECT count(*) FROM {joined}").fetchone()


def questions(index: nagindex.Index, folder: Path, n: int) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name; two selections of n documents lie in the folder then."""
    spec, kind = index.manifest.fingerprint.spec, kind_of(index.manifest.fingerprint.backbone)
    codes = make_codes(EXAMPLES, seed=900, topic=3, spec=spec, kind=kind)
    saved = folder / "target.parquet"
    index.save_targets([TargetSet(codes, [f"e{number}" for number in range(len(codes))], [])], saved)
    selection = index.query(saved, n=n)
    a, b = folder / "a.parquet", folder / "b.parquet"
    selection.to_parquet(a)
    index.query(saved, n=n, weights="log-odds").to_parquet(b)
    chosen = selection.ids[:3].tolist()
    return {
        "query": lambda: index.query(saved, n=n),
        "show --rank 1-20": lambda: nagindex.selected_documents(a),
        "show --random 20": lambda: nagindex.selected_documents(a, sample=20),
        "show --around-cut 10": lambda: (nagindex.selected_documents(a, last=10), index.near_misses(a, n=10)),
        "compare": lambda: index.compare(a, b),
        "DuckDB: documents in both": lambda: shared_by_duckdb(a, b),
        "curve": lambda: index.score_curve(saved, columns=None, fine=True),
        "explain, 3 documents": lambda: index.explain(chosen, saved),
    }


def main() -> None:
    """Measure each answer and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **POOL_OPTIONS,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = nagindex.open(pool_of(arguments, folder, quick=20_000))
        n = max(100, int(len(index) * SHARE))
        seconds = {what: median_seconds(ask, repeat=RUNS) for what, ask in questions(index, folder, n).items()}
    query = seconds["query"]
    scored = ("show --around-cut 10", "curve")
    beyond = {
        what: max(0.0, own - query) if what in scored else own for what, own in seconds.items() if what != "query"
    }
    rows = [[what, f"{own:.2f}", f"{beyond[what]:.2f}" if what in beyond else "-"] for what, own in seconds.items()]
    spec = index.manifest.fingerprint.spec
    about = f"{len(index):,} documents, {spec.layers} x {spec.top_k}; {n:,} selected"
    emit(
        [about, "s", "beyond"],
        rows,
        {"documents": len(index), "n": n, "seconds": seconds, "beyond": beyond},
        arguments.json,
    )


if __name__ == "__main__":
    main()
