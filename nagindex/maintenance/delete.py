"""Deleting documents: by id or by a SQL condition, without touching the segments' own files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.errors import BadInputError
from nagindex.storage import segment as segments
from nagindex.storage.docs import open_docs, rows_where
from nagindex.storage.manifest import Manifest, commit

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def delete(index: Path, *, ids: Iterable[str] | None = None, where: str | None = None) -> int:
    """Delete documents by id or by a SQL condition on the view `docs`, and return how many went.

    Args:
        index: the index's folder.
        ids: ids of documents; those that are not in are passed over.
        where: a SQL expression.

    Raises:
        BadInputError: neither or both are given, or the condition is no SQL expression.
    """
    if (ids is None) == (where is None):
        raise BadInputError("delete needs ids or a condition, one of the two")
    chosen = None if ids is None else [ids] if isinstance(ids, str) else list(ids)
    removed = 0

    def list_ids(connection: DuckDBPyConnection) -> None:
        connection.execute("CREATE TABLE _ids AS SELECT unnest(?::VARCHAR[]) AS id", [chosen or []])

    def change(current: Manifest) -> Manifest | None:  # looks the rows up again where another writer published first
        nonlocal removed
        removed = 0
        members = segments.segments_of(index, current)
        with open_docs(index, members, current.settings.keep_columns, prepare=list_ids) as connection:
            found = rows_where(connection, "id IN (SELECT id FROM _ids)" if where is None else where)
        entries = []
        for number, entry in enumerate(current.segments):
            here = found["_segment"] == number
            if here.any():
                removed += int(here.sum())
                lost = int(found["tokens"][here].sum())
                entry = segments.with_deleted(index, entry, found["_position"][here], tokens=lost)
            entries.append(entry)
        return current.following("delete", tuple(entries)) if removed else None

    commit(index, change)
    return removed
