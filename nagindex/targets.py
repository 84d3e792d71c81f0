"""Target sets: example texts in any corpus format, or NAGs saved by `nagindex encode`, as codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nagindex.corpus import Columns, Source, content_hash, find_sources, read_documents
from nagindex.corpus.parquet import quote_path
from nagindex.encode import affordable, encode_ids
from nagindex.errors import BadInputError
from nagindex.fingerprint import Fingerprint
from nagindex.nag import CODE_DTYPE, Codes, invalid_rows
from nagindex.storage.cache import TargetCache
from nagindex.storage.files import replacing
from nagindex.storage.tables import connect, quote_sql
from nagindex.tokenise import tokenise

if TYPE_CHECKING:
    from nagindex.backbone import Backbone

NAGS_KEY = "nagindex_nags"


@dataclass(frozen=True)
class TargetSet:
    """Encoded examples of a task.

    Attributes:
        codes: uint16 [n, L, K].
        ids: the examples' ids.
        files: one record for each file: name, sha256, examples.
        skipped: one sentence for each row that is no example, naming file, row and reason.
    """

    codes: Codes
    ids: list[str]
    files: list[dict[str, Any]]
    skipped: list[str] = field(default_factory=list)


Targets = str | Path | Iterable[str | Path] | Codes | TargetSet


def load_targets(
    targets: Targets,
    *,
    fingerprint: Fingerprint,
    backbone: Callable[[], Backbone],
    text_column: str | None = None,
    batch_tokens: int,
    cache: TargetCache | None = None,
) -> TargetSet:
    """Return the codes of a target set, encoding only texts that the cache does not hold.

    Args:
        targets: files, globs or folders of texts or of saved NAGs; or codes, uint16 [n, L, K].
        fingerprint: the encoding that they must have.
        backbone: loads the model; called only if something must be encoded.
        text_column: column of the texts; by default found in each file.
        batch_tokens: padded tokens in a batch.
        cache: where codes of texts are kept between queries.

    Raises:
        BadInputError: there is no example, or saved NAGs are not what they claim.
        SettingsMismatchError: saved NAGs have another encoding.
    """
    if isinstance(targets, TargetSet):
        return targets
    if isinstance(targets, np.ndarray):
        _check(targets, fingerprint, where="the codes given")
        return TargetSet(
            targets,
            [str(i) for i in range(len(targets))],
            [{"name": "codes", "sha256": hashlib.sha256(targets.tobytes()).hexdigest(), "examples": len(targets)}],
        )
    paths = [targets] if isinstance(targets, (str, Path)) else list(targets)
    parts: list[tuple[Codes, list[str]]] = []
    files: list[dict[str, Any]] = []
    skipped: list[str] = []
    for source in find_sources(paths).sources:
        if is_saved_nags(source.path):
            codes, ids = read_nags(source.path, fingerprint)
        else:
            texts = _read_texts(source, Columns(text=text_column), skipped)
            codes, ids = _encoded(texts, source, fingerprint, backbone, batch_tokens, cache, skipped)
        parts.append((codes, ids))
        files.append({"name": source.name, "sha256": content_hash(source.path), "examples": len(ids)})
    codes = np.concatenate([codes for codes, _ in parts])
    if not len(codes):
        rows = f" ({len(skipped)} skipped, the first: {skipped[0]})" if skipped else ""
        raise BadInputError(f"{', '.join(map(str, paths))}: the targets hold no example{rows}; give at least one text")
    return TargetSet(codes, [i for _, ids in parts for i in ids], files, skipped)


def _read_texts(source: Source, columns: Columns, skipped: list[str]) -> list[tuple[int, str, str]]:
    """Return (row, id, text) of a source's readable rows."""
    texts = []
    for document in read_documents(source, columns, with_tokens=False):
        if document.problem is not None:
            skipped.append(f"{source.path}, row {document.row}: {document.problem}")
        else:
            texts.append((document.row, document.id, document.text or ""))
    if not texts and source.size == 0:
        skipped.append(f"{source.path}: the file is empty")
    return texts


