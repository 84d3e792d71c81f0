"""`nagindex optimize`."""

from __future__ import annotations

from pathlib import Path

import click

import nagindex

from .messages import note, with_flags
from .options import index_option, plural, ray_option


@click.command()
@index_option
@click.option("--refit", is_flag=True, help="Build all graphs anew, from a new sample of the pool.")
@ray_option("Connect on the nodes of a Ray cluster, all of which see the index")
def optimize(index: str | Path, refit: bool, ray: str | None) -> None:
    """Connect documents by neighbor graphs, for query --approx and neighbors.

    Exact answers do not need it. Documents that a graph covers already keep it, unless the pool has doubled since the first of
    them was made, or --refit is given. An optimize that was interrupted goes on where it was.
    """
    opened = nagindex.open(index)
    done = opened.optimize(refit=refit, ray=ray)
    made = done.graphs
    if done.why:
        share = f"{made.kept:.1%} of the variance of {plural(made.sample, 'document')}"
        note(f"Fitted {plural(made.dims, 'direction')}, which keep {share} ({with_flags(done.why)})")
    held = f"{plural(len(opened), 'document')} in {plural(len(opened.segments), 'segment')}"
    note(f"Connected {plural(done.documents, 'document')}; {index} holds {held}")
