"""Which documents of a version may be selected at all, and the values, such as quality, that they bring along."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import quote_name
from nagindex.errors import BadInputError
from nagindex.nag import Codes
from nagindex.search.scan import Part
from nagindex.search.view import View
from nagindex.select.id_files import load_ids, load_values
from nagindex.select.options import QueryOptions
from nagindex.storage.docs import columns_of, open_docs, select_candidates, tokens_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nagindex.index import Index


class Candidates:
    """The documents that conditions, exclusions and missing values leave, one bit each.

    Attributes:
        documents: how many there are.
        tokens: how many tokens they have together.
        notes: sentences for the user about what was left out.
    """

    def __init__(self, index: Index, options: QueryOptions) -> None:
        """Find them.

        Raises:
            BadInputError: a condition is no SQL expression, a file of ids or values cannot be read, or a value is no number.
        """
        self.path, self.segments, self.keep = index.path, index.segments, index.manifest.settings.keep_columns
        self.starts = np.cumsum([0, *(segment.entry.documents for segment in self.segments)])
        self.documents, self.tokens = index.manifest.documents, index.manifest.tokens
        self.notes: list[str] = []
        self._bits: dict[int, npt.NDArray[np.uint8]] = {}
        self._database: DuckDBPyConnection | None = None
        self._read: tuple[int, npt.NDArray[np.float64]] | None = None
        known = self.columns() if options.cap else {}
        for column in options.cap:
            if column not in known:
                raise BadInputError(f"cap {column}: no such column in the index; its columns are {', '.join(known)}")
        if options.where is not None or options.exclude or options.has_quality:
            self._narrow(options)

    def _narrow(self, options: QueryOptions) -> None:
        """Keep what meets the conditions, and the values of the quality signal."""

        def prepare(connection: DuckDBPyConnection) -> None:
            if options.exclude:
                load_ids(connection, "_excluded", options.exclude)
            if options.scores is not None:
                load_values(connection, "_values", Path(options.scores), options.quality_column)

        connection = open_docs(self.path, self.segments, self.keep, prepare=prepare)
        value = "0"
        if options.scores is not None:
            value = "_values.value"
        elif options.quality_column is not None:
            value = f"d.{quote_name(numeric_column(connection, options.quality_column))}::DOUBLE"
        self.documents, self.tokens, without = select_candidates(
            connection, options.where, value, scores=options.scores is not None, excluded=bool(options.exclude)
        )
        self._note(connection, options, without)
        if not self.documents:
            raise BadInputError(
                f"{self.path}: no document is left to select from{''.join(map(' ({})'.format, self.notes))}"
            )
        for number, segment in enumerate(self.segments):
            alive = np.zeros(segment.entry.documents, bool)
            found = connection.execute(f"SELECT position FROM candidates WHERE segment = {number}").fetchnumpy()
            alive[np.asarray(found["position"])] = True
            self._bits[number] = np.packbits(alive)
        if options.has_quality:
            self._database = connection
        else:
            connection.close()

    def _note(self, connection: DuckDBPyConnection, options: QueryOptions, without: int) -> None:
        """Note ids that were not found and values that are missing.

        Raises:
            BadInputError: a value is not finite.
        """
        if options.exclude:
            [(listed,)] = connection.execute("SELECT count(*) FROM _excluded").fetchall()
            [(present,)] = connection.execute("SELECT count(*) FROM docs SEMI JOIN _excluded USING (id)").fetchall()
            if present < listed:
                self.notes.append(f"excluded ids that are not in the index: {listed - present:,} of {listed:,}")
        source = options.scores or f"column {options.quality_column}"
        if without:
            self.notes.append(f"documents without a value in {source}, which are left out: {without:,}")
        wrong = (
            connection.execute(
                """SELECT id FROM docs JOIN candidates ON segment = _segment AND position = _position
            WHERE NOT isfinite(value) ORDER BY id LIMIT 1"""
            ).fetchall()
            if options.has_quality
            else []
        )
        if wrong:
            problem = f"the value of document {wrong[0][0]!r} is not a finite number"
            raise BadInputError(f"{source}: {problem}; make it null to leave the document out")

    def drop(self, positions: npt.NDArray[np.int64]) -> None:
        """Leave out documents at positions, int64 [m], in the pool."""
        of = np.searchsorted(self.starts, positions, side="right") - 1
        for number in map(int, np.unique(of)):
            alive, rows = self.alive(number), positions[of == number] - self.starts[number]
            self.documents -= int(alive[rows].sum())
            self.tokens -= int(tokens_of(self.segments[number])[rows][alive[rows]].sum())
            alive[rows] = False
            self._bits[number] = np.packbits(alive)

    def alive(self, number: int) -> npt.NDArray[np.bool_]:
        """Return which documents of a segment are candidates, bool [n]."""
        segment = self.segments[number]
        if number not in self._bits:
            return segment.alive()
        return np.unpackbits(self._bits[number], count=segment.entry.documents).view(bool)

    def values(self, number: int) -> npt.NDArray[np.float64]:
        """Return the quality of a segment's documents, float64 [n]; 0 for those that are no candidates."""
        if self._read is not None and self._read[0] == number:  # every ranking of a scan asks for them
            return self._read[1]
        values = np.zeros(self.segments[number].entry.documents)
        if self._database is not None:
            found = (
                self._database.cursor()
                .execute(f"SELECT position, value FROM candidates WHERE segment = {number}")
                .fetchnumpy()
            )
            values[np.asarray(found["position"])] = np.asarray(found["value"])
        self._read = number, values
        return values

    def values_at(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the quality of documents at positions, int64 [m], in the pool; float64 [m]."""
        found = np.zeros(len(positions))
        of = np.searchsorted(self.starts, positions, side="right") - 1
        for number in map(int, np.unique(of)):
            here = of == number
            found[here] = self.values(number)[positions[here] - self.starts[number]]
        return found

    def codes_at(self, view: View) -> Callable[[int], Codes]:
        """Return f(position in the pool): what a view shows of a document's NAG, uint16 [layers, K']."""
        opened: dict[int, Codes] = {}
        starts = self.starts.tolist()

        def at(position: int) -> Codes:
            number = bisect_right(starts, position) - 1
            if number not in opened:
                opened[number] = self.segments[number].codes()
            row = position - starts[number]
            codes: Codes = view(opened[number][row : row + 1])[0]
            return codes

        return at

    def columns(self) -> dict[str, str]:
        """Return the columns of the documents, and their types."""
        with open_docs(self.path, self.segments, self.keep) as connection:
            return columns_of(connection)

    def parts(self, *, tokens: bool, values: bool = False, changing: bool = False) -> list[Part]:
        """Return the pool for a scan.

        Args:
            tokens: whether documents weigh their tokens, not 1 each.
            values: whether rankings need the quality signal.
            changing: whether documents may be dropped between scans.
        """
        return [
            Part(
                int(self.starts[number]),
                segment.entry.documents,
                segment.codes,
                partial(self.alive, number) if changing or segment.entry.deleted or number in self._bits else None,
                partial(tokens_of, segment) if tokens else None,
                partial(self.values, number) if values else None,
            )
            for number, segment in enumerate(self.segments)
        ]


def numeric_column(connection: DuckDBPyConnection, name: str) -> str:
    """Return the name of a column of the documents that holds numbers.

    Raises:
        BadInputError: there is no such column, or it holds something else; lists those that there are.
    """
    kinds = columns_of(connection)
    kind = kinds.get(name)
    if kind is None:
        raise BadInputError(f"no column {name!r} in the index; its columns are {', '.join(kinds)}")
    if kind not in ("BIGINT", "DOUBLE", "BOOLEAN"):
        raise BadInputError(f"column {name!r} holds {kind}, not numbers; name another, or give numbers with scores")
    return name
