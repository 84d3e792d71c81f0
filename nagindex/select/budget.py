"""Budgets: how much a query selects, the share of each target, and the exact cut of a ranking at its budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.arguments import parse_count, parse_share
from nagindex.errors import BadInputError
from nagindex.search.top_n import Hits
from nagindex.select.options import exact_decimal

ROUNDING = Fraction(1, 10**6)


@dataclass(frozen=True)
class Budget:
    """How much to select: documents, tokens, or a share of the candidates' tokens. Exactly one is given, or `unlimited`.

    Attributes:
        documents: number of documents.
        tokens: number of tokens; documents are taken in order while their tokens sum to at most this, and at least one.
        fraction: share of the candidates' tokens, above 0 and at most 1.
        unlimited: whether a query without any of the three may select every candidate, as one with a minimum score does.

    Raises:
        BadInputError: none or several are given, or one is out of range.
    """

    documents: int | None = None
    tokens: int | None = None
    fraction: float | None = None
    unlimited: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("documents", int), ("tokens", int), ("fraction", float)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, kind(getattr(self, name)))
        given = [v for v in (self.documents, self.tokens, self.fraction) if v is not None]
        if len(given) > 1 or not (given or self.unlimited):
            raise BadInputError(
                f"one budget is needed, {len(given)} given; pass one of `n` (documents), `tokens` and `fraction`"
            )
        object.__setattr__(self, "unlimited", not given)
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise BadInputError(f"fraction {self.fraction}: a share of the candidates' tokens is above 0 and at most 1")
        if given and given[0] < 1 and self.fraction is None:
            raise BadInputError(
                f"budget {given[0]}: at least one {'document' if self.documents is not None else 'token'} must be asked for"
            )

    @classmethod
    def parse(
        cls,
        documents: float | str | None,
        tokens: float | str | None,
        fraction: float | str | None,
        *,
        unlimited: bool,
    ) -> Budget:
        """Return a budget whose numbers may be written as text, such as `1M` or `20%`.

        Raises:
            BadInputError: as the class, or a number cannot be read.
        """
        return cls(
            None if documents is None else parse_count(documents, name="n"),
            None if tokens is None else parse_count(tokens, name="tokens"),
            None if fraction is None else parse_share(fraction, name="fraction"),
            unlimited=unlimited,
        )

    @property
    def counts_tokens(self) -> bool:
        """Whether the budget is in tokens rather than documents."""
        return self.documents is None and not self.unlimited

    def to_json(self) -> dict[str, Any]:
        """Return the budget under its name on the command line, as JSON values."""
        named = {"n": self.documents, "tokens": self.tokens, "fraction": self.fraction}
        return {name: value for name, value in named.items() if value is not None}

    def amount(self, *, documents: int, tokens: int) -> int:
        """Return the budget as a number of documents or tokens.

        Args:
            documents: the candidates, all of which an unlimited budget takes.
            tokens: the candidates' tokens, of which `fraction` is a share.
        """
        if self.unlimited:
            return documents
        if self.fraction is not None:
            return int(tokens * self.fraction)
        return int(self.documents if self.documents is not None else self.tokens or 0)


def shares_of(amount: int, names: Sequence[str], weights: Mapping[str, float], *, counts_tokens: bool) -> list[int]:
    """Return each target's share of a budget: the given ones, and equal shares of the remainder for the other targets.

    Shares of documents sum to the budget: units left by rounding down go to the targets that lost most. Shares of tokens are
    rounded down, as in the published code.

    Args:
        amount: the budget.
        names: names of the targets.
        weights: given shares by target.
        counts_tokens: whether the budget is in tokens.

    Raises:
        BadInputError: a weight names no target, or the weights contradict each other or leave nothing for a target.
    """
    unknown = [name for name in weights if name not in names]
    if unknown:
        raise BadInputError(f"target-weight {unknown[0]}: no such target; the targets are {', '.join(names)}")
    given = {name: exact_decimal(weight) for name, weight in weights.items()}
    left, rest = 1 - sum(given.values(), Fraction(0)), len(names) - len(given)
    if not rest and abs(left) < ROUNDING:  # three thirds, written as decimals
        given, left = {name: weight / (1 - left) for name, weight in given.items()}, Fraction(0)
    if rest and left <= 0:
        others = ", ".join(name for name in names if name not in given)
        raise BadInputError(
            f"target-weight: the shares given sum to {float(1 - left):g} and leave nothing for {others}"
        )
    if not rest and left:
        raise BadInputError(f"target-weight: the shares of all targets sum to {float(1 - left):g}, not to 1")
    exact = [amount * given.get(name, left / rest if rest else Fraction(0)) for name in names]
    shares = [math.floor(share) for share in exact]
    if not counts_tokens:
        by_loss = sorted(range(len(names)), key=lambda i: shares[i] - exact[i])
        for i in by_loss[: amount - sum(shares)]:
            shares[i] += 1
        if min(shares) < 1:
            empty = names[shares.index(min(shares))]
            raise BadInputError(
                f'`n={amount}`: leaves no document for the target {empty}; ask for more, or use `mix="max"`'
            )
    return shares


IdsOf = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.object_]]
"""From positions in the pool, int64 [m], to document ids, str [m]."""


def exact_cut(hits: Hits, *, budget: int, ids_of: IdsOf, first: bool = True, final: bool = True) -> Hits:
    """Return the documents that fit a budget, in no particular order.

    Documents are taken by descending key, equal keys by ascending id, while their cumulative weight is at most the budget; the
    first one of a ranking is always taken. Ids are looked up only for the one group of equal keys in which the budget ends.

    Args:
        hits: the documents to cut.
        budget: in the unit of the hits' weights.
        ids_of: looks ids up.
        first: whether these are the first documents of the ranking.
        final: whether these are all documents of the ranking. If more may follow, the first document that does not fit is kept
            too: documents after it cannot be selected.
    """
    if not len(hits.keys):
        return dataclasses.replace(hits, complete=True)
    order = np.argsort(-hits.keys, kind="stable")
    keys, used = hits.keys[order], np.cumsum(hits.weights[order])
    over = int(np.searchsorted(used, budget, side="right"))
    if over == len(used):
        return dataclasses.replace(hits, complete=True)
    # Only at the end of a group of equal keys is the cumulative weight independent of the order inside the group.
    start, stop = (np.searchsorted(-keys, -keys[over], side=side) for side in ("left", "right"))
    group = hits.take(order[start:stop])
    left = budget - (used[start - 1] if start else 0)
    if len(group.keys) == 1 or (
        final and (start or not first) and group.weights.min() > left
    ):  # its order makes no difference
        by_id = np.arange(len(group.keys))
    else:
        by_id = np.argsort(ids_of(group.positions), kind="stable")
    fitting = int(np.searchsorted(np.cumsum(group.weights[by_id]), left, side="right"))
    kept = np.concatenate([order[:start], order[start:stop][by_id[: fitting if final else fitting + 1]]])
    return hits.take(kept if len(kept) or not first else order[start:stop][by_id[:1]])
