"""Selections as files: rows of a DuckDB table written as Parquet, JSON lines, CSV or ids, and the settings read back from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex.corpus.parquet import metadata_value
from nagindex.corpus.sql import quote_value, run_within
from nagindex.errors import BadInputError
from nagindex.storage.files import replacing
from nagindex.storage.part_folders import file_with_metadata, names_parts
from nagindex.storage.tables import ROW_GROUP
from nagindex.stores.urls import is_remote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMATS = ("parquet", "jsonl", "csv", "ids")
SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "ids", "": "parquet"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
METADATA_KEY = "nagindex"


def format_of(path: str | Path, format: str | None = None) -> tuple[str, str]:  # noqa: A002 - the word users expect
    """Return the format and the compression (`none`, `gzip` or `zstd`) of a selection's file, by its name unless one is named.

    A folder, named with a slash at its end, is of Parquet parts.

    Raises:
        BadInputError: there is no such format, the name tells none, or a folder is to be of another format.
    """
    if names_parts(path):
        if format not in (None, "parquet"):
            raise BadInputError(
                f"{path}: a folder of Parquet parts, and not of {format}; leave `format` out, or name a file"
            )
        return "parquet", "none"
    name = Path(str(path).lower())
    compression = COMPRESSIONS.get(name.suffix, "none")
    suffix = name.suffix if compression == "none" else name.with_suffix("").suffix
    found = format or (None if compression != "none" and not suffix else SUFFIXES.get(suffix))
    if found not in FORMATS:
        if format is not None:
            raise BadInputError(f"format {format!r}: selections are written as {', '.join(FORMATS)}")
        raise BadInputError(
            f"{path}: no known suffix; name a file that ends in .parquet, .jsonl, .csv or .txt (the last three also with .gz or "
            ".zst), or give `format`"
        )
    if found == "parquet" and compression != "none" and suffix:
        raise BadInputError(f"{path}: Parquet is compressed inside; name a file that ends in .parquet")
    return found, compression


def write_rows(
    connection: DuckDBPyConnection,
    select: str,
    path: Path,
    *,
    format: str | None,  # noqa: A002 - the word users expect
    settings: dict[str, Any],
    memory: int,
) -> None:
    """Write the rows of a SELECT statement as a file that appears whole or not at all.

    Parquet files have row groups of about 100,000 rows and hold the settings as JSON under the metadata key `nagindex`.

    Args:
        connection: where the statement runs.
        select: the statement; its column `id` is what the format `ids` writes.
        path: the file; one that exists is replaced.
        format: one of `FORMATS`; by default as the file's name tells.
        settings: the selection's record.
        memory: bytes for each thread that the statement gets first; see `run_within`.

    Raises:
        BadInputError: there is no such format, or an id does not fit a line.
    """
    kind, compression = format_of(path, format)
    options = {
        "parquet": parquet_options(settings),
        "jsonl": f"FORMAT json, ARRAY false, COMPRESSION {compression}",
        "csv": f"FORMAT csv, HEADER true, COMPRESSION {compression}",
        "ids": f"FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER e'\\n', COMPRESSION {compression}",
    }
    if kind == "ids":
        _require_ids_on_lines(connection, select)
        select = f"SELECT id FROM ({select})"
    with replacing(path) as temporary:
        run_within(connection, memory, f"COPY ({select}) TO {quote_value(temporary)} ({options[kind]})")


def parquet_options(settings: dict[str, Any]) -> str:
    """Return the options of a COPY statement that writes a selection, with its record, as Parquet."""
    record = quote_value(json.dumps(settings, ensure_ascii=False))
    return f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}, KV_METADATA {{{METADATA_KEY}: {record}}}"


def _require_ids_on_lines(connection: DuckDBPyConnection, select: str) -> None:
    """Raise BadInputError if an id cannot stand alone on a line, as `exclude` and `delete` read them."""
    unfit = connection.execute(f"SELECT id FROM ({select}) WHERE contains(id, chr(10)) OR trim(id) = '' LIMIT 1")
    for (one,) in unfit.fetchall():
        raise BadInputError(f"the id {one!r} does not fit a line of ids; use another format")


def settings_of(path: str | Path) -> dict[str, Any]:
    """Return the settings that a selection's Parquet file, or its folder of parts, records.

    Raises:
        InputNotFoundError: there is no such file or folder.
        BadInputError: it is not a selection.
    """
    if is_remote(path):
        raise BadInputError(f"{path}: selections are read from local files; copy it here")
    recorded = metadata_value(file_with_metadata(Path(path)), METADATA_KEY)
    if recorded is None:
        raise BadInputError(f"{path}: not a selection of nagindex; its metadata has no settings")
    settings: dict[str, Any] = json.loads(recorded)
    return settings
