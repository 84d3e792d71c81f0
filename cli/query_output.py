"""Selections as `nagindex query` prints and writes them, and its summaries and plans."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nagindex

from .messages import warn, with_flags
from .options import plural, size
from .tables import table, terminal_width

if TYPE_CHECKING:
    from nagindex import Index, Plan, ScoreCurve, Selection

PREVIEW_ROWS = 20
"""Rows that a terminal shows, of all targets together."""
PREVIEW_ROWS_OF_TARGET = 3
"""Rows of each target that it shows at least."""
TEXT_SHOWN = 300
"""Characters of a text that a terminal shows at most."""
DECIMAL_COLUMNS = ("score", "standardized", "quality_value", "combined")
ALWAYS_SHOWN = ("rank", "id", "score", "target", "text")
TEXT_ROOM = 40
"""Characters of a line that a terminal keeps for the text, if it is wide enough."""
STEPS = ("1", "2", "5")
"""First digits of the ranks that a table of a curve has."""
PLACE_COLUMNS = ("file", "row")
"""Columns that a terminal leaves out."""


def format_of(output: str | None, format_: str | None) -> str | None:
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


def check_outputs(
    opened: Index,
    outputs: Sequence[str | Path | None],
    inputs: Sequence[str | Path],
    corpus_root: Path | None = None,
    *,
    parts: str | None = None,
) -> None:
    """Refuse outputs that cannot be written, or that would overwrite an input, an index, a source or one another.

    One of them, `parts`, may be a folder of Parquet parts.
    """
    files = [str(output) for output in outputs if output is not None and str(output) != "-"]
    if len(set(map(os.path.realpath, files))) < len(files):
        raise click.UsageError(f"{files[0]}: named for two outputs; name two files")
    for file in files:
        if parts is not None and os.path.realpath(file).startswith(f"{os.path.realpath(parts)}{os.sep}"):
            raise click.UsageError(f"{file}: lies inside {parts}, another output; name a file outside of it")
    for file in files:
        opened.check_output(file, inputs=inputs, corpus_root=corpus_root, parts=file == parts)


def write(
    selection: Selection, output: str, kind: str | None, with_text: bool | None, corpus_root: Path | None
) -> None:
    """Write a selection to a file, or to stdout, there with its texts unless they are unwanted or cannot be read."""
    if output != "-":
        selection.write(output, format=kind, with_text=bool(with_text), corpus_root=corpus_root)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "selection")
        wanted = kind == "jsonl" if with_text is None else with_text
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


def print_curve(curve: ScoreCurve, as_json: bool) -> None:
    """Print scores by rank, a column for each target."""
    if as_json:
        click.echo(json.dumps(curve.to_json()))
        return
    rows = [
        [f"{rank:,}", f"{rank / curve.documents:.2%}", *(f"{own[i]:.4f}" for own in curve.scores.values())]
        for i, rank in enumerate(curve.ranks.tolist())
        if str(rank).rstrip("0") in STEPS or rank == curve.documents
    ]
    names = list(curve.scores) if len(curve.scores) > 1 else ["score"]
    click.echo(table(["rank", "share of pool", *names], rows, right=lambda c: True, width=terminal_width()))


def explained(plan: Plan) -> str:
    """Return a plan as lines: the engine, and what it read."""
    read = f"codes of {plural(plan.actual['documents'], 'document')} ({size(plan.actual['bytes'])})"
    sampled = sum(own["sampled"] for own in plan.actual.get("recall", []))
    estimated = f", {sampled:,} of them to estimate the recall" if sampled else ""
    return f"engine  {plan.engine}, {plan.why}\nread    {read}{estimated}; {plan.actual['seconds']:.3f} s"


def print_best(selection: Selection, with_text: bool | None, corpus_root: Path | None) -> None:
    """Print the best documents of each target as a table with the beginnings of their texts."""
    several = "target" in selection.columns and "standardized" not in selection.columns  # these are one list
    targets = len(selection.settings["targets"]) if several else 1
    count = max(PREVIEW_ROWS // targets, PREVIEW_ROWS_OF_TARGET)
    rows = selection.head(count)
    if with_text is not False:
        try:
            rows = selection.head(count, with_text=True, corpus_root=corpus_root)
        except nagindex.SourceChangedError as error:
            warn(f"shown without texts: {error}")
    numbers = {"rank", "tokens", *DECIMAL_COLUMNS}
    shown = {name: [_cell(name, row[name]) for row in rows] for name in rows[0] if name not in PLACE_COLUMNS}
    columns = _columns_that_fit(shown, terminal_width())
    cells = list(zip(*(shown[name] for name in columns), strict=True))
    click.echo(table(columns, cells, right=lambda c: columns[c] in numbers, width=terminal_width()))
    if len(selection) > len(rows):
        click.echo(f"... and {len(selection) - len(rows):,} more; -o FILE writes them all")


def _columns_that_fit(shown: Mapping[str, Sequence[str]], width: int | None) -> list[str]:
    """Return the columns to show, so that the text has room: ranks, ids, scores and targets always, others as far as they fit."""
    room = math.inf if width is None else width - TEXT_ROOM * ("text" in shown)
    chosen = set()
    for name in sorted(shown, key=lambda name: name not in ALWAYS_SHOWN):
        needed = 0 if name == "text" else max(map(len, [name, *shown[name]])) + 2
        if name in ALWAYS_SHOWN or needed <= room:
            chosen.add(name)
            room -= needed
    return [name for name in shown if name in chosen]


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column in DECIMAL_COLUMNS:
        return f"{value:.4f}"
    return str(value)[:TEXT_SHOWN]


def summary(selection: Selection) -> dict[str, Any]:
    """Return counts, tokens and scores of a selection, and of each target where there are several."""
    totals = selection.totals()
    summary: dict[str, Any] = {name: getattr(totals, name) for name in ("documents", "tokens", "best", "worst")}
    if "evaluation" in selection.settings:
        summary["contaminated"] = sum(row["kind"] == "document" for row in selection.dropped)
    if totals.targets:
        own = {name: vars(total) for name, total in totals.targets.items()}
        summary["distinct"] = totals.distinct
        summary["targets"] = {target["name"]: own.get(target["name"]) for target in selection.settings["targets"]}
    return summary


def described(found: dict[str, Any], pool: int, output: str | None) -> str:
    """Return a summary as a sentence."""
    repeated = found.get("distinct", found["documents"]) < found["documents"]
    distinct = f", {found['distinct']:,} distinct" if repeated else ""
    selected = f"{plural(found['documents'], 'document')}{distinct} ({plural(found['tokens'], 'token')}) of {pool:,}"
    where = f" to {output}" if output not in (None, "-") else ""
    targets = [f"{name} {own['documents'] if own else 0:,}" for name, own in found.get("targets", {}).items()]
    split = f" ({', '.join(targets)})" if targets else ""
    left_out = f"; left out as contaminated: {found['contaminated']:,}" if "contaminated" in found else ""
    return f"Selected {selected}, scores {found['best']:.4f} to {found['worst']:.4f}{where}{split}{left_out}"
