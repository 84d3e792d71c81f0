"""The exact scan, top 10,000 of one target and of six, against scipy's sparse product, torch's `embedding_bag` and a plain read.

    python -m benchmarks.scan [--kind absolute|relative] [--layers 28] [--top-k 20] [--documents 1M] [--quick] [--json FILE]

All use the same synthetic pool, warm, in the same run; six targets are also summed by the loop of `former_loop.py`. The peers only compute
scores, torch from int32 neurons that were made before; the scan also selects, as a query of `n` documents does. The plain read adds up
the codes' bytes as 64-bit words, on as many threads.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

import nagindex
from benchmarks.former_loop import former_scorer
from benchmarks.report import emit, median_seconds, options
from benchmarks.synthetic import SPEC, make_codes, write_pool
from nagindex.arguments import parse_count
from nagindex.nag import Codes, NagSpec
from nagindex.search.profile import Profile, profile_of
from nagindex.search.scan import Ranking, scan, sums_from_codes
from nagindex.search.scorers import Scorer, scorer_of
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


def read(segments: Sequence[Codes]) -> None:
    """Read all codes once, a segment to a thread."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda codes: codes.reshape(-1)[: codes.size // 4 * 4].view(np.uint64).sum(), segments))


def main() -> None:
    """Measure, check that both give the same scores, and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        kind={"choices": ["absolute", "relative"], "default": "absolute"},
        layers={"type": int, "default": SPEC.layers},
        documents={"type": parse_count, "default": 1_000_000},
        **{"top-k": {"type": int, "default": SPEC.top_k}},
    )
    spec = NagSpec("up", SPEC.widths[:1] * arguments.layers, arguments.top_k)
    documents = 100_000 if arguments.quick else arguments.documents
    top = min(TOP, documents // 10)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pool.nagindex")
        started = time.perf_counter()
        write_pool(path, documents, spec=spec, kind=arguments.kind)
        index = nagindex.open(path)
        print(f"{documents:,} synthetic documents written in {time.perf_counter() - started:.0f} s")
        parts = Candidates(index.snapshot).parts(tokens=False)
        targets = [
            make_codes(EXAMPLES, seed=900 + topic, topic=topic, spec=spec, kind=arguments.kind) for topic in range(6)
        ]
        profiles = [profile_of(codes, spec) for codes in targets]

        cut = partial(exact_cut, budget=top, ids_of=partial(ids_at, index.snapshot))

        def search(chosen: list[Profile], scorer: Scorer | None = None) -> list[Hits]:
            sums_of = sums_from_codes(scorer or scorer_of(chosen, View.of(spec)), len(chosen))
            orders = [by_target(number, profile) for number, profile in enumerate(chosen)]
            return scan(
                parts, sums_of, [Ranking(order.key, *order.bounds, top, cut, cut_later=True) for order in orders]
            )

        seconds = {
            "nagindex scan, one target": median_seconds(lambda: search(profiles[:1])),
            "nagindex scan, six targets": median_seconds(lambda: search(profiles)),
            "the same with the former loop": median_seconds(
                lambda: search(profiles, former_scorer(profiles, View.of(spec)))
            ),
            "nagindex query, one target": median_seconds(lambda: index.query(targets[0], n=top)),
        }
        matrix = sparse_pool(index.codes, spec)
        weights = [np.concatenate(p.weights).astype(np.float32) for p in profiles]
        seconds["scipy CSR product, one target"] = median_seconds(lambda: matrix @ weights[0])
        six = np.stack(weights, axis=1)
        seconds["scipy CSR product, six targets"] = median_seconds(lambda: matrix @ six, repeat=3)
        neurons = torch.from_numpy(matrix.indices.reshape(documents, -1))
        for name, table in (("one target", weights[0][:, None]), ("six targets", six)):
            rows_of = torch.from_numpy(np.ascontiguousarray(table))
            bag = partial(torch.nn.functional.embedding_bag, neurons, rows_of, mode="sum")
            seconds[f"torch embedding_bag, {name}"] = median_seconds(bag, repeat=1)
        seconds["plain read of the codes"] = median_seconds(partial(read, index.codes))

        [hits] = search(profiles[:1])
        reference = matrix @ weights[0]
        if not (np.sort(hits.keys)[-top:] == np.sort(reference)[-top:].astype(np.int64)).all():
            raise SystemExit("the scan and scipy disagree")

    peer, one = seconds["scipy CSR product, one target"], seconds["nagindex scan, one target"]
    plain = seconds["plain read of the codes"]
    rows = [
        [
            name,
            f"{value:.3f}",
            f"{documents / value / 1e6:.2f}",
            f"{value / peer:.2f}",
            f"{value / one:.2f}",
            f"{value / plain:.1f}",
        ]
        for name, value in seconds.items()
    ]
    print(
        f"exact top {top:,} of {documents:,} documents of {spec.layers} x {spec.top_k}, {arguments.kind}, {os.cpu_count()} threads, medians"
    )
    headings = ["", "seconds", "M documents/s", "of scipy's one", "of our one", "of the plain read"]
    emit(headings, rows, {"documents": documents, "top": top, "seconds": seconds}, arguments.json)


if __name__ == "__main__":
    main()
