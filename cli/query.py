"""`nagindex query` and `nagindex encode`."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nagindex

from .messages import warn, with_flags, with_flags_in
from .options import device_option, index_option, json_option, plural, size, text_column_option
from .query_options import (
    BUDGETS,
    QueryCommand,
    budget_of,
    chosen_index,
    query_options,
    query_options_of,
    target_column_option,
)
from .tables import table, terminal_width

if TYPE_CHECKING:
    from nagindex import Plan, Selection

PREVIEW_ROWS = 20
"""Rows that a terminal shows, of all targets together."""
PREVIEW_ROWS_OF_TARGET = 3
"""Rows of each target that it shows at least."""
TEXT_SHOWN = 300
"""Characters of a text that a terminal shows at most."""
NAMED = re.compile(r"([^/=]+)=(.+)", re.DOTALL)
DECIMAL_COLUMNS = ("score", "standardized", "quality_value", "combined")
PLACE_COLUMNS = ("file", "row")
"""Columns that a terminal leaves out."""


@click.command(cls=QueryCommand)
@click.argument("targets", nargs=-1, required=True)
@index_option
@query_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="File to write: .parquet, .jsonl, .csv, or .txt of ids, the last three also .gz or .zst. "
    "[default: stdout: a table of the best documents on a terminal, JSON lines elsewhere]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(nagindex.FORMATS),
    help="Format of the output. [default: by its suffix; JSON lines on stdout]",
)
@click.option(
    "--with-text/--no-text",
    default=None,
    help="Add the documents' texts, read again from their sources. [default: on stdout, not in files]",
)
@click.option(
    "--score-curve", is_flag=True, help="Print the score at each rank, to choose a budget by, and select nothing."
)
@click.option(
    "--dropped", type=click.Path(path_type=Path), metavar="FILE", help="List what --decontaminate found, as JSON lines."
)
@click.option(
    "--corpus-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the sources lie now, for --with-text and --decontaminate.",
)
@text_column_option
@click.option("--model", help="Where the backbone lies now, if it was moved.")
@device_option
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the scan. [default: one a core]")
@click.option(
    "--approx", is_flag=True, help="Let neighbor graphs answer, and estimate how much they found; for small -n."
)
@click.option("--explain-plan", "explain", is_flag=True, help="Say which engine answered, why, and what it took.")
@click.option("--no-cache", is_flag=True, help="Neither read nor fill the index's cache of encoded targets.")
@json_option
@click.pass_context
def query(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    index: Path,
    output: str | None,
    format_: str | None,
    with_text: bool | None,
    score_curve: bool,
    dropped: Path | None,
    corpus_root: Path | None,
    approx: bool,
    explain: bool,
    no_cache: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Select the documents that match TARGETS best, exactly.

    TARGETS are texts in any corpus format, or NAGs saved by encode. Each is a target of its own, named after its file, or as
    NAME=FILE says; a folder, or a glob in quotes, is one target.

    One budget is needed: -n, --tokens or --fraction; or --min-score.
    """
    if score_curve:
        _print_curve(ctx, targets, index, as_json, output, cache=not no_cache, **options)
        return
    if approx and options["mode"] not in ("auto", "graph"):
        raise click.UsageError(f"--approx is --mode graph, and --mode {options['mode']} was given; leave one out")
    options["mode"] = "graph" if approx else options["mode"]
    evaluation_texts = options["decontaminate"]
    budget, asked = budget_of(ctx, options), query_options_of(options)
    if as_json and output in (None, "-"):
        raise click.UsageError("--json prints a summary to stdout, so the selection needs a file: -o FILE")
    if dropped is not None and not evaluation_texts:
        raise click.UsageError(
            "--dropped lists what --decontaminate finds; name evaluation texts with --decontaminate FILE"
        )
    kind = _format_of(output, format_)
    opened = nagindex.open(chosen_index(ctx, index))
    selection = opened.query(
        _named(targets), **budget, options=asked, cache=not no_cache, corpus_root=corpus_root, **options
    )
    for warning in selection.warnings:
        warn(warning)
    if dropped is not None:
        selection.write_dropped(dropped)
    if output is None and kind is None:
        _preview(selection, with_text, corpus_root)
    else:
        _write(selection, output or "-", kind, with_text, corpus_root)
    found = _summary(selection)
    if as_json:
        click.echo(
            json.dumps(
                found
                | {
                    "output": output,
                    "warnings": list(map(with_flags, selection.warnings)),
                    "dropped": len(selection.dropped),
                }
                | ({"plan": with_flags_in(selection.plan.to_json(timed=True))} if explain else {})
            )
        )
    if explain:
        click.echo(_explained(selection.plan), err=True)
    click.echo(_described(found, len(opened), output), err=True)


