"""Deletion of documents by id or by a SQL condition; the files of their segments do not change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nagindex.corpus.sql import open_database
from nagindex.errors import BadInputError
from nagindex.storage import segment as segments
from nagindex.storage.commit import commit
from nagindex.storage.docs import open_docs, rows_where
from nagindex.storage.manifest import Manifest, require_newest
from nagindex.storage.snapshot import Snapshot


def delete(index: Path, *, ids: Iterable[str] | None = None, where: str | None = None) -> int:
    """Delete documents by id or by a SQL condition on the view `docs`; return how many were deleted.

    Args:
        index: the index's folder.
        ids: ids of documents; ids that are not in the index are ignored.
        where: a SQL expression.

    Raises:
        BadInputError: neither or both are given, or the condition is not a SQL expression.
    """
    if (ids is None) == (where is None):
        raise BadInputError("delete needs ids or a condition, one of the two")
    require_newest(index)
    id_list = [] if ids is None else [ids] if isinstance(ids, str) else list(ids)
    removed = 0

    def change(current: Manifest) -> Manifest | None:  # called again if another writer publishes first
        nonlocal removed
        removed = 0
        with open_database() as database:
            database.execute("CREATE TABLE _ids AS SELECT unnest(?::VARCHAR[]) AS id", [id_list])
            connection = open_docs(Snapshot(index, current), database=database)
            rows = rows_where(connection, "id IN (SELECT id FROM _ids)" if where is None else where)
        entries = []
        for number, entry in enumerate(current.segments):
            in_segment = rows["_segment"] == number
            if in_segment.any():
                removed += int(in_segment.sum())
                tokens = int(rows["tokens"][in_segment].sum())
                entry = segments.with_deleted(index, entry, rows["_position"][in_segment], tokens=tokens)
            entries.append(entry)
        return current.following("delete", tuple(entries)) if removed else None

    commit(index, change)
    return removed
