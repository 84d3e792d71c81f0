"""Views of a model for a build: one for each neuron type, with the layers that the options name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nagindex.ingest.options import BuildOptions
from nagindex.search.view import layers_of
from nagindex.storage.fingerprint import Fingerprint

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone


def views_of(loaded: Backbone, neuron_types: Iterable[str], options: BuildOptions) -> list[Backbone]:
    """Return the model once for each neuron type, with the layers whose neurons count, for absolute impact."""
    written = options.encoding.layers
    count = len(loaded.of_layers(None).widths)
    numbers = None if written is None else layers_of(written, range(count), what=loaded.name)
    return [loaded.of_type(kind).of_layers(numbers) for kind in neuron_types]


def fingerprint_of(view: Backbone, options: BuildOptions) -> Fingerprint:
    """Return the fingerprint of what a build makes with a view of its model."""
    return view.fingerprint(top_k=options.encoding.top_k, max_length=options.encoding.max_length)
