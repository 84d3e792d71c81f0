"""Documents counted for a report: in all, by a number, by the values of a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Size:
    """A number of documents and their tokens."""

    documents: int
    tokens: int


@dataclass(frozen=True)
class Histogram:
    """Documents of the pool and of the selection by a number.

    Attributes:
        edges: float64 [bins + 1], ascending.
        pool: int64 [bins], documents of the pool.
        selected: int64 [bins], selected documents.
    """

    edges: npt.NDArray[np.float64]
    pool: npt.NDArray[np.int64]
    selected: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ValueCount:
    """Documents with one value of a column.

    Attributes:
        value: the value as text; None for documents without one.
        pool: documents of the pool.
        selected: selected documents.
        by_target: selected documents of each target.
    """

    value: str | None
    pool: int
    selected: int
    by_target: Sequence[int]


@dataclass(frozen=True)
class ColumnValues:
    """The commonest values of a column.

    Attributes:
        column: the column's name, `file` for the sources.
        rows: the values that most selected documents have, then those that most of the pool has.
        others: number of further values.
        rest: the documents with these.
    """

    column: str
    rows: Sequence[ValueCount]
    others: int
    rest: ValueCount


@dataclass(frozen=True)
class ColumnNumbers:
    """A column of many different numbers.

    Attributes:
        column: the column's name.
        pool: its values at `LEVELS` in the pool.
        selected: those in the selection.
    """

    column: str
    pool: Sequence[float]
    selected: Sequence[float]


LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of the documents that have at most the values which `ColumnNumbers` gives."""
