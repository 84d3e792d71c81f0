"""The exact scan against scipy's sparse product: top 10,000 of one target, and six targets in one pass.

Both use the same synthetic pool (28 layers, K = 20), warm, in the same run. scipy only computes scores; the scan also selects, in
exact order, ties included.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import nagindex
from benchmarks.report import emit, median_seconds, options
from benchmarks.synthetic import SPEC, make_codes, write_pool
from nagindex.nag import Codes, NagSpec
from nagindex.search.profile import Profile, profile_of
from nagindex.search.scan import Ranking, scan, sums_from_codes
from nagindex.search.scorers import scorer_of
from nagindex.search.top_n import Hits
from nagindex.search.view import View
from nagindex.select.budget import exact_cut
from nagindex.select.candidates import Candidates
from nagindex.select.ranking_key import by_target
from nagindex.storage.docs import ids_at

TOP = 10_000
EXAMPLES = 200


def sparse_pool(segments: Sequence[Codes], spec: NagSpec = SPEC) -> sp.csr_matrix:
    """Return NAGs, uint16 [n_i, L, K] each, as a scipy matrix of zeros and ones, float32 [documents, all neurons]."""
    offsets = np.repeat(spec.offsets[:-1], spec.top_k).astype(np.int32)
    places = spec.layers * spec.top_k
    columns = np.empty((sum(map(len, segments)), places), np.int32)
    first = 0
    for codes in segments:
        np.add(codes.reshape(len(codes), places), offsets, out=columns[first : first + len(codes)])
        first += len(codes)
    ones = np.ones(columns.size, np.float32)
    return sp.csr_matrix(
        (ones, columns.reshape(-1), np.arange(0, columns.size + 1, places)), shape=(len(columns), spec.offsets[-1])
    )


def main() -> None:
    """Measure, check that both give the same scores, and report."""
    arguments = options(__doc__ or "")
    documents = 100_000 if arguments.quick else 1_000_000
    top = min(TOP, documents // 10)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pool.nagindex")
        started = time.perf_counter()
        write_pool(path, documents)
        index = nagindex.open(path)
        print(f"{documents:,} synthetic documents written in {time.perf_counter() - started:.0f} s")
        parts = Candidates(index.snapshot).parts(tokens=False)
        targets = [make_codes(EXAMPLES, seed=900 + topic, topic=topic) for topic in range(6)]
        profiles = [profile_of(codes, SPEC) for codes in targets]
        cut = partial(exact_cut, budget=top, ids_of=partial(ids_at, index.snapshot))

        def search(chosen: list[Profile]) -> list[Hits]:
            sums_of = sums_from_codes(scorer_of(chosen, View.of(SPEC)), len(chosen))
            orders = [by_target(number, profile) for number, profile in enumerate(chosen)]
            return scan(parts, sums_of, [Ranking(order.key, *order.bounds, top, cut) for order in orders])

        seconds = {
            "nagindex scan, one target": median_seconds(lambda: search(profiles[:1])),
            "nagindex scan, six targets": median_seconds(lambda: search(profiles)),
            "nagindex query, one target": median_seconds(lambda: index.query(targets[0], n=top)),
        }
        matrix = sparse_pool(index.codes)
        weights = [np.concatenate(p.weights).astype(np.float32) for p in profiles]
        seconds["scipy CSR product, one target"] = median_seconds(lambda: matrix @ weights[0])
        six = np.stack(weights, axis=1)
        seconds["scipy CSR product, six targets"] = median_seconds(lambda: matrix @ six, repeat=3)

        [hits] = search(profiles[:1])
        reference = matrix @ weights[0]
        if not (np.sort(hits.keys) == np.sort(reference)[-top:].astype(np.int64)).all():
            raise SystemExit("the scan and scipy disagree")

    peer = seconds["scipy CSR product, one target"]
    one = seconds["nagindex scan, one target"]
    rows = [
        [name, f"{value:.3f}", f"{documents / value / 1e6:.2f}", f"{value / peer:.2f}", f"{value / one:.2f}"]
        for name, value in seconds.items()
    ]
    print(f"exact top {top:,} of {documents:,} documents, {os.cpu_count()} threads, medians")
    headings = ["", "seconds", "M documents/s", "of scipy's one", "of our one"]
    emit(headings, rows, {"documents": documents, "top": top, "seconds": seconds}, arguments.json)


if __name__ == "__main__":
    main()
