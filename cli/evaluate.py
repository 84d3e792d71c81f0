"""`nagindex evaluate`."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nagindex

from .messages import note, warn, with_flags_in
from .options import index_option, json_option, plural
from .tables import table, terminal_width
from .target_arguments import target_encoding_options, targets_of, text_option

if TYPE_CHECKING:
    from nagindex import EncodeKeywords, Evaluation

LABEL = re.compile(r"(?:(?P<target>[^=]+):)?(?P<column>[^:=]+)=(?P<values>.*)", re.DOTALL)
OF_TARGET = re.compile(r"([^/=]+)=(.+)", re.DOTALL)
ALL_TARGETS = "*"
SHOWN = {
    "average_precision": "AP",
    "precision_at_r": "P@R",
    "precision_at_1%": "P@1%",
    "precision_at_5%": "P@5%",
    "precision_at_10%": "P@10%",
    "median_share_above": "median above",
    "within_1%": "best 1%",
    "within_10%": "best 10%",
}
"""Headings of the figures."""
CLOSE = "≈"


@click.command()
@click.argument("targets", nargs=-1, metavar="TARGETS...")
@text_option
@index_option
@click.option(
    "--relevant",
    multiple=True,
    metavar="[TARGET:]COLUMN=VALUE,...",
    help="Documents with one of these values in a kept column are relevant, to all targets or to one; may be repeated.",
)
@click.option(
    "--relevant-ids",
    multiple=True,
    metavar="[TARGET=]FILE",
    help="So are documents whose ids are in a file, such as one id a line; may be repeated.",
)
@click.option("--weights", multiple=True, metavar="W,...", help="Compare these weights; see nagindex query.")
@click.option("--score", multiple=True, metavar="S,...", help="Compare these scores: mean, max, top:R.")
@click.option("--top-k", multiple=True, metavar="K,...", help="Compare these numbers of neurons in a layer.")
@click.option("--layers", multiple=True, metavar="L", help="Compare these layers with those of further --layers.")
@click.option(
    "--resamples",
    type=click.IntRange(min=0),
    metavar="N",
    help="Resamples of the examples for the intervals; 0 for none. [default: 50 for up to 50,000 documents with labels, none for more; "
    "1,000 without labels]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of resamples and halves.")
@click.option("--where", metavar="SQL", help="Rank only documents that meet a condition on the columns of docs.")
@click.option("--exclude", multiple=True, metavar="FILE", help="Leave out ids of a file, as in nagindex query.")
@target_encoding_options
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the scan. [default: one a core]")
@click.option("--no-cache", is_flag=True, help="Neither read nor fill the index's cache of encoded targets.")
@json_option
def evaluate(
    targets: tuple[str, ...],
    texts: tuple[str, ...],
    index: str | Path,
    relevant: tuple[str, ...],
    relevant_ids: tuple[str, ...],
    weights: tuple[str, ...],
    score: tuple[str, ...],
    top_k: tuple[str, ...],
    layers: tuple[str, ...],
    no_cache: bool,
    as_json: bool,
    encoding: EncodeKeywords,
    where: str | None,
    exclude: tuple[str, ...],
    resamples: int | None,
    seed: int,
    threads: int | None,
) -> None:
    """Compare settings of a query for TARGETS, by labels or held-out examples.

    TARGETS are as in nagindex query. The model reads only examples that the index has not seen, never the pool.

    With --relevant or --relevant-ids, settings are ordered by the average precision (AP) of the relevant documents, the mean over the
    targets; P@R is the precision at the number of relevant documents, P@5% that of the best 5 % of the documents.

    Without them, each half of a target's examples is ranked among the documents by the other half, and settings are ordered by the
    median share of documents that score above a held-out example. That prefers settings which recognize the form of the examples, such
    as short questions: labels tell more.

    By default four weights are compared with three values of K, and further scores and layers with the defaults of a query. Where
    --weights, --score, --top-k or --layers are given, all their values are combined instead.
    """
    encoding["cache"] = not no_cache
    labels, ids = _labels(relevant), _files(relevant_ids)
    opened = nagindex.open(index)
    found = opened.evaluate(
        targets_of(opened, targets, texts, **encoding),
        relevant=labels or None,
        relevant_ids=ids or None,
        weights=_split(weights),
        score=_split(score),
        top_k=[_number(own) for own in _split(top_k)],
        layers=layers,
        where=where,
        exclude=exclude,
        resamples=resamples,
        seed=seed,
        threads=threads,
        **encoding,
    )
    for warning in found.warnings:
        warn(warning)
    if as_json:
        click.echo(json.dumps(with_flags_in(found.to_json())))
        return
    note(_described(found))
    click.echo("\n\n".join(_tables(found)))
    click.echo(_best(found))


def _labels(written: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Return the values of each column by target.

    Raises:
        click.UsageError: one is not written TARGET:COLUMN=VALUE,...
    """
    found: dict[str, dict[str, list[str]]] = {}
    for one in written:
        match = LABEL.fullmatch(one)
        values = [] if match is None else [value for value in match["values"].split(",") if value]
        if match is None or not values:
            raise click.UsageError(f"--relevant {one}: write COLUMN=VALUE,... or TARGET:COLUMN=VALUE,...")
        own = found.setdefault(match["target"] or ALL_TARGETS, {})
        own[match["column"]] = [*own.get(match["column"], []), *values]
    return found


