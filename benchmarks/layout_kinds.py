"""Candidate layouts of NAGs in bytes, each with an encoder and a decoder, for `layouts.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.layout_pool import Pool, mapped_to, room_of
from benchmarks.packing import (
    ESCAPE,
    pack_bytes,
    pack_classes,
    pack_fixed,
    sum_escaped,
    unescape,
    unpack_bytes,
    unpack_classes,
    unpack_fixed,
)
from nagindex.nag import Codes

try:
    from compression import zstd
except ImportError:
    from backports import zstd

SMALL, LARGE = 1024, 16_384


@dataclass(frozen=True)
class Layout:
    """A byte layout for blocks of documents.

    Attributes:
        ordered: whether it keeps the impact order.
        ranked: whether its values are popularity ranks instead of neurons.
        block: number of documents encoded together.
        encode: f(values uint16 [m, L, K] in impact order) -> bytes.
        decode: f(bytes, m) -> values of m documents, uint16, with the axes in the order of `arrangement`.
        arrangement: a key of `AXES`.
        sums: f(bytes, m, sums) that sums m documents directly, without decoding them first; None to decode and then sum.
        single: whether one document can be read without its block, given an offset of two bytes.
        limit: number of documents it is measured on, 0 for the default.
        slow: whether it is encoded only once.
    """

    name: str
    ordered: bool
    ranked: bool
    block: int
    encode: Callable[[Codes], bytes]
    decode: Callable[[bytes, int], Codes]
    arrangement: str = "documents"
    sums: Callable[[bytes, int, npt.NDArray[np.int64]], None] | None = None
    single: bool = False
    limit: int = 0
    slow: bool = False


AXES = {"documents": (0, 1, 2), "layers": (1, 0, 2), "columns": (1, 2, 0)}
BACK = {"documents": (0, 1, 2), "layers": (1, 0, 2), "columns": (2, 0, 1)}


def gaps_of(ordered: Codes) -> Codes:
    """Return sorted values as the first of each row, and the number of integers between each value and the next."""
    return np.diff(ordered.astype(np.int32), axis=2, prepend=-1).astype(np.uint16) - np.uint16(1)


def four_classes(symbols: Codes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return widths and starts, int64 [L, 4], of the four classes that take the fewest bits for each layer's symbols."""
    widths, starts = [], []
    three = np.array(list(combinations_with_replacement(range(13), 3)))
    begin = np.concatenate([np.zeros((len(three), 1), np.int64), np.cumsum(1 << three, axis=1)], axis=1)
    for layer in range(symbols.shape[1]):
        below = np.concatenate([[0], np.cumsum(np.bincount(symbols[:, layer].reshape(-1), minlength=1 << 16))])
        last = np.ceil(np.log2(np.maximum(symbols[:, layer].max(initial=0) - begin[:, 3], 0) + 1)).astype(np.int64)
        held = np.diff(below[np.minimum(begin, 1 << 16)], axis=1, append=below[-1])
        best = np.argmin((held * np.column_stack([three, last])).sum(axis=1))
        widths.append([*three[best], last[best]])
        starts.append(begin[best])
    return np.array(widths, np.int64), np.array(starts, np.int64)


