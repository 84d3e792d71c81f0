"""What there is to know about a version of an index."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from nagindex.errors import NagIndexError
from nagindex.storage.fingerprint import installed_libraries
from nagindex.storage.manifest import versions

if TYPE_CHECKING:
    from nagindex.storage.snapshot import Pinned


def info(index: Pinned) -> dict[str, Any]:
    """Return what an index's pinned version holds and how it was encoded, as JSON values."""
    size = sum(file.bytes for segment in index.segments for file in segment.entry.files.values())
    sources = {(span.name, span.sha256) for segment in index.segments for span in segment.spans()}
    return {
        "path": str(index.path),
        "version": index.manifest.version,
        "versions": versions(index.path),
        "created": index.manifest.created,
        "operation": index.manifest.operation,
        "documents": index.manifest.documents,
        "tokens": index.manifest.tokens,
        "deleted": sum(s.entry.deleted_documents for s in index.segments),
        "skipped": sum(s.entry.skipped for s in index.segments),
        "sources": len(sources),
        "segments": len(index.segments),
        "bytes": size,
        "bytes_per_document": round(size / max(1, sum(s.entry.documents for s in index.segments)), 1),
        "sketches": _sketches(index),
        "settings": dataclasses.asdict(index.manifest.settings)
        | {"keep_columns": list(index.manifest.settings.keep_columns)},
        "fingerprint": index.manifest.fingerprint.to_json(),
        "installed": installed_libraries(),
        "warnings": _warnings(index),
    }


def _warnings(index: Pinned) -> list[str]:
    """Return one sentence where libraries are installed whose versions encode perhaps otherwise than the index was."""
    from nagindex.maintenance.reencode import other_libraries

    found = other_libraries(index.manifest)
    if not found:
        return []
    told = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in found.items())
    here = ", ".join(f"{name} {installed_libraries()[name]}" for name in found)
    return [
        f"encoded with {told}, and installed is {here}; see what that changes with: nagindex append --check -i {index.path}"
    ]


def _sketches(index: Pinned) -> dict[str, Any] | None:
    """Return what there is to know about the index's sketches, None where it has none."""
    from nagindex.sketches.build import residual_drift
    from nagindex.sketches.store import current_sketches

    try:
        found = current_sketches(index.path, index.manifest.fingerprint.spec)
        if found is None:
            return None
        documents, drifted = residual_drift(found, index.segments)
    except NagIndexError as error:
        return {"damage": str(error)}
    return {
        "dims": found.dims,
        "dtype": found.dtype,
        "documents": documents,
        "fitted_to": found.sample,
        "fitted_at": found.documents,
        "variance_kept": round(found.kept, 4),
        "drift": round(drifted, 4),
    }