def _files(written: Sequence[str]) -> dict[str, list[str]]:
    """Return the files of ids by target."""
    found: dict[str, list[str]] = {}
    for one in written:
        match = None if os.path.exists(one) else OF_TARGET.fullmatch(one)
        target, file = (ALL_TARGETS, one) if match is None else match.groups()
        found.setdefault(target, []).append(file)
    return found


def _split(written: Sequence[str]) -> list[str]:
    return [part.strip() for one in written for part in one.split(",") if part.strip()]


def _number(written: str) -> int:
    if not (written.isascii() and written.isdecimal()):
        raise click.UsageError(f"--top-k {written}: a number of neurons, such as 10, or several: 20,10,5")
    return int(written)


def _described(found: Evaluation) -> str:
    """Return what was ranked as a sentence, with what a random order would give."""
    about = [_about(name, own) for name, own in found.targets.items()]
    by = "labels" if found.measure == "labels" else "held-out halves of the examples"
    settings = plural(len(found.rows), "setting")
    return f"Compared {settings} on {plural(found.documents, 'document')} by {by}: {'; '.join(about)}"


def _about(name: str, own: Mapping[str, Any]) -> str:
    labels = f", {own['relevant']:,} relevant (AP of a random order {own['random']:.3f})" if "relevant" in own else ""
    return f"{name}, {plural(own['examples'], 'example')}{labels}"


def _tables(found: Evaluation) -> list[str]:
    """Return a table of the means, and with several targets one of each target's first figure."""
    best = found.rows[0]
    headings = ["weights", "score", "K", "layers"]
    figures = [name for name in SHOWN if name in best]
    intervals = best["low"] is not None
    shown = [SHOWN[name] for name in figures]
    columns = [*headings, shown[0], *(["±", CLOSE] if intervals else []), *shown[1:]]
    rows = [_row(row, figures, intervals, first=row is best) for row in found.rows]
    width = terminal_width()
    tables = [table(columns, rows, right=lambda c: c == 2 or c > 3, width=width)]
    if len(found.targets) > 1:
        of_targets = [
            [*_setting(row), *(_figure(figures[0], row["targets"][name][figures[0]]) for name in found.targets)]
            for row in found.rows
        ]
        by_target = table([*headings, *found.targets], of_targets, right=lambda c: c == 2 or c > 3, width=width)
        tables.append(f"{shown[0]} of each target\n{by_target}")
    return tables


def _row(row: Mapping[str, Any], figures: Sequence[str], intervals: bool, *, first: bool) -> list[str]:
    main, *others = (_figure(name, row[name]) for name in figures)
    half = max(row["high"] - row[figures[0]], row[figures[0]] - row["low"]) if intervals else 0.0
    between = [_figure(figures[0], half), CLOSE if row["close"] and not first else ""] if intervals else []
    return [*_setting(row), main, *between, *others]


def _setting(row: Mapping[str, Any]) -> list[str]:
    return [row["weights"], row["score"], str(row["top_k"]), row["layers"]]


def _figure(name: str, value: float) -> str:
    return f"{value:.3f}" if SHOWN[name][0] in "AP" else f"{value:.2%}"


def _best(found: Evaluation) -> str:
    """Return the best setting as options of `nagindex query`, after the number of settings that are as good within the interval."""
    options = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in found.best.items()]
    close = sum(bool(row["close"]) for row in found.rows[1:])
    as_good = f"{CLOSE} the difference to the best lies within its 95 % interval\n" if close else ""
    return f"{as_good}Best: nagindex query {' '.join(options) or 'without options of the score'}"
