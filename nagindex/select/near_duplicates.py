"""Near duplicates: whether a document's NAG overlaps one of those chosen so far too much, exactly.

Put the m members of two sets in one order, whatever it is: of o members that both hold, the d-th has o - d behind it, so it is
among the first m - o + d of either. A chosen NAG is therefore listed under its m - o + d rarest neurons only, and a new one is
compared in full only with those that it meets d times in the lists of its own. Rare neurons have short lists.

Source: prefix filtering, Chaudhuri et al., ICDE 2006 (d = 1); Wang et al., SIGMOD 2012 (any d).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from hashlib import blake2b
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import MAX_WIDTH, Codes, NagSpec
from nagindex.search.kernels import compiled

MOST_MEETINGS = 255
"""The largest d that a byte counts to."""
FIRST = 8
"""Numbers in the first block of a list; each further block is twice as large as the one before."""
COMPARED = 32
"""Neurons compared between two looks at whether enough can still be shared: a look at each costs more than it saves."""
ROWS_PER_PASS = 1024
"""NAGs sorted together, to have their sorted copies in the cache when they are looked up."""

Admitted = npt.NDArray[np.bool_]


class NearDuplicates:
    """The NAGs of the documents chosen so far, asked whether a new one overlaps one of them too much.

    The overlap of two NAGs is the number of (layer, neuron) that both hold / (L * K). One thread at a time may ask and add.

    Attributes:
        needed: the smallest number of shared neurons that is too much.
    """

    def __init__(self, spec: NagSpec, least: float, *, sample: Codes | None = None) -> None:
        """Start with no document chosen.

        Args:
            spec: the shape of all NAGs.
            least: the smallest overlap that is too much, above 0 and at most 1, taken for the decimal number it prints as; at 1
                NAGs must be equal, up to the order in a layer.
            sample: uint16 [s, L, K], a thousand NAGs or so that tell which neurons are rare. The answers are the same without
                it, but take many times longer: lists of popular neurons are long.

        Raises:
            BadInputError: `least` is out of range.
        """
        if not 0 < least <= 1:
            raise BadInputError(f"overlap {least}: near duplicates share a part above 0 and at most 1 of their neurons")
        size = spec.layers * spec.top_k
        self.needed = ceil(Fraction(str(least)) * size)
        self._spec = spec
        self._sets = _Equal() if self.needed == size else _Overlapping(spec, self.needed, sample)

    def overlaps(self, codes: Codes) -> bool:
        """Return whether a NAG, uint16 [L, K], overlaps a chosen one by at least `least`."""
        return not self._pass(codes[None], look=True, keep=False)[0]

    def add(self, codes: Codes) -> None:
        """Choose a document by its NAG, uint16 [L, K], whatever it overlaps."""
        self._pass(codes[None], look=False, keep=True)

    def admit(self, codes: Codes) -> Admitted:
        """Return which of n documents are chosen, bool [n]: one after the other, those that overlap none chosen before.

        Args:
            codes: uint16 [n, L, K].

        Raises:
            ValueError: the NAGs have another shape than those of the index.
        """
        return self._pass(codes, look=True, keep=True)

    def _pass(self, codes: Codes, *, look: bool, keep: bool) -> Admitted:
        if codes.shape[1:] != self._spec.shape:
            raise ValueError(f"NAGs of shape {self._spec.shape} are needed, got {codes.shape[1:]}")
        admitted = np.empty(len(codes), bool)
        for first in range(0, len(codes), ROWS_PER_PASS):
            rows = slice(first, first + ROWS_PER_PASS)
            admitted[rows] = self._sets.admit(np.asarray(codes[rows]), look=look, keep=keep)
        return admitted


class _Equal:
    """Where all neurons must be shared: digests of the chosen NAGs, with the neurons of each layer in ascending order."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def admit(self, codes: Codes, *, look: bool, keep: bool) -> Admitted:
        return np.fromiter((self._admit(digest, look, keep) for digest in _digests(codes)), bool, len(codes))

    def _admit(self, digest: bytes, look: bool, keep: bool) -> bool:
        if look and digest in self._digests:
            return False
        if keep:
            self._digests.add(digest)
        return True


def _digests(codes: Codes) -> Iterator[bytes]:
    return (blake2b(row, digest_size=16).digest() for row in np.sort(codes, axis=-1))


class _Lists(NamedTuple):
    """The chosen NAGs and the lists they are in; what the compiled loops work on.

    A neuron's number is its place in the order of rarity. A list is a chain of blocks; the first number of a block is where the
    block before it starts, in units of FIRST, and the others are positions of chosen NAGs.

    Attributes:
        sizes: int64 [2], NAGs chosen and numbers of `blocks` in use.
        neurons: int32 [>= chosen, m], the neurons of each chosen NAG, ascending.
        lengths: int32 [neurons], NAGs in each list.
        newest: int32 [neurons], where each list's last block starts, in units of FIRST.
        blocks: int32 [>= in use], all blocks.
        met: uint8 [>= chosen], room for how often each chosen NAG was met.
        held: uint8 [neurons], room for which neurons the new NAG holds; all 0 between calls.
    """

    sizes: npt.NDArray[np.int64]
    neurons: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    newest: npt.NDArray[np.int32]
    blocks: npt.NDArray[np.int32]
    met: npt.NDArray[np.uint8]
    held: npt.NDArray[np.uint8]


