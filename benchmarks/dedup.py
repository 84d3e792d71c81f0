"""Near duplicates dropped from documents in order, exactly, against scipy's sparse product of all pairs.

The pool is synthetic (28 layers, K = 20): one document in ten is a copy of an earlier one with up to a quarter of its neurons
replaced, and the neurons of each layer shuffled. scipy computes the overlaps of all pairs, in blocks, and then drops documents in the
same order; it is timed on the smallest pool only, and must drop the same documents. Its product is computed once, and its time
counts for each overlap.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from benchmarks.report import emit, options
from benchmarks.synthetic import SPEC, make_codes
from nagindex.nag import Codes
from nagindex.select.near_duplicates import NearDuplicates

LEASTS = (1, 0.9, 0.8)
SAMPLE = 1000
COPIED = 0.1
MOST_REPLACED = 0.25
BLOCK = 250
CHEAP = 20_000
"""Documents up to which a figure is a median of three runs."""


def pool(n: int, *, seed: int = 0) -> Codes:
    """Return NAGs of n documents, some of them near copies of earlier ones, uint16 [n, L, K]."""
    random = np.random.default_rng(seed)
    codes = make_codes(n, seed=seed)
    for i in np.flatnonzero(random.random(n) < COPIED)[1:]:
        replaced = random.random(SPEC.shape) < MOST_REPLACED * random.integers(0, 6) / 5
        copy = codes[random.integers(0, i)].copy()
        for layer, row in enumerate(copy):
            others = np.setdiff1d(codes[i, layer], row)[: replaced[layer].sum()]
            row[np.flatnonzero(replaced[layer])[: len(others)]] = others
        codes[i] = random.permuted(copy, axis=-1)
    return codes


def admitted(codes: Codes, least: float) -> npt.NDArray[np.bool_]:
    """Return which documents are kept, bool [n]; an evenly spaced sample of them tells which neurons are rare."""
    return NearDuplicates(SPEC, least, sample=codes[:: max(1, len(codes) // SAMPLE)]).admit(codes)


def admitted_one_by_one(codes: Codes, least: float) -> int:
    """Return how many documents are kept when each is tested and added individually."""
    chosen = NearDuplicates(SPEC, least, sample=codes[:: max(1, len(codes) // SAMPLE)])
    kept = 0
    for nag in codes:
        if not chosen.overlaps(nag):
            chosen.add(nag)
            kept += 1
    return kept


def shared_by_scipy(codes: Codes) -> npt.NDArray[np.uint16]:
    """Return how many neurons each document shares with earlier ones, uint16 [n, n], computed in blocks of rows."""
    n, places = len(codes), SPEC.layers * SPEC.top_k
    columns = codes.reshape(n, places) + np.repeat(SPEC.offsets[:-1], SPEC.top_k).astype(np.int32)
    holds = sp.csr_matrix(
        (np.ones(columns.size, np.int32), columns.reshape(-1), np.arange(0, columns.size + 1, places)),
        shape=(n, SPEC.offsets[-1]),
    )
    shared = np.zeros((n, n), np.uint16)
    for first in range(0, n, BLOCK):
        last = min(first + BLOCK, n)
        shared[first:last, :last] = (holds[first:last] @ holds[:last].T).toarray()
    return shared


def admitted_by_scipy(shared: npt.NDArray[np.uint16], least: float) -> npt.NDArray[np.bool_]:
    """Return which documents are kept, bool [n], given the neurons that each shares with earlier ones."""
    chosen = np.zeros(len(shared), bool)
    for i, row in enumerate(shared):
        chosen[i] = not (
            row[:i][chosen[:i]] >= round(least * SPEC.layers * SPEC.top_k)
        ).any()  # an integer for all of LEASTS
    return chosen


def measured(codes: Codes, least: float) -> tuple[npt.NDArray[np.bool_], float]:
    """Return which documents are kept, and the seconds taken: for small pools, the median of three runs."""
    times = []
    for _ in range(3 if len(codes) <= CHEAP else 1):
        started = time.perf_counter()
        kept = admitted(codes, least)
        times.append(time.perf_counter() - started)
    return kept, statistics.median(times)


def main() -> None:
    """Measure, check that both drop the same documents, and report."""
    arguments = options(__doc__ or "")
    sizes = (2_000, 10_000) if arguments.quick else (10_000, 50_000, 100_000)
    codes = pool(sizes[-1])
    admitted(codes[:10], LEASTS[-1])  # compiles
    started = time.perf_counter()
    shared = shared_by_scipy(codes[: sizes[0]])
    product = time.perf_counter() - started
    rows, results = [], []
    for least in LEASTS:
        for n in sizes:
            kept, seconds = measured(codes[:n], least)
            if n == sizes[0]:
                started = time.perf_counter()
                reference = admitted_by_scipy(shared, least)
                peer = product + time.perf_counter() - started
                if not np.array_equal(kept, reference):
                    raise SystemExit(f"at {least}, the lists and scipy drop different documents of {n:,}")
                if admitted_one_by_one(codes[:n], least) != kept.sum():
                    raise SystemExit(f"at {least}, one by one drops other documents of {n:,}")
            against = {"scipy_seconds": peer, "ratio": peer / seconds} if n == sizes[0] else {}
            found = {"least": least, "documents": n, "seconds": seconds, "dropped": int(n - kept.sum())}
            results.append(found | against)
            figures = [f"{seconds:.2f}", f"{seconds / n * 1e6:.0f}", f"{found['dropped']:,}"]
            rows.append(
                [least, f"{n:,}", *figures, *([f"{peer:.1f}", f"{peer / seconds:.0f}"] if against else ["", ""])]
            )
    print("near duplicates dropped; one thread each")
    headings = ["overlap", "documents", "seconds", "us/document", "dropped", "scipy, seconds", "scipy / ours"]
    emit(headings, rows, {"results": results}, arguments.json)


if __name__ == "__main__":
    main()
