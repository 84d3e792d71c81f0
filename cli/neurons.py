"""`nagindex neurons`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nagindex

from .messages import warn
from .options import index_option, json_option, require_with
from .query_output import TEXT_SHOWN
from .tables import table, terminal_width

if TYPE_CHECKING:
    from nagindex import Neuron


@click.command()
@click.option(
    "--layer", type=click.IntRange(min=0), metavar="L", help="A layer, by its number in the model. [default: all]"
)
@click.option("--neuron", type=click.IntRange(min=0), metavar="N", help="One neuron of the layer, by its number.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Rows of each table. [default: 3 for each layer; 20 with --layer; 10 with --neuron]",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="C",
    help="Kept column, or file, with --neuron; may be repeated. [default: all of few values]",
)
@click.option(
    "--values", type=click.IntRange(1, 250), default=10, show_default=True, help="Values of a column, with --neuron."
)
@index_option
@click.option(
    "--corpus-root", type=click.Path(path_type=Path, file_okay=False), help="Where the sources lie now, for the texts."
)
@json_option
@click.pass_context
def neurons(
    ctx: click.Context,
    /,
    layer: int | None,
    neuron: int | None,
    top: int | None,
    columns: tuple[str, ...],
    values: int,
    index: Path,
    corpus_root: Path | None,
    as_json: bool,
) -> None:
    """Show how frequent neurons are in the pool, or what one neuron is.

    Without --neuron: the most frequent neurons of each layer, or of one. With it: the documents that hold it by values of kept columns,
    those where it is strongest, and the neurons that the same documents hold.
    """
    if neuron is not None and layer is None:
        raise click.UsageError("--neuron is a number in a layer; name the layer, too, with --layer")
    if columns and neuron is None:
        raise click.UsageError("--column is about one neuron; name it with --layer and --neuron, or leave it out")
    if neuron is None:
        require_with(ctx, "--neuron", "values", "corpus_root")
    opened = nagindex.open(index)
    width = terminal_width()
    if neuron is None or layer is None:
        rows = opened.neurons(layer, n=top or (3 if layer is None else 20))
        if as_json:
            click.echo(json.dumps({"documents": len(opened), "neurons": rows}))
            return
        cells = [[str(r["layer"]), str(r["neuron"]), f"{r['documents']:,}", f"{r['share']:.1%}"] for r in rows]
        click.echo(table(["layer", "neuron", "documents", "share of pool"], cells, right=lambda c: True, width=width))
        return
    found = opened.neuron(layer, neuron, columns=columns or None, values=values, n=top or 10)
    texts = _texts(opened, [row["id"] for row in found.strongest], corpus_root)
    strongest = [{**row, "text": texts.get(row["id"])} for row in found.strongest]
    if as_json:
        click.echo(json.dumps(found.to_json() | {"strongest": strongest}))
        return
    click.echo("\n\n".join(_page(found, strongest, width)))


def _texts(opened: nagindex.Index, ids: Sequence[str], corpus_root: Path | None) -> dict[str, str]:
    """Return the texts of documents; where they cannot be read, warn and return none."""
    try:
        return opened.texts(ids, corpus_root=corpus_root)
    except nagindex.SourceChangedError as error:
        warn(f"shown without texts: {error}")
        return {}


def _page(found: Neuron, strongest: Sequence[Mapping[str, Any]], width: int | None) -> list[str]:
    """Return a neuron as text: its frequency, the values of columns, the documents, and the neurons that go with it."""
    share = found.documents / found.pool
    parts = [
        f"layer {found.layer}, neuron {found.neuron}: in {found.documents:,} of {found.pool:,} documents ({share:.1%})"
    ]
    for column, rows in found.columns.items():
        cells = [
            [
                "" if row["value"] is None else row["value"],
                f"{row['held']:,}",
                f"{row['documents']:,}",
                f"{row['held'] / row['documents']:.1%}" if row["documents"] else "-",
                f"{row['lift']:.2f}",
            ]
            for row in rows
        ]
        parts.append(table([column, "with it", "documents", "share", "lift"], cells, width=width))
    if strongest:
        cells = [[str(row["place"]), row["id"], (row["text"] or "")[:TEXT_SHOWN]] for row in strongest]
        parts.append(table(["place", "strongest in", "text"], cells, right=lambda c: c == 0, width=width))
    if found.together:
        cells = [
            [
                str(row["layer"]),
                str(row["neuron"]),
                f"{row['documents']:,}",
                f"{row['share']:.1%}",
                f"{row['lift']:.1f}",
            ]
            for row in found.together
        ]
        headings = ["layer", "fires with", "documents", "share of them", "lift"]
        parts.append(table(headings, cells, right=lambda c: True, width=width))
    return parts
