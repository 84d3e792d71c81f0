"""`nagindex neighbors`."""

from __future__ import annotations

import json
from pathlib import Path

import click

import nagindex

from .messages import note, warn, with_flags_in
from .options import device_option, index_option, json_option, model_option, text_column_option
from .tables import table, terminal_width


@click.command()
@click.argument("of", nargs=-1, required=True, metavar="ID|FILE...")
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True, help="Documents for each.")
@click.option("--exact", is_flag=True, help="Search without graphs, which are otherwise used if there are any.")
@index_option
@text_column_option
@model_option
@device_option
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the search. [default: one a core]")
@json_option
def neighbors(
    of: tuple[str, ...],
    k: int,
    exact: bool,
    index: str | Path,
    text_column: str | None,
    model: str | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """List the documents most like a document: by the share of neurons that their NAGs have in common.

    Each argument is the id of a document in the index, or a file of texts, saved NAGs included, each of which is looked up.
    """
    opened = nagindex.open(index)
    wanted: list[str | nagindex.TargetSet] = []
    for name in of:
        if Path(name).exists():
            encoded = opened.encode(name, text_column=text_column, model=model, device=device)
            for warning in [warning for target in encoded for warning in target.warnings]:
                warn(warning)
            wanted += encoded
        else:
            wanted.append(name)
    found = opened.neighbors(wanted, k=k, exact=exact, threads=threads)
    for warning in found.warnings:
        warn(warning)
    if as_json:
        click.echo(
            json.dumps({"neighbors": found.rows, **with_flags_in({"plan": found.plan, "warnings": found.warnings})})
        )
        return
    if not found.rows:
        note("0 neighbors found: the index holds no other document")
        return
    cells = [[f"{v:.4f}" if n == "score" else str(v) for n, v in row.items()] for row in found.rows]
    columns = list(found.columns)
    numbers = ("rank", "score", "tokens", "row")
    click.echo(table(columns, cells, right=lambda c: columns[c] in numbers, width=terminal_width()))
