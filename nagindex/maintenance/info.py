"""Information about a snapshot: its size, its encoding, its graphs, and warnings."""

from __future__ import annotations

import dataclasses
from typing import Any

from nagindex.errors import NagIndexError, plural
from nagindex.maintenance.drift import Drift, popularity_drift
from nagindex.storage.fingerprint import installed_libraries
from nagindex.storage.locations import location
from nagindex.storage.manifest import lost_version, versions
from nagindex.storage.snapshot import Snapshot

DRIFTED = 0.2
"""Share of moved codes from which drift is worth a warning."""


def info(snapshot: Snapshot) -> dict[str, Any]:
    """Return the size, settings, encoding and graphs of a snapshot, and warnings for the user, as JSON values."""
    size = sum(file.bytes for segment in snapshot.segments for file in segment.entry.files.values())
    spans = [span for segment in snapshot.segments for span in segment.spans()]
    sources = {(span.name, span.sha256) for span in spans if not span.unread}
    relative = snapshot.manifest.fingerprint.impact == "relative"
    drift = popularity_drift(snapshot) if relative else None
    return {
        "path": location(snapshot.path),
        "version": snapshot.manifest.version,
        "versions": versions(snapshot.path),
        "created": snapshot.manifest.created,
        "operation": snapshot.manifest.operation,
        "documents": snapshot.manifest.documents,
        "tokens": snapshot.manifest.tokens,
        "deleted": sum(s.entry.deleted_documents for s in snapshot.segments),
        "skipped": sum(s.entry.skipped for s in snapshot.segments),
        "sources": len(sources),
        "segments": len(snapshot.segments),
        "bytes": size,
        "bytes_per_document": round(size / max(1, sum(s.entry.documents for s in snapshot.segments)), 1),
        "graphs": _graphs(snapshot),
        **({} if drift is None else {"drift": dataclasses.asdict(drift)}),
        "settings": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(snapshot.manifest.settings).items()
        },
        "fingerprint": snapshot.manifest.fingerprint.to_json(),
        "installed": installed_libraries(),
        "warnings": [*_warnings(snapshot), *_drifted(drift)],
    }


def _warnings(snapshot: Snapshot) -> list[str]:
    """Return sentences about other library versions than the index's, and about a lost newest version."""
    warnings = []
    recorded = snapshot.other_libraries()
    if recorded:
        stored = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in recorded.items())
        installed = ", ".join(f"{name} {installed_libraries()[name]}" for name in recorded)
        warnings.append(f"encoded with {stored}, and installed is {installed}; see what that changes with `recheck()`")
    if (lost := lost_version(snapshot.path)) is not None:
        warnings.append(lost)
    return warnings


def _drifted(drift: Drift | None) -> list[str]:
    """Return a sentence if appended documents differ from the first ones by clearly more than chance."""
    if drift is None or drift.moved < max(DRIFTED, 2 * drift.by_chance):
        return []
    share = f"{drift.moved:.0%} of the codes differ, {drift.by_chance:.0%} by chance"
    return [
        f"{plural(drift.appended, 'document')} appended later have other popular neurons than the first ones ({share}); consider an index "
        "that is calibrated on all of them"
    ]


def _graphs(snapshot: Snapshot) -> dict[str, Any] | None:
    """Return what the index's graphs cover and how their basis was fitted; None if it has none."""
    from nagindex.sketches.graphs import current_graphs

    try:
        graphs = current_graphs(snapshot.path, snapshot.manifest.fingerprint.spec)
        if graphs is None:
            return None
        files = graphs.graphs(snapshot.manifest.segments)
    except NagIndexError as error:
        return {"damage": str(error)}
    stored = {entry.id: entry.documents for entry in snapshot.manifest.segments}
    return {
        "documents": sum(stored[segment] for file in files for segment in file.segments),
        "fitted_to": graphs.sample,
        "fitted_at": graphs.documents,
        "variance_kept": round(graphs.kept, 4),
    }
