"""Weightings: how much a neuron counts, from its frequency among the examples and in the pool.

Weights are integers, so sums of them are exact and equal on every machine. Logarithms are rounded once, correctly: to the
nearest multiple of 1 / `RESOLUTION`, whatever the last bit of a processor's logarithm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import Codes, NagSpec
from nagindex.search.profile import Profile, contrast_of, profile_of

RESOLUTION = 1 << 24
"""Integers in a nat. A score, a mean of rounded weights, is thus within 2^-25 (3e-8) nats of the real one."""
PRIOR = 40.0
"""Default weight m of the prior, in examples."""
PRIORS = (1e-9, 1e9)
"""Least and greatest m."""
DOUBTFUL = 2.0**-13
"""Distance from halfway between two integers within which a scaled float64 logarithm does not decide; its error is below 2^-20."""
DIGITS = 50
"""Decimal digits of the first attempt to decide."""
LOST_DIGITS = 15
"""Digits after the first that a scaled logarithm's error may reach; logarithms of quotients up to 10^40 lose 11."""

_SPELLING = re.compile(r"(frequency)|(log-ratio|log-odds)(?::(.+))?|(contrast):(.+)", re.DOTALL)
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Weighting:
    """A way to weigh neurons, such as `log-ratio:40`.

    Attributes:
        kind: `frequency`, `log-ratio`, `log-odds` or `contrast`.
        amount: m of the logarithms, A of `contrast`; 0 for `frequency`.
    """

    kind: str
    amount: float = 0.0

    @classmethod
    def parse(cls, written: str) -> Weighting:
        """Return the weighting that is written `frequency`, `log-ratio[:m]`, `log-odds[:m]` or `contrast:A`.

        `contrast:0` is `frequency`.

        Raises:
            BadInputError: it is none of these, or the number is out of range.
        """
        match = _SPELLING.fullmatch(written)
        if match is None:
            shown = "frequency, log-ratio, log-ratio:M, log-odds, log-odds:M or contrast:A"
            raise BadInputError(f"weights {written!r}: write {shown}, such as log-ratio:40 or contrast:0.5")
        kind = next(filter(None, (match[1], match[2], match[4])))
        number = match[3] or match[5]
        amount = float(number) if number and _NUMBER.fullmatch(number) else math.nan
        if kind == "contrast":
            if not math.isfinite(amount):
                raise BadInputError(f"weights {written!r}: A is a number from 0 up, such as contrast:0.5")
            return cls(kind, amount) if amount else cls("frequency")
        if kind != "frequency":
            amount = PRIOR if number is None else amount
            if not PRIORS[0] <= amount <= PRIORS[1]:
                least, most = PRIORS
                raise BadInputError(f"weights {written!r}: m is a number from {least:g} to {most:g}, such as {kind}:40")
        return cls(kind, amount)

    def __str__(self) -> str:
        """Return the one way to write it that `parse` reads back, with the number that it would take by default."""
        return self.kind + f":{self.amount!r}".removesuffix(".0") * self.compares_with_pool

    @property
    def compares_with_pool(self) -> bool:
        """Whether weights depend on how many documents of the pool hold a neuron."""
        return self.kind != "frequency"

    @cached_property
    def exact_amount(self) -> Fraction:
        """The decimal number that `amount` prints as, exactly."""
        return Fraction(str(self.amount))

    def profile_of(self, codes: Codes, pool: npt.NDArray[np.int64], documents: int, spec: NagSpec) -> Profile:
        """Return the profile of a target set with these weights.

        Args:
            codes: uint16 [n, L, K], the NAGs of the examples, n at least 1.
            pool: int64 [L, max d_l], number of documents of the pool that hold each neuron; not read by `frequency`.
            documents: number of documents of the pool.
            spec: shape of the NAGs.

        Raises:
            BadInputError: the integers of `contrast` exceed 64 bits.
        """
        if self.kind == "frequency":
            return profile_of(codes, spec)
        if self.kind == "contrast":
            return contrast_of(codes, pool, documents, self.exact_amount, spec)
        quotient = log_ratio if self.kind == "log-ratio" else log_odds
        counts = profile_of(codes, spec).weights
        weights = rounded_logs(quotient, counts, pool, len(codes), documents, self.exact_amount)
        weights[np.arange(weights.shape[1]) >= np.array(spec.widths)[:, None]] = 0
        return Profile(weights, spec.layers * spec.top_k * RESOLUTION, spec)


