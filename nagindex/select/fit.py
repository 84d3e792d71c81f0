"""Whether query options fit an index, told from its fingerprint: before any target is encoded."""

from __future__ import annotations

from pathlib import Path

from nagindex.errors import SettingsMismatchError
from nagindex.ingest.options import ENCODINGS, PresetName
from nagindex.search.view import View
from nagindex.select.options import QueryOptions
from nagindex.storage.fingerprint import Fingerprint


def require_fit(options: QueryOptions, fingerprint: Fingerprint, *, where: Path) -> None:
    """Raise an error unless an index has the layers, the K and the preset that a query names.

    Args:
        options: the query options.
        fingerprint: the index's.
        where: name of the index in messages.

    Raises:
        BadInputError: the index has no such layers, or keeps fewer neurons.
        SettingsMismatchError: it was built with another preset.
    """
    View.of(fingerprint.spec, options.written_layers, options.top_k)
    if options.preset is not None:
        _require_preset(options.preset, fingerprint, where)


def _require_preset(name: PresetName, fingerprint: Fingerprint, where: Path) -> None:
    """Raise SettingsMismatchError unless an index has the impact, the tokens and all or some layers as a preset; K may differ."""
    encoding = ENCODINGS[name]
    wanted = encoding.impact, _some_or_all(encoding.layers), f"{encoding.max_length} tokens"
    stored = fingerprint.impact, _some_or_all(fingerprint.spec.numbers), f"{fingerprint.max_length} tokens"
    differing = [
        f"{own} in the preset and {there} in the index"
        for own, there in zip(wanted, stored, strict=True)
        if own != there
    ]
    if differing:
        raise SettingsMismatchError(f'{where}: `preset="{name}"`: {"; ".join(differing)}; leave `preset` out')


def _some_or_all(layers: object) -> str:
    return "all layers" if layers is None else "some layers"
