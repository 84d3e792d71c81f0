"""Candidates: the documents of a snapshot that a query may select, and the values of its quality signal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import similar_name
from nagindex.corpus.sql import quote_name
from nagindex.errors import BadInputError
from nagindex.nag import Codes
from nagindex.progress import step
from nagindex.search.scan import Part
from nagindex.search.view import View
from nagindex.select.query_files import QueryFiles
from nagindex.select.signals import Quality
from nagindex.storage.docs import columns_of, open_docs, select_candidates, tokens_of
from nagindex.storage.locations import location
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NUMERIC_TYPES = ("BIGINT", "DOUBLE", "BOOLEAN")
EXAMPLE = 60  # characters of a value, in a message


class Candidates:
    """Candidate documents, one bit each.

    Attributes:
        snapshot: the version that they belong to.
        documents: how many candidates there are.
        tokens: their tokens altogether.
        notes: sentences for the user about documents left out.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Take all documents of a snapshot that are not deleted."""
        self.snapshot = snapshot
        self.documents, self.tokens = snapshot.manifest.documents, snapshot.manifest.tokens
        self.notes: list[str] = []
        self._bits: dict[int, npt.NDArray[np.uint8]] = {}
        self._values: DuckDBPyConnection | None = None
        self._last_read: tuple[int, npt.NDArray[np.float64]] | None = None

    @classmethod
    def find(
        cls,
        snapshot: Snapshot,
        files: QueryFiles,
        *,
        where: str | None = None,
        quality: Quality | None = None,
        cap_columns: Sequence[str] = (),
    ) -> Candidates:
        """Return the documents that meet a condition, are not excluded, and have a value of the quality signal.

        Args:
            snapshot: the version.
            files: the excluded ids and the scores.
            where: a SQL condition on the documents.
            quality: the quality signal.
            cap_columns: columns that the selection has caps on.

        Raises:
            BadInputError: the condition is no SQL expression, a value is no finite number, there is no such column, or no document
                is left.
        """
        found = cls(snapshot)
        if cap_columns:
            found._require_columns(cap_columns)
        if where is not None or files.excludes or quality is not None:
            with step("filtering documents"):
                found._narrow(open_docs(snapshot, database=files.database), where, files.excludes, quality)
        return found

    def _narrow(
        self, connection: DuckDBPyConnection, where: str | None, exclude: bool, quality: Quality | None
    ) -> None:
        from_file = quality is not None and quality.scores is not None
        self.documents, self.tokens, without_value = select_candidates(
            connection, where, _value_sql(connection, quality), scores=from_file, excluded=exclude
        )
        if exclude:
            self._note_unknown_ids(connection)
        if quality is not None:
            self._check_values(connection, str(quality.scores or f"column {quality.column}"), without_value)
        if not self.documents:
            reasons = "".join(f" ({note})" for note in self.notes)
            raise BadInputError(f"{location(self.snapshot.path)}: no document is left to select from{reasons}")
        for number, segment in enumerate(self.snapshot.segments):
            alive = np.zeros(segment.entry.documents, bool)
            rows = connection.execute(f"SELECT position FROM candidates WHERE segment = {number}").fetchnumpy()
            alive[np.asarray(rows["position"])] = True
            self._bits[number] = np.packbits(alive)
        if quality is not None:
            self._values = connection
        else:
            connection.close()

    def _note_unknown_ids(self, connection: DuckDBPyConnection) -> None:
        [(listed,)] = connection.execute("SELECT count(*) FROM _excluded").fetchall()
        [(present,)] = connection.execute("SELECT count(*) FROM docs SEMI JOIN _excluded USING (id)").fetchall()
        if present < listed:
            self.notes.append(f"excluded ids that are not in the index: {listed - present:,} of {listed:,}")

    def _check_values(self, connection: DuckDBPyConnection, source: str, without_value: int) -> None:
        """Note documents without a value; refuse values that are not finite."""
        if without_value:
            self.notes.append(f"documents without a value in {source}, which are left out: {without_value:,}")
        not_finite = connection.execute(
            """SELECT docs.id FROM docs JOIN candidates c ON c.segment = docs._segment AND c.position = docs._position
            WHERE NOT isfinite(c.value) ORDER BY docs.id LIMIT 1"""
        ).fetchall()
        if not_finite:
            problem = f"the value of document {not_finite[0][0]!r} is not a finite number"
            raise BadInputError(f"{source}: {problem}; make it null to leave the document out")

    def _require_columns(self, names: Sequence[str]) -> None:
        with open_docs(self.snapshot) as connection:
            known = columns_of(connection)
        for name in names:
            if name not in known:
                hint, listed = _did_you_mean(name, known), ", ".join(known)
                raise BadInputError(f"cap {name}: no such column in the index{hint}; its columns are {listed}")

    def drop(self, positions: npt.NDArray[np.int64]) -> None:
        """Remove the documents at positions, int64 [m], from the candidates."""
        for number, _, rows in self.snapshot.by_segment(positions):
            alive = self.alive(number)
            self.documents -= int(alive[rows].sum())
            self.tokens -= int(tokens_of(self.snapshot.segments[number])[rows][alive[rows]].sum())
            alive[rows] = False
            self._bits[number] = np.packbits(alive)

    def alive(self, number: int) -> npt.NDArray[np.bool_]:
        """Return which documents of a segment are candidates, bool [documents]."""
        segment = self.snapshot.segments[number]
        if number not in self._bits:
            return segment.alive()
        return np.unpackbits(self._bits[number], count=segment.entry.documents).view(bool)

    def values(self, number: int) -> npt.NDArray[np.float64]:
        """Return the quality of a segment's documents, float64 [documents]; 0 for those that are no candidates."""
        last = self._last_read  # another thread may replace it
        if last is not None and last[0] == number:  # each ranking of a scan needs them
            return last[1]
        values = np.zeros(self.snapshot.segments[number].entry.documents)
        if self._values is not None:
            sql = f"SELECT position, value FROM candidates WHERE segment = {number}"
            found = self._values.cursor().execute(sql).fetchnumpy()
            values[np.asarray(found["position"])] = np.asarray(found["value"])
        self._last_read = number, values
        return values

    def values_at(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the quality, float64 [m], of documents at positions, int64 [m]."""
        found = np.zeros(len(positions))
        for number, places, rows in self.snapshot.by_segment(positions):
            found[places] = self.values(number)[rows]
        return found

    def codes_of(self, view: View) -> Callable[[int], Codes]:
        """Return f(position): the codes of one document that a view shows, uint16 [layers, K']."""
        mapped: dict[int, Codes] = {}

        def codes(position: int) -> Codes:
            [number], [row] = self.snapshot.locate(np.array([position]))
            if number not in mapped:
                mapped[number] = self.snapshot.segments[number].codes()
            own: Codes = view(mapped[number][row : row + 1])[0]
            return own

        return codes

    def parts(self, *, tokens: bool, values: bool = False, changing: bool = False) -> list[Part]:
        """Return the pool as search engines take it, a part for each segment.

        Args:
            tokens: whether a document weighs its tokens in the budget, and not 1.
            values: whether ranking keys need the quality signal.
            changing: whether documents may be dropped between rankings.
        """
        return [
            Part(
                int(self.snapshot.starts[number]),
                segment.entry.documents,
                segment.codes,
                partial(self.alive, number) if changing or segment.entry.deleted or number in self._bits else None,
                partial(tokens_of, segment) if tokens else None,
                partial(self.values, number) if values else None,
            )
            for number, segment in enumerate(self.snapshot.segments)
        ]


def _value_sql(connection: DuckDBPyConnection, quality: Quality | None) -> str:
    """Return the SQL expression of a document's quality, a constant where there is no quality signal."""
    if quality is None:
        return "0"
    if quality.scores is not None:
        return "_values.value"
    return f"d.{quote_name(_numeric_column(connection, str(quality.column)))}::DOUBLE"


def _numeric_column(connection: DuckDBPyConnection, name: str) -> str:
    """Return the name of a column of the documents that holds numbers, or texts that all are numbers.

    Raises:
        BadInputError: there is no such column, or it holds something else; lists the columns.
    """
    kinds = columns_of(connection)
    if name not in kinds:
        hint = _did_you_mean(name, kinds)
        raise BadInputError(f"no column {name!r} in the index{hint}; its columns are {', '.join(kinds)}")
    if kinds[name] not in NUMERIC_TYPES and (other := _no_number(connection, name)) is not None:
        kind, remedy = "text", "name another, or give numbers with `scores`"
        if other.startswith("{"):
            kind, remedy = "objects", f"keep the number in them in a new index, as NEW={name}.FIELD (`keep_columns`)"
        shown = textwrap.shorten(other, EXAMPLE, placeholder=" ...")
        raise BadInputError(f"column {name!r} holds {kind}, such as {shown!r}, not numbers; {remedy}")
    return name


def _no_number(connection: DuckDBPyConnection, name: str) -> str | None:
    """Return a value of a column of texts that is no number; None if all are."""
    value = quote_name(name)
    found: list[tuple[str | None]] = connection.execute(
        f"SELECT min({value}) FROM docs WHERE {value} IS NOT NULL AND TRY_CAST({value} AS DOUBLE) IS NULL"
    ).fetchall()
    return found[0][0]


def _did_you_mean(name: str, known: Collection[str]) -> str:
    likely = similar_name(name, known)
    return f" (did you mean {likely}?)" if likely else ""
