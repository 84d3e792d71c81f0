"""What makes two encodings the same: everything that a NAG depends on, written into every manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from nagindex.errors import SettingsMismatchError
from nagindex.nag import NagSpec
from nagindex.storage.schema import typed

LIBRARIES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class Fingerprint:
    """The encoding of an index.

    Attributes:
        backbone: name or path that the model was loaded from.
        weights: SHA-256 over the model's tensors.
        tokenizer: SHA-256 of the tokenizer's serialized form.
        spec: neuron type, widths and K.
        max_length: tokens of a document that the backbone reads.
        dtype: the model's floating-point type, e.g. float32.
        attention: the attention implementation, e.g. sdpa.
        libraries: versions of the libraries that computed it.
    """

    backbone: str
    weights: str
    tokenizer: str
    spec: NagSpec
    max_length: int
    dtype: str
    attention: str
    libraries: dict[str, str]

    def differences(self, other: Fingerprint) -> list[str]:
        """Return one phrase for each field of `other` that differs, naming both values; a moved backbone is the same."""
        mine, theirs = _flat(self), _flat(other)
        return [
            f"{name} is {mine.get(name)!r} in the index and {theirs.get(name)!r} here"
            for name in mine | theirs
            if name != "backbone" and mine.get(name) != theirs.get(name)
        ]

    def require(self, other: Fingerprint, *, where: str, ignore_libraries: bool = False) -> None:
        """Raise SettingsMismatchError, naming both values, unless `other` encodes as this index does."""
        same_libraries = dataclasses.replace(other, libraries=self.libraries)
        found = self.differences(same_libraries if ignore_libraries else other)
        if not found:
            return
        only_libraries = not self.differences(same_libraries)
        remedy = (
            "install those versions, or see what it changes with nagindex append --check, and pass --accept-libraries to mix"
            if only_libraries
            else "use the index's settings, or build another index"
        )
        raise SettingsMismatchError(f"{where}: {'; '.join(found)}; {remedy}")

    def key(self) -> str:
        """Return 64 hexadecimal digits that two fingerprints share when no field but the backbone's name differs."""
        fields = {k: v for k, v in self.to_json().items() if k != "backbone"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        fields: dict[str, Any] = dataclasses.asdict(self)
        fields["spec"]["widths"] = list(self.spec.widths)
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Fingerprint:
        """Return the fingerprint whose `to_json` is `fields`.

        Raises:
            ValueError: it is of none.
        """
        return typed(cls, fields)


@cache
def installed_libraries() -> dict[str, str]:
    """Return the versions of the libraries that compute NAGs, without local parts such as `+cpu`."""
    return {name: metadata.version(name).split("+")[0] for name in LIBRARIES}


def _flat(fingerprint: Fingerprint) -> dict[str, Any]:
    fields = fingerprint.to_json()
    spec: dict[str, Any] = fields.pop("spec")
    libraries: dict[str, str] = fields.pop("libraries")
    versions = {f"{name} version": version for name, version in libraries.items()}
    return {**fields, **spec, "layers": len(spec["widths"]), **versions}