@click.command()
@click.argument("texts", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Parquet file to write.")
@index_option
@text_column_option
@target_column_option
@click.option("--model", help="Where the backbone lies now, if it was moved.")
@device_option
def encode(
    texts: tuple[str, ...],
    output: Path,
    index: Path,
    text_column: str | None,
    target_column: str | None,
    model: str | None,
    device: str,
) -> None:
    """Encode TEXTS once, to stand wherever TARGETS is; each file, or value of --target-column, stays a target of its own."""
    if output.suffix != ".parquet":
        raise nagindex.BadInputError(f"{output}: NAGs are saved as Parquet; name a file that ends in .parquet")
    opened = nagindex.open(index)
    encoded = opened.encode(
        _named(texts), text_column=text_column, target_column=target_column, model=model, device=device
    )
    for target in encoded:
        for reason in target.skipped:
            click.echo(f"Warning: not an example: {reason}", err=True)
    opened.save_targets(encoded, output)
    count = plural(sum(len(target.ids) for target in encoded), "text")
    targets = f" of {plural(len(encoded), 'target')}" if len(encoded) > 1 else ""
    click.echo(f"Encoded {count}{targets} to {output}", err=True)


def _named(targets: tuple[str, ...]) -> tuple[Path, ...] | dict[str, str]:
    """Return the files of targets, by name where they are written NAME=FILE."""
    pairs = [NAMED.fullmatch(target) for target in targets if not (Path(target).exists() or glob(target))]
    found = {pair[1]: pair[2] for pair in pairs if pair is not None}
    if not found:
        return tuple(map(Path, targets))
    if len(found) < len(targets):
        raise click.UsageError("name all targets, each by its own name, as in NAME=FILE, or none")
    return found


def _format_of(output: str | None, format_: str | None) -> str | None:
    """Return the format to write; None for the table that a terminal shows.

    Raises:
        click.UsageError: the file's name tells no format, or the output cannot be shown.
    """
    if output in (None, "-"):
        if format_ is None and output is None and sys.stdout.isatty():
            return None
        if format_ == "parquet" and sys.stdout.isatty():
            raise click.UsageError("Parquet does not go to a terminal; name a file with -o, or give --format jsonl")
        return format_ or "jsonl"
    try:
        return nagindex.format_of(str(output), format_)[0]
    except nagindex.BadInputError as error:
        raise click.UsageError(with_flags(str(error))) from None


def _write(
    selection: Selection, output: str, kind: str | None, with_text: bool | None, corpus_root: Path | None
) -> None:
    if output != "-":
        selection.write(output, format=kind, with_text=bool(with_text), corpus_root=corpus_root)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "selection")
        wanted = kind != "ids" if with_text is None else with_text
        if not (wanted and _write_with_text(selection, path, kind, corpus_root, required=bool(with_text))):
            selection.write(path, format=kind)
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()


def _write_with_text(
    selection: Selection, path: Path, kind: str | None, corpus_root: Path | None, *, required: bool
) -> bool:
    """Write a selection with its texts; where these are not required and cannot be read, warn and return False."""
    try:
        selection.write(path, format=kind, with_text=True, corpus_root=corpus_root)
    except nagindex.SourceChangedError as error:
        if required:
            raise
        warn(f"written without texts: {error}")
        return False
    return True


