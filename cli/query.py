"""`nagindex query` and `nagindex encode`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

import nagindex

from .messages import note, warn, with_flags, with_flags_in
from .options import device_option, index_option, json_option, model_option, plural, ray_option, require_no_other
from .query_config import changes, config_file
from .query_options import (
    QueryCommand,
    budget_of,
    chosen_index,
    query_options,
    query_options_of,
    require_options_of_curve,
)
from .query_output import check_outputs, described, explained, format_of, print_best, print_curve, summary, write
from .report import MAP, check_page, write_report
from .target_arguments import (
    encoding_of,
    files_of,
    target_encoding_options,
    targets_of,
    text_columns_option,
    text_option,
)

if TYPE_CHECKING:
    from nagindex import EncodeKeywords


@click.command(cls=QueryCommand)
@click.argument("targets", nargs=-1, metavar="TARGETS...")
@text_option
@index_option
@query_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="File to write: .parquet, .jsonl, .csv, or .txt of ids, the last three also .gz or .zst; or FOLDER/ of Parquet parts. "
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
    help="Add the documents' texts, read again from their sources. [default: in what stdout shows, not in files]",
)
@click.option(
    "--report",
    type=click.Path(),
    metavar="FILE",
    help="Also write a page about the selection, one .html file; see nagindex report.",
)
@MAP
@click.option(
    "--score-curve", is_flag=True, help="Print the score at each rank, to choose a budget by, and select nothing."
)
@click.option("--dropped", type=click.Path(), metavar="FILE", help="List what --decontaminate found, as JSON lines.")
@click.option(
    "--corpus-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the sources lie now, for --with-text and --decontaminate.",
)
@text_columns_option
@model_option
@device_option
@ray_option("Score, and write a FOLDER/, on the nodes of a Ray cluster, all of which see the index and the folder")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the scan. [default: one a core]")
@click.option("--explain-plan", "explain", is_flag=True, help="Say which engine answered, and what it read.")
@click.option("--no-cache", is_flag=True, help="Neither read nor fill the index's cache of encoded targets.")
@json_option
@click.pass_context
def query(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    texts: tuple[str, ...],
    index: str | Path,
    output: str | None,
    format_: str | None,
    with_text: bool | None,
    report: str | None,
    pool_points: int | None,
    score_curve: bool,
    dropped: str | None,
    corpus_root: Path | None,
    config_strict: bool,
    ray: str | None,
    explain: bool,
    no_cache: bool,
    as_json: bool,
    text_columns: tuple[str, ...],
    target_column: str | None,
    model: str | None,
    device: str,
    threads: int | None,
    **options: object,
) -> None:
    """Select the documents that match TARGETS best, exactly.

    TARGETS are files of texts in any corpus format, or NAGs saved by encode; - is stdin (JSON lines, or a text a line). Each is a
    target of its own, named after its file, or as NAME=FILE says; a folder, or a glob in quotes, is one target.

    One budget is needed: -n, --tokens or --fraction; or --min-score.
    """
    encoding = encoding_of(text_columns, target_column, model, device, no_cache=no_cache)
    require_no_other(ray, score_curve=score_curve, approx=options["approx"], threads=threads)
    if score_curve:
        if output is not None:
            raise click.UsageError("--score-curve prints to stdout and selects nothing; leave -o out, or redirect it")
        require_options_of_curve(ctx)
        opened = nagindex.open(chosen_index(ctx, index))
        for change in changes(ctx, opened, config_strict):
            warn(change)
        asked = query_options_of(options)
        print_curve(
            opened.score_curve(
                targets_of(opened, targets, texts, **encoding), options=asked, threads=threads, **encoding
            ),
            as_json,
        )
        return
    budget, asked = budget_of(ctx, options), query_options_of(options)
    if as_json and output in (None, "-"):
        raise click.UsageError("--json prints a summary to stdout, so the selection needs a file: -o FILE")
    if dropped is not None and not asked.evaluation_files:
        raise click.UsageError(
            "--dropped lists what --decontaminate finds; name evaluation texts with --decontaminate FILE"
        )
    check_page(report, pool_points)
    kind = format_of(output, format_)
    opened = nagindex.open(chosen_index(ctx, index))
    inputs: list[str | Path] = [*files_of(targets), *asked.excluded_files, *asked.evaluation_files, *config_file(ctx)]
    inputs += [] if asked.quality is None or asked.quality.scores is None else [asked.quality.scores]
    check_outputs(opened, [output, dropped, report], inputs, corpus_root, parts=output)
    for change in changes(ctx, opened, config_strict):
        warn(change)
    if ray is not None:
        ctx.with_resource(nagindex.connected(ray))  # for the query, and for the folder of parts that tasks write
    selection = opened.query(
        targets_of(opened, targets, texts, **encoding),
        **budget,
        options=asked,
        corpus_root=corpus_root,
        threads=threads,
        ray=ray,
        **encoding,
    )
    for warning in selection.warnings:
        warn(warning)
    if dropped is not None:
        selection.write_dropped(dropped)
    if kind is None:
        print_best(selection, with_text, corpus_root)
    else:
        write(selection, output or "-", kind, with_text, corpus_root)
    if report is not None:
        text = with_text is not False
        write_report(
            selection,
            report,
            with_text=text,
            pool_points=pool_points,
            corpus_root=corpus_root,
            threads=threads,
        )
    found = summary(selection)
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
        note(explained(selection.plan))
    note(described(found, len(opened), output))


@click.command()
@click.argument("targets", nargs=-1, metavar="TEXTS...")
@text_option
@click.option("-o", "--output", type=click.Path(), metavar="FILE", required=True, help="Parquet file to write.")
@index_option
@target_encoding_options
def encode(
    targets: tuple[str, ...],
    texts: tuple[str, ...],
    output: str,
    index: str | Path,
    encoding: EncodeKeywords,
) -> None:
    """Encode TEXTS once, to stand wherever TARGETS is; each file, or value of --target-column, stays a target of its own."""
    if Path(output).suffix != ".parquet":
        raise nagindex.BadInputError(f"{output}: NAGs are saved as Parquet; name a file that ends in .parquet")
    opened = nagindex.open(index)
    check_outputs(opened, [output], files_of(targets))
    encoded = opened.encode(targets_of(opened, targets, texts, **encoding), **encoding)
    for target in encoded:
        for reason in target.skipped:
            warn(f"not an example: {reason}")
        for warning in target.warnings:
            warn(warning)
    opened.save_targets(encoded, output)
    count = plural(sum(len(target.ids) for target in encoded), "text")
    several = f" of {plural(len(encoded), 'target')}" if len(encoded) > 1 else ""
    note(f"Encoded {count}{several} to {output}")