Quotient = Callable[[Any, Any, Any, Any, Any], tuple[Any, Any]]
"""f(count, pool, examples, documents, m): numerator and denominator of what the logarithm of is a weight.

It works on float64 arrays as on exact fractions. Nothing is subtracted but integers, so floats lose only a few last bits.
"""


def log_ratio(count: Any, pool: Any, examples: Any, documents: Any, m: Any) -> tuple[Any, Any]:
    """Return (c + m p) / ((n + m) p), the neuron's smoothed share of the examples over its share p of the pool.

    p = (documents with the neuron + 1/2) / (documents + 1); m examples' worth of the pool are added to the n examples. Both
    parts of the fraction are multiplied by 2 (documents + 1).
    """
    held, all_documents = 2 * pool + 1, 2 * (documents + 1)
    return count * all_documents + m * held, (examples + m) * held


def log_odds(count: Any, pool: Any, examples: Any, documents: Any, m: Any) -> tuple[Any, Any]:
    """Return the odds q / (1 - q) of the smoothed share of the examples over the odds p / (1 - p) of the pool's share.

    q = (c + m p) / (n + m), with p as in `log_ratio`: the log-odds-ratio with an informative Dirichlet prior, without its
    variance.

    Source: Monroe, Colaresi and Quinn, "Fightin' Words", Political Analysis 16(4), 2008, equation 16.
    """
    held, all_documents = 2 * pool + 1, 2 * (documents + 1)
    without = all_documents - held
    inside, outside = count * all_documents + m * held, (examples - count) * all_documents + m * without
    return inside * without, outside * held


def rounded_logs(
    quotient: Quotient,
    counts: npt.NDArray[np.int64],
    pool: npt.NDArray[np.int64],
    examples: int,
    documents: int,
    m: Fraction,
) -> npt.NDArray[np.int64]:
    """Return logarithms of quotients in units of 1 / `RESOLUTION` nats, correctly rounded, int64 of the counts' shape.

    Args:
        quotient: `log_ratio` or `log_odds`.
        counts: int64, examples that hold a neuron.
        pool: int64 of the same shape, documents that hold it.
        examples: number of examples.
        documents: number of documents of the pool.
        m: weight of the prior, in examples.
    """
    above, below = quotient(counts.astype(np.float64), pool.astype(np.float64), examples, documents, float(m))
    scaled = np.log(above / below) * RESOLUTION
    rounded: npt.NDArray[np.int64] = np.rint(scaled).astype(np.int64)
    doubtful = np.abs(scaled - np.floor(scaled) - 0.5) < DOUBTFUL
    pairs, which = np.unique(np.stack([counts[doubtful], pool[doubtful]]), axis=1, return_inverse=True)
    known: dict[Fraction, int] = {}
    decided = np.zeros(pairs.shape[1], np.int64)
    for number, (count, held) in enumerate(pairs.T.tolist()):
        above, below = quotient(count, held, examples, documents, m)
        exact = Fraction(above) / below
        decided[number] = known[exact] if exact in known else known.setdefault(exact, rounded_log(exact))
    rounded[doubtful] = decided[which.reshape(-1)]
    return rounded


def rounded_log(quotient: Fraction, *, digits: int = DIGITS) -> int:
    """Return the integer nearest to `RESOLUTION` * log(quotient), exactly.

    The logarithm of a fraction other than 1 is irrational, so enough decimal digits decide in any case.
    """
    with localcontext(prec=digits) as context:
        scaled = (context.create_decimal(quotient.numerator) / quotient.denominator).ln() * RESOLUTION
        nearest = scaled.to_integral_value()
        decided = abs(abs(scaled - nearest) - Decimal("0.5")) > Decimal(10) ** (LOST_DIGITS - digits)
    return int(nearest) if decided else rounded_log(quotient, digits=2 * digits)