def _encoded(
    texts: Sequence[tuple[int, str, str]],
    source: Source,
    fingerprint: Fingerprint,
    load: Callable[[], Backbone],
    batch_tokens: int,
    cache: TargetCache | None,
    skipped: list[str],
) -> tuple[Codes, list[str]]:
    """Return the NAGs and ids of those texts that have a token."""
    found = cache.get([text for _, _, text in texts]) if cache else {}
    new = list(dict.fromkeys(text for _, _, text in texts if text not in found))
    if new:
        backbone = load()
        ids = tokenise(backbone.tokenizer, new, max_length=fingerprint.max_length, count=False).ids
        present = [position for position, row in enumerate(ids) if row]
        # A text without tokens has no NAG: it is cached as a row that no NAG equals, so that it is not tokenised again.
        fresh = np.full((len(new), *fingerprint.spec.shape), TargetCache.NO_NAG, CODE_DTYPE)
        fresh[present] = encode_ids(
            backbone, [ids[p] for p in present], fingerprint.spec, batch_tokens=affordable(batch_tokens, backbone)
        )
        found |= dict(zip(new, fresh, strict=True))
        if cache:
            cache.put(new, fresh)
    kept = [(row, i, text) for row, i, text in texts if not TargetCache.is_no_nag(found[text])]
    skipped += [f"{source.path}, row {row}: no tokens" for row, _, text in texts if TargetCache.is_no_nag(found[text])]
    codes = (
        np.stack([found[text] for _, _, text in kept]) if kept else np.empty((0, *fingerprint.spec.shape), CODE_DTYPE)
    )
    return codes, [i for _, i, _ in kept]


def is_saved_nags(path: Path) -> bool:
    """Whether a file holds NAGs written by `write_nags`."""
    return path.suffix == ".parquet" and _metadata(path) is not None


def write_nags(path: Path, targets: TargetSet, fingerprint: Fingerprint) -> None:
    """Write encoded examples as Parquet: columns id and nag (USMALLINT[L * K], layer by layer), the fingerprint as metadata."""
    metadata = json.dumps(fingerprint.to_json(), ensure_ascii=False)
    with connect() as connection, replacing(path) as temporary:
        connection.execute("CREATE TEMP TABLE nags (id VARCHAR, nag USMALLINT[])")
        for first in range(0, len(targets.ids), 1000):
            rows = slice(first, first + 1000)
            flat = targets.codes[rows].reshape(len(targets.ids[rows]), -1).tolist()
            connection.execute(
                "INSERT INTO nags SELECT unnest(?::VARCHAR[]), unnest(?::USMALLINT[][])", [targets.ids[rows], flat]
            )
        connection.execute(
            f"COPY nags TO {quote_sql(temporary)} (FORMAT parquet, KV_METADATA {{{NAGS_KEY}: {quote_sql(metadata)}}})"
        )


def read_nags(path: Path, fingerprint: Fingerprint) -> tuple[Codes, list[str]]:
    """Return the codes, uint16 [n, L, K], and ids of a file of saved NAGs.

    Raises:
        BadInputError: the file is not what `write_nags` writes.
        SettingsMismatchError: its encoding is not `fingerprint`, library versions aside.
    """
    import duckdb

    try:
        saved = Fingerprint.from_json(json.loads(_metadata(path) or ""))
        with connect() as connection:
            scan = f"read_parquet({quote_path(path)}, file_row_number = true)"
            rows = connection.execute(f"SELECT id, nag FROM {scan} ORDER BY file_row_number").fetchall()
        ids = [identifier for identifier, _ in rows]
        codes = np.array([nag for _, nag in rows], CODE_DTYPE).reshape(len(rows), *saved.spec.shape)
    except (ValueError, KeyError, TypeError, duckdb.Error) as error:
        raise BadInputError(
            f"{path}: not NAGs saved by nagindex encode ({str(error).splitlines()[0]}); encode the targets again"
        ) from error
    fingerprint.require(saved, where=str(path), ignore_libraries=True)
    _check(codes, fingerprint, where=str(path))
    return codes, ids


def _metadata(path: Path) -> str | None:
    import duckdb

    try:
        with connect(threads=1) as connection:
            rows = connection.execute(
                f"SELECT value FROM parquet_kv_metadata({quote_path(path)}) WHERE key = {quote_sql(NAGS_KEY)}::BLOB"
            ).fetchall()
    except duckdb.Error:
        return None
    return rows[0][0].decode() if rows else None


def _check(codes: Codes, fingerprint: Fingerprint, *, where: str) -> None:
    if codes.dtype != CODE_DTYPE or codes.shape[1:] != fingerprint.spec.shape:
        expected = f"{CODE_DTYPE} [n, {fingerprint.spec.layers}, {fingerprint.spec.top_k}]"
        raise BadInputError(f"{where}: {codes.dtype} {list(codes.shape)}, not {expected}; encode the targets again")
    if not len(codes):
        raise BadInputError(f"{where}: no example in the targets; give at least one")
    if len(bad := invalid_rows(codes, fingerprint.spec)):
        raise BadInputError(
            f"{where}, row {bad[0]}: holds a neuron twice or one that its layer does not have; encode the targets again"
        )
