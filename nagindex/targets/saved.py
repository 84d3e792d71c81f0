"""Target sets, and files of saved NAGs: examples that were encoded once, and stand wherever target texts do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nagindex.corpus.parquet import metadata_value
from nagindex.corpus.sql import connect, quote_path, quote_value
from nagindex.errors import BadInputError
from nagindex.nag import CODE_DTYPE, Codes, invalid_rows
from nagindex.storage.files import replacing
from nagindex.storage.fingerprint import Fingerprint

NAGS_KEY, CHECKSUM_KEY = "nagindex_nags", "nagindex_sha256"
COLUMNS = (("target", "VARCHAR"), ("id", "VARCHAR"), ("nag", "USMALLINT[]"))
ROWS_PER_INSERT = 1000


@dataclass(frozen=True)
class TargetSet:
    """Encoded examples of a task.

    Attributes:
        codes: uint16 [n, L, K].
        ids: the examples' ids.
        files: one record for each file: name, sha256, examples.
        skipped: one sentence for each row that is no example, naming file, row and reason.
        name: what the target is called.
        texts: the examples' texts; None where only their NAGs are known.
    """

    codes: Codes
    ids: list[str]
    files: list[dict[str, Any]]
    skipped: list[str] = field(default_factory=list)
    name: str = "target"
    texts: list[str] | None = None


@dataclass(frozen=True)
class Example:
    """One example: its target, its id, its text where that is known, and its codes, uint16 [L, K]."""

    target: str
    id: str
    text: str | None
    codes: Codes


def is_saved_nags(path: Path) -> bool:
    """Whether a file holds NAGs written by `write_nags`."""
    return path.suffix == ".parquet" and metadata_value(path, NAGS_KEY) is not None


def write_nags(path: Path, targets: Sequence[TargetSet], fingerprint: Fingerprint) -> None:
    """Write encoded examples as Parquet: columns target, id and nag (USMALLINT[L * K], layer by layer).

    The fingerprint and a checksum of all this are the file's metadata.
    """
    metadata = json.dumps(fingerprint.to_json(), ensure_ascii=False)
    checksum = _checksum(metadata, [(t.name, i, nag) for t in targets for i, nag in zip(t.ids, t.codes, strict=True)])
    added = f"{NAGS_KEY}: {quote_value(metadata)}, {CHECKSUM_KEY}: {quote_value(checksum)}"
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
        connection.execute(f"COPY nags TO {quote_value(temporary)} (FORMAT parquet, KV_METADATA {{{added}}})")


def read_nags(path: Path, fingerprint: Fingerprint, name: str = "target") -> list[Example]:
    """Return the examples of a file of saved NAGs.

    Args:
        path: the file.
        fingerprint: the encoding that they must have.
        name: of the target, where the file does not say.

    Raises:
        BadInputError: the file is not what `write_nags` writes.
        SettingsMismatchError: its encoding is not `fingerprint`, library versions aside.
    """
    import duckdb

    try:
        metadata = metadata_value(path, NAGS_KEY) or ""
        saved = Fingerprint.from_json(json.loads(metadata))
        with connect() as connection:
            scan = f"read_parquet({quote_path(path)}, file_row_number = true)"
            types = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
            if any(types.get(name, kind) != kind or (name not in types and name != "target") for name, kind in COLUMNS):
                raise ValueError("its columns are others")
            wrong = f"id IS NULL OR nag IS NULL OR len(nag) <> {saved.spec.layers * saved.spec.top_k}"
            if found := connection.execute(f"SELECT file_row_number FROM {scan} WHERE {wrong} LIMIT 1").fetchall():
                raise ValueError(f"row {found[0][0]} holds no id or another number of neurons")
            listed = f"{'target' if 'target' in types else 'NULL'}, id, nag"
            rows = connection.execute(f"SELECT {listed} FROM {scan} ORDER BY file_row_number").fetchall()
        codes = np.array([nag for *_, nag in rows], CODE_DTYPE).reshape(len(rows), *saved.spec.shape)
        stated = metadata_value(path, CHECKSUM_KEY)  # files of earlier versions state none
        if stated is not None and stated != _checksum(metadata, rows):
            raise ValueError("its content is not what was written")
    except (ValueError, TypeError, RecursionError, duckdb.Error) as error:
        raise BadInputError(
            f"{path}: not NAGs saved by nagindex encode ({str(error).splitlines()[0]}); encode the targets again"
        ) from error
    fingerprint.require(saved, where=str(path), ignore_libraries=True)
    check_codes(codes, fingerprint, where=str(path))
    return [Example(target or name, i, None, own) for (target, i, _), own in zip(rows, codes, strict=True)]


def _checksum(metadata: str, rows: Sequence[tuple[Any, Any, Any]]) -> str:
    """Return the SHA-256 of what a file says: its fingerprint, and each example's target, id and NAG."""
    digest = hashlib.sha256(metadata.encode())
    for target, identifier, nag in rows:
        digest.update(json.dumps([target, identifier]).encode() + np.array(nag, CODE_DTYPE).tobytes())
    return digest.hexdigest()


def check_codes(codes: Codes, fingerprint: Fingerprint, *, where: str) -> None:
    """Raise BadInputError unless codes are NAGs of an encoding, and at least one.

    Args:
        codes: uint16 [n, L, K].
        fingerprint: the encoding.
        where: what they are, for the message.
    """
    if codes.dtype != CODE_DTYPE or codes.shape[1:] != fingerprint.spec.shape:
        expected = f"{CODE_DTYPE} [n, {fingerprint.spec.layers}, {fingerprint.spec.top_k}]"
        raise BadInputError(f"{where}: {codes.dtype} {list(codes.shape)}, not {expected}; encode the targets again")
    if not len(codes):
        raise BadInputError(f"{where}: no example in the targets; give at least one")
    if len(bad := invalid_rows(codes, fingerprint.spec)):
        raise BadInputError(
            f"{where}, row {bad[0]}: holds a neuron twice or one that its layer does not have; encode the targets again"
        )
