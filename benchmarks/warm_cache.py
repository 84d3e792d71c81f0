"""A query of an index in an object store whose files are in the cache, against the same query of the index in a folder.

    python -m benchmarks.warm_cache [--documents 1M] [--index INDEX] [--url URL] [--quick] [--json FILE]

The index is copied to a URL, by default a folder behind `file://`; for a server, name one such as s3://BUCKET/pool.nagindex, where nothing
is yet. Each query opens the index, asks the store for its version, and selects a hundredth of the pool for the NAGs of 200 examples. Both
take turns; medians. The first query from the store, which fetches the files, is reported apart.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import nagindex
from benchmarks.report import emit, options
from benchmarks.synthetic import POOL_OPTIONS, kind_of, make_codes, pool_of
from nagindex.stores.objects import ObjectStore
from nagindex.targets.saved import TargetSet

EXAMPLES, ROUNDS = 200, 9


def copy(index: Path, url: str) -> None:
    """Copy the files of an index to a URL."""
    store = ObjectStore(url)
    for path in sorted(index.rglob("*")):
        if path.is_file():
            store.put(path.relative_to(index).as_posix(), path)


def main() -> None:
    """Measure in a temporary folder, with a cache of its own, and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **POOL_OPTIONS | {"documents": POOL_OPTIONS["documents"] | {"default": 1_000_000}},
        url={"help": "where the index is copied to; by default behind file://"},
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["NAGINDEX_CACHE"] = str(folder / "cache")
        place = pool_of(arguments, folder, quick=50_000)
        (folder / "store").mkdir()
        url = arguments.url or f"file://{folder}/store/pool.nagindex"
        copy(place, url)
        opened = nagindex.open(place)
        spec, kind = opened.manifest.fingerprint.spec, kind_of(opened.manifest.fingerprint.backbone)
        codes = make_codes(EXAMPLES, seed=900, topic=3, spec=spec, kind=kind)
        saved = folder / "target.parquet"
        opened.save_targets([TargetSet(codes, [f"e{number}" for number in range(len(codes))], [])], saved)
        n = len(opened) // 100

        def seconds(where: str | Path) -> float:
            started = time.perf_counter()
            nagindex.open(where).query(saved, n=n)
            return time.perf_counter() - started

        seconds(place)
        first = seconds(url)
        found = [(seconds(place), seconds(url)) for _ in range(ROUNDS)]
    local, remote = (statistics.median(own) for own in zip(*found, strict=True))
    about = f"{len(opened):,} documents, {spec.layers} x {spec.top_k}; {n:,} selected"
    rows = [
        ["from a folder", f"{local:.3f}", "1.00"],
        ["from a store, cached", f"{remote:.3f}", f"{remote / local:.2f}"],
        ["from a store, first", f"{first:.3f}", f"{first / local:.2f}"],
    ]
    results = {"documents": len(opened), "n": n, "local": local, "cached": remote, "first": first}
    emit([about, "s", "ratio"], rows, results, arguments.json)


if __name__ == "__main__":
    main()
