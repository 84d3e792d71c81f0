"""`nagindex compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

import nagindex

from .messages import warn
from .options import index_of, index_option, json_option, plural
from .tables import table, terminal_width

if TYPE_CHECKING:
    from nagindex import Comparison

GROUPS = {"both": "in both", "only_a": "only in A", "only_b": "only in B"}


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@index_option
@click.option(
    "--column",
    "--by",
    "by",
    multiple=True,
    metavar="C",
    help="Kept column, or file; may be repeated. [default: all of these]",
)
@click.option("--values", type=click.IntRange(min=1), default=10, show_default=True, help="Values of a column to show.")
@json_option
@click.pass_context
def compare(
    ctx: click.Context, /, a: Path, b: Path, index: str | Path, by: tuple[str, ...], values: int, as_json: bool
) -> None:
    """Compare two selections: shared documents, differences, and shares of column values.

    A and B are selections of the index, or other files with a column of ids, or one id a line. The index is the one that A or else B
    was made from, as a .parquet says, unless -i names one.
    """
    index = index_of(ctx, index, a, b)
    found = nagindex.open(index).compare(a, b, columns=by or None, values=values)
    if found.missing:
        warn(f"{plural(found.missing, 'id')} in no document of {index}: left out of all figures")
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    click.echo("\n\n".join([_described(found), *_tables(found)]))


def _described(found: Comparison) -> str:
    """Return the sizes of the two selections, and of what they share, as lines."""
    sizes = [
        f"{name}  {plural(found.documents[key], 'document')}, {plural(found.tokens[key], 'token')}"
        for name, key in (("A", "a"), ("B", "b"))
    ]
    ranks = "" if found.rank_correlation is None else f"; rank correlation of these {found.rank_correlation:.3f}"
    shared = f"{plural(found.documents['both'], 'document')} in both: Jaccard index {found.overlap:.3f}{ranks}"
    return "\n".join([*sizes, shared])


def _tables(found: Comparison) -> list[str]:
    """Return a table for each column, of shares of the documents, and one of examples."""
    width, totals = terminal_width(), [found.documents[key] for key in ("pool", "a", "b")]
    tables = []
    for column, rows in found.columns.items():
        cells = [
            [
                "" if row["value"] is None else row["value"],
                *(_share(row[key], total) for key, total in zip(("pool", "a", "b"), totals, strict=True)),
                *(f"{row[key]:,}" for key in ("only_a", "only_b")),
            ]
            for row in rows
        ]
        tables.append(table([column, "pool", "A", "B", "only A", "only B"], cells, width=width))
    examples = [[GROUPS[group], f"{found.documents[group]:,}", ", ".join(ids)] for group, ids in found.examples.items()]
    return [*tables, table(["", "documents", "examples"], examples, right=lambda c: c == 1, width=width)]


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "-"
