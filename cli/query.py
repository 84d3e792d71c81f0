"""`nagindex query` and `nagindex encode`."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import COUNT, device_option, index_option, json_option, plural, table, text_column_option

if TYPE_CHECKING:
    from nagindex.selection import Selection

PREVIEW_ROWS = 20
FORMATS_BY_SUFFIX = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", "": "parquet"}


@click.command()
@click.argument("targets", nargs=-1, required=True)
@index_option
@click.option("-n", "documents", type=COUNT, metavar="N", help="Select N documents; k, M, B and T are understood.")
@click.option("--tokens", type=COUNT, metavar="N", help="Select documents of N tokens altogether.")
@click.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="F",
    help="Select documents of a share F of the pool's tokens.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="File to write; - is stdout. [default: stdout, on a terminal the first rows as a table]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["parquet", "jsonl"]),
    help="Format of the output. [default: by its suffix, else parquet]",
)
@click.option("--with-text", is_flag=True, help="Add the documents' texts, read again from their sources.")
@click.option(
    "--corpus-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the sources lie now, for --with-text.",
)
@text_column_option
@click.option("--model", help="Where the backbone lies now, if it was moved.")
@device_option
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the scan. [default: one a core]")
@click.option("--no-cache", is_flag=True, help="Neither read nor fill the index's cache of encoded targets.")
@json_option
def query(
    targets: tuple[str, ...],
    index: Path,
    documents: int | None,
    tokens: int | None,
    fraction: float | None,
    output: str | None,
    format_: str | None,
    with_text: bool,
    corpus_root: Path | None,
    no_cache: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Select the documents most similar to TARGETS, exactly.

    TARGETS are texts in any corpus format, or NAGs saved by encode.

    One budget is needed: -n, --tokens or --fraction.
    """
    if sum(budget is not None for budget in (documents, tokens, fraction)) != 1:
        raise click.UsageError("give one budget: -n (documents), --tokens or --fraction")
    if as_json and output in (None, "-"):
        raise click.UsageError("--json prints a summary to stdout, so the selection needs a file: -o FILE")
    from nagindex.index import Index

    opened = Index.open(index)
    selection = opened.query(targets, n=documents, tokens=tokens, fraction=fraction, cache=not no_cache, **options)
    for warning in selection.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if output is None and sys.stdout.isatty():
        _preview(selection)
    else:
        _write(selection, output or "-", format_, with_text, corpus_root)
    found = _summary(selection)
    if as_json:
        click.echo(json.dumps(found | {"output": output, "warnings": selection.warnings}))
    selected = f"{plural(found['documents'], 'document')} ({plural(found['tokens'], 'token')}) of {len(opened):,}"
    where = f" to {output}" if output not in (None, "-") else ""
    click.echo(f"Selected {selected}, scores {found['best']:.4f} to {found['worst']:.4f}{where}", err=True)


@click.command()
@click.argument("texts", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Parquet file to write.")
@index_option
@text_column_option
@click.option("--model", help="Where the backbone lies now, if it was moved.")
@device_option
def encode(
    texts: tuple[str, ...], output: Path, index: Path, text_column: str | None, model: str | None, device: str
) -> None:
    """Encode TEXTS once, to stand wherever TARGETS is."""
    from nagindex.errors import BadInputError
    from nagindex.index import Index
    from nagindex.targets import write_nags

    if output.suffix != ".parquet":
        raise BadInputError(f"{output}: NAGs are saved as Parquet; name a file that ends in .parquet")
    opened = Index.open(index)
    encoded = opened.encode(texts, text_column=text_column, model=model, device=device)
    for reason in encoded.skipped:
        click.echo(f"Warning: not an example: {reason}", err=True)
    write_nags(output, encoded, opened.manifest.fingerprint)
    click.echo(f"Encoded {plural(len(encoded.ids), 'text')} to {output}", err=True)


def _write(selection: Selection, output: str, format_: str | None, with_text: bool, corpus_root: Path | None) -> None:
    from nagindex.export import write

    kind = format_ or FORMATS_BY_SUFFIX.get(Path(output).suffix)
    if kind is None:
        raise click.UsageError(f"{output}: no known suffix; name a .parquet or .jsonl file, or give --format")
    if kind == "parquet" and output == "-" and sys.stdout.isatty():
        raise click.UsageError("Parquet does not go to a terminal; redirect it, or give --format jsonl")
    if output != "-":
        write(selection, output, format=kind, with_text=with_text, corpus_root=corpus_root)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "selection")
        write(selection, path, format=kind, with_text=with_text, corpus_root=corpus_root)
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()


def _preview(selection: Selection) -> None:
    rows = selection.to_duckdb().limit(PREVIEW_ROWS).fetchall()
    cells = [
        [
            f"{value:.4f}" if name == "score" else "" if value is None else str(value)[:60]
            for name, value in zip(selection.columns, row, strict=True)
        ]
        for row in rows
    ]
    click.echo(
        table(
            list(selection.columns), cells, right=lambda c: selection.columns[c] in ("rank", "score", "tokens", "row")
        )
    )
    if len(selection) > len(rows):
        click.echo(f"... and {len(selection) - len(rows):,} more; -o FILE writes them all")


def _summary(selection: Selection) -> dict[str, Any]:
    totals = "count(*), coalesce(sum(tokens), 0), max(score), min(score)"
    [(documents, tokens, best, worst)] = selection.to_duckdb().aggregate(totals).fetchall()
    return {"documents": documents, "tokens": int(tokens), "best": best, "worst": worst}
