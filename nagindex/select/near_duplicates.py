"""Near-duplicates: exact detection of documents whose NAG shares many neurons with one chosen before.

Sort the m members of two sets in any common order. If they share o members, the d-th of these is followed by o - d others, so it is
among the first m - o + d members of both sets. A chosen NAG is therefore entered into the postings of its m - o + d rarest neurons
only, and a new NAG is compared in full only with those that it meets d times in its own postings. Rare neurons have short postings.

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

MAX_MEETINGS = 255
"""The largest d that fits a byte."""
FIRST_BLOCK = 8
"""Entries of the first block of a posting list; each further block is twice as large as the one before."""
NEURONS_PER_CHECK = 32
"""Neurons compared between two checks whether enough can be shared; a check of each would cost more than it saves."""
ROWS_PER_PASS = 1024
"""NAGs sorted together, so that their sorted copies are in the CPU's cache when they are looked up."""

Admitted = npt.NDArray[np.bool_]


class NearDuplicates:
    """The NAGs of the documents chosen so far, compared with those of new ones.

    The overlap of two NAGs is the number of (layer, neuron) pairs in both / (L * K). Not safe for use by several threads at a time.

    Attributes:
        needed: the smallest number of shared neurons that makes two NAGs near-duplicates.
    """

    def __init__(self, spec: NagSpec, least: float, *, sample: Codes | None = None) -> None:
        """Start with no document.

        Args:
            spec: the shape of all NAGs.
            least: the smallest overlap of near-duplicates, above 0 and at most 1, taken as the decimal number that it prints as; at 1
                NAGs must be equal, up to the order in a layer.
            sample: uint16 [s, L, K], about a thousand NAGs from which the rarity of neurons is estimated. Without it the results
                are the same, but take many times longer: the postings of popular neurons are long.

        Raises:
            BadInputError: `least` is out of range.
        """
        if not 0 < least <= 1:
            raise BadInputError(f"overlap {least}: near-duplicates share a part above 0 and at most 1 of their neurons")
        size = spec.layers * spec.top_k
        self.needed = ceil(Fraction(str(least)) * size)
        self._spec = spec
        self._chosen = _Equal() if self.needed == size else _Overlapping(spec, self.needed, sample)

    def overlaps(self, codes: Codes) -> bool:
        """Return whether a NAG, uint16 [L, K], overlaps a chosen one by at least `least`."""
        return not self._pass(codes[None], look=True, keep=False)[0]

    def add(self, codes: Codes) -> None:
        """Add a chosen document by its NAG, uint16 [L, K]."""
        self._pass(codes[None], look=False, keep=True)

    def admit(self, codes: Codes) -> Admitted:
        """Choose, one after the other, the documents that are no near-duplicate of one chosen before; return which, bool [n].

        Args:
            codes: uint16 [n, L, K].

        Raises:
            ValueError: the NAGs do not have the index's shape.
        """
        return self._pass(codes, look=True, keep=True)

    def _pass(self, codes: Codes, *, look: bool, keep: bool) -> Admitted:
        if codes.shape[1:] != self._spec.shape:
            raise ValueError(f"NAGs of shape {self._spec.shape} are needed, got {codes.shape[1:]}")
        admitted = np.empty(len(codes), bool)
        for first in range(0, len(codes), ROWS_PER_PASS):
            rows = slice(first, first + ROWS_PER_PASS)
            admitted[rows] = self._chosen.admit(np.asarray(codes[rows]), look=look, keep=keep)
        return admitted


class _Equal:
    """Exact duplicates: digests of the chosen NAGs, with the neurons of each layer in ascending order."""

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


class _Postings(NamedTuple):
    """The chosen NAGs and the postings of their neurons, as the compiled loops take them.

    A neuron's number is its rank by rarity. A posting list is a chain of blocks; the first entry of a block is where the block
    before it starts, in units of FIRST_BLOCK, and the others are numbers of chosen NAGs.

    Attributes:
        sizes: int64 [2], number of chosen NAGs, and of entries of `blocks` in use.
        neurons: int32 [>= chosen, m], the neurons of each chosen NAG, ascending.
        lengths: int32 [neurons], length of each posting list.
        newest: int32 [neurons], start of each posting list's last block, in units of FIRST_BLOCK.
        blocks: int32 [>= in use], all blocks.
        met: uint8 [>= chosen], scratch: how often each chosen NAG was met.
        held: uint8 [neurons], scratch: which neurons the new NAG holds; all 0 between calls.
    """

    sizes: npt.NDArray[np.int64]
    neurons: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    newest: npt.NDArray[np.int32]
    blocks: npt.NDArray[np.int32]
    met: npt.NDArray[np.uint8]
    held: npt.NDArray[np.uint8]


