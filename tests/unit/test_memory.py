"""What a query and an append allocate does not grow with the pool. Mapped files are not allocated; benchmarks/memory.py has both."""

import json
import tracemalloc

import numpy as np
import pytest

from nagindex import build
from nagindex.search import scan as scanning
from nagindex.search import top_n

SMALL, LARGE = 4_000, 40_000
ALLOWANCE = 200_000
"""Bytes; the codes alone of the larger pool are 36,000 x 2 x 5 x 2 = 720,000 more, one float for each document 288,000."""


def allocated(work):
    """Return the peak of bytes allocated by Python and NumPy during some work, done once before it is measured."""
    work()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def pools(tmp_path, write_index, random_codes, monkeypatch):
    """Two pools that differ in size alone, in segments of 2,000 documents, and a scan whose buffers are small beside them."""
    monkeypatch.setattr(scanning, "ROWS_PER_TASK", 512)
    monkeypatch.setattr(top_n, "CAPACITY", 1024)
    rng = np.random.default_rng(0)

    def pool(size):
        codes = random_codes(rng, size, 2, 5, 40)
        ids = np.array([f"doc-{i:06d}" for i in range(size)])
        cuts = range(2_000, size, 2_000)
        return write_index(tmp_path / f"{size}.nagindex", codes, ids, np.full(size, 10), width=40, cuts=cuts)

    return pool(SMALL), pool(LARGE)


@pytest.mark.parametrize("budget", [{"n": 100}, {"tokens": 1000}], ids=["documents", "tokens"])
def test_a_query_allocates_no_more_on_a_pool_ten_times_larger(pools, random_codes, budget):
    targets = random_codes(np.random.default_rng(1), 20, 2, 5, 40)
    small, large = (allocated(lambda index=index: index.query(targets, threads=1, **budget)) for index in pools)
    assert large - small < ALLOWANCE


def test_a_query_whose_scores_are_all_equal_allocates_no_more_either(tmp_path, write_index, monkeypatch):
    """Ties are decided by id while the scan runs, so they are not collected without bound."""
    monkeypatch.setattr(scanning, "ROWS_PER_TASK", 512)
    monkeypatch.setattr(top_n, "CAPACITY", 1024)
    peaks = []
    for size in (SMALL, LARGE):
        codes = np.broadcast_to(np.arange(5, dtype=np.uint16), (size, 2, 5)).copy()
        ids = np.array([f"doc-{size - i:06d}" for i in range(size)])
        cuts = range(2_000, size, 2_000)
        index = write_index(tmp_path / f"{size}.nagindex", codes, ids, np.full(size, 10), width=40, cuts=cuts)
        peaks.append(allocated(lambda index=index, codes=codes: index.query(codes[:3], n=10, threads=1)))
        assert index.query(codes[:3], n=3).ids.tolist() == ["doc-000001", "doc-000002", "doc-000003"]
    assert peaks[1] - peaks[0] < ALLOWANCE


def test_an_append_allocates_no_more_on_an_index_ten_times_larger(tmp_path, write_index, random_codes, tiny_backbone):
    peaks = []
    for size in (SMALL, LARGE):
        spec = tiny_backbone.fingerprint().spec
        codes = random_codes(np.random.default_rng(2), size, spec.layers, spec.top_k, spec.widths[0])
        ids = np.array([f"doc-{i:06d}" for i in range(size)])
        path = tmp_path / f"{size}.nagindex"
        write_index(path, codes, ids, np.full(size, 10), width=spec.widths[0], backbone=tiny_backbone)
        peak = 0
        for attempt in range(2):  # the first loads and compiles
            new = tmp_path / f"new-{attempt}.jsonl"
            new.write_text("".join(json.dumps({"id": f"{attempt}-{i}", "text": f"text {i}"}) + "\n" for i in range(50)))
            tracemalloc.start()
            _, report = build(new, path, backbone=tiny_backbone)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert report.documents == 50
        peaks.append(peak)
    assert peaks[1] - peaks[0] < ALLOWANCE
