"""`nagindex build` and `nagindex append`."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    corpus_root_option,
    device_option,
    duration,
    index_option,
    json_option,
    plural,
    size,
    text_column_option,
)
from .progress import ProgressLine

if TYPE_CHECKING:
    from nagindex.corpus import Columns
    from nagindex.corpus.sources import Listing
    from nagindex.ingest import IngestReport

on_duplicate_option = click.option(
    "--on-duplicate",
    type=click.Choice(["skip", "error", "replace"]),
    default="skip",
    show_default=True,
    help="What happens to a document whose id is in already.",
)


@click.command()
@click.argument("corpus", nargs=-1, required=True)
@index_option
@click.option(
    "--model",
    default="Qwen/Qwen3-0.6B-Base",
    show_default=True,
    help="Backbone: a Hugging Face name, a folder, or minilm (packaged, no download).",
)
@click.option(
    "--neuron-type",
    type=click.Choice(["up"]),
    default="up",
    show_default=True,
    help="Projection whose neurons are looked at.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    metavar="K",
    help="Neurons kept of each layer. [default: 0.3 % of the width, in tens]",
)
@click.option(
    "--max-length",
    type=click.IntRange(min=1),
    default=120,
    show_default=True,
    metavar="T",
    help="Tokens of each document that the backbone reads.",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default="float32 on a CPU, bfloat16 on a GPU",
    help="Floating-point type of the backbone.",
)
@device_option
@text_column_option
@click.option(
    "--id-column", metavar="C", help="Column of the document ids. [default: id, docid or doc_id, else FILE:ROW]"
)
@click.option(
    "--token-column",
    metavar="C",
    help="Column of token counts. [default: token_num, token_count, n_tokens or num_tokens, else counted]",
)
@click.option(
    "--keep-column", "keep", multiple=True, metavar="C", help="Column to carry into the index; may be repeated."
)
@corpus_root_option
@on_duplicate_option
@click.option("--dry-run", is_flag=True, help="Say what it would cost, from a timed sample, and build nothing.")
@json_option
def build(
    corpus: tuple[str, ...],
    index: Path,
    text_column: str | None,
    id_column: str | None,
    token_column: str | None,
    keep: tuple[str, ...],
    corpus_root: Path | None,
    on_duplicate: str,
    dry_run: bool,
    as_json: bool,
    **encoding: Any,
) -> None:
    """Encode CORPUS (files, globs or folders) into an index, once.

    A build that was interrupted goes on where it was when the same command is run again.
    """
    from nagindex.building import build as build_index
    from nagindex.corpus import Columns, find_sources

    columns = Columns(text_column, id_column, token_column, keep)
    listing = find_sources(corpus, root=corpus_root)
    _tell_ignored(listing)
    if dry_run:
        _dry_run(listing, columns, as_json, **encoding)
        return
    with _running(index) as progress:
        _, report = build_index(
            corpus,
            index,
            columns=columns,
            corpus_root=corpus_root,
            on_duplicate=on_duplicate,
            progress=progress,
            **encoding,
        )
    _tell(report, index, as_json)


@click.command()
@click.argument("corpus", nargs=-1, required=True)
@index_option
@click.option("--model", help="Where the backbone lies now, if it was moved.")
@device_option
@corpus_root_option
@on_duplicate_option
@click.option(
    "--accept-libraries",
    is_flag=True,
    help="Append although torch, transformers or tokenizers have another version than the index.",
)
@json_option
def append(
    corpus: tuple[str, ...],
    index: Path,
    model: str | None,
    device: str,
    corpus_root: Path | None,
    on_duplicate: str,
    accept_libraries: bool,
    as_json: bool,
) -> None:
    """Add CORPUS to an index, with the settings it was built with.

    Files that the index holds already, by name, size and content, are passed over.
    """
    from nagindex.corpus import find_sources
    from nagindex.index import Index

    opened = Index.open(index)
    _tell_ignored(find_sources(corpus, root=corpus_root))
    with _running(index) as progress:
        report = opened.append(
            corpus,
            corpus_root=corpus_root,
            model=model,
            device=device,
            on_duplicate=on_duplicate,
            accept_libraries=accept_libraries,
            progress=progress,
        )
    _tell(report, index, as_json)


@contextmanager
def _running(index: Path) -> Iterator[Callable[[Any], None]]:
    """Draw progress; on Ctrl-C or SIGTERM, what is complete gets committed and the user is told how to go on."""
    line = ProgressLine()

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield line
    except KeyboardInterrupt:
        from nagindex.storage.manifest import read_latest, versions

        line.close()
        committed = read_latest(index).documents if versions(index) else 0
        raise click.ClickException(
            f"interrupted; {plural(committed, 'document')} are committed in {index}; run the same command to go on"
        ) from None
    finally:
        line.close()
        signal.signal(signal.SIGTERM, before)


def _tell_ignored(listing: Listing) -> None:
    if listing.ignored:
        click.echo(
            f"Passing over {plural(len(listing.ignored), 'file')} of other kinds, such as {listing.ignored[0]}",
            err=True,
        )


def _tell(report: IngestReport, index: Path, as_json: bool) -> None:
    if as_json:
        fields = {k: (dict(v) if k == "skipped" else v) for k, v in vars(report).items()}
        click.echo(json.dumps({"index": str(index)} | fields))
    for name in report.changed:
        known = f"Warning: {name}: the index holds a file of this name with other content"
        remedy = "where ids are FILE:ROW, --corpus-root with a folder further up tells the files apart"
        click.echo(f"{known}, and ids that are in already were treated as duplicates; {remedy}", err=True)
    for name in report.empty:
        click.echo(f"Warning: {name}: the file is empty; replace it if it should not be", err=True)
    if report.already_in:
        click.echo(f"{plural(report.already_in, 'source')} already in the index, passed over", err=True)
    if report.skipped:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in report.skipped.most_common())
        click.echo(
            f"Skipped {plural(report.skipped.total(), 'row')}: {listed}; list them with: nagindex info --skipped -i {index}",
            err=True,
        )
    if report.replaced:
        click.echo(f"Replaced {plural(report.replaced, 'document')}", err=True)
    added = f"{plural(report.documents, 'document')} ({plural(report.tokens, 'token')})"
    sources = plural(report.sources, "source")
    click.echo(f"Added {added} from {sources} to {index}, now version {report.version}", err=True)


def _dry_run(
    listing: Listing, columns: Columns, as_json: bool, *, top_k: int | None, max_length: int, model: str, **loading: Any
) -> None:
    from nagindex.backbone import load_backbone
    from nagindex.encode import default_batch_tokens
    from nagindex.estimate import estimate

    backbone = load_backbone(model, **loading)
    fingerprint = backbone.fingerprint(top_k=top_k, max_length=max_length)
    batch_tokens = default_batch_tokens(backbone)
    found = estimate(listing.sources, backbone, fingerprint, columns, batch_tokens=batch_tokens)
    if as_json:
        click.echo(json.dumps(vars(found)))
        return
    about = "" if found.counted else "about "
    click.echo(f"sources     {found.sources:,}")
    click.echo(f"documents   {about}{found.documents:,}")
    click.echo(f"tokens      about {found.tokens:,}")
    click.echo(f"index       about {size(found.index_bytes)}")
    click.echo(
        f"time        about {duration(found.seconds)} at {found.documents_per_second:,.0f} documents/s on {backbone.model.device}"
    )
    click.echo("Nothing was built; leave out --dry-run to build.", err=True)
