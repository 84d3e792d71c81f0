# mypy: disable-error-code="untyped-decorator, misc"
"""Scores by nearest examples: the exact sum of each document's largest overlaps, counted with bit-sliced counters.

Each neuron that an example holds has a row of bits, one for each example; 256 are processed at once. Carry-save adders
add up the rows of a document's neurons bitwise: plane p of the result holds bit p of the overlap with each example. The
sum of the R largest overlaps is computed from the planes, highest bit first, without unpacking any overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nagindex.nag import Codes, NagSpec
from nagindex.search.kernels import aligned_zeros, compiled
from nagindex.search.vectors import Vector, load, pointer, store

WORDS = 4
"""64-bit words of a vector: 256 bits, an AVX2 register; LLVM splits it where registers are narrower."""
VECTORS = 4
"""Most vectors of a row: the table of 1,024 examples fits the cache."""
DOCUMENTS = 512
"""Most documents in a batch, which share a block's table while it is in the cache."""
OVERLAP_BYTES = 1 << 24
"""Most bytes of a thread's overlaps: with many examples a batch has fewer documents."""
GROUP = 16
"""Rows added in registers before a carry is added to the planes in memory."""
IN_REGISTERS = 4
"""Planes in registers: log2 of `GROUP`."""


def nearest_scorer(
    examples: Codes, spec: NagSpec, columns: npt.NDArray[np.int64], nearest: int
) -> Callable[[npt.NDArray[np.uint16], npt.NDArray[np.int64]], None]:
    """Return the scorer of the sum of each document's largest overlaps with examples.

    The overlap of two NAGs is the number of neurons that both hold; codes beyond a layer's width count for nothing. The
    scorer f(codes uint16 [n, C], sums int64 [n]) fills the sums; it is thread-safe.

    Args:
        examples: uint16 [T, l, K], the NAGs of the examples, T at least 1.
        spec: shape of the examples' NAGs.
        columns: int64 [l], column of each layer's first code in `codes`.
        nearest: number of largest overlaps to sum; all of them if there are fewer examples.
    """
    nnz, offsets = spec.layers * spec.top_k, spec.offsets
    vectors = -(-len(examples) // (64 * WORDS))
    blocks = -(-vectors // VECTORS)
    words = -(-vectors // blocks) * WORDS
    rows, held = _rows(examples, spec, words)
    table = aligned_zeros((blocks, held + 1, words), np.uint64)

    at, used = np.zeros((64 * words, nnz + GROUP), np.uint32), np.zeros(64 * words, np.int64)
    for block in range(blocks):
        own = examples[block * len(used) : (block + 1) * len(used)].reshape(-1, nnz)
        _find_rows(own, np.arange(spec.layers) * spec.top_k, offsets, rows, at, used)
        _set_bits(at, used[: len(own)], table[block].reshape(-1))

    planes = max(nnz.bit_length(), IN_REGISTERS)
    batch = max(1, min(DOCUMENTS, OVERLAP_BYTES // (blocks * planes * words * 8)))

    def f(codes: npt.NDArray[np.uint16], sums: npt.NDArray[np.int64]) -> None:
        most = min(batch, len(codes))
        at, used = np.zeros((most + 1, nnz + GROUP), np.uint32), np.zeros(most, np.int64)
        overlaps = aligned_zeros((most, blocks, planes, words), np.uint64)
        for first in range(0, len(codes), batch):
            own = codes[first : first + batch]
            _find_rows(own, columns, offsets, rows, at, used)
            _add_up(at, used[: len(own)], table, overlaps)
            _sum_largest(overlaps, nearest, sums[first : first + batch])

    return f


def _rows(examples: Codes, spec: NagSpec, words: int) -> tuple[npt.NDArray[np.uint32], int]:
    """Return the first word of each neuron's row, uint32 [neurons], and the number of rows.

    Neurons that no example holds have row 0, which is all zeros and not counted. The most frequent neurons come first,
    so that their rows share cache lines and pages.
    """
    counts = np.concatenate(
        [np.bincount(examples[:, i].ravel(), minlength=width)[:width] for i, width in enumerate(spec.widths)]
    )
    held = int(np.count_nonzero(counts))
    rows = np.zeros(len(counts), np.uint32)
    rows[np.argsort(-counts, kind="stable")[:held]] = np.arange(1, held + 1) * words
    return rows, held


@compiled
def _find_rows(codes: Any, columns: Any, offsets: Any, rows: Any, at: Any, used: Any) -> None:
    """Fill the first words of the rows of each NAG's neurons, followed by `GROUP` times row 0.

    Args:
        codes: uint16 [n, C].
        columns: int64 [l], column of each layer's first code.
        offsets: int64 [l + 1], each layer's first neuron.
        rows: uint32 [neurons], first word of each neuron's row; neurons of row 0 are left out.
        at: uint32 [>= n, l * K + GROUP], filled.
        used: int64 [>= n], filled with the number of rows of each NAG.
    """
    top_k = (at.shape[1] - GROUP) // columns.shape[0]
    for i in range(codes.shape[0]):
        found = np.uint64(0)  # unsigned: numba would test whether a signed index counts from the end
        for layer in range(columns.shape[0]):
            row_of = rows[offsets[layer] : offsets[layer + 1]]
            width = np.uint64(row_of.shape[0])
            nag = codes[i, columns[layer] : columns[layer] + top_k]
            for k in range(top_k):
                code = np.uint64(nag[k])
                row = row_of[code] if code < width else np.uint32(0)
                at[i, found] = row
                found += np.uint64(row != 0)
        used[i] = found
        at[i, used[i] : used[i] + GROUP] = 0


@compiled
def _set_bits(at: Any, used: Any, table: Any) -> None:
    """Set the bit of each example of a block in the rows of its neurons; `table` is uint64 [rows * words]."""
    for i in range(used.shape[0]):
        for j in range(used[i]):
            table[at[i, j] + i // 64] |= np.uint64(1) << np.uint64(i % 64)


@compiled
def _add_up(at: Any, used: Any, table: Any, overlaps: Any) -> None:
    """Fill the bit planes of each document's overlaps with the examples.

    Args:
        at: uint32 [> n, l * K + GROUP], first words of the rows of each document's neurons.
        used: int64 [n], number of rows of each document.
        table: uint64 [blocks, rows, words], the rows.
        overlaps: uint64 [>= n, blocks, planes, words], filled.
    """
    blocks, planes, words = overlaps.shape[1:]
    for block in range(blocks):
        rows = table[block]
        for i in range(used.shape[0]):
            first = i * at.shape[1]
            for v in range(0, words, WORDS):
                out = (i * blocks + block) * planes * words + v
                ones = twos = fours = eights = _zeros()
                for p in range(IN_REGISTERS, planes):
                    store(overlaps, out + p * words, _zeros())
                for j in range(first, first + used[i], GROUP):
                    for k in range(GROUP if v % 8 == 0 else 0):  # once for each cache line, for the next document
                        _prefetch(rows, _item(at, j + at.shape[1] + k) + v)
                    ones, twos, fours, a = _add_8(rows, at, j, v, ones, twos, fours)
                    ones, twos, fours, b = _add_8(rows, at, j + 8, v, ones, twos, fours)
                    eights, carry = _add(a, b, eights)
                    for p in range(IN_REGISTERS, planes):
                        plane, carry = _add(_load(overlaps, out + p * words), carry, _zeros())
                        store(overlaps, out + p * words, plane)
                for p, plane in enumerate((ones, twos, fours, eights)):
                    store(overlaps, out + p * words, plane)


@compiled
def _add_8(rows: Any, at: Any, j: int, v: int, ones: Any, twos: Any, fours: Any) -> Any:
    """Add vector v of eight rows, at[j:j + 8]; return the planes and the carry to the eights."""
    ones, a = _add(_load(rows, _item(at, j) + v), _load(rows, _item(at, j + 1) + v), ones)
    ones, b = _add(_load(rows, _item(at, j + 2) + v), _load(rows, _item(at, j + 3) + v), ones)
    twos, c = _add(a, b, twos)
    ones, a = _add(_load(rows, _item(at, j + 4) + v), _load(rows, _item(at, j + 5) + v), ones)
    ones, b = _add(_load(rows, _item(at, j + 6) + v), _load(rows, _item(at, j + 7) + v), ones)
    twos, d = _add(a, b, twos)
    fours, e = _add(c, d, fours)
    return ones, twos, fours, e


@compiled
def _sum_largest(overlaps: Any, nearest: int, sums: Any) -> None:
    """Fill the sum of each document's largest overlaps.

    Args:
        overlaps: uint64 [>= n, blocks, planes, words], bit planes of the overlaps.
        nearest: number of largest overlaps to sum.
        sums: int64 [n], filled.
    """
    blocks, planes, words = overlaps.shape[1:]
    equal, above = np.empty((blocks, words), np.uint64), np.empty((blocks, words), np.uint64)
    for i in range(sums.shape[0]):
        equal[:] = ~np.uint64(0)  # examples whose overlap has the same high bits as the smallest one that is summed
        above[:] = 0  # examples with a larger overlap
        missing, value = nearest, 0
        for below in range(planes):
            p = planes - 1 - below
            found = 0
            for block in range(blocks):
                for w in range(words):
                    found += _popcount(equal[block, w] & overlaps[i, block, p, w])
            if found < missing:
                missing -= found
                for block in range(blocks if found else 0):
                    for w in range(words):
                        larger = equal[block, w] & overlaps[i, block, p, w]
                        above[block, w] |= larger
                        equal[block, w] ^= larger
            else:
                value += 1 << p
                for block in range(blocks):
                    for w in range(words):
                        equal[block, w] &= overlaps[i, block, p, w]
        total = missing * value
        for block in range(blocks):
            for w in range(words):
                for p in range(planes if above[block, w] else 0):
                    total += _popcount(above[block, w] & overlaps[i, block, p, w]) << p
        sums[i] = total


_vector = Vector(64, WORDS)


@intrinsic
def _zeros(typing: Any) -> Any:
    """Return a vector of zeros."""
    return _vector(), lambda *site: ir.Constant(_vector.registers, None)


@intrinsic
def _load(typing: Any, array: Any, index: Any) -> Any:
    """Load the vector at an index of a flat array."""
    return _vector(array, types.intp), lambda *site: load(site, _vector)


@intrinsic
def _prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Prefetch an item of a flat array into the second-level cache."""

    def emit(*site: Any) -> Any:
        context, builder, *_ = site
        byte, flag = ir.IntType(8), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), flag, flag, flag])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte.as_pointer()], kind)
        builder.call(fetch, [pointer(site, byte), flag(0), flag(2), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


@intrinsic
def _item(typing: Any, array: Any, index: Any) -> Any:
    """Load an item of a flat uint32 array, without numba's test whether the index counts from the end."""
    return types.uint32(array, types.intp), lambda *site: site[1].load(pointer(site, ir.IntType(32)))


@intrinsic
def _add(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return the sum and carry bits of three vectors: a carry-save adder."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, c = arguments
        either = builder.xor(a, b)
        carry = builder.or_(builder.and_(a, b), builder.and_(either, c))
        return context.make_tuple(builder, signature.return_type, [builder.xor(either, c), carry])

    return types.UniTuple(_vector, 2)(_vector, _vector, _vector), emit


@intrinsic
def _popcount(typing: Any, word: Any) -> Any:
    """Return the number of set bits of a word, int64."""
    return types.int64(types.uint64), lambda *site: site[1].ctpop(site[3][0])
