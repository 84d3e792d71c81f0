"""Compiled loops that pack and unpack NAGs, for `layouts.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from nagindex.search.kernels import compiled

JIT = numba.njit(nogil=True, cache=True)
ONE = np.uint64(1)
ESCAPE = 255


@JIT
def put(words, place, value, width):
    """Write a value's low bits at a bit offset into zeroed uint64 words; return the next bit offset."""
    at, off = place >> 6, np.uint64(place & 63)
    words[at] |= np.uint64(value) << off
    if off + np.uint64(width) > np.uint64(64):
        words[at + 1] |= np.uint64(value) >> (np.uint64(64) - off)
    return place + width


@JIT
def get(words, place, width):
    """Return the `width` bits, fewer than 64, at a bit offset."""
    at, off = place >> 6, np.uint64(place & 63)
    value = (words[at] >> off) | ((words[at + 1] << ONE) << (np.uint64(63) - off))
    return value & ((ONE << np.uint64(width)) - ONE)


@JIT
def pack_fixed(symbols, words):
    """Pack each row of K with the bit width of its largest value, preceded by that width in 5 bits."""
    place = 0
    for i in range(symbols.shape[0]):
        for layer in range(symbols.shape[1]):
            row = symbols[i, layer]
            width = 0
            while row.max() >> width:
                width += 1
            place = put(words, place, width, 5)
            for value in row:
                place = put(words, place, value, width)
    return place


@JIT
def unpack_fixed(words, gaps, found):
    """Invert `pack_fixed`; gaps are converted back to values."""
    place = 0
    for i in range(found.shape[0]):
        for layer in range(found.shape[1]):
            width = np.int64(get(words, place, 5))
            place += 5
            last = -1
            for k in range(found.shape[2]):
                value = np.int64(get(words, place, width))
                place += width
                if gaps:
                    value += last + 1
                    last = value
                found[i, layer, k] = value


@JIT
def class_of(value, starts):
    """Return the last of four classes whose start is at most a value."""
    return np.int64(value >= starts[1]) + np.int64(value >= starts[2]) + np.int64(value >= starts[3])


@JIT
def pack_classes(values, gaps, heads, widths, starts, words):
    """Pack values by the four width classes of their layer: two bits for the class, then the offset in it.

    In a layer with a head, each value below the head is one bit, and the others follow sorted, as gaps.
    """
    place = 0
    for i in range(values.shape[0]):
        for layer in range(values.shape[1]):
            head = heads[layer]
            bits, first = np.uint64(0), 0
            while gaps and first < values.shape[2] and values[i, layer, first] < head:
                bits |= ONE << np.uint64(values[i, layer, first])
                first += 1
            place = put(words, place, bits, head)
            last = head - 1
            for k in range(first, values.shape[2]):
                value = np.int64(values[i, layer, k])
                if gaps:
                    value, last = value - last - 1, value
                kind = class_of(value, starts[layer])
                place = put(words, place, kind, 2)
                place = put(words, place, value - starts[layer, kind], widths[layer, kind])
    return place


@JIT
def unpack_classes(words, gaps, heads, widths, starts, found):
    """Invert `pack_classes`."""
    place = 0
    for i in range(found.shape[0]):
        for layer in range(found.shape[1]):
            head, first = heads[layer], 0
            if head:
                bits = get(words, place, head)
                place += head
                while bits:
                    found[i, layer, first] = trailing_zeros(bits)
                    bits &= bits - ONE
                    first += 1
            last = head - 1
            for k in range(first, found.shape[2]):
                code = get(words, place, 18)  # the class and the widest value in one read
                kind = np.int64(code & np.uint64(3))
                width = widths[layer, kind]
                value = np.int64((code >> np.uint64(2)) & ((ONE << np.uint64(width)) - ONE)) + starts[layer, kind]
                place += 2 + width
                if gaps:
                    value += last + 1
                    last = value
                found[i, layer, k] = value


@JIT
def pack_bytes(symbols, cut, data):
    """Pack values below the cut as one byte, others as two; return the number of bytes written."""
    place = 0
    for value in symbols.flat:
        if value < cut:
            data[place] = value
            place += 1
        else:
            data[place] = cut + ((value - cut) >> 8)
            data[place + 1] = (value - cut) & 255
            place += 2
    return place


