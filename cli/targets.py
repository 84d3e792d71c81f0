"""`nagindex targets`: target sets from benchmarks and from records."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import nagindex

from .messages import note, warn
from .options import COUNT, plural

if TYPE_CHECKING:
    from nagindex import ExampleSet

SKIPS_LISTED = 10

output_option = click.option("-o", "--output", metavar="FILE", required=True, help="JSON lines to write; - is stdout.")
limit_option = click.option(
    "--limit", type=COUNT, metavar="N", help="Draw N examples of a set that has more, without replacement."
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Seed of the drawing.")


@click.group()
def targets() -> None:
    """Make target sets: from benchmarks, or from records and a template.

    The examples are JSON lines with id, text and dataset.
    """


@targets.command("lm-eval")
@click.option(
    "--task", "tasks", multiple=True, metavar="TASK", help="Task, group or tag of the harness; repeat for more."
)
@click.option("--preset", type=click.Choice([*nagindex.PRESETS, "all"]), help="A target set of the paper, or all six.")
@click.option(
    "--split",
    metavar="SPLIT",
    help="train, validation or test, or any split of the dataset. [default: the first of these three that there is]",
)
@limit_option
@seed_option
@click.option(
    "--include-path",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of further task definitions, whose code is run.",
)
@output_option
def lm_eval(
    tasks: tuple[str, ...],
    preset: str | None,
    split: str | None,
    limit: int | None,
    seed: int,
    include_path: Path | None,
    output: str,
) -> None:
    """Write the questions of benchmarks with their right answers.

    Tasks are those of EleutherAI's lm-evaluation-harness (pip install 'nagindex[lm-eval]'). A group's tasks become one set.
    """
    if bool(tasks) == (preset is not None):
        raise click.UsageError("give --task or --preset")
    if preset is not None and (split is not None or limit is not None):
        raise click.UsageError("a preset has its own --split and --limit; give --task for others")
    _check_output(output)
    harness = nagindex.Harness(include_path)
    if preset is None:
        found = [harness.examples(task, split=split, limit=limit, seed=seed) for task in dict.fromkeys(tasks)]
    else:
        found = [harness.preset(name, seed=seed) for name in (nagindex.PRESETS if preset == "all" else [preset])]
    _write(found, output)


@targets.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--template", metavar="TEXT", help="Jinja2 template of a text, such as '{{question}} {{answer}}'.")
@click.option(
    "--template-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File that holds the template.",
)
@click.option("--id-column", metavar="C", help="Column of the ids. [default: id, docid or doc_id, else FILE:ROW]")
@click.option("--name", help="Name of the set of all examples. [default: a set for each file, of its name]")
@limit_option
@seed_option
@output_option
def template(
    files: tuple[str, ...],
    template: str | None,
    template_file: Path | None,
    id_column: str | None,
    name: str | None,
    limit: int | None,
    seed: int,
    output: str,
) -> None:
    """Write the texts that a template makes of the records in FILES.

    FILES are records in any corpus format.
    """
    if template is None and template_file is not None:
        try:
            text, called = template_file.read_text(encoding="utf-8"), str(template_file)
        except UnicodeDecodeError:
            raise nagindex.BadInputError(f"{template_file}: not UTF-8; save the template as UTF-8") from None
    elif template is not None and template_file is None:
        text, called = template, "--template"
    else:
        raise click.UsageError("give --template or --template-file")
    _check_output(output, *files, *([] if template_file is None else [template_file]))
    found = nagindex.fill_template(
        files, text, template_name=called, id_column=id_column, name=name, limit=limit, seed=seed
    )
    _write(found, output)


def _check_output(output: str, *inputs: str | Path) -> None:
    if output != "-":
        nagindex.check_output(output, inputs=inputs)


def _write(sets: list[ExampleSet], output: str) -> None:
    for each in sets:
        for reason in each.skipped[:SKIPS_LISTED]:
            warn(f"not an example: {reason}")
        if len(each.skipped) > SKIPS_LISTED:
            warn(f"{each.name}: {len(each.skipped):,} rows in all are no examples")
        if each.warning:
            warn(each.warning)
    if output == "-":
        for each in sets:
            each.write(sys.stdout.buffer)
        sys.stdout.flush()
    else:
        nagindex.write_examples(sets, output)
    total = plural(sum(len(each.examples) for each in sets), "example")
    where = f" to {output}" if output != "-" else ""
    if len(sets) == 1:
        note(f"Wrote {total} of {_named(sets[0])}{where}")
    else:
        each_of = ", ".join(f"{len(each.examples):,} of {_named(each)}" for each in sets)
        note(f"Wrote {total}{where}: {each_of}")


def _named(found: ExampleSet) -> str:
    return f"{found.name} ({', '.join(found.splits)})" if found.splits else found.name
