"""Compact layouts of the codes against the plain one: bytes a document, speed in one thread, and modeled scan speed.

Each layout is checked to return every document's neurons, and their impact order if it claims to keep it. Layouts that sort neurons
need the order as a separate permutation, in a file that a scan does not read. Scan speeds are ratios to the plain kernel over mapped
codes, timed just before and just after, in processor time of one thread. The last column models a cold scan: the slower of a disk of
0.9 GB/s and two such threads, relative to plain codes.

    python -m benchmarks.layouts [--pool INDEX] [--json FILE]
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import nagindex
from benchmarks.layout_kinds import AXES, BACK, Layout, layouts
from benchmarks.layout_pool import Pool, make_pool, mapped_to, room_of
from benchmarks.packing import (
    order_numbers,
    put_in_order,
    sum_columns,
    sum_layers,
)
from benchmarks.report import emit, options
from benchmarks.synthetic import SPEC, make_codes
from nagindex.nag import Codes
from nagindex.search.kernels import sum_one

try:
    from compression import zstd
except ImportError:
    from backports import zstd

REPEAT = 3
DOCUMENTS = 131_072
TRIED = 16
"""A layout is measured on so many times `layout_pool.ROOM` bytes of codes; the plain scan reads the whole pool, as from memory."""
SMALL, LARGE = 1024, 16_384
DISK = 0.9e9
"""Bytes a second of a cold, sequential scan."""
THREADS = 2


def require(holds: object, why: str) -> None:
    """Exit with a message unless a condition holds."""
    if not holds:
        raise SystemExit(why)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of one run, which other programs on the same cores affect less than wall-clock time."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def alternating(work: Callable[[], object], peer: Callable[[], object], repeat: int) -> tuple[float, float, float]:
    """Time two functions in alternation; return their median seconds and the median ratio of the peer's time to the work's."""
    work()
    times = [(seconds(peer), seconds(work), seconds(peer)) for _ in range(repeat)]
    return (
        statistics.median(own for _, own, _ in times),
        statistics.median(a + b for a, _, b in times) / 2,
        statistics.median((a + b) / 2 / own for a, own, b in times),
    )


def measure(pool: Pool, layout: Layout, order_bytes: float, repeat: int) -> dict[str, Any]:
    """Return the figures of one layout; exit if it loses information."""
    codes = pool.codes[: layout.limit or TRIED * room_of(pool)]
    n, layers, top_k = codes.shape
    blocks = []

    def encode() -> None:
        blocks.clear()
        for a in range(0, n, layout.block):
            part = codes[a : a + layout.block]
            blocks.append((layout.encode(mapped_to(part, pool.ranks) if layout.ranked else part), a, a + len(part)))

    if not layout.slow:
        encode()
    encoding = statistics.median(seconds(encode) for _ in range(1 if layout.slow else 3))
    for data, a, b in blocks:
        values = np.ascontiguousarray(layout.decode(data, b - a).transpose(BACK[layout.arrangement]))
        values = mapped_to(values, pool.neurons) if layout.ranked else values
        same = values == codes[a:b] if layout.ordered else np.sort(values, axis=2) == np.sort(codes[a:b], axis=2)
        require(same.all(), f"{layout.name} loses something")
    size = sum(len(data) for data, _, _ in blocks) / n + 2 * layout.single

    kernel, columns, table = sum_one(top_k), np.arange(layers) * top_k, pool.tables[layout.ranked]
    whole = len(pool.codes)
    plain, sums = np.zeros(whole, np.int64), np.zeros(n, np.int64)

    def raw() -> None:
        for a in range(0, whole, 8192):
            part = pool.codes[a : a + 8192].reshape(-1, layers * top_k)
            kernel(part, columns, pool.tables[False], pool.width, plain[a : a + 8192])

    def scan() -> None:
        for data, a, b in blocks:
            if layout.sums:
                layout.sums(data, b - a, sums[a:b])
                continue
            values = layout.decode(data, b - a)
            if layout.arrangement == "documents":
                kernel(values.reshape(b - a, -1), columns, table, pool.width, sums[a:b])
            else:
                (sum_layers if layout.arrangement == "layers" else sum_columns)(values, table, pool.width, sums[a:b])

    def decode() -> None:
        for data, a, b in blocks:
            layout.decode(data, b - a)

    scanned, peer, ratio = alternating(scan, raw, repeat)
    ratio *= n / whole
    require((sums == plain[:n]).all(), f"{layout.name} sums to something else")
    decode()
    plain_cold = min(DISK / codes[0].nbytes, THREADS * whole / peer)
    return {
        "layout": layout.name,
        "keeps order": layout.ordered,
        "single documents": layout.single,
        "bytes": size,
        "bytes with order": size + (0 if layout.ordered else order_bytes),
        "encode": n / encoding / 1e6,
        "decode": n / statistics.median(seconds(decode) for _ in range(repeat)) / 1e6,
        "scan": n / scanned / 1e6,
        "plain scan": whole / peer / 1e6,
        "warm": ratio,
        "cold": min(DISK / size, THREADS * whole / peer * ratio) / plain_cold,
    }


def order_alone(pool: Pool, repeat: int) -> dict[str, Any]:
    """Return the bytes of the impact order stored next to sorted values: as one number per row, or as digits under zstd."""
    codes = np.asarray(pool.codes[: TRIED * room_of(pool)])
    n, layers, top_k = codes.shape
    require(top_k <= 20, "K! must fit into 64 bits")
    width = (math.factorial(top_k) - 1).bit_length()
    words = np.zeros(n * layers * width // 64 + 2, np.uint64)
    ranks = mapped_to(codes, pool.ranks)
    ordered = np.sort(ranks, axis=2)

    def encode() -> None:
        words[:] = 0
        order_numbers(ranks, ordered, words, width)

    def decode() -> Codes:
        values = ordered.copy()
        put_in_order(words, width, values)
        return values

    encode()
    require((decode() == ranks).all(), "the order is lost")
    places = np.argsort(np.argsort(ranks, axis=2), axis=2)
    digits = np.empty_like(places, np.uint8)
    for k in range(top_k):
        digits[..., k] = (places[..., k + 1 :] < places[..., k : k + 1]).sum(axis=2)
    small = zstd.compress(np.ascontiguousarray(digits.transpose(AXES["columns"])).tobytes(), 3)
    return {
        "bytes": layers * width / 8,
        "bytes under zstd": len(small) / n,
        "encode": n / statistics.median(seconds(encode) for _ in range(repeat)) / 1e6,
        "decode": n / statistics.median(seconds(decode) for _ in range(repeat)) / 1e6,
    }


def floors(pool: Pool) -> dict[str, float]:
    """Return bytes a document for ideal coders that know only the popularity of neurons, by layer or by position in it."""
    n, layers, top_k = pool.codes.shape

    def bits(shares: npt.NDArray[np.float64]) -> float:
        return float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())

    each = [bits(row) + bits(1 - row) for row in pool.frequencies]
    drawn = [bits(row / top_k) for row in pool.frequencies]
    placed = [sum(bits(np.bincount(pool.codes[:, layer, k]) / n) for k in range(top_k)) for layer in range(layers)]
    return {
        "sets, neurons independent": sum(each) / 8,
        "sets and any order": (sum(each) + layers * math.log2(math.factorial(top_k))) / 8,
        "in order, by layer": top_k * sum(drawn) / 8,
        "in order, by layer and place": sum(placed) / 8,
    }


def report(title: str, pool: Pool, quick: bool) -> tuple[list[list[Any]], dict[str, Any]]:
    """Measure a pool; return the table's rows and all figures."""
    repeat = 3 if quick else REPEAT
    bounds, order = floors(pool), order_alone(pool, repeat)
    n, layers, top_k = pool.codes.shape
    print(f"{title}: {n:,} documents, {layers} x {top_k}, {pool.codes[0].nbytes} bytes each", flush=True)
    print("  floors: " + "; ".join(f"{name} {value:.1f}" for name, value in bounds.items()))
    print("  order: " + "; ".join(f"{name} {value:.2f}" for name, value in order.items()), flush=True)
    figures, rows = [], []
    for layout in layouts(pool, quick):
        found = measure(pool, layout, order["bytes"], repeat)
        figures.append(found)
        speeds = [f"{found[key]:.3g}" for key in ("encode", "decode", "plain scan", "warm", "cold")]
        sizes = [f"{found['bytes']:.1f}", f"{found['bytes with order']:.1f}"]
        rows.append([f"{title}: {layout.name}", "kept" if layout.ordered else "beside", *sizes, *speeds])
        print("  ", *rows[-1], file=sys.stderr, flush=True)
    return rows, {"documents": n, "floors": bounds, "order": order, "layouts": figures}


def main() -> None:
    """Measure synthetic codes and those of an index, and report."""
    arguments = options(__doc__ or "", pool={"metavar": "INDEX", "help": "an index whose codes are tried too"})
    rows, results = [], {}
    with tempfile.TemporaryDirectory() as folder:
        codes = make_codes(2 * SMALL if arguments.quick else DOCUMENTS, seed=1)
        pools = {"synthetic": make_pool(codes, SPEC.widths[0], Path(folder, "synthetic.npy"))}
        if arguments.pool:
            index = nagindex.open(arguments.pool)
            real = np.concatenate([np.asarray(part) for part in index.codes])[
                : 8 * SMALL if arguments.quick else DOCUMENTS
            ]
            pools["real"] = make_pool(real, max(index.manifest.fingerprint.spec.widths), Path(folder, "real.npy"))
        for title, pool in pools.items():
            more, results[title] = report(title, pool, arguments.quick)
            rows += more
    headings = ["", "order", "bytes", "with order", "encode M/s", "decode M/s", "plain scan M/s", "warm", "cold"]
    emit(headings, rows, results, arguments.json)


if __name__ == "__main__":
    main()
