"""`nagindex show`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import nagindex

from .messages import note, warn
from .options import device_option, index_of, index_option, json_option, may_hold_record, plural, require_with
from .tables import printable, terminal_width, wrapped

AROUND_CUT = 10
"""Documents on each side of the cut, by default."""
WIDTH = 100
"""Columns of a line where stdout is no terminal."""
INDENT = "    "
NARROWEST_TEXT = 20
"""Columns of a text's line on the narrowest terminal."""
LEFT_OUT = ("rank", "id", "score", "target", "file", "row", "text", "chosen")
"""Columns that have their own place, or none, in what is printed."""
DECIMALS = ("standardized", "quality_value", "combined")


class RankRange(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """A rank, or a range of ranks such as 1-20."""

    name = "RANKS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return the first and the last rank."""
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(value), re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2] or match[1]):
            self.fail(f"{value!r}: write a rank from 1 on, or a range such as 1-20", param, ctx)
        return int(match[1]), int(match[2] or match[1])


@click.command()
@click.argument("selection", type=click.Path(path_type=Path))
@click.option("--rank", "ranks", type=RankRange(), metavar="A-B", help="Documents of these ranks. [default: 1-20]")
@click.option(
    "--around-cut",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=AROUND_CUT,
    metavar="[N]",
    help=f"The last N that were chosen, and the best N that were not ({AROUND_CUT} unless given): the query is made again.",
)
@click.option("--random", "sample", type=click.IntRange(min=1), metavar="N", help="N documents drawn at random.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of --random.")
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Only documents of a target; may be repeated.")
@click.option("--lines", type=click.IntRange(min=0), default=4, show_default=True, help="Lines of a text to show.")
@click.option("--full", is_flag=True, help="Show whole texts, with their own line ends.")
@index_option
@click.option(
    "--corpus-root", type=click.Path(path_type=Path, file_okay=False), help="Where the sources lie now, for the texts."
)
@click.option("--model", help="Where the backbone lies now, if it was moved, for --around-cut.")
@device_option
@json_option
@click.pass_context
def show(
    ctx: click.Context,
    /,
    selection: Path,
    ranks: tuple[int, int] | None,
    around_cut: int | None,
    sample: int | None,
    seed: int,
    targets: tuple[str, ...],
    lines: int,
    full: bool,
    index: Path,
    corpus_root: Path | None,
    model: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Show documents of a selection: ranks, scores, columns and texts.

    SELECTION is a file that a query wrote: .parquet, .jsonl or .csv. Texts that it lacks are read again from the sources of the index: the
    one that the selection was made from, as a .parquet says, unless -i names one. On a terminal, a pager shows them.
    """
    if sum(given is not None for given in (ranks, around_cut, sample)) > 1:
        raise click.UsageError("--rank, --around-cut and --random are three choices of documents; give one of them")
    if sample is None:
        require_with(ctx, "--random", "seed")
    if around_cut is None:
        require_with(ctx, "--around-cut", "model", "device")
    if full and ctx.get_parameter_source("lines") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--full shows whole texts, whatever --lines says; leave one of the two out")
    found = nagindex.selected_documents(
        selection, ranks=ranks, last=around_cut, sample=sample, targets=targets, seed=seed
    )
    rows = [row | {"chosen": True} for row in found.rows]
    place = index_of(ctx, index, selection)
    if around_cut is not None:
        misses = _misses(place, selection, around_cut, model, device)
        rows = _with_misses(rows, misses, targets or found.targets)
    if lines or full or as_json:
        _add_texts(rows, place, corpus_root)
    if as_json:
        shown = rows if around_cut is not None else [{k: v for k, v in row.items() if k != "chosen"} for row in rows]
        click.echo(json.dumps({"selection": str(selection), "of": found.documents, "documents": shown}, default=str))
        return
    if not rows:
        note(f"No document of these ranks: the selection has {found.documents:,}")
        return
    several = len(targets or found.targets) > 1
    _print_paged(_page(rows, lines=None if full else lines, by_target=several))


def _print_paged(parts: Iterator[str]) -> None:
    """Print through a pager on a terminal, in colors unless NO_COLOR is set; elsewhere as plain text."""
    if not sys.stdout.isatty():
        click.echo(click.unstyle("".join(parts)).rstrip())
        return
    os.environ.setdefault("LESS", "FRX")  # colors, and no pager for what fits the screen
    click.echo_via_pager(parts, color=not os.environ.get("NO_COLOR"))


def _misses(index: str | Path, selection: Path, count: int, model: str | None, device: str) -> list[dict[str, Any]]:
    """Return the best documents that were not chosen; warn of what has changed since."""
    if not may_hold_record(selection):
        raise nagindex.BadInputError(
            f"{selection}: no record of the query, which --around-cut makes again; write the selection as .parquet"
        )
    opened, record = nagindex.open(index), nagindex.settings_of(selection)
    for change in opened.changes_since(record):
        warn(change)
    return opened.near_misses(selection, n=count, model=model, device=device)


def _with_misses(
    rows: Sequence[dict[str, Any]], misses: Sequence[dict[str, Any]], targets: Sequence[str]
) -> list[dict[str, Any]]:
    """Return documents with those that were not chosen after them, target by target."""
    marked = [*rows, *(row | {"chosen": False} for row in misses)]
    if len(targets) < 1 or any("standardized" in row for row in marked):
        return marked
    return [row for target in targets for row in marked if row["target"] == target]


def _add_texts(rows: Sequence[dict[str, Any]], index: str | Path, corpus_root: Path | None) -> None:
    """Add the texts that documents lack; warn where they cannot be read."""
    lacking = [row for row in rows if "text" not in row]
    if not lacking:
        return
    try:
        ids = list(dict.fromkeys(str(row["id"]) for row in lacking))
        texts = nagindex.open(index).texts(ids, corpus_root=corpus_root, required=False)
    except nagindex.NagIndexError as error:
        warn(f"shown without texts: {error}")
        return
    if len(texts) < len(ids):
        gone = [one for one in ids if one not in texts]
        which = f"{plural(len(gone), 'document')} that {'is' if len(gone) == 1 else 'are'} not in {index}"
        warn(f"shown without the text of {which}, such as {gone[0]}")
    for row in lacking:
        if row["id"] in texts:
            row["text"] = texts[row["id"]]


def _page(rows: Sequence[Mapping[str, Any]], *, lines: int | None, by_target: bool) -> Iterator[str]:
    """Yield documents as text, under a heading for each target and before those that were not chosen."""
    width = max((terminal_width() or WIDTH), NARROWEST_TEXT + len(INDENT))
    digits = max((len(f"{row['rank']:,}") for row in rows), default=1)
    before: tuple[Any, bool] | None = None
    for row in rows:
        part = (row.get("target") if by_target else None, row["chosen"])
        if part != before and (part[0] is not None or not part[1]):
            named = f"{printable(str(part[0]))}: " if part[0] is not None else ""
            yield click.style(f"{named}{'chosen' if part[1] else 'not chosen'}\n\n", bold=True, underline=True)
        before = part
        yield _entry(row, width, digits, lines)


def _entry(row: Mapping[str, Any], width: int, digits: int, lines: int | None) -> str:
    """Return a document as text: rank, score and id, its columns, and its text."""
    score = row.get("score")
    head = f"{row['rank']:>{digits},}  {'' if score is None else f'{float(score):.4f}  '}"
    first, *more = wrapped(str(row["id"]), max(width - len(head), NARROWEST_TEXT)) or [""]
    labels = ", ".join(
        f"{name} {_value(name, own)}" for name, own in row.items() if name not in LEFT_OUT and own is not None
    )
    body = [click.style(INDENT + line, dim=True) for line in wrapped(labels, width - len(INDENT))]
    text = row.get("text")
    if text is not None and lines != 0:
        shown = wrapped(str(text), width - len(INDENT), lines) or ["(empty)"]
        body += [INDENT + line if line else "" for line in shown]
    heading = click.style(head + first, fg="green" if row["chosen"] else "yellow", bold=True)
    return "\n".join([heading, *(" " * len(head) + line for line in more), *body]) + "\n\n"


def _value(name: str, value: Any) -> str:
    if name in DECIMALS:
        return f"{float(value):.4f}"
    return f"{value:,}" if name == "tokens" and isinstance(value, int) else str(value)
