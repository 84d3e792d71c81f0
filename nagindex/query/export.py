"""Selections as files: rows of a DuckDB table written as Parquet or JSON lines, and the settings read back from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex.corpus.parquet import metadata_value
from nagindex.corpus.sql import quote_value
from nagindex.errors import BadInputError
from nagindex.storage.files import replacing
from nagindex.storage.tables import ROW_GROUP

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMATS = ("parquet", "jsonl")
METADATA_KEY = "nagindex"


def require_format(format: str) -> None:  # noqa: A002 - the word users expect
    """Raise BadInputError unless selections can be written in a format."""
    if format not in FORMATS:
        raise BadInputError(f"format {format!r}: selections are written as {' or '.join(FORMATS)}")


def write_rows(
    connection: DuckDBPyConnection,
    select: str,
    path: Path,
    *,
    format: str,  # noqa: A002 - the word users expect
    settings: dict[str, Any],
) -> None:
    """Write the rows of a SELECT statement as a file that appears whole or not at all.

    Parquet files have row groups of 100,000 rows and hold the settings as JSON under the metadata key `nagindex`.

    Args:
        connection: where the statement runs.
        select: the statement.
        path: the file; one that exists is replaced.
        format: `parquet` or `jsonl`.
        settings: the selection's record.
    """
    metadata = quote_value(json.dumps(settings, ensure_ascii=False))
    options = (
        f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}, KV_METADATA {{{METADATA_KEY}: {metadata}}}"
        if format == "parquet"
        else "FORMAT json, ARRAY false, COMPRESSION none"
    )
    with replacing(path) as temporary:
        connection.execute(f"COPY ({select}) TO {quote_value(temporary)} ({options})")


def settings_of(path: str | Path) -> dict[str, Any]:
    """Return the settings that a selection's Parquet file records.

    Raises:
        BadInputError: the file is not a selection.
    """
    recorded = metadata_value(Path(path), METADATA_KEY)
    if recorded is None:
        raise BadInputError(f"{path}: not a selection of nagindex; its metadata has no settings")
    settings: dict[str, Any] = json.loads(recorded)
    return settings