def _print_curve(
    ctx: click.Context,
    targets: tuple[str, ...],
    index: Path,
    as_json: bool,
    output: str | None,
    *,
    cache: bool,
    **options: Any,
) -> None:
    """Print the scores by rank, a column for each target."""
    if output is not None:
        raise click.UsageError("--score-curve prints to stdout and selects nothing; leave -o out, or redirect it")
    for name in BUDGETS:
        options.pop(name)
    asked = query_options_of(options)
    opened = nagindex.open(chosen_index(ctx, index))
    curve = opened.score_curve(_named(targets), options=asked, cache=cache, **options)
    if as_json:
        click.echo(json.dumps(curve.to_json()))
        return
    rows = [
        [f"{rank:,}", f"{rank / curve.documents:.2%}", *(f"{own[i]:.4f}" for own in curve.scores.values())]
        for i, rank in enumerate(curve.ranks.tolist())
    ]
    names = list(curve.scores) if len(curve.scores) > 1 else ["score"]
    click.echo(table(["rank", "share of pool", *names], rows, right=lambda c: True, width=terminal_width()))


def _explained(plan: Plan) -> str:
    """Return a plan as lines: engine and reason, then predicted, expected and actual cost."""
    lines = [f"engine     {plan.engine}: {with_flags(plan.fell_back or plan.why)}"]
    lines.append("predicted  " + ", ".join(f"{name} {seconds:.3f} s" for name, seconds in plan.predicted.items()))
    lines += [f"{name:<9}  {_cost(cost)}" for name, cost in (("expected", plan.expected), ("actual", plan.actual))]
    return "\n".join(lines)


def _cost(cost: Mapping[str, Any]) -> str:
    read = f"codes of {plural(cost['documents'], 'document')} ({size(cost['bytes'])})"
    sketches = f", sketches of {plural(cost['sketches'], 'document')}" if cost.get("sketches") else ""
    return read + sketches + (f", {cost['seconds']:.3f} s" if "seconds" in cost else "")


def _preview(selection: Selection, with_text: bool | None, corpus_root: Path | None) -> None:
    """Print the best documents of each target as a table with the beginnings of their texts."""
    targets = len(selection.settings["targets"]) if "target" in selection.columns else 1
    count = max(PREVIEW_ROWS // targets, PREVIEW_ROWS_OF_TARGET)
    rows = selection.head(count)
    if with_text is not False:
        try:
            rows = selection.head(count, with_text=True, corpus_root=corpus_root)
        except nagindex.SourceChangedError as error:
            warn(f"shown without texts: {error}")
    columns = [name for name in rows[0] if name not in PLACE_COLUMNS]
    numbers = {"rank", "tokens", *DECIMAL_COLUMNS}
    cells = [[_cell(name, row[name]) for name in columns] for row in rows]
    click.echo(table(columns, cells, right=lambda c: columns[c] in numbers, width=terminal_width()))
    if len(selection) > len(rows):
        click.echo(f"... and {len(selection) - len(rows):,} more; -o FILE writes them all")


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column in DECIMAL_COLUMNS:
        return f"{value:.4f}"
    return str(value)[:TEXT_SHOWN]


def _summary(selection: Selection) -> dict[str, Any]:
    """Return counts, tokens and scores of a selection, and of each target where there are several."""
    totals = "count(*), coalesce(sum(tokens), 0)::BIGINT, max(score), min(score)"
    names = ("documents", "tokens", "best", "worst")
    relation = selection.to_duckdb()
    [(*found, distinct)] = relation.aggregate(f"{totals}, count(DISTINCT id)").fetchall()
    summary: dict[str, Any] = dict(zip(names, found, strict=True))
    if "target" in selection.columns:
        summary["distinct"] = distinct
        by_target = relation.aggregate(f"target, {totals}", "target").fetchall()
        own = {target: dict(zip(names, values, strict=True)) for target, *values in by_target}
        summary["targets"] = {target["name"]: own.get(target["name"]) for target in selection.settings["targets"]}
    return summary


def _described(found: dict[str, Any], pool: int, output: str | None) -> str:
    repeated = found.get("distinct", found["documents"]) < found["documents"]
    distinct = f", {found['distinct']:,} distinct" if repeated else ""
    selected = f"{plural(found['documents'], 'document')}{distinct} ({plural(found['tokens'], 'token')}) of {pool:,}"
    where = f" to {output}" if output not in (None, "-") else ""
    targets = [f"{name} {own['documents'] if own else 0:,}" for name, own in found.get("targets", {}).items()]
    split = f" ({', '.join(targets)})" if targets else ""
    return f"Selected {selected}, scores {found['best']:.4f} to {found['worst']:.4f}{where}{split}"
