"""Graphs of an index in an object store: what the mirror and the store have of them is brought to one another.

Arrays are written before the JSON files that name them, and fetched on first use; a mark in the store tells other mirrors to look.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from nagindex.storage.json_bytes import is_intact
from nagindex.storage.mirror import DERIVED, DERIVED_MARK, Mirror
from nagindex.stores.objects import CONNECTIONS

CLAIM = "claim"
"""Object in a folder of graphs that makes its number one machine's."""


def fetch_graphs(mirror: Mirror) -> None:
    """Fetch the JSON files of graphs, if any of these have changed; their arrays are fetched on first use."""
    state = mirror.state()
    if state.mark == state.fetched_mark:
        return
    listed = {
        found.name: found.etag
        for found in mirror.store.listing("derived")
        if DERIVED.fullmatch(found.name) and found.name.endswith(".json")
    }
    for name in state.derived.keys() - listed.keys():
        (mirror.index / name).unlink(missing_ok=True)
    changed = [name for name, etag in listed.items() if state.derived.get(name, [""])[0] != etag]
    kept = {name: own for name, own in state.derived.items() if name in listed and name not in changed}

    def read(name: str) -> None:
        with suppress(FileNotFoundError):  # vacuumed meanwhile
            content, etag = mirror.store.get(name)
            mirror.write(mirror.index / name, content)
            kept[name] = [etag, hashlib.sha256(content).hexdigest()]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(read, changed))
    mirror.keep(dataclasses.replace(mirror.state(), fetched_mark=state.mark, derived=kept))


def push_graphs(mirror: Mirror) -> None:
    """Write graphs that the store lacks: arrays before the JSON files that name them.

    JSON files that were removed or changed here since they were fetched, being damaged, are removed or replaced there. Ones that are
    damaged here stay here. What a push that was killed before its mark wrote is marked.
    """
    known = dict(mirror.state().derived)  # first: what another process adds meanwhile is not gone
    paths = [path for path in sorted(mirror.index.glob("derived/graph-*/*")) if DERIVED.fullmatch(mirror.name_of(path))]
    local = {mirror.name_of(path): path for path in paths if (path.parent / "basis.json").exists()}
    stored = {found.name: found.etag for found in mirror.store.listing("derived")}
    contents = {name: path.read_bytes() for name, path in local.items() if path.suffix == ".json"}
    hashes = {name: hashlib.sha256(own).hexdigest() for name, own in contents.items() if is_intact(own)}
    arrays = [
        path
        for name, path in local.items()  # without its JSON file, an array is still being written
        if path.suffix != ".json" and name not in stored and f"{name.rpartition('.')[0]}.json" in local
    ]
    changed = [name for name, own in hashes.items() if name not in stored or (name in known and known[name][1] != own)]
    gone = [name for name in known if name in stored and name not in local and (mirror.index / name).parent.is_dir()]
    unmarked = any(
        known.get(name, [""])[0] != etag
        for name, etag in stored.items()
        if name.endswith(".json") and DERIVED.fullmatch(name)
    )
    if not (arrays or changed or gone or unmarked):
        return
    mirror.upload(arrays)
    for name in changed:
        known[name] = [mirror.store.put(name, contents[name]), hashes[name]]
    mirror.store.delete(gone)
    for name in gone:
        del known[name]
    mark_graphs(mirror)
    mirror.keep(dataclasses.replace(mirror.state(), derived=known))


def mark_graphs(mirror: Mirror) -> None:
    """Let other mirrors know that objects in `derived` have changed."""
    mirror.store.put(DERIVED_MARK, json.dumps({"changed": secrets.token_hex(16)}).encode())


def claim_graphs(mirror: Mirror, folder: Path) -> bool:
    """Return whether a new folder of graphs is this process's: no other machine took its number."""
    return mirror.store.create(f"{mirror.name_of(folder)}/{CLAIM}", secrets.token_hex(16).encode())
