"""`nagindex build --dry-run`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .options import duration, size

if TYPE_CHECKING:
    from nagindex.builder import BuildOptions
    from nagindex.corpus.sources import Source


def tell_cost(sources: Sequence[Source], options: BuildOptions, neuron_types: Sequence[str], as_json: bool) -> None:
    """Print what indexes of some neuron types of a whole corpus would cost."""
    from nagindex.encode.encoder import default_batch_tokens
    from nagindex.ingest.estimate import estimate
    from nagindex.ingest.run import visible_devices

    loaded = options.load(neuron_types[0], visible_devices(options.device)[0])
    backbones = [loaded.of_type(neuron_type) for neuron_type in neuron_types]
    specs = [view.fingerprint(top_k=options.top_k, max_length=options.max_length).spec for view in backbones]
    found = estimate(
        sources,
        backbones,
        specs,
        options.columns,
        max_length=options.max_length,
        batch_tokens=options.batch_tokens or default_batch_tokens(loaded),
    )
    if as_json:
        click.echo(json.dumps(vars(found)))
        return
    about = "" if found.counted else "about "
    indexes = f"{len(specs)} indexes" if specs[1:] else "index"
    click.echo(f"sources     {found.sources:,}")
    click.echo(f"documents   {about}{found.documents:,}")
    click.echo(f"tokens      about {found.tokens:,}")
    click.echo(f"{indexes:<12}about {size(found.index_bytes)}")
    click.echo(
        f"time        about {duration(found.seconds)} at {found.documents_per_second:,.0f} documents/s on {loaded.model.device}"
    )
    click.echo("Nothing was built; leave out --dry-run to build.", err=True)
