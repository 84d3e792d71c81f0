"""`nagindex optimize`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

import nagindex

from .messages import note, with_flags
from .options import index_option, plural


@click.command()
@index_option
@click.option(
    "--dims", type=click.Choice(["64", "128"]), help="Values of a document's sketch. [default: as before, or 128]"
)
@click.option(
    "--sketch-dtype",
    "dtype",
    type=click.Choice(["i8", "f16"]),
    help="Type of these values: one byte or two. [default: as before, or i8]",
)
@click.option("--refit", is_flag=True, help="Fit anew to what the pool holds now, even if what is there would do.")
@click.option("--graph", is_flag=True, help="Connect documents by neighbor graphs, too: for --approx and neighbors.")
def optimize(index: str | Path, dims: str | None, dtype: Literal["i8", "f16"] | None, refit: bool, graph: bool) -> None:
    """Make sketches, so that queries read only part of the codes.

    Answers stay exact. What has a sketch already keeps it, unless other --dims or another --sketch-dtype are asked for, the
    pool has doubled since, or --refit is given. An optimize that was interrupted goes on where it was.
    """
    opened = nagindex.open(index)
    done = opened.optimize(dims=None if dims is None else int(dims), dtype=dtype, refit=refit, graph=graph)
    made = done.sketches
    if done.why:
        share = f"{made.kept:.1%} of the variance of {plural(made.sample, 'document')}"
        note(f"Fitted {made.dims} dims in {made.dtype}, which keep {share} ({with_flags(done.why)})")
    held = f"{plural(len(opened), 'document')} in {plural(len(opened.segments), 'segment')}"
    connected = f", connected {done.connected:,}" if graph else ""
    note(f"Sketched {plural(done.documents, 'document')}{connected}; {index} holds {held}")
