"""`nagindex report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import nagindex

from .messages import note, warn
from .options import COUNT_OR_ZERO, IndexPath, device_option, model_option, size
from .query_output import check_outputs
from .target_arguments import encoding_of, files_of, targets_of, text_columns_option

MAP = click.option(
    "--map",
    "pool_points",
    type=COUNT_OR_ZERO,
    metavar="N",
    help="Documents of the pool on the page's map, 0 for no map. [default: 1,000; no map without nagindex[map]]",
)


@click.command()
@click.argument("selection", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="Page to write, which ends in .html. [default: beside the selection, under its name]",
)
@click.option(
    "-i",
    "--index",
    type=IndexPath(),
    help="Folder of the index, or its URL. [default: the one that the selection was made of, at its version if that is still there]",
)
@click.option("--title", metavar="TEXT", help="Title of the page. [default: its size and its targets]")
@click.option("--no-text", is_flag=True, help="Leave the texts of documents and examples out.")
@click.option("--targets", multiple=True, metavar="FILE", help="Where the targets lie now, if they were moved.")
@MAP
@click.option(
    "--corpus-root", type=click.Path(path_type=Path, file_okay=False), help="Where the sources lie now, for the texts."
)
@text_columns_option
@model_option
@device_option
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the scan. [default: one a core]")
def report(
    selection: Path,
    output: str | None,
    index: str | Path | None,
    title: str | None,
    no_text: bool,
    pool_points: int | None,
    targets: tuple[str, ...],
    corpus_root: Path | None,
    text_columns: tuple[str, ...],
    model: str | None,
    device: str,
    threads: int | None,
) -> None:
    """Write a page about SELECTION, a Parquet file that nagindex query wrote.

    The page is one self-contained HTML file: the query and the index, the composition of the selection against the pool, score
    distributions and other cutoffs, a map, contributions of layers and neurons, example documents with explanations, and a table.
    """
    page = output or str(selection.with_suffix(".html"))
    check_page(page, pool_points)
    opened = _recorded_index(selection) if index is None else nagindex.open(index)
    encoding: dict[str, Any] = {"model": model, "device": device}
    if text_columns:
        encoding["text_column"] = encoding_of(text_columns, None, model, device)["text_column"]
    given = targets_of(opened, targets, ()) if targets else None
    check_outputs(opened, [page], [selection, *files_of(targets)], corpus_root)
    found = opened.selection(selection, targets=given, **encoding)
    for warning in found.warnings:
        warn(warning)
    write_report(
        found,
        page,
        title=title,
        with_text=not no_text,
        pool_points=pool_points,
        corpus_root=corpus_root,
        threads=threads,
    )


def check_page(page: str | None, pool_points: int | None) -> None:
    """Raise an error, before anything is computed, unless a page of this name and with such a map can be written.

    Raises:
        click.UsageError: the name is not that of a page, or a map is asked for and no page.
        MissingDependencyError: a map is asked for, and scikit-learn is not installed.
    """
    if page is None:
        if pool_points is not None:
            raise click.UsageError("--map is about the page that --report writes; give --report FILE, or leave it out")
        return
    if Path(page).suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"{page}: a report is a page; name a file that ends in .html")
    if pool_points:
        from nagindex.analysis import require_layout

        require_layout()


def _recorded_index(selection: Path) -> nagindex.Index:
    """Return the index that a selection was made of, at its version; at the current one where that is gone.

    Raises:
        InputNotFoundError: there is no such selection, or its index is gone.
        BadInputError: the file is not a selection.
    """
    record = nagindex.settings_of(selection).get("index")
    if not isinstance(record, dict) or not {"path", "version"} <= record.keys():
        raise nagindex.BadInputError(f"{selection}: its record names no index; name it with `index`")
    try:
        return nagindex.open(record["path"], version=record["version"])
    except nagindex.InputNotFoundError:
        return nagindex.open(record["path"])


def write_report(
    selection: nagindex.Selection,
    page: str,
    *,
    title: str | None = None,
    with_text: bool,
    pool_points: int | None,
    corpus_root: Path | None,
    threads: int | None,
) -> None:
    """Write a selection's page and say so."""
    selection.report(page, title=title, with_text=with_text, map=pool_points, corpus_root=corpus_root, threads=threads)
    where = Path(page)
    note(f"Wrote a report to {page}" + (f" ({size(where.stat().st_size)})" if where.is_file() else ""))
