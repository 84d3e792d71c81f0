"""A query from encoded targets to a selection: profile, exact scan, budget, order, and a record of what was asked."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nagindex._version import __version__
from nagindex.errors import BadInputError
from nagindex.fingerprint import installed_libraries
from nagindex.profile import profile_of
from nagindex.search.scan import Part, scan
from nagindex.select import Budget, exact_cut
from nagindex.selection import Selection
from nagindex.storage.docs import ids_at, tokens_of
from nagindex.targets import TargetSet

if TYPE_CHECKING:
    from nagindex.index import Index


def query(
    index: Index, targets: TargetSet, budget: Budget, *, text_column: str | None = None, threads: int | None = None
) -> Selection:
    """Return the documents of a pinned index most similar to a target set, exactly, within a budget.

    Args:
        index: the index.
        targets: the encoded examples.
        budget: how much to select.
        text_column: column that the targets' texts came from, for the record.
        threads: threads of the scan; by default one a core.

    Raises:
        BadInputError: the index is empty, or the budget is of tokens that nobody counted.
    """
    manifest, segments = index.manifest, index.segments
    if not manifest.documents:
        raise BadInputError(f"{index.path}: the index holds no document; append some")
    if budget.counts_tokens and not (manifest.tokens or manifest.settings.count_tokens):
        remedy = "ask for documents with -n, or build without --no-count-tokens"
        raise BadInputError(f"{index.path}: its tokens were not counted; {remedy}")
    profile = profile_of(targets.codes, manifest.fingerprint.spec)
    starts = np.cumsum([0, *(segment.entry.documents for segment in segments)])
    parts = [
        Part(
            int(start),
            segment.entry.documents,
            segment.codes,
            segment.alive if segment.entry.deleted else None,
            partial(tokens_of, segment) if budget.counts_tokens else None,
        )
        for start, segment in zip(starts, segments, strict=False)
    ]
    amount = budget.amount(pool_tokens=manifest.tokens)
    cut = partial(exact_cut, budget=amount, ids_of=partial(ids_at, segments))
    [hits] = scan(parts, [profile], budgets=[amount], cut=[cut], threads=threads)
    return Selection(
        hits,
        scale=profile.scale,
        segments=segments,
        keep=manifest.settings.keep_columns,
        settings=_settings(index, targets, budget, text_column),
        warnings=_warnings(index, targets, budget, amount),
    )


def _settings(index: Index, targets: TargetSet, budget: Budget, text_column: str | None) -> dict[str, Any]:
    """Return all that the selection depends on, as JSON values."""
    manifest = index.manifest
    return {
        "nagindex": __version__,
        "index": {
            "path": str(index.path),
            "version": manifest.version,
            "documents": manifest.documents,
            "tokens": manifest.tokens,
        },
        "fingerprint": manifest.fingerprint.to_json(),
        "corpus": {name: getattr(manifest.settings, name) for name in ("text_column", "id_column")},
        "query": {
            "targets": targets.files,
            "text_column": text_column,
            **{name: value for name, value in dataclasses.asdict(budget).items() if value is not None},
        },
    }


def _warnings(index: Index, targets: TargetSet, budget: Budget, amount: int) -> list[str]:
    manifest = index.manifest
    warnings = [f"not an example: {reason}" for reason in targets.skipped]
    unit, pool = ("tokens", manifest.tokens) if budget.counts_tokens else ("documents", manifest.documents)
    if amount > pool:
        warnings.append(f"{amount:,} {unit} were asked for and the pool has {pool:,}: all of it is selected")
    installed, recorded = installed_libraries(), manifest.fingerprint.libraries
    if installed != recorded:
        warnings.append(f"targets were encoded with {_versions(installed)}, the index with {_versions(recorded)}")
    return warnings


def _versions(libraries: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in libraries.items())
