"""What has changed since a selection was made: its record compared with the index and the files as they are now."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from nagindex.corpus.sources import content_hash, find_sources
from nagindex.errors import NagIndexError
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.locations import location
from nagindex.storage.snapshot import Snapshot
from nagindex.stores.urls import is_remote

FILES = {"targets": "targets", "decontaminate": "evaluation", "exclude": "exclude", "scores": "scores"}
"""Options that name files, and the entries of a record that hold the checksums of these files."""

NOT_FILES = ("texts", "codes")
"""What a record calls examples that are in no file."""


def changes_since(record: Mapping[str, Any], snapshot: Snapshot, *, ignored: Iterable[str] = ()) -> list[str]:
    """Return one sentence for each difference between what a selection was made of and what there is now.

    What the record does not hold, as those of earlier versions, is not compared.

    Args:
        record: the settings of the selection.
        snapshot: the version of the index that is to be searched.
        ignored: options, by their names on the command line, that do not come from the record.
    """
    found = [] if "index" in set(ignored) else _changed_index(record, snapshot)
    query = _mapping(record.get("query"))
    for option in [option for option in FILES if option not in set(ignored)]:
        given, recorded = query.get(option), _recorded_files(record, option)
        if given and recorded:
            found += _changed_files(recorded, [given] if isinstance(given, str) else list(map(str, given)))
    return found


def hashed_files(paths: Sequence[str]) -> list[dict[str, str]]:
    """Return the name and the SHA-256 of each file that paths name, as a record holds them."""
    sources = find_sources(list(paths)).sources if paths else []
    return [{"name": source.name, "sha256": content_hash(source.path)} for source in sources]


def index_record(snapshot: Snapshot) -> dict[str, Any]:
    """Return what a record holds of an index: where it lies, its version, and a checksum of what that consists of."""
    manifest = snapshot.manifest
    segments = json.dumps([[entry.id, entry.deleted] for entry in manifest.segments])
    return {
        "path": location(Path(os.path.abspath(snapshot.path))),
        "version": manifest.version,
        "documents": manifest.documents,
        "tokens": manifest.tokens,
        "segments": hashlib.sha256(segments.encode()).hexdigest(),
    }


def _changed_index(record: Mapping[str, Any], snapshot: Snapshot) -> list[str]:
    then, now = _mapping(record.get("index")), index_record(snapshot)
    found = []
    if isinstance(record.get("fingerprint"), dict):
        try:
            differing = Fingerprint.from_json(record["fingerprint"]).differences(snapshot.manifest.fingerprint)
        except (ValueError, TypeError):
            differing = ["the record of it cannot be read"]
        if differing:
            words = "; ".join(differing).replace(" in the index", " in the record").replace(" here", " now")
            found.append(f"the index has another encoding than when the selection was made: {words}")
    if then.get("version", now["version"]) != now["version"]:
        found.append(f"the index was at version {then['version']}, it is at {now['version']} now: {_held(then, now)}")
    elif then.get("segments", now["segments"]) != now["segments"]:
        found.append(
            "the index is another one than when the selection was made, though its version has the same number"
        )
    return found


def _held(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    before = then.get("documents")
    if not isinstance(before, int) or before == now["documents"]:
        return "as many documents"
    more = now["documents"] - before
    return f"{abs(more):,} document{'s' * (abs(more) != 1)} {'more' if more > 0 else 'less'}"


def _recorded_files(record: Mapping[str, Any], option: str) -> dict[str, set[str]]:
    """Return the checksums of the files that a record holds for an option, by the files' names without folders."""
    entries = record.get(FILES[option])
    if option == "targets":
        entries = [file for target in entries or [] for file in _mapping(target).get("files") or []]
    files = map(_mapping, entries or [])
    return _by_name(file for file in files if file.get("name") not in NOT_FILES)


def _by_name(files: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for file in files:
        found[PurePosixPath(str(file.get("name"))).name].add(str(file.get("sha256")))
    return found


def _changed_files(recorded: Mapping[str, set[str]], paths: Sequence[str]) -> list[str]:
    files = []
    for path in paths:
        with suppress(NagIndexError, OSError):  # its files are then among those that are not there
            files += hashed_files([path if os.path.exists(path) or is_remote(path) else path.partition("=")[2] or path])
    present, when = _by_name(files), "when the selection was made"
    changed = [name for name in recorded if name in present and recorded[name] != present[name]]
    return [
        *(f"{name} has other content than {when}" for name in changed),
        *(f"{name} was read {when}, and is not there any more" for name in recorded if name not in present),
        *(f"{name} was not there, or held no text, {when}" for name in present if name not in recorded),
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a value that should be a mapping, empty where it is none: a record is a file's content."""
    return value if isinstance(value, Mapping) else {}
