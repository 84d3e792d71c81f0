"""What a query can ask beside its targets and its budget, in the form it is written down, replayed and recorded."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from nagindex.errors import BadInputError

MIXES = ("merge", "distinct", "union", "max")
NORMALIZATIONS = ("minmax", "rank")
MODES = ("auto", "scan", "sketch", "graph")


@dataclass(frozen=True)
class QueryOptions:
    """Settings of a query; the defaults are the paper's.

    Attributes:
        layers: layers looked at: `last`, `first`, `0-13`, `0,2`; None for all.
        top_k: neurons of each layer looked at; None for all that the index keeps.
        score: `mean` overlap with the examples, `max`, or `top:R`, the mean of the R largest overlaps.
        contrast: how much a neuron's frequency in the pool is held against it.
        mix: how several targets share the budget: `merge`, `distinct`, `union` or `max`.
        target_weights: shares of the budget by target, of those targets that do not get an equal share.
        quality_column: kept column, or column of `scores`, that documents are ranked by beside their score.
        scores: file of (id, value) with a value for each document.
        quality_weight: how much quality counts, the score counting 1.
        lower_is_better: whether a small value means quality.
        normalize: `minmax` or `rank`: how score and quality become comparable.
        where: SQL condition on the documents; others are no candidates.
        cap: for columns, the largest share of the budget that documents of one value may take.
        exclude: files of ids, or earlier selections, whose documents are no candidates.
        dedup: overlap, above 0 and at most 1, from which on a document counts as a duplicate of a better one.
        decontaminate: files of evaluation texts; documents that share an n-gram with one are no candidates.
        evaluation_column: column of the evaluation texts; by default found in each file.
        ngram: words in an n-gram.
        mode: `auto`, `scan`, `sketch` or `graph`: the engine that finds the documents; all but `graph` give the same answer.
    """

    layers: str | None = None
    top_k: int | None = None
    score: str = "mean"
    contrast: float = 0.0
    mix: str = "merge"
    target_weights: Mapping[str, float] = field(default_factory=dict)
    quality_column: str | None = None
    scores: str | None = None
    quality_weight: float = 1.0
    lower_is_better: bool = False
    normalize: str = "minmax"
    where: str | None = None
    cap: Mapping[str, float] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    dedup: float | None = None
    decontaminate: tuple[str, ...] = ()
    evaluation_column: str | None = None
    ngram: int = 13
    mode: str = "auto"

    @classmethod
    def of(cls, **given: Any) -> QueryOptions:
        """Return options by name.

        Raises:
            BadInputError: there is no option of a name, or what is asked contradicts itself.
        """
        known = [own.name for own in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise BadInputError(f"no option {name!r} of a query; there are {', '.join(known)}")
        return cls(**given)

    def __post_init__(self) -> None:
        for name, plain in (
            ("exclude", _paths(self.exclude)),
            ("decontaminate", _paths(self.decontaminate)),
            ("target_weights", _numbers("target_weights", self.target_weights)),
            ("cap", _numbers("cap", self.cap)),
            ("scores", None if self.scores is None else str(self.scores)),
            ("layers", _written(self.layers)),
            ("score", str(self.score)),
            *((name, float(getattr(self, name))) for name in ("contrast", "quality_weight")),
            ("dedup", None if self.dedup is None else float(self.dedup)),
            ("top_k", None if self.top_k is None else int(self.top_k)),
            ("ngram", int(self.ngram)),
        ):
            object.__setattr__(self, name, plain)
        self._check()

    def _check(self) -> None:
        _one_of("mix", self.mix, MIXES)
        _one_of("normalize", self.normalize, NORMALIZATIONS)
        _one_of("mode", self.mode, MODES)
        if self.nearest is not None and self.contrast:
            raise BadInputError(f"contrast goes with score mean: score {self.score} has no frequencies to weigh")
        if not (math.isfinite(self.contrast) and self.contrast >= 0):
            raise BadInputError(f"contrast {self.contrast}: a number from 0 up, such as 0.5")
        if not (math.isfinite(self.quality_weight) and self.quality_weight > 0):
            raise BadInputError(
                f"quality-weight {self.quality_weight}: a number above 0; leave quality out to ignore it"
            )
        for name, weight in self.target_weights.items():
            if not (math.isfinite(weight) and weight > 0):
                raise BadInputError(f"target-weight {name}={weight}: a share of the budget is above 0")
        if self.target_weights and self.mix == "max":
            raise BadInputError(
                "target-weight divides a budget between targets; mix max makes one list, so leave it out"
            )
        for column, share in self.cap.items():
            if not 0 < share <= 1:
                raise BadInputError(f"cap {column}={share}: a share of the budget is above 0 and at most 1")
        if self.dedup is not None and not 0 < self.dedup <= 1:
            raise BadInputError(f"dedup {self.dedup}: an overlap is above 0 and at most 1; 1 drops exact duplicates")
        if self.ngram < 1:
            raise BadInputError(f"ngram {self.ngram}: an n-gram has at least one word")
        if not self.has_quality and (self.lower_is_better or self.normalize != "minmax" or self.quality_weight != 1):
            raise BadInputError(
                "settings of quality without quality: name a column with quality-column, or a file with scores"
            )

    @property
    def has_quality(self) -> bool:
        """Whether documents are ranked by quality too."""
        return self.quality_column is not None or self.scores is not None

    @property
    def nearest(self) -> int | None:
        """How many of the largest overlaps a score is the mean of; None where all examples count.

        Raises:
            BadInputError: there is no such score.
        """
        if self.score == "mean":
            return None
        if self.score == "max":
            return 1
        kind, _, number = self.score.partition(":")
        if kind != "top" or not (number.isascii() and number.isdecimal()) or int(number) < 1:
            raise BadInputError(f"score {self.score!r}: write mean, max, or top:R with R examples, such as top:10")
        return int(number)

    def to_json(self) -> dict[str, Any]:
        """Return what is asked, with the names of the command line and whole paths, as JSON values."""
        found: dict[str, Any] = {}
        for own in dataclasses.fields(self):
            value = getattr(self, own.name)
            if value is not None and value not in ((), {}):
                name = "target-weight" if own.name == "target_weights" else own.name.replace("_", "-")
                found[name] = list(map(os.path.abspath, value)) if isinstance(value, tuple) else value
        return found | ({} if self.scores is None else {"scores": os.path.abspath(self.scores)})


def _paths(given: Any) -> tuple[str, ...]:
    listed = [given] if isinstance(given, str) or hasattr(given, "__fspath__") else given
    return tuple(map(str, listed))


def _numbers(name: str, given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise BadInputError(f"{name} {given!r}: a mapping of names to numbers")
    return {str(key): float(value) for key, value in given.items()}


def _written(layers: Any) -> str | None:
    if layers is None or isinstance(layers, str):
        return layers
    return ",".join(map(str, layers if isinstance(layers, Iterable) else [layers]))


def exactly(number: float) -> Fraction:
    """Return the decimal number that was meant, which a float only comes near."""
    return Fraction(str(number))


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BadInputError(f"{name} {value!r}: one of {', '.join(choices)}")
