"""Quality signals and evaluation texts: the options of a query that have fields of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from nagindex.arguments import check_fields
from nagindex.errors import BadInputError

NGRAM = 13
"""Words of the n-grams that decontamination compares by default, as in GPT-3 (appendix C of arXiv 2005.14165)."""

Normalization = Literal["minmax", "rank"]
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)


@dataclass(frozen=True)
class Quality:
    """A quality signal, by which documents are ranked together with their similarity to the examples.

    Attributes:
        column: a kept column of the index, or a column of `scores`.
        scores: file with an id and a value for each document; by default the values are the index's.
        weight: weight of quality, above 0; similarity has the weight 1.
        lower_is_better: whether a small value means high quality.
        normalize: `minmax` or `rank`: how similarity and quality become comparable.

    Raises:
        BadInputError: neither `column` nor `scores` is given, or a value is out of range.
    """

    column: str | None = None
    scores: str | Path | None = None
    weight: float = 1.0
    lower_is_better: bool = False
    normalize: Normalization = "minmax"

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "scores", None if self.scores is None else str(self.scores))
        object.__setattr__(self, "weight", float(self.weight))
        require_choice("normalize", self.normalize, NORMALIZATIONS)
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise BadInputError(
                f"quality weight {self.weight:g}: a number above 0; leave quality out of the query to ignore it"
            )
        if self.column is None and self.scores is None:
            raise BadInputError(
                "settings of quality without quality: name a column with `column`, or a file with `scores`"
            )


@dataclass(frozen=True)
class Decontamination:
    """Evaluation texts; documents that share an n-gram with one of them are not selected.

    Attributes:
        files: files, globs or folders of the evaluation texts, in any corpus format.
        column: column of the texts; by default found in each file.
        ngram: words of an n-gram, at least 1.

    Raises:
        BadInputError: a value is out of range.
    """

    files: str | Path | Iterable[str | Path]
    column: str | None = None
    ngram: int = NGRAM

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "files", paths_of(self.files))
        object.__setattr__(self, "ngram", int(self.ngram))
        if not self.files:
            raise BadInputError("decontaminate: no file of evaluation texts; name at least one")
        if self.ngram < 1:
            raise BadInputError(f"ngram {self.ngram}: an n-gram has at least one word")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise BadInputError unless a value is one of some choices."""
    if value not in choices:
        raise BadInputError(f"{name} {value!r}: one of {', '.join(choices)}")


def paths_of(given: Any) -> tuple[str, ...]:
    """Return one path, or each of several, as text."""
    listed = [given] if isinstance(given, str) or hasattr(given, "__fspath__") else given
    return tuple(map(str, listed))