class _Overlapping:
    """Near-duplicates that need not share all neurons."""

    def __init__(self, spec: NagSpec, needed: int, sample: Codes | None) -> None:
        size = spec.layers * spec.top_k
        self._needed = needed
        # More meetings mean more and longer postings, and fewer NAGs to compare; this is near the optimum for 60 to 560 neurons.
        self._meetings = min(4 + size // 40, needed, MAX_MEETINGS)
        self._prefix = size - needed + self._meetings
        self._layers = np.repeat(spec.offsets[:-1], spec.top_k).astype(np.int32)
        neurons = int(spec.offsets[-1]) + MAX_WIDTH  # a damaged code may name a neuron that no layer has
        self._places = np.arange(neurons, dtype=np.int32)
        if sample is not None:
            holders = np.bincount(self._neurons(sample).reshape(-1), minlength=neurons)
            self._places[np.argsort(holders, kind="stable")] = np.arange(neurons, dtype=np.int32)
        self._postings = _Postings(
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
        return _admit(neurons, self._postings, self._prefix, self._needed, self._meetings, look, keep)  # type: ignore[no-any-return]

    def _neurons(self, codes: Codes) -> npt.NDArray[np.int32]:
        """Return the numbers of NAGs' neurons, int32 [n, m]."""
        neurons: npt.NDArray[np.int32] = self._places[codes.reshape(len(codes), -1) + self._layers]
        return neurons

    def _make_room(self, more: int) -> None:
        """Make room for so many more chosen NAGs."""
        postings = self._postings
        chosen, used = postings.sizes.tolist()
        entries = (chosen + more) * self._prefix
        numbers = entries * 9 // 4 + FIRST_BLOCK * min(
            entries, len(postings.lengths)
        )  # a posting list of n takes at most 9/4 n + FIRST_BLOCK
        self._postings = postings._replace(
            neurons=_grown(postings.neurons, chosen, chosen + more),
            blocks=_grown(postings.blocks, used, numbers),
            met=_grown(postings.met, chosen, chosen + more),
        )


def _grown(array: npt.NDArray[Any], used: int, needed: int) -> npt.NDArray[Any]:
    """Return an array with room for `needed` rows and its first `used` rows kept: the same, or one at least twice as large."""
    if needed <= len(array):
        return array
    larger = np.empty((max(needed, 2 * len(array)), *array.shape[1:]), array.dtype)
    larger[:used] = array[:used]
    return larger


@compiled
def _admit(neurons: Any, postings: Any, prefix: int, needed: int, meetings: int, look: bool, keep: bool) -> Any:
    """Return which NAGs are no near-duplicate of one chosen before, bool [n]; all of them if `look` is false.

    Args:
        neurons: int32 [n, m], ascending in each NAG.
        postings: the chosen NAGs; with `keep`, those admitted join them.
        prefix: number of its rarest neurons whose postings a NAG enters.
        needed: shared neurons of near-duplicates.
        meetings: how often a near-duplicate is met in the postings at least.
        look: whether to look for near-duplicates.
        keep: whether to add the admitted NAGs.
    """
    admitted = np.ones(len(neurons), np.bool_)
    for i in range(len(neurons)):
        if look:
            admitted[i] = not _overlaps(neurons[i], postings, prefix, needed, meetings)
        if keep and admitted[i]:
            _choose(neurons[i], postings, prefix)
    return admitted


@compiled
def _overlaps(neurons: Any, postings: Any, prefix: int, needed: int, meetings: int) -> bool:
    """Return whether a NAG, int32 [m], shares `needed` neurons with a chosen one."""
    postings.met[: postings.sizes[0]] = 0
    postings.held[neurons] = 1
    found = False
    for neuron in neurons[:prefix]:
        left = postings.lengths[neuron]
        start = np.int64(postings.newest[neuron]) * FIRST_BLOCK
        size, before = _last_block(left)
        while left > 0 and not found:
            for at in range(start + 1, start + 1 + left - before):
                other = np.uint64(postings.blocks[at])
                postings.met[other] += 1  # may wrap around: a NAG is then compared twice, and none is missed
                if postings.met[other] == meetings and _shares(other, postings, needed):
                    found = True
            start = np.int64(postings.blocks[start]) * FIRST_BLOCK
            left = before
            size //= 2
            before -= size - 1
    postings.held[neurons] = 0
    return found


@compiled
def _last_block(length: int) -> Any:
    """Return the size of the last block of a posting list of some length, and the number of NAGs in the blocks before."""
    size, before = FIRST_BLOCK, 0
    while length > before + size - 1:
        before += size - 1
        size *= 2
    return size, before


@compiled
def _shares(other: int, postings: Any, needed: int) -> bool:
    """Return whether the new NAG holds at least `needed` neurons of a chosen one."""
    size = postings.neurons.shape[1]
    spare = size - needed
    for first in range(0, size, NEURONS_PER_CHECK):
        for place in range(first, min(first + NEURONS_PER_CHECK, size)):
            spare -= 1 - np.int64(postings.held[postings.neurons[other, place]])
        if spare < 0:
            return False
    return True


@compiled
def _choose(neurons: Any, postings: Any, prefix: int) -> None:
    """Add a NAG, int32 [m], to the chosen ones and to the postings of its rarest neurons."""
    chosen, used = postings.sizes
    postings.neurons[chosen] = neurons
    for neuron in neurons[:prefix]:
        postings.lengths[neuron] += 1
        size, before = _last_block(postings.lengths[neuron])
        slot = postings.lengths[neuron] - before
        if slot == 1:
            postings.blocks[used] = postings.newest[neuron]
            postings.newest[neuron] = used // FIRST_BLOCK
            used += size
        postings.blocks[np.int64(postings.newest[neuron]) * FIRST_BLOCK + slot] = chosen
    postings.sizes[0] = chosen + 1
    postings.sizes[1] = used
