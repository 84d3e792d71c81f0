"""The cache of target texts: their codes are kept in the index, so that no text is encoded twice.

The cache is derived data: where a file is damaged or cannot be written, texts are encoded again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import CODE_DTYPE, Codes
from nagindex.storage.files import create_exclusively
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.verified import is_regular_file

MAX_BYTES = 256 << 20
KEY_BYTES = 32


class TargetCache:
    """A content-addressed store of NAGs of bounded size; the least recently used files are removed first.

    Each file is an array of (key, codes) records and is named by its own SHA-256, which is verified before a record is
    used. A text's key is the SHA-256 of the encoding's key and the text.

    Attributes:
        problem: a sentence for the user once codes could not be stored; None before.
    """

    NO_NAG = np.iinfo(np.uint16).max
    """Fills the codes of a text without tokens; no NAG holds a neuron twice."""

    def __init__(self, folder: Path, fingerprint: Fingerprint, *, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self.problem: str | None = None
        self.encoding = fingerprint.key().encode()
        self.record = np.dtype([("key", "V", KEY_BYTES), ("codes", CODE_DTYPE, fingerprint.spec.shape)])

    @staticmethod
    def is_no_nag(codes: npt.NDArray[np.uint16]) -> bool:
        """Return whether codes, uint16 [L, K], are those of a text without tokens."""
        return bool((codes == TargetCache.NO_NAG).all()) and codes.size > 0

    def get(self, texts: Sequence[str]) -> dict[str, Codes]:
        """Return the codes, uint16 [L, K], of each text that the cache holds."""
        text_of = {self._key(text): text for text in texts}
        found: dict[str, Codes] = {}
        for path in self._files():
            if len(found) == len(text_of):
                break
            records = self._read(path)
            keys = [key.tobytes() for key in records["key"]]
            hits = {text_of[key]: records["codes"][i] for i, key in enumerate(keys) if key in text_of}
            if hits:
                found |= hits
                _touch(path)
        return found

    def put(self, texts: Sequence[str], codes: Codes) -> None:
        """Store the codes, uint16 [n, L, K], of n different texts, and remove old files beyond the size limit."""
        records = np.empty(len(texts), self.record)
        records["key"] = np.array([self._key(text) for text in texts], f"V{KEY_BYTES}")
        records["codes"] = codes
        buffer = io.BytesIO()
        np.save(buffer, records, allow_pickle=False)
        content = buffer.getvalue()
        if len(content) > self.max_bytes or self.folder.is_symlink():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            create_exclusively(self.folder / f"{hashlib.sha256(content).hexdigest()}.npy", content)
            room = self.max_bytes
            for path in self._files():
                room -= path.stat().st_size
                if room < 0:
                    path.unlink(missing_ok=True)
        except (OSError, BadInputError) as error:  # read-only media or a full disk: the query goes on without the cache
            reason = getattr(error, "strerror", None) or error
            self.problem = f"{self.folder}: the cache of encoded targets cannot be written ({reason}); they are encoded again each time"

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(self.encoding + text.encode()).digest()

    def _files(self) -> list[Path]:
        """Return the cache's files, the most recently used first."""
        if self.folder.is_symlink():  # it would lead out of the index
            return []
        try:
            stamped = [(path.stat().st_mtime_ns, path) for path in self.folder.glob("[0-9a-f]*.npy")]
        except OSError:
            return []
        return [path for _, path in sorted(stamped, reverse=True)]

    def _read(self, path: Path) -> npt.NDArray[np.void]:
        """Return a file's records, none where it is damaged or of another shape."""
        try:
            content = path.read_bytes() if is_regular_file(path) else b""
            if hashlib.sha256(content).hexdigest() == path.stem:
                records: npt.NDArray[np.void] = np.load(io.BytesIO(content), allow_pickle=False)
                if records.dtype == self.record:
                    return records
            else:  # the same codes, stored again, need its name
                path.unlink()
        except (OSError, ValueError):
            pass
        return np.empty(0, self.record)


def damaged_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a cache whose content does not have the SHA-256 in their names."""
    for path in [] if folder.is_symlink() else sorted(folder.glob("[0-9a-f]*.npy")):
        with contextlib.suppress(FileNotFoundError):  # removed by another query
            content = path.read_bytes() if is_regular_file(path) else b""
            if hashlib.sha256(content).hexdigest() != path.stem:
                yield path


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)
