"""The figures of a report, as plain data: what `query/` computes and the template shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nagindex.report.counts import ColumnNumbers, ColumnValues, Histogram, Size
from nagindex.report.point_map import PointMap
from nagindex.report.target_figures import TargetFigures, TargetOverlap


@dataclass(frozen=True)
class Table:
    """Rows of the selection, best first, as many as fit.

    Attributes:
        columns: names of the columns.
        numeric: whether each holds numbers.
        rows: the rows' values; a text is cut.
        total: documents of the selection.
    """

    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[Any]]
    total: int


@dataclass(frozen=True)
class Report:
    """All that a page shows.

    Attributes:
        title: its title.
        query: the budget, the options and the engine of the query, by name, as text.
        index: what the index is, by name, as text.
        notes: sentences for the reader, such as warnings of the query.
        stored: documents of the index.
        pool: the candidates.
        selected: the selection.
        distinct: its different documents.
        targets: the targets.
        overlaps: each two targets, in both directions.
        columns: the kept columns and the sources.
        map: the map; a sentence that says why there is none; None where none was asked for.
        lengths: documents by tokens; None where tokens were not counted.
        dropped: contaminated documents and examples, as `Selection.dropped` lists them; None where that is not recorded.
        table: the selection's rows.
        command: the command that makes the selection again.
        configuration: the query as a config file.
        record: the selection's record, as JSON.
        version: of nagindex.
        made: when the page was made.
    """

    title: str
    query: Mapping[str, str]
    index: Mapping[str, str]
    notes: Sequence[str]
    stored: int
    pool: Size
    selected: Size
    distinct: int
    targets: Sequence[TargetFigures]
    overlaps: Sequence[TargetOverlap]
    columns: Sequence[ColumnValues | ColumnNumbers]
    map: PointMap | str | None
    lengths: Histogram | None
    dropped: Sequence[Mapping[str, Any]] | None
    table: Table
    command: str
    configuration: str
    record: str
    version: str
    made: str
