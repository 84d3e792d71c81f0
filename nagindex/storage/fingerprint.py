"""The fingerprint of an encoding: everything that a NAG depends on, stored in every manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from nagindex.arguments import layer_ranges
from nagindex.errors import SettingsMismatchError
from nagindex.nag import NagSpec
from nagindex.storage.schema import from_json

LIBRARIES = ("torch", "transformers", "tokenizers")
HASHES = ("weights", "tokenizer", "calibration")
PARAMETERS = ("neuron_type", "top_k", "max_length", "dtype", "attention", "impact", "calibration", "layers")
"""Fields that are parameters of a build."""
SHOWN_DIGITS = 12
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Fingerprint:
    """Model, settings and library versions that determine the NAG of a text.

    Attributes:
        backbone: name or path that the model was loaded from; two fingerprints may differ in it.
        weights: SHA-256 of the model's tensors.
        tokenizer: SHA-256 of the tokenizer's serialized form.
        spec: neuron type, widths and K.
        max_length: tokens of a document that the backbone reads.
        dtype: the model's floating-point type, e.g. float32.
        attention: the attention implementation, e.g. sdpa.
        libraries: versions of the libraries that compute NAGs, by name.
        impact: `absolute`, or `relative` to the mean impacts of a calibration sample.
        calibration: SHA-256 of the file that holds these means, which lies in the index; None for absolute impact.

    Raises:
        ValueError: impact is relative without a calibration, or absolute with one.
    """

    backbone: str
    weights: str
    tokenizer: str
    spec: NagSpec
    max_length: int
    dtype: str
    attention: str
    libraries: dict[str, str]
    impact: str = "absolute"
    calibration: str | None = None

    def __post_init__(self) -> None:
        if self.impact != ("absolute" if self.calibration is None else "relative"):
            raise ValueError(f"{self.impact} impact with the calibration {self.calibration}")
        if self.calibration is not None and not _SHA256.fullmatch(self.calibration):
            raise ValueError(f"calibration {self.calibration} is no SHA-256")

    def differences(self, other: Fingerprint) -> list[str]:
        """Return one phrase for each field of `other` that differs, with both values; the backbone's name may differ."""
        mine, theirs = _flat(self), _flat(other)
        return [
            f"{f'`{name}`' if name in PARAMETERS else name} is {stored!r} in the index and {given!r} here"
            for name in mine | theirs
            if name != "backbone" and mine.get(name) != theirs.get(name)
            for stored, given in [_shortened(name, mine.get(name), theirs.get(name))]
        ]

    def require(self, other: Fingerprint, *, where: str, ignore_libraries: bool = False) -> None:
        """Raise SettingsMismatchError, with both values, if `other` differs in anything but the backbone's name.

        Args:
            other: the fingerprint to compare.
            where: name of the index, for the message.
            ignore_libraries: whether library versions may differ too.
        """
        same_libraries = dataclasses.replace(other, libraries=self.libraries)
        differing = self.differences(same_libraries if ignore_libraries else other)
        if not differing:
            return
        only_libraries = not self.differences(same_libraries)
        remedy = (
            "install those versions, or see what it changes with `recheck()`, and pass `accept_libraries=True` to mix"
            if only_libraries
            else "use the index's settings, or build another index"
        )
        raise SettingsMismatchError(f"{where}: {'; '.join(differing)}; {remedy}")

    def key(self) -> str:
        """Return a SHA-256 (64 hexadecimal digits) of all fields except the backbone's name."""
        fields = {k: v for k, v in self.to_json().items() if k != "backbone"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; what an index of all layers and absolute impact does not need is left out."""
        fields: dict[str, Any] = dataclasses.asdict(self)
        fields["spec"]["widths"] = list(self.spec.widths)
        numbers = fields["spec"].pop("numbers")
        if numbers is not None:
            fields["spec"]["numbers"] = list(numbers)
        if self.impact == "absolute":
            del fields["impact"], fields["calibration"]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Fingerprint:
        """Return the fingerprint with these fields, the inverse of `to_json`.

        Raises:
            ValueError: a field is missing, unknown or of another type.
        """
        return from_json(cls, fields)


@cache
def installed_libraries() -> dict[str, str]:
    """Return the versions of the libraries that compute NAGs, without local parts such as `+cpu`."""
    from importlib import metadata  # takes 20 ms

    return {name: metadata.version(name).split("+")[0] for name in LIBRARIES}


def _shortened(name: str, stored: Any, given: Any) -> tuple[Any, Any]:
    """Return two differing values of a field; hashes are cut to the shortest length that shows the difference."""
    if name in HASHES:
        common = next((i for i, (a, b) in enumerate(zip(stored or "", given or "", strict=False)) if a != b), 0)
        length = max(SHOWN_DIGITS, common + 1)
        return stored and stored[:length], given and given[:length]
    return stored, given


def _flat(fingerprint: Fingerprint) -> dict[str, Any]:
    """Return all fields in one dictionary, with those of `spec` and `libraries` in place of the two."""
    fields = {"impact": fingerprint.impact} | fingerprint.to_json()
    spec: dict[str, Any] = fields.pop("spec")
    libraries: dict[str, str] = fields.pop("libraries")
    versions = {f"{name} version": version for name, version in libraries.items()}
    numbers = spec.pop("numbers", None)
    layers = len(spec["widths"]) if numbers is None else layer_ranges(numbers)
    return {**fields, **spec, "layers": layers, **versions}
