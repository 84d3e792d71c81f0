"""Sums of the R largest overlaps with T examples against scipy's sparse product and numpy's partition, two threads each.

Both use the same synthetic documents (28 layers, K = 20, as in a real model), scipy a sample of them, for which both must give
the same sums. scipy multiplies documents by examples one block at a time; the overlaps of a block are then partitioned.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from benchmarks.report import emit, median_seconds, options
from benchmarks.synthetic import SPEC, make_codes
from nagindex.nag import Codes
from nagindex.search.nearest import nearest_scorer

THREADS = 2
ROWS_PER_TASK = 8192
PEER_OVERLAPS = 1 << 20  # per block: the product then takes a few megabytes
SAMPLE = {200: 8192, 1000: 2048, 10_000: 512}
PLACES = SPEC.layers * SPEC.top_k


def matrix(codes: Codes) -> sp.csr_matrix:
    """Return NAGs as a scipy matrix of zeros and ones, int32 [n, all neurons]."""
    columns = (codes + SPEC.offsets[:-1, None]).astype(np.int32).reshape(-1)
    rows = np.arange(0, columns.size + 1, PLACES)
    return sp.csr_matrix((np.ones(columns.size, np.int32), columns, rows), shape=(len(codes), SPEC.offsets[-1]))


def in_blocks(work: Callable[[slice], None], documents: int, block: int) -> None:
    """Run the work for all blocks of documents, on the compared number of threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda first: work(slice(first, first + block)), range(0, documents, block)))


def scipy_sums(documents: sp.csr_matrix, examples: sp.csr_matrix, nearest: int) -> npt.NDArray[np.int64]:
    """Return the sums, int64 [n], for documents and transposed examples, both CSR."""
    count = documents.shape[0]
    sums = np.empty(count, np.int64)

    def work(rows: slice) -> None:
        overlaps = (documents[rows] @ examples).toarray()
        sums[rows] = np.partition(overlaps, -nearest, axis=1)[:, -nearest:].sum(axis=1)

    in_blocks(work, count, min(-(-count // THREADS), max(1, PEER_OVERLAPS // examples.shape[1])))
    return sums


def main() -> None:
    """Measure, check that both give the same sums, and report."""
    arguments = options(__doc__ or "")
    documents, repeat = (32_768, 3) if arguments.quick else (131_072, 5)
    pool = make_codes(documents, seed=1)
    flat, sums = pool.reshape(documents, PLACES), np.empty(documents, np.int64)
    columns = np.arange(SPEC.layers) * SPEC.top_k
    rows, results = [], []
    for size, sample in SAMPLE.items():
        examples = make_codes(size, seed=900, topic=3)
        few, turned = matrix(pool[: sample // (4 if arguments.quick else 1)]), matrix(examples).T.tocsr()
        for nearest in (1, 10):
            nearest_scorer(examples, SPEC, columns, nearest)(flat[:1], sums[:1])  # compiled, or read from the cache
            tracemalloc.start()
            started = time.perf_counter()
            scorer = nearest_scorer(examples, SPEC, columns, nearest)
            build = time.perf_counter() - started
            table = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()

            def ours(scorer: Callable[..., None] = scorer) -> None:
                in_blocks(lambda rows: scorer(flat[rows], sums[rows]), documents, ROWS_PER_TASK)

            def peer(few: sp.csr_matrix = few, turned: sp.csr_matrix = turned, nearest: int = nearest) -> object:
                return scipy_sums(few, turned, nearest)

            rate = documents / median_seconds(ours, repeat=repeat)
            peer_rate = few.shape[0] / median_seconds(peer, repeat=repeat)
            if not (peer() == sums[: few.shape[0]]).all():
                raise SystemExit("nagindex and scipy disagree")
            cells = [f"{size:,}", nearest, f"{rate:,.0f}", f"{peer_rate:,.0f}", f"{rate / peer_rate:.0f}"]
            rows.append([*cells, f"{1e6 / rate:.1f}", f"{build:.2f}", f"{table / 2**20:.1f}"])
            measured = {"documents_per_second": rate, "scipy_documents_per_second": peer_rate}
            results.append({"examples": size, "nearest": nearest, **measured, "build_seconds": build, "bytes": table})
    print(f"{documents:,} documents, {SPEC.layers} layers, K = {SPEC.top_k}, {THREADS} threads, medians")
    peer_name = "scipy CSR product + numpy partition"
    headings = [
        "examples",
        "R",
        "documents/s",
        f"{peer_name}, documents/s",
        "ratio",
        "s for 1M",
        "build s",
        "table MiB",
    ]
    emit(headings, rows, {"documents": documents, "peer": peer_name, "results": results}, arguments.json)


if __name__ == "__main__":
    main()