@JIT
def unpack_bytes(data, cut, gaps, found):
    """Invert `pack_bytes`."""
    place = 0
    for i in range(found.shape[0]):
        for layer in range(found.shape[1]):
            last = -1
            for k in range(found.shape[2]):
                value = np.int64(data[place])
                place += 1
                if value >= cut:
                    value = ((value - cut) << 8) + np.int64(data[place]) + cut
                    place += 1
                if gaps:
                    value += last + 1
                    last = value
                found[i, layer, k] = value


@JIT
def sum_layers(block, table, width, sums):
    """Sum as `sum_one` does over a block [L, n, K]."""
    sums[:] = 0
    for layer in range(block.shape[0]):
        base = np.uint64(layer * width)
        for i in range(block.shape[1]):
            total = np.int64(0)
            for k in range(block.shape[2]):
                total += np.int64(table[base + np.uint64(block[layer, i, k])])
            sums[i] += total


@JIT
def sum_columns(block, table, width, sums):
    """Sum as `sum_one` does over a block [L, K, n]."""
    sums[:] = 0
    for layer in range(block.shape[0]):
        base = np.uint64(layer * width)
        for k in range(block.shape[1]):
            for i in range(block.shape[2]):
                sums[i] += np.int64(table[base + np.uint64(block[layer, k, i])])


@cache
def sum_escaped(top_k: int) -> Callable[..., None]:
    """Return f(low uint8 [n, L*K], counts, rest, small, table, width, group, sums), with K a constant as in `sum_one`.

    f sums bytes with a small table [L*256] that is zero for escapes, then the escaped values with the whole table.
    """

    def f(low, counts, rest, small, table, width, group, sums):
        place = 0
        for i in range(low.shape[0]):
            total = np.int64(0)
            for layer in range(small.shape[0] // 256):
                base = np.uint64(layer * 256)
                first = np.uint64(layer * top_k)
                for k in range(top_k):
                    total += np.int64(small[base + np.uint64(low[i, first + np.uint64(k)])])
            for g in range(counts.shape[1]):
                base = np.uint64(g * group * width)
                for _ in range(counts[i, g]):
                    total += np.int64(table[base + np.uint64(rest[place])])
                    place += 1
            sums[i] = total

    return compiled(f)


@JIT
def order_numbers(values, ordered, words, width):
    """Write each row's order relative to its sorted values, as a number below K! of fixed width."""
    top_k, place = values.shape[2], 0
    for i in range(values.shape[0]):
        for layer in range(values.shape[1]):
            number = np.uint64(0)
            for k in range(top_k):
                smaller = 0
                for j in range(k + 1, top_k):
                    smaller += values[i, layer, j] < values[i, layer, k]
                number = number * np.uint64(top_k - k) + np.uint64(smaller)
            place = put(words, place, number, width)
    return place


@JIT
def put_in_order(words, width, values):
    """Restore the order that `order_numbers` wrote to sorted values [n, L, K]."""
    top_k, place = values.shape[2], 0
    digits, left = np.empty(top_k, np.int64), np.empty(top_k, np.uint16)
    for i in range(values.shape[0]):
        for layer in range(values.shape[1]):
            number = get(words, place, width)
            place += width
            for k in range(top_k - 1, -1, -1):
                quotient = number // np.uint64(top_k - k)
                digits[k] = np.int64(number - quotient * np.uint64(top_k - k))
                number = quotient
            left[:] = values[i, layer]
            for k in range(top_k):
                values[i, layer, k] = left[digits[k]]
                for j in range(digits[k], top_k - k - 1):
                    left[j] = left[j + 1]


@JIT
def unescape(low, rest, group, width, found):
    """Fill uint16 [n, L, K] from bytes [n, L, K] and the consecutive escaped values."""
    place = 0
    for i in range(found.shape[0]):
        for layer in range(found.shape[1]):
            for k in range(found.shape[2]):
                found[i, layer, k] = low[i, layer, k]
                if low[i, layer, k] == ESCAPE:
                    found[i, layer, k] = rest[place] - layer % group * width
                    place += 1
