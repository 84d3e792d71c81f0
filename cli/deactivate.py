"""`nagindex deactivate` and `nagindex deactivate-eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nagindex

from .messages import note, warn
from .options import COUNT, device_option, index_option, json_option, plural, text_column_option, trust_option
from .query_output import check_outputs
from .tables import table, terminal_width
from .target_arguments import files_of, target_encoding_options, targets_of, text_option

if TYPE_CHECKING:
    from nagindex import EncodeKeywords
    from nagindex.analysis import DeactivationLosses, TaskScores

METHODS = "frequency, contrast[:A], log-odds[:M], log-ratio[:M], impact or random"


@click.command()
@click.argument("target", nargs=-1, metavar="TARGET")
@text_option
@index_option
@click.option("--count", type=click.IntRange(min=1), default=20, show_default=True, help="Neurons of each layer.")
@click.option("--by", default="frequency", show_default=True, metavar="HOW", help=f"How they are chosen: {METHODS}.")
@click.option("--layers", metavar="L", help="Layers whose neurons are chosen, as in nagindex query. [default: all]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random choice.")
@click.option("-o", "--output", default="-", metavar="FILE", help="JSON file to write. [default: stdout]")
@target_encoding_options
def deactivate(
    target: tuple[str, ...],
    texts: tuple[str, ...],
    index: Path,
    count: int,
    by: str,
    layers: str | None,
    seed: int,
    output: str,
    encoding: EncodeKeywords,
) -> None:
    """Choose the neurons of each layer that stand most for a target.

    TARGET is one, as in nagindex query. The file that is written can be given to nagindex deactivate-eval, and in Python to
    nagindex.analysis.deactivated, which switches the neurons off in a loaded model.

    Neurons are chosen by their frequency among the examples, as in the published code; by a weight of nagindex query that compares it with
    the pool; by their places in the examples' orders of impact; or at random.
    """
    opened = nagindex.open(index)
    check_outputs(opened, [output], files_of(target))
    given = targets_of(opened, target, texts, **encoding)
    listed = [*given.values()] if isinstance(given, dict) else [*given]
    if len(listed) > 1:
        raise click.UsageError(f"neurons are chosen for one target, and {len(listed)} are given; give one")
    chosen = opened.choose_neurons(listed[0], count=count, by=by, layers=layers, seed=seed, **encoding)
    for warning in chosen.warnings:
        warn(warning)
    if output == "-":
        click.echo(json.dumps(chosen.to_json()))
    else:
        chosen.write(output)
    where = f" to {output}" if output != "-" else ""
    note(f"Chose {plural(len(chosen), 'neuron')} in {plural(len(chosen.neurons), 'layer')} by {chosen.by}{where}")


@click.command("deactivate-eval")
@click.argument("keys", nargs=-1, required=True, metavar="KEYS...")
@click.option("--texts", metavar="FILE", help="Texts: a file, glob or folder in any corpus format.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="TASK",
    help="Task of lm-evaluation-harness, in place of texts; may be repeated.",
)
@click.option("--limit", type=COUNT, metavar="N", help="Questions of each task. [default: all]")
@click.option(
    "--include-path",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of further tasks, whose code is run.",
)
@text_column_option
@click.option(
    "--random", type=click.IntRange(min=0), default=5, show_default=True, help="Random draws of equal counts."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draws.")
@click.option("--model", metavar="NAME", help="Name or folder of the model. [default: the one in KEYS]")
@device_option
@click.option("--dtype", default="auto", show_default=True, help="fp32, bf16, fp16 or auto, as in nagindex build.")
@trust_option
@json_option
def deactivate_eval(
    keys: tuple[str, ...],
    texts: str | None,
    tasks: tuple[str, ...],
    limit: int | None,
    include_path: Path | None,
    text_column: str | None,
    random: int,
    seed: int,
    model: str | None,
    device: str,
    dtype: str,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Measure how much worse a model is with chosen neurons switched off.

    KEYS are files of nagindex deactivate. For each, and for as many neurons of each layer drawn at random: bits per byte of the texts, and
    how many more these are than those of the untouched model, with the standard error over the texts; of the random draws the mean, and
    the standard deviation.

    With --task in place of --texts, tasks of EleutherAI's lm-evaluation-harness are run (pip install 'nagindex[lm-eval]').
    """
    from nagindex.analysis import evaluate_deactivation, evaluate_deactivation_tasks

    if (texts is None) == (not tasks):
        raise click.UsageError("give --texts or --task")
    if not tasks and (limit is not None or include_path is not None):
        raise click.UsageError("--limit and --include-path are about tasks; give --task, or leave them out")
    if tasks and text_column is not None:
        raise click.UsageError("--text-column is about texts; leave it out")
    common: dict[str, Any] = {
        "random": random,
        "seed": seed,
        "model": model,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
    }
    if texts is None:
        scores = evaluate_deactivation_tasks(keys, tasks, limit=limit, include_path=include_path, **common)
        click.echo(json.dumps(scores.to_json()) if as_json else _table_of_tasks(scores))
        return
    found = evaluate_deactivation(keys, Path(texts), text_column=text_column, **common)
    if found.skipped:
        warn(f"{plural(len(found.skipped), 'row')} of the texts skipped, the first: {found.skipped[0]}")
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    note(
        f"Bits per byte of {plural(len(found.bytes), 'text')}, {plural(int(found.bytes.sum()), 'byte')}, under {found.backbone}"
    )
    click.echo(_table(found))


def _table(found: DeactivationLosses) -> str:
    """Return a line for each choice, with its random draws beside it."""
    rows = []
    for row in found.to_json()["rows"]:
        change = "" if not row["neurons"] else _with_spread(row["change"], row["error"])
        drawn = "" if row["random_mean"] is None else _with_spread(row["random_mean"], row["random_deviation"])
        rows.append(
            [row["name"], f"{row['neurons']:,}", f"{row['share']:.2%}", f"{row['bits_per_byte']:.4f}", change, drawn]
        )
    headings = ["switched off", "neurons", "of all", "bits per byte", "change", "random change"]
    return table(headings, rows, width=terminal_width())


def _table_of_tasks(found: TaskScores) -> str:
    """Return a line for each choice, and one for its random draws, with a column for each metric."""
    told = found.to_json()["rows"]
    columns = [(task, metric) for task, own in told[0]["scores"].items() for metric in own]
    rows = []
    for row in told:
        about = [f"{row['neurons']:,}", f"{row['share']:.2%}"]
        rows.append([row["name"], *about, *(f"{row['scores'][task][metric]:.4f}" for task, metric in columns)])
        if row["random"] is not None:
            drawn = [row["random"][task][metric] for task, metric in columns]
            cells = [f"{own['mean']:.4f}" + _spread(own["deviation"]) for own in drawn]
            rows.append([f"random, as {row['name']}", *about, *cells])
    headings = ["switched off", "neurons", "of all", *(f"{task} {metric}" for task, metric in columns)]
    return table(headings, rows, width=terminal_width())


def _with_spread(value: float, spread: float | None) -> str:
    return f"{value:+.4f}" + _spread(spread)


def _spread(value: float | None) -> str:
    return "" if value is None else f" ± {value:.4f}"
