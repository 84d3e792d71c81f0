"""Query options: everything a query can set beside its targets and its budget, as it is written down, replayed and recorded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, cast, get_args

from nagindex.arguments import check_fields, written_layers
from nagindex.errors import BadInputError
from nagindex.ingest.options import ENCODINGS, PresetName
from nagindex.search.weights import Weighting
from nagindex.select.signals import NGRAM, Decontamination, Quality, paths_of, require_choice
from nagindex.stores.urls import absolute
from nagindex.targets.given import EncodeKeywords

Mix = Literal["union", "merge", "distinct", "max"]
Background = Literal["pool", "candidates"]
MIXES: tuple[str, ...] = get_args(Mix)
BACKGROUNDS: tuple[str, ...] = get_args(Background)


class QueryKeywords(TypedDict, total=False):
    """The fields of `QueryOptions` as keyword arguments."""

    layers: str | int | Sequence[int] | None
    top_k: int | None
    preset: PresetName | None
    score: str
    weights: str
    background: Background
    contrast: float
    min_score: float | None
    mix: Mix
    target_weights: Mapping[str, float]
    quality: Quality | None
    where: str | None
    cap: Mapping[str, float]
    exclude: str | Path | Iterable[str | Path]
    dedup: float | None
    decontamination: Decontamination | None
    approx: bool


class AskKeywords(QueryKeywords, EncodeKeywords, total=False):
    """The fields of `QueryOptions`, and how targets are encoded, as keyword arguments of one method."""


def split_keywords(keywords: AskKeywords) -> tuple[QueryKeywords, EncodeKeywords]:
    """Return the fields of `QueryOptions` among keyword arguments, and those that say how targets are encoded."""
    parts: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name, value in keywords.items():
        parts[name in EncodeKeywords.__annotations__][name] = value
    return cast(QueryKeywords, parts[0]), cast(EncodeKeywords, parts[1])


@dataclass(frozen=True)
class QueryOptions:
    """Options of a query; the defaults are the paper's, but for `mix`, where the paper's is `merge`.

    Attributes:
        layers: layers that count: `last`, `first`, `0-13`, `0,2`, or their numbers; None for all.
        top_k: neurons of each layer that count; None for all that the index keeps.
        preset: `paper`, `calibrated` or `fast`: what the index must have been built as. All of them score by the defaults below.
        score: `mean` overlap with the examples, `max`, or `top:R`: the mean of the R largest overlaps.
        weights: what a neuron counts: `frequency` among the examples, `log-ratio[:m]`, `log-odds[:m]` or `contrast:A`, which compare
            it with the pool.
        background: what these compare with: the living documents of the `pool`, or the `candidates`, which are counted for it.
        contrast: A of `contrast:A`, as `weights` was written before; 0 once that is in `weights`.
        min_score: documents whose score for their target is lower are not selected. With it, a query needs no budget.
        mix: how several targets share the budget: `union`, `merge`, `distinct` or `max`.
        target_weights: shares of the budget by target, for targets that do not get an equal share.
        quality: a quality signal to rank by as well.
        where: SQL condition on the documents; only those that meet it are candidates.
        cap: for each column, the largest share of the budget that documents with the same value may take.
        exclude: files of ids, or earlier selections, whose documents are no candidates.
        dedup: overlap, above 0 and at most 1, from which a document counts as a duplicate of a better one.
        decontamination: evaluation texts that selected documents must not share an n-gram with.
        approx: whether neighbor graphs may answer, approximately and with an estimate of the recall.

    Raises:
        BadInputError: a value is out of range, or options contradict each other.
    """

    layers: str | int | Sequence[int] | None = None
    top_k: int | None = None
    preset: PresetName | None = None
    score: str = "mean"
    weights: str = "frequency"
    background: Background = "pool"
    contrast: float = 0.0
    min_score: float | None = None
    mix: Mix = "union"
    target_weights: Mapping[str, float] = field(default_factory=dict)
    quality: Quality | None = None
    where: str | None = None
    cap: Mapping[str, float] = field(default_factory=dict)
    exclude: str | Path | Iterable[str | Path] = ()
    dedup: float | None = None
    decontamination: Decontamination | None = None
    approx: bool = False

    @classmethod
    def of(cls, **given: Unpack[QueryKeywords]) -> QueryOptions:
        """Return options by name; values may be of any type that stands for the field's, such as a list of layers.

        Raises:
            BadInputError: there is no option of a name, a value is out of range, or options contradict each other.
        """
        known = [own.name for own in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise BadInputError(f"no option {name!r} of a query; there are {', '.join(known)}")
        return cls(**given)

    def __post_init__(self) -> None:
        check_fields(self)
        for name, plain in (
            ("exclude", paths_of(self.exclude)),
            ("target_weights", _numbers(self.target_weights)),
            ("cap", _numbers(self.cap)),
            ("layers", written_layers(self.layers)),
            ("score", str(self.score)),
            ("contrast", float(self.contrast)),
            ("min_score", None if self.min_score is None else float(self.min_score)),
            ("dedup", None if self.dedup is None else float(self.dedup)),
            ("top_k", None if self.top_k is None else int(self.top_k)),
        ):
            object.__setattr__(self, name, plain)
        if self.contrast:
            object.__setattr__(self, "weights", _contrast_weights(self.contrast, self.weights))
            object.__setattr__(self, "contrast", 0.0)
        object.__setattr__(self, "weights", str(self.weighting))
        self._check()

    def _check(self) -> None:
        require_choice("mix", self.mix, MIXES)
        if self.preset is not None:
            require_choice("preset", self.preset, tuple(ENCODINGS))
        require_choice("background", self.background, BACKGROUNDS)
        if self.nearest is not None and self.weighting.compares_with_pool:
            raise BadInputError(
                f"weights {self.weights} go with score mean: score {self.score} has no frequencies to weigh"
            )
        if self.background != "pool" and not self.weighting.compares_with_pool:
            raise BadInputError(
                f"background {self.background}: weights {self.weights} are not compared with any; give `weights`, such as log-ratio"
            )
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise BadInputError(f"min_score {self.min_score}: a score, such as 0.4")
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

    @property
    def excluded_files(self) -> tuple[str, ...]:
        """The files of `exclude`."""
        return paths_of(self.exclude)

    @property
    def evaluation_files(self) -> tuple[str, ...]:
        """The files of `decontamination`."""
        return () if self.decontamination is None else paths_of(self.decontamination.files)

    @property
    def written_layers(self) -> str | None:
        """The layers as text, such as `0,2`."""
        return written_layers(self.layers)

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

    @property
    def weighting(self) -> Weighting:
        """What a neuron counts.

        Raises:
            BadInputError: there are no such weights.
        """
        return Weighting.parse(self.weights)

    def for_targets(self, count: int) -> QueryOptions:
        """Return the options as they act on a number of targets: on a single one, all mixes but `max` are the same."""
        return dataclasses.replace(self, mix="merge") if count == 1 and self.mix != "max" else self

    @property
    def needs_all_scores(self) -> bool:
        """Whether the score of every candidate is needed, and not only those of the best."""
        constrained = self.cap or self.dedup or self.decontamination
        return bool(self.quality or self.mix in ("max", "union") or constrained)

    def to_json(self) -> dict[str, Any]:
        """Return the options under their names on the command line, with absolute paths, as JSON values."""
        return {
            name: value
            for name, value in {
                "layers": self.layers,
                "top-k": self.top_k,
                "preset": self.preset,
                "score": self.score,
                "weights": self.weights,
                "background": self.background,
                "min-score": self.min_score,
                "mix": self.mix,
                "target-weight": dict(self.target_weights),
                **_quality_record(self.quality),
                "where": self.where,
                "cap": dict(self.cap),
                "exclude": list(map(absolute, self.excluded_files)),
                "dedup": self.dedup,
                **_decontamination_record(self.decontamination),
                "approx": self.approx,
            }.items()
            if value is not None and value not in ([], {})
        }


def _quality_record(quality: Quality | None) -> dict[str, Any]:
    scores = None if quality is None or quality.scores is None else absolute(quality.scores)
    return {
        "quality-column": None if quality is None else quality.column,
        "scores": scores,
        "quality-weight": 1.0 if quality is None else quality.weight,
        "lower-is-better": quality is not None and quality.lower_is_better,
        "normalize": "minmax" if quality is None else quality.normalize,
    }


def _decontamination_record(decontamination: Decontamination | None) -> dict[str, Any]:
    return {
        "decontaminate": [] if decontamination is None else list(map(absolute, paths_of(decontamination.files))),
        "evaluation-column": None if decontamination is None else decontamination.column,
        "ngram": NGRAM if decontamination is None else decontamination.ngram,
    }


def _contrast_weights(amount: float, weights: str) -> str:
    """Return the weights that the option `contrast` stands for."""
    if not (math.isfinite(amount) and amount >= 0):
        raise BadInputError(f"contrast {amount}: a number from 0 up, such as 0.5")
    if weights != "frequency":
        raise BadInputError(
            f"weights {weights} and contrast {amount:g} are given: contrast is weights contrast:{amount:g}; give one of the two"
        )
    return str(Weighting("contrast", amount))


def exact_decimal(number: float) -> Fraction:
    """Return the decimal number that a float prints as, exactly."""
    return Fraction(str(number))


def _numbers(given: Mapping[str, float]) -> dict[str, float]:
    return {str(key): float(value) for key, value in given.items()}
