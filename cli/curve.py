"""`nagindex curve`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

import nagindex

from .messages import note
from .options import index_option, json_option
from .query_output import check_outputs, print_curve
from .tables import printable, table, terminal_width, wrapped
from .target_arguments import files_of, target_encoding_options, targets_of, text_option

if TYPE_CHECKING:
    from nagindex import EncodeKeywords, ScoreCurve

WIDTH = 80
"""Columns of a line where stdout is no terminal."""
HEIGHT = 12
"""Lines of a plot."""
MARGIN = 8
"""Columns for the scores beside a plot."""
WIDEST = 100
"""Columns of the widest plot."""
MARKS = "*o+x#@%&"
"""Marks of the targets; further ones take letters."""


@click.command()
@click.argument("targets", nargs=-1, metavar="TARGETS...")
@text_option
@click.option("-o", "--output", type=click.Path(), metavar="FILE.svg", help="Image to write.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="C",
    help="Kept column, or file; may be repeated. [default: all of few values]",
)
@click.option("--values", type=click.IntRange(1, 250), default=6, show_default=True, help="Values of a column to show.")
@index_option
@click.option("--weights", default="frequency", show_default=True, metavar="W", help="As in the query.")
@click.option("--score", default="mean", show_default=True, metavar="S", help="As in the query.")
@click.option("--layers", metavar="L", help="As in the query. [default: all]")
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="As in the query. [default: the index's]")
@click.option("--where", metavar="SQL", help="Rank only documents that meet a condition on the columns of docs.")
@click.option("--exclude", multiple=True, metavar="FILE", help="Leave out ids of a file, as in the query.")
@target_encoding_options
@json_option
def curve(
    targets: tuple[str, ...],
    texts: tuple[str, ...],
    output: str | None,
    columns: tuple[str, ...],
    values: int,
    index: Path,
    weights: str,
    score: str,
    layers: str | None,
    top_k: int | None,
    where: str | None,
    exclude: tuple[str, ...],
    encoding: EncodeKeywords,
    as_json: bool,
) -> None:
    """Show how scores and columns change down the ranking for TARGETS.

    A help to choose how much to select: a plot of the scores by rank, these as a table, and for kept columns the shares of their
    commonest values among the best 1, 10, 100 documents, and so on. TARGETS are those of a query.
    """
    if output is not None and Path(output).suffix != ".svg":
        raise click.UsageError(f"-o {output}: the image is written as SVG; name a file that ends in .svg")
    opened = nagindex.open(index)
    check_outputs(opened, [output], [*files_of(targets), *exclude])
    options = nagindex.QueryOptions(
        weights=weights, score=score, layers=layers, top_k=top_k, where=where, exclude=exclude
    )
    given = targets_of(opened, targets, texts, **encoding)
    found = opened.score_curve(given, options=options, columns=columns or None, values=values, fine=True, **encoding)
    if output is not None:
        found.write(output)
        note(f"Drawn to {output}")
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    width = terminal_width() or WIDTH
    click.echo(_plot(found, min(width, WIDEST)) + "\n")
    print_curve(found, as_json=False)
    for part in _shares(found, width):
        click.echo(f"\n{part}")


def _plot(found: ScoreCurve, width: int) -> str:
    """Return the scores over ranks, on a logarithmic axis, as lines of text."""
    room = max(width - MARGIN - 1, 10)
    everything = [score for own in found.scores.values() for score in own.tolist()]
    low, high = min(everything), max(everything)
    high = high if high > low else low + 1
    decades = max(math.log10(int(found.ranks[-1])), 1e-9)
    rows = [[" "] * room for _ in range(HEIGHT)]
    marks = [MARKS[n] if n < len(MARKS) else chr(ord("a") + (n - len(MARKS)) % 26) for n in range(len(found.scores))]
    logs = [math.log10(rank) / decades * (room - 1) for rank in found.ranks.tolist()]
    for mark, own in zip(marks, found.scores.values(), strict=True):
        for column in range(room):
            value = _interpolated(column, logs, own.tolist())
            rows[round((high - value) / (high - low) * (HEIGHT - 1))][column] = mark
    labels = {0: high, HEIGHT // 2: high - (high - low) * (HEIGHT // 2) / (HEIGHT - 1), HEIGHT - 1: low}
    lines = [
        f"{f'{labels[n]:.4f}' if n in labels else '':>{MARGIN - 1}} |{''.join(row).rstrip()}"
        for n, row in enumerate(rows)
    ]
    axis, ticks = ["-"] * room, [" "] * (room + 12)
    for power in range(int(decades + 1e-9) + 1):
        column = round(power / decades * (room - 1))
        axis[column] = "+"
        written = f"{10**power:,}"
        ticks[column : column + len(written)] = written
    margin = " " * MARGIN
    lines += [f"{margin}+{''.join(axis)}", f"{margin} {''.join(ticks).rstrip()[:room]}  rank".rstrip()]
    if len(marks) > 1:
        legend = "   ".join(f"{mark} {printable(name)}" for mark, name in zip(marks, found.scores, strict=True))
        lines += wrapped(legend, width, 9)
    return "\n".join(lines)


def _interpolated(column: float, logs: Sequence[float], scores: Sequence[float]) -> float:
    """Return the score at a column of the plot."""
    after = next((n for n, own in enumerate(logs) if own >= column - 1e-9), len(logs) - 1)
    if after == 0 or logs[after] == logs[after - 1]:
        return scores[after]
    share = (column - logs[after - 1]) / (logs[after] - logs[after - 1])
    return scores[after - 1] + (scores[after] - scores[after - 1]) * share


def _shares(found: ScoreCurve, width: int) -> list[str]:
    """Return a table for each column and target: the shares of the values among the best documents."""
    ranks = found.ranks.tolist()
    shown = [n for n, rank in enumerate(ranks) if math.log10(rank) % 1 == 0 or n == len(ranks) - 1]
    tables = []
    for column, own in found.columns.items():
        for target, shares in own.shares.items():
            cells = [
                [
                    "" if value is None else value,
                    *(f"{share:.1%}" for share in shares[place, shown].tolist()),
                    f"{pool:.1%}",
                ]
                for place, (value, pool) in enumerate(zip(own.values, own.pool.tolist(), strict=True))
            ]
            headings = [column, *(f"best {ranks[n]:,}" if n == shown[0] else f"{ranks[n]:,}" for n in shown), "pool"]
            name = f"{printable(target)}\n" if len(own.shares) > 1 else ""
            tables.append(name + table(headings, cells, width=width))
    return tables
