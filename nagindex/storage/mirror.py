"""Mirrors: an index in an object store is worked on through a local folder that holds the files fetched so far.

    $NAGINDEX_CACHE/<name>-<hash>/mirror.json   the URL
    $NAGINDEX_CACHE/<name>-<hash>/state.json    what the store held when it was last asked; never the truth
    $NAGINDEX_CACHE/<name>-<hash>/index/        files of the index, under their names
    $NAGINDEX_CACHE/<name>-<hash>/pins/, used/  segments that processes use, and when each was last used

Objects of segments and calibrations never change; which versions there are is asked of the store each time an index is opened.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nagindex.errors import BadInputError, DamagedIndexError
from nagindex.storage import verified
from nagindex.storage.cache_room import Pins, make_room
from nagindex.storage.disk_errors import writing
from nagindex.stores.objects import CONNECTIONS, ObjectStore, StoredObject

FOLDERS = frozenset({"manifests", "segments", "calibration", "derived"})
HINT, DERIVED_MARK = "manifests/latest.json", "manifests/derived.json"
"""The version hint, and an object that is written anew whenever objects in `derived` have changed."""
_MANIFEST = re.compile(r"manifests/([0-9]{12})\.json")
DERIVED = re.compile(r"derived/graph-[0-9]{6}/[\w-]+\.(json|npy|usearch)", re.ASCII)
"""Names of the files of graphs; see `mirrored_graphs`."""


@dataclass(frozen=True)
class State:
    """What the store held when it was last asked.

    Attributes:
        version, etag: the newest version, 0 for none, and its manifest's ETag.
        hint: ETag of the version hint.
        mark: ETag of the mark of derived objects.
        fetched_mark: the mark when derived JSON files were last fetched.
        derived: (ETag, SHA-256) of each of them then, by name.
        conditional: whether the store is known to have create-if-absent.
    """

    version: int = 0
    etag: str = ""
    hint: str = ""
    mark: str = ""
    fetched_mark: str = ""
    derived: dict[str, list[str]] = field(default_factory=dict)
    conditional: bool = False


class Mirror:
    """The local folder of an index in an object store.

    Attributes:
        folder: the mirror's folder in the cache.
        index: the folder in it that stands for the index's.
        store: the objects.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.index, self.store = folder, folder / "index", ObjectStore(url)
        self.pins = Pins(folder)
        self._hint = ("", 0)

    @property
    def url(self) -> str:
        """The URL of the index."""
        return self.store.url

    def name_of(self, path: Path) -> str:
        """Return the name of the object that a file of the mirror is a copy of."""
        return path.relative_to(self.index).as_posix()

    def is_checked_json(self, path: Path) -> bool:
        """Return whether a file contains its own checksum: a manifest, the version hint, or the description of graphs."""
        name = self.name_of(path)
        return (
            name == HINT or bool(_MANIFEST.fullmatch(name)) or bool(DERIVED.fullmatch(name) and path.suffix == ".json")
        )

    @property
    def known_version(self) -> int:
        """The newest version when the store was last asked; 0 if there was none."""
        return self.state().version

    def newest_version(self) -> int:
        """Ask the store for its newest version, with one request if the mirror knows an older one; 0 if there is none."""
        state = self.state()
        start = state.version or self._hinted()
        if start:
            listed = self.store.listing("manifests", after=_manifest_name(start - 1))
            if _manifest_name(start) in {found.name for found in listed}:
                return max(self._take_in(listed), default=0)
        return max(
            self._take_in(self.store.listing("manifests")), default=0
        )  # without a hint, or with one that is too high

    def versions(self) -> list[int]:
        """Ask the store for the numbers of all versions, ascending; manifests of others leave the mirror."""
        numbers = self._take_in(self.store.listing("manifests"))
        for path in self.index.glob("manifests/*.json"):
            if (match := _MANIFEST.fullmatch(self.name_of(path))) and int(match[1]) not in numbers:
                path.unlink(missing_ok=True)
        return numbers

    def _take_in(self, listed: Iterable[StoredObject]) -> list[int]:
        """Note what a listing of manifests tells, fetch the hint if it is another, and return the numbers of the versions, ascending."""
        state, etags = self.state(), {found.name: found.etag for found in listed}
        numbers = sorted(int(match[1]) for name in etags if (match := _MANIFEST.fullmatch(name)))
        unknown = not state.version and any(self.index.glob("manifests/[0-9]*.json"))  # the state is lost
        if unknown or (state.version and etags.get(_manifest_name(state.version)) != state.etag):
            # The version was vacuumed, or somebody made another index at this URL. What is known goes before the files, which would
            # otherwise look as if they had been removed on purpose.
            known, state = state, dataclasses.replace(State(), conditional=state.conditional)
            self.keep(state)
            self._forget(known)
        newest = numbers[-1] if numbers else 0
        hint = etags.get(HINT, "")
        if hint != state.hint:
            if not hint:
                (self.index / HINT).unlink(missing_ok=True)
            elif self._hinted(hint) > newest:  # written after the listing, perhaps, as was its version
                later = self.store.listing("manifests", after=_manifest_name(max(0, newest - 1)))
                more = {found.name: found.etag for found in later}
                etags |= more
                numbers = sorted({*numbers, *(int(m[1]) for name in more if (m := _MANIFEST.fullmatch(name)))})
                newest = numbers[-1] if numbers else 0
        self.keep(
            dataclasses.replace(
                state,
                version=newest,
                etag=etags.get(_manifest_name(newest), ""),
                hint=hint,
                mark=etags.get(DERIVED_MARK, ""),
            )
        )
        return numbers

    def _hinted(self, etag: str = "") -> int:
        """Fetch the version hint, and return the version that it names; 0 if there is none, or it is damaged.

        Args:
            etag: its ETag where that is known; the hint of this ETag is not fetched twice.
        """
        if not etag or etag != self._hint[0]:
            try:
                content, found = self.store.get(HINT)
            except FileNotFoundError:
                return 0
            self.write(self.index / HINT, content)
            version = None
            with suppress(ValueError, AttributeError):
                version = json.loads(content).get("version")
            self._hint = found, version if type(version) is int and 0 < version < 10**12 else 0
        return self._hint[1]

    def _forget(self, state: State) -> None:
        """Remove the JSON files that another index of the same URL would have under the same names; arrays are told by their checksums."""
        shutil.rmtree(self.index / "manifests", ignore_errors=True)
        for name in state.derived:
            (self.index / name).unlink(missing_ok=True)
        self._hint = ("", 0)

    def fetch(self, path: Path, *, length: int, sha256: str, owner: str) -> None:
        """Fetch a file of known length and checksum in place of what is there, atomically; wrong bytes are fetched once more.

        Raises:
            DamagedIndexError: the object is missing, or not what `owner` states.
            ObjectStoreError: the store does not answer.
            OSError: the disk of the cache is full, or fails; names the file.
        """
        make_room(length)
        path.parent.mkdir(parents=True, exist_ok=True)
        name, damage = self.name_of(path), ""
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
        try:
            for _ in range(2):
                try:
                    with writing(path):
                        size = self.store.download(name, temporary, length)
                except FileNotFoundError:
                    raise DamagedIndexError(self.store.url_of(name), f"missing, though {owner} names it") from None
                if size != length:
                    damage = f"{size} bytes where {owner} has {length}"
                    continue
                with open(temporary, "rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if found == sha256:
                    os.replace(temporary, path)
                    verified.mark_verified(os.lstat(path), sha256)
                    return
                damage = f"SHA-256 is {found[:12]} where {owner} has {sha256[:12]}"
            raise DamagedIndexError(self.store.url_of(name), damage)
        finally:
            temporary.unlink(missing_ok=True)

    def fetch_small(self, path: Path) -> None:
        """Fetch a file that contains its own checksum in place of what is there.

        Raises:
            FileNotFoundError: there is no such object.
            ObjectStoreError: the store does not answer.
        """
        content, _ = self.store.get(self.name_of(path))
        self.write(path, content)

    def upload(self, paths: Iterable[Path]) -> None:
        """Write files to the store, several at a time."""
        paths = list(paths)
        make_room(sum(path.stat().st_size for path in paths))
        with ThreadPoolExecutor(CONNECTIONS // 2) as pool:
            list(pool.map(lambda path: self.store.put(self.name_of(path), path), paths))

    def create(self, path: Path, content: bytes) -> bool:
        """Create the object of a file; return False if there is another of its name.

        Raises:
            BadInputError: the store has no create-if-absent.
        """
        if not self.state().conditional:
            self._require_conditional_put()
        return self.store.create(self.name_of(path), content)

    def put(self, path: Path, content: bytes) -> None:
        """Write the object of a file."""
        self.store.put(self.name_of(path), content)

    def delete(self, paths: Iterable[Path]) -> None:
        """Delete files, from the store and from the mirror."""
        for path in paths:
            self.store.delete([self.name_of(path)])
            path.unlink(missing_ok=True)

    def _require_conditional_put(self) -> None:
        """Raise BadInputError if the store replaces an object that is to be created."""
        probe = f"manifests/.probe-{secrets.token_hex(8)}"
        try:
            self.store.create(probe, b"1")
            if self.store.create(probe, b"2"):
                raise BadInputError(self.store.no_conditional_put())
        finally:
            self.store.delete([probe])
        self.keep(dataclasses.replace(self.state(), conditional=True))

    def state(self) -> State:
        """Return what the store held when it was last asked."""
        try:
            return State(**json.loads((self.folder / "state.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return State()

    def keep(self, state: State) -> None:
        """Note down what the store holds."""
        if state != self.state():
            self.write(self.folder / "state.json", json.dumps(dataclasses.asdict(state)).encode())

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of the mirror, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
        try:
            with writing(path):
                temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _manifest_name(version: int) -> str:
    return f"manifests/{version:012d}.json"