def words_for(values: Codes) -> npt.NDArray[np.uint64]:
    """Return a zeroed buffer large enough for any packer's output for some values."""
    return np.zeros(values.size // 2 + values.shape[0] * values.shape[1] * 2 + 2, np.uint64)


def packed(pack: Callable[..., int], values: Codes) -> bytes:
    """Return the output of a bit packer as bytes."""
    words = words_for(values)
    return words[: (pack(values, words) >> 6) + 2].tobytes()


def bit_layouts(pool: Pool, room: int) -> Iterator[Layout]:
    """Yield the bit-packed layouts, and those of one or two bytes per value."""
    shape = pool.codes.shape[1:]
    found = np.empty((room, *shape), np.uint16)
    sample = pool.codes[:LARGE]
    cut = 256 - max(0, -(-(pool.width - 256) // 255))
    none = np.zeros(shape[0], np.int64)
    for ranked in (False, True):
        named = mapped_to(sample, pool.ranks) if ranked else sample
        word = "ranks" if ranked else "neurons"
        for gaps in (False, True):

            def symbols(values: Codes, gaps: bool = gaps) -> Codes:
                return gaps_of(np.sort(values, axis=2)) if gaps else values

            name = f"{word} sorted, differences" if gaps else word
            make = partial(Layout, ordered=not gaps, ranked=ranked, block=room, single=True)

            def decode_fixed(data: bytes, m: int, gaps: bool = gaps) -> Codes:
                unpack_fixed(np.frombuffer(data, np.uint64), gaps, found[:m])
                return found[:m]

            def decode_bytes(data: bytes, m: int, gaps: bool = gaps) -> Codes:
                unpack_bytes(np.frombuffer(data, np.uint8), cut, gaps, found[:m])
                return found[:m]

            def encode_bytes(values: Codes, symbols: Callable[[Codes], Codes] = symbols) -> bytes:
                data = np.empty(2 * values.size, np.uint8)
                return data[: pack_bytes(symbols(values), cut, data)].tobytes()

            def encode_fixed(values: Codes, symbols: Callable[[Codes], Codes] = symbols) -> bytes:
                return packed(pack_fixed, symbols(values))

            yield make(f"{name}, fixed width a row", encode=encode_fixed, decode=decode_fixed)
            yield make(f"{name}, bytes", encode=encode_bytes, decode=decode_bytes)
            yield class_layout(f"{name}, four widths", make, gaps, none, named, found)
    heads = np.array([8 * round(min(56, (row > 0.25).sum()) / 8) for row in pool.frequencies], np.int64)
    heads = np.minimum(heads, pool.width)
    make = partial(Layout, ordered=False, ranked=True, block=room, single=True)
    yield class_layout("majority as bits, rest four widths", make, True, heads, mapped_to(sample, pool.ranks), found)


def class_layout(name: str, make: Any, gaps: bool, heads: Any, sample: Codes, found: Codes) -> Layout:
    """Return the layout with four widths per layer, fitted to a sample of values."""
    if gaps:
        ordered = np.sort(sample, axis=2).astype(np.int64)
        before = np.concatenate([np.full_like(ordered[..., :1], -1), ordered[..., :-1]], axis=2)
        floor = np.maximum(before, heads[:, None] - 1)
        symbols = np.maximum(ordered - floor - 1, 0)
    else:
        symbols = sample
    widths, starts = four_classes(symbols)
    widths[:, 3] = 16  # values that are not in the sample must fit too

    def encode(values: Codes) -> bytes:
        values = np.sort(values, axis=2) if gaps else np.ascontiguousarray(values)
        return packed(lambda v, words: pack_classes(v, gaps, heads, widths, starts, words), values)

    def decode(data: bytes, m: int) -> Codes:
        unpack_classes(np.frombuffer(data, np.uint64), gaps, heads, widths, starts, found[:m])
        return found[:m]

    return make(name, encode=encode, decode=decode)


def escaped_layout(pool: Pool, room: int) -> Layout:
    """Return the layout of one-byte ranks, with ranks from 255 on stored separately; its byte table fits in the L1 cache."""
    layers, top_k = pool.codes.shape[1:]
    group = min((1 << 16) // pool.width, 255 // top_k)
    groups = -(-layers // group)
    found = np.empty((room, layers, top_k), np.uint16)
    bases = (np.arange(layers) % group * pool.width).astype(np.uint16)[:, None]
    table = pool.tables[True]
    small = table[: layers * pool.width].reshape(layers, -1)[:, :256].copy()
    small[:, ESCAPE] = 0
    small = small.reshape(-1)
    kernel = sum_escaped(top_k)

    def encode(ranks: Codes) -> bytes:
        high = ranks >= ESCAPE
        each = np.add.reduceat(high.sum(axis=2), np.arange(0, layers, group), axis=1).astype(np.uint8)
        return b"".join(
            part.tobytes() for part in (np.minimum(ranks, ESCAPE).astype(np.uint8), each, (ranks + bases)[high])
        )

    def parts(data: bytes, m: int) -> tuple[Any, Any, Any]:
        places, end = m * layers * top_k, m * (layers * top_k + groups)
        raw = np.frombuffer(data, np.uint8)
        return raw[:places].reshape(m, -1), raw[places:end].reshape(m, groups), np.frombuffer(data[end:], np.uint16)

    def decode(data: bytes, m: int) -> Codes:
        low, _, rest = parts(data, m)
        unescape(low.reshape(m, layers, top_k), rest, group, pool.width, found[:m])
        return found[:m]

    def sums(data: bytes, m: int, out: npt.NDArray[np.int64]) -> None:
        kernel(*parts(data, m), small, table, pool.width, group, out)

    return Layout("ranks, byte and escapes apart", True, True, room, encode, decode, sums=sums, single=True)


def block_layout(
    pool: Pool, arrangement: str, block: int, codec: str, level: int, *, ordered: bool, kind: str = "neurons"
) -> Layout:
    """Return a layout of compressed blocks of neurons, or of ranks split into low bytes and high bytes."""
    layers, top_k = pool.codes.shape[1:]

    def encode(values: Codes) -> bytes:
        values = values if ordered else np.sort(values, axis=2)
        if "gaps" in kind:
            values = gaps_of(values)
        flat = np.ascontiguousarray(values.transpose(AXES[arrangement])).reshape(-1)
        if kind != "neurons":
            flat = np.ascontiguousarray(flat.view(np.uint8).reshape(-1, 2).T).reshape(-1)
        return compress(flat.tobytes(), codec, level)

    def decode(data: bytes, m: int) -> Codes:
        flat = np.frombuffer(decompress(data, codec, 2 * m * layers * top_k), np.uint8)
        if kind == "neurons":
            values = flat.view(np.uint16)
        else:
            values = flat[len(flat) // 2 :].astype(np.uint16) << np.uint16(8)
            values |= flat[: len(flat) // 2]
        values = values.reshape(*(np.array([m, layers, top_k])[list(AXES[arrangement])]))
        if "gaps" in kind:
            for k in range(1, top_k):
                values[:, k] += values[:, k - 1] + np.uint16(1)
        return values

    few = 4 * room_of(pool) if level >= 9 and block == SMALL else 0
    text = f"{kind}{'' if ordered else ' sorted'} by {arrangement}, {codec}{f' {level}' if level else ''}, {block:,}"
    return Layout(text, ordered, kind != "neurons", block, encode, decode, arrangement, limit=few, slow=level >= 9)


def compress(data: bytes, codec: str, level: int) -> bytes:
    """Return data compressed by zstd, or by LZ4 if pyarrow is installed."""
    if codec == "zstd":
        return zstd.compress(data, level)
    import pyarrow

    return pyarrow.compress(data, codec="lz4_raw", asbytes=True)


def decompress(data: bytes, codec: str, size: int) -> Any:
    """Undo `compress`."""
    if codec == "zstd":
        return zstd.decompress(data)
    import pyarrow

    return pyarrow.decompress(data, size, codec="lz4_raw")


def on_top(layout: Layout) -> Layout:
    """Return a layout whose blocks zstd compresses further."""
    return replace(
        layout,
        name=f"{layout.name}; zstd 3",
        encode=lambda values: zstd.compress(layout.encode(values), 3),
        decode=lambda data, m: layout.decode(zstd.decompress(data), m),
        sums=layout.sums and (lambda data, m, out: layout.sums(zstd.decompress(data), m, out)),
        single=False,
    )


def layouts(pool: Pool, quick: bool) -> Iterator[Layout]:
    """Yield every layout that is measured."""
    room = room_of(pool)
    packs = [*bit_layouts(pool, room), escaped_layout(pool, room)]
    yield from packs
    yield from map(on_top, packs)
    codecs = [("zstd", level) for level in ((1, 3) if quick else (1, 3, 9, 19))]
    if find_spec("pyarrow"):
        codecs.append(("lz4", 0))
    for codec, level in codecs:
        for block in (SMALL,) if quick else (SMALL, LARGE):
            make = partial(block_layout, pool, block=block, codec=codec, level=level)
            for arrangement in ("documents", "layers"):
                yield make(arrangement, ordered=True)
                yield make(arrangement, ordered=False)
            yield make("columns", ordered=False)
            if codec == "zstd":
                yield make("layers", ordered=True, kind="ranks")
                yield make("columns", ordered=False, kind="ranks")
                yield make("columns", ordered=False, kind="ranks as gaps")