class _Overlapping:
    """Where fewer than all neurons must be shared."""

    def __init__(self, spec: NagSpec, needed: int, sample: Codes | None) -> None:
        size = spec.layers * spec.top_k
        self._needed = needed
        # More meetings mean more and longer lists, and fewer NAGs to compare; this is about best from 60 to 560 neurons.
        self._meetings = min(4 + size // 40, needed, MOST_MEETINGS)
        self._listed = size - needed + self._meetings
        self._layers = np.repeat(spec.offsets[:-1], spec.top_k).astype(np.int32)
        neurons = int(spec.offsets[-1]) + MAX_WIDTH  # a damaged code may name a neuron that no layer has
        self._places = np.arange(neurons, dtype=np.int32)
        if sample is not None:
            holders = np.bincount(self._neurons(sample).reshape(-1), minlength=neurons)
            self._places[np.argsort(holders, kind="stable")] = np.arange(neurons, dtype=np.int32)
        self._lists = _Lists(
            sizes=np.zeros(2, np.int64),
            neurons=np.empty((0, size), np.int32),
            lengths=np.zeros(neurons, np.int32),
            newest=np.zeros(neurons, np.int32),
            blocks=np.empty(0, np.int32),
            met=np.empty(0, np.uint8),
            held=np.zeros(neurons, np.uint8),
        )

    def admit(self, codes: Codes, *, look: bool, keep: bool) -> Admitted:
        neurons = np.sort(self._neurons(codes), axis=1)
        if keep:
            self._make_room(len(codes))
        return _admit(neurons, self._lists, self._listed, self._needed, self._meetings, look, keep)  # type: ignore[no-any-return]

    def _neurons(self, codes: Codes) -> npt.NDArray[np.int32]:
        """Return the numbers of NAGs' neurons, int32 [n, m]."""
        neurons: npt.NDArray[np.int32] = self._places[codes.reshape(len(codes), -1) + self._layers]
        return neurons

    def _make_room(self, more: int) -> None:
        """See that so many more NAGs can be chosen."""
        lists = self._lists
        chosen, used = lists.sizes.tolist()
        entries = (chosen + more) * self._listed
        numbers = entries * 9 // 4 + FIRST * min(entries, len(lists.lengths))  # a list of n takes at most 9/4 n + FIRST
        self._lists = lists._replace(
            neurons=_grown(lists.neurons, chosen, chosen + more),
            blocks=_grown(lists.blocks, used, numbers),
            met=_grown(lists.met, chosen, chosen + more),
        )


def _grown(array: npt.NDArray[Any], used: int, needed: int) -> npt.NDArray[Any]:
    """Return an array with room for `needed` rows, twice as large if it must be another; `used` rows are kept."""
    if needed <= len(array):
        return array
    larger = np.empty((max(needed, 2 * len(array)), *array.shape[1:]), array.dtype)
    larger[:used] = array[:used]
    return larger


@compiled
def _admit(neurons: Any, lists: Any, listed: int, needed: int, meetings: int, look: bool, keep: bool) -> Any:
    """Return which NAGs overlap none chosen before, bool [n]; all of them where none is looked for.

    Args:
        neurons: int32 [n, m], ascending in each NAG.
        lists: the NAGs chosen; with `keep`, those admitted join them.
        listed: how many of its first neurons a NAG is listed under.
        needed: shared neurons that are too many.
        meetings: how often a NAG that shares them is met in the lists at least.
        look: whether to look for overlaps.
        keep: whether to choose those admitted.
    """
    admitted = np.ones(len(neurons), np.bool_)
    for i in range(len(neurons)):
        if look:
            admitted[i] = not _overlaps(neurons[i], lists, listed, needed, meetings)
        if keep and admitted[i]:
            _choose(neurons[i], lists, listed)
    return admitted


@compiled
def _overlaps(neurons: Any, lists: Any, listed: int, needed: int, meetings: int) -> bool:
    """Return whether a NAG, int32 [m], shares `needed` neurons with a chosen one."""
    lists.met[: lists.sizes[0]] = 0
    lists.held[neurons] = 1
    found = False
    for neuron in neurons[:listed]:
        left = lists.lengths[neuron]
        start = np.int64(lists.newest[neuron]) * FIRST
        size, before = _last_block(left)
        while left > 0 and not found:
            for at in range(start + 1, start + 1 + left - before):
                other = np.uint64(lists.blocks[at])
                lists.met[other] += 1  # may wrap around: a NAG is then compared twice, and none is missed
                if lists.met[other] == meetings and _shares(other, lists, needed):
                    found = True
            start = np.int64(lists.blocks[start]) * FIRST
            left = before
            size //= 2
            before -= size - 1
    lists.held[neurons] = 0
    return found


@compiled
def _last_block(length: int) -> Any:
    """Return the size of the block that a list of some length ends in, and how many are in the blocks before."""
    size, before = FIRST, 0
    while length > before + size - 1:
        before += size - 1
        size *= 2
    return size, before


@compiled
def _shares(other: int, lists: Any, needed: int) -> bool:
    """Return whether the new NAG holds at least `needed` neurons of a chosen one."""
    size = lists.neurons.shape[1]
    spare = size - needed
    for first in range(0, size, COMPARED):
        for place in range(first, min(first + COMPARED, size)):
            spare -= 1 - np.int64(lists.held[lists.neurons[other, place]])
        if spare < 0:
            return False
    return True


@compiled
def _choose(neurons: Any, lists: Any, listed: int) -> None:
    """Add a NAG, int32 [m], to those chosen and to the lists of its first neurons."""
    chosen, used = lists.sizes
    lists.neurons[chosen] = neurons
    for neuron in neurons[:listed]:
        lists.lengths[neuron] += 1
        size, before = _last_block(lists.lengths[neuron])
        slot = lists.lengths[neuron] - before
        if slot == 1:
            lists.blocks[used] = lists.newest[neuron]
            lists.newest[neuron] = used // FIRST
            used += size
        lists.blocks[np.int64(lists.newest[neuron]) * FIRST + slot] = chosen
    lists.sizes[0] = chosen + 1
    lists.sizes[1] = used
