"""Documents whose id an index, or the rows about to join it, hold already."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sources import Source
from nagindex.corpus.sql import connect
from nagindex.errors import DuplicateIdError
from nagindex.storage.manifest import Manifest, SegmentEntry
from nagindex.storage.segment import Rows, SkippedRow, deleted_rows, with_deleted
from nagindex.storage.tables import scan_sql

ON_DUPLICATE = ("skip", "error", "replace")
DUPLICATE = "duplicate id"


@dataclass(frozen=True)
class StoredRow:
    """A document of the index: segment id, row in it, tokens, and the file and row that it came from."""

    segment: str
    row: int
    tokens: int
    file: str
    file_row: int


@dataclass
class Found:
    """What to do about duplicates.

    Attributes:
        dropped: positions of new rows that do not join the index, ascending.
        replaced: documents of the index that new ones take the place of.
        overtaken: those of them that only stood in the index first because another process was faster.
    """

    dropped: list[int] = field(default_factory=list)
    replaced: list[StoredRow] = field(default_factory=list)
    overtaken: list[SkippedRow] = field(default_factory=list)

    def delete_replaced(self, index: Path, manifest: Manifest) -> tuple[SegmentEntry, ...]:
        """Return the version's segments with the replaced documents deleted."""
        by_segment: dict[str, list[StoredRow]] = defaultdict(list)
        for stored in self.replaced:
            by_segment[stored.segment].append(stored)
        entries = []
        for entry in manifest.segments:
            if replaced := by_segment.get(entry.id):
                rows = np.array([stored.row for stored in replaced])
                entry = with_deleted(index, entry, rows, tokens=sum(stored.tokens for stored in replaced))
            entries.append(entry)
        return tuple(entries)


@dataclass(frozen=True)
class SourceOrder:
    """The list of sources that a run reads, which processes that share the work have in common.

    Attributes:
        id: the same for the same list.
        places: place of each source in it, by name.
    """

    id: str
    places: dict[str, int]

    @classmethod
    def of(cls, sources: Sequence[Source]) -> SourceOrder:
        """Return the run over some sources."""
        listed = json.dumps([(source.name, source.size) for source in sources])
        places = {source.name: number for number, source in enumerate(sources)}
        return cls(hashlib.sha256(listed.encode()).hexdigest()[:16], places)


def find_duplicates(
    index: Path,
    manifest: Manifest,
    rows: Rows,
    *,
    considered: npt.NDArray[np.bool_],
    on_duplicate: str,
    order: SourceOrder,
) -> Found:
    """Return which new rows, and which documents of the index, give way where ids occur twice.

    What the index holds came earlier, unless a process of the same run put it there from further on in the sources: which of two
    documents stays must not depend on how many processes shared the work.

    Args:
        index: the index's folder.
        manifest: the version that the rows are to join.
        rows: the new rows, in order.
        considered: bool [n], rows that are to join at all.
        on_duplicate: `skip` drops the later of two, `replace` the earlier, `error` raises.
        order: of the sources that the rows' process reads.

    Raises:
        DuplicateIdError: an id occurs twice and `on_duplicate` is `error`; names both places.
    """
    place: dict[str, int] = {}
    dropped: set[int] = set()
    for position in np.flatnonzero(considered).tolist():
        first = place.setdefault(rows.ids[position], position)
        if first == position:
            continue
        if on_duplicate == "error":
            raise _twice(rows, position, f"{rows.files[first]}, row {rows.rows[first]}")
        if on_duplicate == "replace":
            place[rows.ids[position]] = position
        dropped.add(first if on_duplicate == "replace" else position)
    runs = {entry.id: entry.run for entry in manifest.segments}
    found = Found()
    for identifier, before in _stored(index, manifest, list(place)).items():
        position = place[identifier]
        if on_duplicate == "error":
            raise _twice(rows, position, f"{before.file}, row {before.file_row} (already in the index)")
        here = order.places[rows.files[position]], rows.rows[position]
        overtaken = runs[before.segment] == order.id and (order.places[before.file], before.file_row) > here
        if overtaken != (on_duplicate == "replace"):
            found.replaced.append(before)
        else:
            dropped.add(position)
        if overtaken and on_duplicate == "skip":
            found.overtaken.append(SkippedRow(before.file, before.file_row, identifier, DUPLICATE))
    found.dropped = sorted(dropped)
    return found


def _stored(index: Path, manifest: Manifest, ids: list[str]) -> dict[str, StoredRow]:
    """Return the living documents of a version whose ids are among some, by id."""
    entries = {entry.id: entry for entry in manifest.segments if entry.documents > entry.deleted_documents}
    if not entries or not ids:
        return {}
    scan = scan_sql(
        [index / "segments" / name / "docs.parquet" for name in entries],
        extra=", filename = true, file_row_number = true",
    )
    with connect() as connection:
        array = np.empty(len(ids), dtype=object)
        array[:] = ids
        connection.register("new_ids", {"id": array})
        matches = connection.execute(
            f"SELECT d.id, d.filename, d.file_row_number, d.tokens, d.file, d.row FROM {scan} d JOIN new_ids USING (id)"
        ).fetchall()
    deleted = {
        name: set(deleted_rows(index, entries[name]).tolist())
        for name in {Path(match[1]).parent.name for match in matches}
    }
    return {
        identifier: StoredRow(segment, row, tokens, file, file_row)
        for identifier, path, row, tokens, file, file_row in matches
        if row not in deleted[segment := Path(path).parent.name]
    }


def _twice(rows: Rows, position: int, first: str) -> DuplicateIdError:
    where = f"{rows.files[position]}, row {rows.rows[position]}"
    remedy = "give every document its own id, or pass --on-duplicate skip or replace"
    return DuplicateIdError(f"{where}: id {rows.ids[position]!r} occurs in {first} too; {remedy}")
