"""Settings of a query that an evaluation compares: weights, score, K and layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from nagindex.arguments import layer_ranges, written_layers
from nagindex.nag import NagSpec
from nagindex.search.view import FIRST_PARTS, View
from nagindex.select.options import QueryOptions

WEIGHTS = ("frequency", "log-ratio", "log-odds", "contrast:1")
"""Weights compared by default, each with each K."""
SCORES = ("max", "top:10")
"""Scores compared by default besides `mean`."""
PARTS = (1, 2, 4)
"""Divisors of the index's K that are compared by default."""


@dataclass(frozen=True)
class Setting:
    """One way to score documents.

    Attributes:
        options: the query options; of them weights, score, K and layers differ between settings.
        view: the layers and neurons that count.
    """

    options: QueryOptions
    view: View

    @property
    def record(self) -> dict[str, Any]:
        """The four values that may differ, as a row has them: weights, score, top_k and layers, `all` for all of these."""
        layers = self.options.written_layers or "all"
        return {
            "weights": self.options.weights,
            "score": self.options.score,
            "top_k": self.view.top_k,
            "layers": "all" if len(self.view.layers) == self.view.whole.layers else layers,
        }

    @property
    def keywords(self) -> dict[str, Any]:
        """Those of the four that are not the defaults of a query, as keywords of `Index.query`."""
        defaults = {"weights": "frequency", "score": "mean", "top_k": self.view.whole.top_k, "layers": "all"}
        return {name: value for name, value in self.record.items() if value != defaults[name]}


def settings_of(
    spec: NagSpec,
    *,
    weights: str | Sequence[str] = (),
    score: str | Sequence[str] = (),
    top_k: int | Sequence[int] = (),
    layers: str | Sequence[str] = (),
) -> list[Setting]:
    """Return the settings to compare, each once.

    By default each of `WEIGHTS` goes with the index's K, half and a quarter of it; the scores `SCORES` and the first two thirds, half
    and third of the layers are compared with everything else as in a query without options. Where lists are given, all their values
    are combined, and what has no list is as in a query without options. Weights go with the score `mean` alone.

    Args:
        spec: shape of the index's NAGs.
        weights: weights, as in `QueryOptions`; one, or several, like the following.
        score: scores.
        top_k: numbers K of neurons in a layer.
        layers: sets of layers.

    Raises:
        BadInputError: there are no such weights or scores, or the index has no such layers or K.
    """
    chosen: list[dict[str, Any]]
    by_weights, by_score, by_k, by_layers = map(_listed, (weights, score, top_k, layers))
    if by_weights or by_score or by_k or by_layers:
        chosen = [
            {"weights": own, "score": by, "top_k": k, "layers": tapped}
            for tapped in by_layers or [None]
            for by in by_score or ["mean"]
            for own in (by_weights or ["frequency"] if by == "mean" else ["frequency"])
            for k in by_k or [None]
        ]
    else:
        smaller = [max(1, spec.top_k // part) for part in PARTS]
        chosen = [{"weights": own, "top_k": k} for own in WEIGHTS for k in smaller]
        chosen += [{"score": own} for own in SCORES]
        chosen += [{"layers": own} for own in _first_layers(spec)]
    found: dict[Any, Setting] = {}
    for one in chosen:
        options = QueryOptions.of(**one)
        view = View.of(spec, written_layers(options.layers), options.top_k)
        found.setdefault((options.weights, options.score, view.layers, view.top_k), Setting(options, view))
    return list(found.values())


def _listed(values: str | int | Sequence[str] | Sequence[int]) -> list[Any]:
    return [values] if isinstance(values, (str, int)) else list(values)


def _first_layers(spec: NagSpec) -> Iterable[str]:
    """Return the first two thirds, half and third of the layers, as `QueryOptions` takes them."""
    numbers = spec.layer_numbers
    two_thirds = layer_ranges(numbers[: math.ceil(Fraction(2, 3) * len(numbers))])
    return [two_thirds, *(name for name in reversed(FIRST_PARTS) if name != "first-quarter")]
