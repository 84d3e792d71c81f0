"""An interpolated trigram model with modified Kneser-Ney discounts, on sorted arrays of packed n-grams.

Chen and Goodman, An Empirical Study of Smoothing Techniques for Language Modeling, 1999, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.pretrain.inputs import END


@dataclass(frozen=True)
class Level:
    """Discounted counts of the n-grams of one order, and of their contexts.

    Attributes:
        keys: packed n-grams, ascending int64 [n-grams].
        shares: discounted count over the context's count, float64 [n-grams].
        contexts: packed contexts, the n-grams without their last token, ascending int64 [contexts].
        masses: probability that each context leaves to the lower order, float64 [contexts].
    """

    keys: np.ndarray
    shares: np.ndarray
    contexts: np.ndarray
    masses: np.ndarray

    def probabilities(self, keys: np.ndarray, lower: np.ndarray, bits: int) -> np.ndarray:
        """Return the probability of each n-gram's last token, given that of the lower order, float64 [n]."""
        masses = lookup(self.contexts, self.masses, keys >> bits, default=1.0)
        return lookup(self.keys, self.shares, keys, default=0.0) + masses * lower


def lookup(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray, *, default: float) -> np.ndarray:
    """Return the values of some keys, float64 [wanted]; the default where a key is missing."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], default)


def discounts(counts: np.ndarray) -> np.ndarray:
    """Return what is subtracted from counts of 0, 1, 2 and 3 or more, float64 [4].

    Where the data are too few for an estimate (a count of counts is 0), half a count is subtracted.
    """
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return np.array([0.0, 0.5, 0.5, 0.5])
    share = n1 / (n1 + 2 * n2)
    estimates = [1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3]
    return np.array([0.0, *np.clip(estimates, 0.05, [1, 2, 3])])


def level_of(keys: np.ndarray, counts: np.ndarray, bits: int) -> Level:
    """Return the level of some n-grams.

    Args:
        keys: packed n-grams, ascending int64 [n-grams].
        counts: how often each occurs, or how many different tokens precede it, int64 [n-grams].
        bits: bits of a token.
    """
    own = discounts(counts)[np.minimum(counts, 3)]
    parents = keys >> bits
    starts = np.flatnonzero(np.concatenate([[True], parents[1:] != parents[:-1]]))
    totals = np.add.reduceat(counts, starts)
    sizes = np.diff(np.append(starts, len(keys)))
    return Level(
        keys,
        (counts - own) / np.repeat(totals, sizes),
        parents[starts],
        np.add.reduceat(own, starts) / totals,
    )


class TrigramModel:
    """A trigram model of documents; the tokens before a text count as ends of text.

    Args:
        tokens: documents, each with its end-of-text token, uint16 [tokens].
        vocabulary: number of tokens; unseen ones share the mass that unigrams leave.
    """

    def __init__(self, tokens: np.ndarray, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._bits = max(1, int(vocabulary - 1).bit_length())
        keys, counts = np.unique(self._packed(tokens), return_counts=True)
        self._levels = []
        for order in (3, 2, 1):
            self._levels.append(level_of(keys, counts, self._bits))
            shorter = keys & ((1 << (order - 1) * self._bits) - 1)
            keys, counts = np.unique(shorter, return_counts=True)

    def _packed(self, tokens: np.ndarray) -> np.ndarray:
        """Return the trigram that ends at each token, int64 [tokens]; no context reaches beyond a document's start."""
        last = tokens.astype(np.int64)
        middle = np.concatenate([[END], last[:-1]])
        first = np.concatenate([[END], middle[:-1]])
        first[middle == END] = END
        return ((first << self._bits | middle) << self._bits) | last

    def probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Return the probability of each token of documents after the tokens before it, float64 [tokens]."""
        keys = self._packed(tokens)
        found = np.full(len(keys), 1 / self._vocabulary)
        for order, level in zip((1, 2, 3), reversed(self._levels), strict=True):
            found = level.probabilities(keys & ((1 << order * self._bits) - 1), found, self._bits)
        return found
