"""`nagindex profile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

import nagindex

from .messages import note
from .options import index_option, json_option, plural
from .query_output import check_outputs
from .tables import printable, table, terminal_width
from .target_arguments import files_of, target_encoding_options, targets_of, text_option

if TYPE_CHECKING:
    from nagindex import EncodeKeywords, TargetProfile


@click.command()
@click.argument("targets", nargs=-1, metavar="TARGETS...")
@text_option
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE.json",
    help="File to write, which stands wherever TARGETS is.",
)
@click.option(
    "--neurons", type=click.IntRange(min=1), default=3, show_default=True, help="Neurons of each layer to show."
)
@index_option
@click.option("--weights", default="log-odds", show_default=True, metavar="W", help="As in the query.")
@click.option("--layers", metavar="L", help="As in the query. [default: all]")
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="As in the query. [default: the index's]")
@target_encoding_options
@json_option
def profile(
    targets: tuple[str, ...],
    texts: tuple[str, ...],
    output: str | None,
    neurons: int,
    index: Path,
    weights: str,
    layers: str | None,
    top_k: int | None,
    encoding: EncodeKeywords,
    as_json: bool,
) -> None:
    """Show the neurons that tell TARGETS from the pool, layer by layer.

    TARGETS are those of a query. Neurons are in order of z: their log-odds ratio of examples to pool, in standard deviations. The file
    that -o writes holds the profiles and the NAGs of the examples, with which it stands wherever a command takes targets.
    """
    if output is not None and Path(output).suffix != ".json":
        raise click.UsageError(f"-o {output}: profiles are saved as JSON; name a file that ends in .json")
    opened = nagindex.open(index)
    check_outputs(opened, [output], files_of(targets))
    options = nagindex.QueryOptions(weights=weights, layers=layers, top_k=top_k)
    found = opened.profile(targets_of(opened, targets, texts, **encoding), options=options, **encoding)
    if output is not None:
        opened.save_profiles(found, output, neurons=neurons)
        note(f"Saved the {plural(len(found), 'profile')} to {output}")
    if as_json:
        click.echo(json.dumps({"profiles": [own.to_json(neurons=neurons) for own in found]}))
        return
    click.echo("\n\n".join(_page(own, neurons) for own in found))


def _page(own: TargetProfile, neurons: int) -> str:
    """Return a profile as text: the neurons of the largest weights of each layer."""
    told = own.to_json(neurons=neurons)
    cells = [
        [
            str(row["layer"]),
            str(row["neuron"]),
            f"{row['examples']:.1%}",
            f"{row['pool']:.1%}",
            f"{row['weight']:.3f}",
            f"{row['z']:.1f}",
        ]
        for row in told["neurons"]
    ]
    headings = ["layer", "neuron", "of examples", "of pool", own.weighting, "z"]
    heading = f"{printable(own.target)}: {plural(told['examples'], 'example')}"
    return f"{heading}\n\n{table(headings, cells, right=lambda c: True, width=terminal_width())}"
