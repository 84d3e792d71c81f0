"""`nagindex build --dry-run`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

import nagindex

from .messages import note, warn, with_flags, with_flags_in
from .options import duration, plural, size


def print_cost(
    corpus: Sequence[str], options: nagindex.BuildOptions, neuron_types: Sequence[str], as_json: bool
) -> None:
    """Print what indexes of some neuron types of a whole corpus would cost."""
    found = nagindex.estimate_build(corpus, neuron_types=neuron_types, options=options)
    for said in found.unreadable:
        warn(f"{said}; passed over")
    if as_json:
        cheaper = [with_flags_in(vars(cost)) for cost in found.cheaper]
        click.echo(json.dumps(vars(found) | {"cheaper": cheaper}))
        return
    about = "" if found.counted else "about "
    indexes = f"{len(neuron_types)} indexes" if neuron_types[1:] else "index"
    click.echo(f"sources     {found.sources:,}")
    click.echo(f"documents   {about}{found.documents:,}")
    click.echo(f"tokens      about {found.tokens:,}")
    click.echo(f"{indexes:<12}about {size(found.index_bytes)}")
    rate = f"{found.documents_per_second:,.0f} documents/s on {found.device}"
    click.echo(f"time        about {duration(found.seconds)} at {rate}")
    for cost in found.cheaper:
        rate = f"{cost.documents_per_second:,.0f} documents/s ({cost.documents_per_second / found.documents_per_second:.1f}x)"
        reads = f"{plural(cost.layers, 'layer')}, K = {cost.top_k}, {cost.max_length} tokens a document"
        click.echo(
            f"  or        about {duration(cost.seconds)} at {rate}, {size(cost.index_bytes)}, with {with_flags(cost.option)}: {reads}"
        )
    note("Nothing was built; leave out --dry-run to build.")
