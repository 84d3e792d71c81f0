"""Target sets, and files of saved NAGs, which serve wherever target texts do without being encoded again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.parquet import metadata_value
from nagindex.corpus.remote_parquet import connect_to, quote_file, reason_of_failure
from nagindex.corpus.sources import SourcePath
from nagindex.corpus.sql import connect, quote_value
from nagindex.errors import BadInputError, ObjectStoreError, SourceChangedError
from nagindex.nag import CODE_DTYPE, Codes, invalid_rows
from nagindex.storage.files import replacing
from nagindex.storage.fingerprint import Fingerprint

NAGS_KEY, CHECKSUM_KEY = "nagindex_nags", "nagindex_sha256"
COLUMNS = (("target", "VARCHAR"), ("id", "VARCHAR"), ("nag", "USMALLINT[]"))
ROWS_PER_INSERT = 1000
JSON_START = f'{{"{NAGS_KEY}": '.encode()
"""The first bytes of NAGs saved as JSON."""


@dataclass(frozen=True)
class TargetSet:
    """Encoded examples of a task.

    Attributes:
        codes: uint16 [n, L, K].
        ids: the examples' ids.
        files: one record for each file: name, sha256, examples.
        skipped: one sentence for each row that is no example, naming file, row and reason.
        name: the target's name.
        texts: the examples' texts; None where only their NAGs are known.
        warnings: sentences for the user.
    """

    codes: Codes
    ids: list[str]
    files: list[dict[str, Any]]
    skipped: list[str] = field(default_factory=list)
    name: str = "target"
    texts: list[str] | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Example:
    """One encoded example.

    Attributes:
        target: the name of its target.
        id: its id.
        text: its text, None where only its NAG is known.
        codes: uint16 [L, K].
    """

    target: str
    id: str
    text: str | None
    codes: Codes


def is_saved_nags(path: SourcePath) -> bool:
    """Return whether a file holds NAGs written by `write_nags` or `write_profiles`."""
    if path.suffix == ".json":
        with suppress(IsADirectoryError, PermissionError, FileNotFoundError), path.open("rb") as file:
            return file.read(len(JSON_START)) == JSON_START
        return False
    return path.suffix == ".parquet" and metadata_value(path, NAGS_KEY) is not None


def write_nags(path: Path, targets: Sequence[TargetSet], fingerprint: Fingerprint) -> None:
    """Write encoded examples as Parquet: columns target, id and nag (USMALLINT[L * K], layer by layer).

    The file's metadata hold the fingerprint, and a checksum of the fingerprint and all rows.
    """
    metadata = json.dumps(fingerprint.to_json(), ensure_ascii=False)
    checksum = _checksum(metadata, [(t.name, i, nag) for t in targets for i, nag in zip(t.ids, t.codes, strict=True)])
    key_values = f"{NAGS_KEY}: {quote_value(metadata)}, {CHECKSUM_KEY}: {quote_value(checksum)}"
    with connect() as connection, replacing(path) as temporary:
        connection.execute("CREATE TEMP TABLE nags (target VARCHAR, id VARCHAR, nag USMALLINT[])")
        for target in targets:
            for first in range(0, len(target.ids), ROWS_PER_INSERT):
                rows = slice(first, first + ROWS_PER_INSERT)
                flat = target.codes[rows].reshape(len(target.ids[rows]), -1).tolist()
                connection.execute(
                    "INSERT INTO nags SELECT ?, unnest(?::VARCHAR[]), unnest(?::USMALLINT[][])",
                    [target.name, target.ids[rows], flat],
                )
        connection.execute(f"COPY nags TO {quote_value(temporary)} (FORMAT parquet, KV_METADATA {{{key_values}}})")


def write_profiles(
    path: Path, targets: Sequence[TargetSet], fingerprint: Fingerprint, profiles: Sequence[dict[str, Any]]
) -> None:
    """Write encoded examples as JSON with JSON values about them: what `write_nags` writes, and `profiles`."""
    metadata = json.dumps(fingerprint.to_json(), ensure_ascii=False)
    rows = [(t.name, i, nag.ravel().tolist()) for t in targets for i, nag in zip(t.ids, t.codes, strict=True)]
    record = {NAGS_KEY: metadata, CHECKSUM_KEY: _checksum(metadata, rows), "profiles": profiles, "nags": rows}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")


def read_nags(path: SourcePath, fingerprint: Fingerprint, name: str = "target") -> list[Example]:
    """Return the examples of a file of saved NAGs.

    Codes are in order of impact, so that of NAGs with a larger K the first K neurons of each layer are the NAG.

    Args:
        path: the file.
        fingerprint: the encoding that they must have, library versions aside; their K may be larger.
        name: the target's name, where the file states none.

    Raises:
        BadInputError: the file is not what `write_nags` writes.
        SettingsMismatchError: its encoding is another one, or its K is smaller; names both values.
    """
    saved, owners, codes = _read_file(path)
    top_k = min(saved.spec.top_k, fingerprint.spec.top_k)
    cut = dataclasses.replace(saved, spec=dataclasses.replace(saved.spec, top_k=top_k))
    fingerprint.require(cut, where=str(path), ignore_libraries=True)
    codes = check_codes(codes, saved, where=str(path))[..., :top_k]
    return [Example(target or name, i, None, own) for (target, i), own in zip(owners, codes, strict=True)]


def _read_file(path: SourcePath) -> tuple[Fingerprint, list[tuple[str | None, str]], Codes]:
    """Return the fingerprint of a file of saved NAGs, (target, id) of each example, and uint16 [n, L, K].

    Raises:
        BadInputError: the file is not what `write_nags` writes.
    """
    import duckdb

    try:
        metadata, stated, rows = (_json_rows if path.suffix == ".json" else _parquet_rows)(path)
        saved = Fingerprint.from_json(json.loads(metadata))
        neurons = saved.spec.layers * saved.spec.top_k
        first = next((n for n, (_, one, nag) in enumerate(rows) if one is None or len(nag or ()) != neurons), None)
        if first is not None:
            raise ValueError(f"row {first} holds no id or another number of neurons")
        codes = np.array([nag for *_, nag in rows], CODE_DTYPE).reshape(len(rows), *saved.spec.shape)
        if stated is not None and stated != _checksum(metadata, rows):
            raise ValueError("its content is not what was written")
    except (ObjectStoreError, SourceChangedError):
        raise
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, duckdb.Error) as error:
        reason = reason_of_failure(error, path)
        raise BadInputError(
            f"{path}: not NAGs saved by nagindex encode ({reason}); encode the targets again"
        ) from error
    return saved, [(target, identifier) for target, identifier, _ in rows], codes


Rows = list[tuple[str | None, str, list[int]]]
"""Target, id and neurons of each example of a file."""


def _parquet_rows(path: SourcePath) -> tuple[str, str | None, Rows]:
    """Return the fingerprint, the checksum (files of earlier versions state none) and the rows of a Parquet file."""
    metadata = metadata_value(path, NAGS_KEY) or ""
    json.loads(metadata)
    with connect_to(path) as connection:
        scan = f"read_parquet({quote_file(path, connection)}, file_row_number = true, hive_partitioning = false)"
        types = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
        if any(types.get(name, kind) != kind or (name not in types and name != "target") for name, kind in COLUMNS):
            raise ValueError("its columns are others")
        columns = f"{'target' if 'target' in types else 'NULL'}, id, nag"
        rows = connection.execute(f"SELECT {columns} FROM {scan} ORDER BY file_row_number").fetchall()
    return metadata, metadata_value(path, CHECKSUM_KEY), rows


def _json_rows(path: SourcePath) -> tuple[str, str | None, Rows]:
    """Return the fingerprint, the checksum and the rows of a JSON file."""
    record = json.loads(path.read_bytes())
    rows = [(target, identifier, nag) for target, identifier, nag in record["nags"]]
    if not all(isinstance(target, str) and isinstance(one, str) and isinstance(nag, list) for target, one, nag in rows):
        raise ValueError("its rows are others")
    return str(record[NAGS_KEY]), str(record[CHECKSUM_KEY]), rows


def _checksum(metadata: str, rows: Sequence[tuple[Any, Any, Any]]) -> str:
    """Return the SHA-256 over a file's fingerprint and each example's target, id and codes."""
    digest = hashlib.sha256(metadata.encode())
    for target, identifier, nag in rows:
        digest.update(json.dumps([target, identifier]).encode() + np.array(nag, CODE_DTYPE).tobytes())
    return digest.hexdigest()


def check_codes(codes: npt.NDArray[Any], fingerprint: Fingerprint, *, where: str) -> Codes:
    """Return codes as uint16 [n, L, K], once they are known to be NAGs of an encoding.

    Args:
        codes: integers of any type, [n, L, K], n at least 1.
        fingerprint: the encoding.
        where: what they are, for the message.

    Raises:
        BadInputError: they are of another type or shape, or one of them is no NAG of the encoding; names its row.
    """
    if not np.issubdtype(codes.dtype, np.integer) or codes.shape[1:] != fingerprint.spec.shape:
        expected = f"{CODE_DTYPE} [n, {fingerprint.spec.layers}, {fingerprint.spec.top_k}]"
        raise BadInputError(f"{where}: {codes.dtype} {list(codes.shape)}, not {expected}; encode the targets again")
    if not len(codes):
        raise BadInputError(f"{where}: no example in the targets; give at least one")
    limit = np.iinfo(CODE_DTYPE).max
    outside = np.argwhere((codes < 0) | (codes > limit))
    if len(outside):
        value = codes[tuple(outside[0])]
        raise BadInputError(
            f"{where}, row {outside[0][0]}: holds {value}, and neurons have numbers from 0 to {limit}; "
            "encode the targets again"
        )
    checked = codes.astype(CODE_DTYPE, copy=False)
    if len(invalid := invalid_rows(checked, fingerprint.spec)):
        raise BadInputError(
            f"{where}, row {invalid[0]}: holds a neuron twice or one that its layer does not have; "
            "encode the targets again"
        )
    return checked
