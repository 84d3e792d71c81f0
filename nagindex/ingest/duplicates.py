"""Duplicate ids: new documents whose id occurs in the index, or twice among the new ones."""

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

DUPLICATE = "duplicate id"


@dataclass(frozen=True)
class StoredRow:
    """A document of the index.

    Attributes:
        segment: the id of its segment.
        row: its row there.
        tokens: its number of tokens.
        file, file_row: the source and row that it was read from.
    """

    segment: str
    row: int
    tokens: int
    file: str
    file_row: int


@dataclass
class DuplicateRows:
    """The documents that give way to others of the same id.

    Attributes:
        dropped: positions of new rows that are not added to the index, ascending.
        replaced: documents of the index that new rows replace.
        overtaken: those of them that precede a new row in the index but follow it in the sources, because another
            process of the run published its part first. They are listed as skipped, as if one process had read all
            sources in order.
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
    """The order of a run's sources, which decides which of two documents is the earlier one.

    Attributes:
        id: a hash of the list of sources, the same in all processes that share a run; segments record it.
        places: position of each source in the list, by name.
    """

    id: str
    places: dict[str, int]

    @classmethod
    def of(cls, sources: Sequence[Source]) -> SourceOrder:
        """Return the order of a list of sources."""
        names_and_sizes = json.dumps([(source.name, source.size) for source in sources])
        places = {source.name: number for number, source in enumerate(sources)}
        return cls(hashlib.sha256(names_and_sizes.encode()).hexdigest()[:16], places)


def find_duplicates(
    index: Path,
    manifest: Manifest,
    rows: Rows,
    *,
    considered: npt.NDArray[np.bool_],
    on_duplicate: str,
    order: SourceOrder,
) -> DuplicateRows:
    """Return the new rows, and the documents of the index, that give way where ids occur twice.

    A document of the index is the earlier one, unless a process of the same run read it from further on in the sources:
    which of two documents stays must not depend on how many processes share the work.

    Args:
        index: the index's folder.
        manifest: the version that the rows are added to.
        rows: the new rows, in order.
        considered: bool [n], the new rows to look at.
        on_duplicate: `skip` drops the later of two documents, `replace` the earlier one, `error` raises.
        order: the order of the run's sources.

    Raises:
        DuplicateIdError: an id occurs twice and `on_duplicate` is `error`; names both places.
    """
    position_of, dropped = _duplicates_among(rows, considered, on_duplicate)
    runs = {entry.id: entry.run for entry in manifest.segments}
    duplicates = DuplicateRows()
    for identifier, stored in _stored_documents(index, manifest, list(position_of)).items():
        position = position_of[identifier]
        if on_duplicate == "error":
            raise _duplicate_error(rows, position, f"{stored.file}, row {stored.file_row} (already in the index)")
        place = order.places[rows.files[position]], rows.rows[position]
        overtaken = runs[stored.segment] == order.id and (order.places[stored.file], stored.file_row) > place
        if overtaken != (on_duplicate == "replace"):
            duplicates.replaced.append(stored)
        else:
            dropped.add(position)
        if overtaken and on_duplicate == "skip":
            duplicates.overtaken.append(SkippedRow(stored.file, stored.file_row, identifier, DUPLICATE))
    duplicates.dropped = sorted(dropped)
    return duplicates


def _duplicates_among(
    rows: Rows, considered: npt.NDArray[np.bool_], on_duplicate: str
) -> tuple[dict[str, int], set[int]]:
    """Return the position of the new row that stays, by id, and the positions of those that do not."""
    position_of: dict[str, int] = {}
    dropped: set[int] = set()
    for position in np.flatnonzero(considered).tolist():
        first = position_of.setdefault(rows.ids[position], position)
        if first == position:
            continue
        if on_duplicate == "error":
            raise _duplicate_error(rows, position, f"{rows.files[first]}, row {rows.rows[first]}")
        if on_duplicate == "replace":
            position_of[rows.ids[position]] = position
        dropped.add(first if on_duplicate == "replace" else position)
    return position_of, dropped


def _stored_documents(index: Path, manifest: Manifest, ids: list[str]) -> dict[str, StoredRow]:
    """Return the documents of a version, deleted ones aside, that have one of some ids, by id."""
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


def _duplicate_error(rows: Rows, position: int, first: str) -> DuplicateIdError:
    where = f"{rows.files[position]}, row {rows.rows[position]}"
    remedy = 'give every document its own id, or pass `on_duplicate="skip"` or `on_duplicate="replace"`'
    return DuplicateIdError(f"{where}: id {rows.ids[position]!r} occurs in {first} too; {remedy}")
