"""`nagindex build` and `nagindex append`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

import nagindex

from .dry_run import print_cost
from .encoding_options import encoding_options, impact_options
from .messages import note, warn, with_flags_in
from .options import (
    COUNT,
    check_option,
    corpus_root_option,
    devices_option,
    index_option,
    json_option,
    model_option,
    on_error_option,
    plural,
    ray_option,
    require_no_other,
    revision_option,
    shard_of,
    shard_option,
    text_column_option,
    trust_option,
    workers_option,
)
from .process import Stopped
from .recheck import print_recheck

if TYPE_CHECKING:
    from nagindex import BuildKeywords, IngestReport, ModelKeywords, OnDuplicate, OnError

DEFAULTS = nagindex.BuildOptions

on_duplicate_option = click.option(
    "--on-duplicate",
    type=click.Choice(nagindex.ON_DUPLICATE),
    default=DEFAULTS.on_duplicate,
    show_default=True,
    help="What happens to a document whose id is in the index already.",
)


@click.command()
@click.argument("corpus", nargs=-1, required=True)
@index_option
@encoding_options
@impact_options
@devices_option
@click.option(
    "--batch-tokens",
    type=COUNT,
    metavar="N",
    help="Padded tokens in a batch. [default: measured, for 16 MB and more; halved when memory runs out]",
)
@revision_option
@trust_option
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
    "--no-count-tokens",
    "count_tokens",
    flag_value=False,
    default=True,
    help="Where the corpus states no token counts, count documents as 0 tokens; budgets are then of documents.",
)
@click.option(
    "--keep-column",
    "keep",
    multiple=True,
    metavar="[NEW=]C",
    help="Column to carry into the index, as NEW if that is given; may be repeated. A nested field is named like meta.url; a name "
    "that nagindex uses itself, such as score, becomes source_score.",
)
@click.option(
    "--keep-columns",
    "keep_all",
    type=click.Choice(["all"]),
    help="Carry every column but the text, the id and the token count into the index.",
)
@corpus_root_option
@on_duplicate_option
@on_error_option
@shard_option
@ray_option("Encode on the nodes of a Ray cluster, all of which see the corpus and the index")
@workers_option
@click.option(
    "--dry-run", is_flag=True, help="Say what the whole corpus would cost, from a timed sample, and build nothing."
)
@json_option
def build(
    corpus: tuple[str, ...],
    index: str | Path,
    text_column: str | None,
    id_column: str | None,
    token_column: str | None,
    keep: tuple[str, ...],
    keep_all: str | None,
    neuron_types: str,
    repeat_kv: bool,
    part: str | None,
    ray: str | None,
    dry_run: bool,
    as_json: bool,
    **given: Unpack[BuildKeywords],
) -> None:
    """Encode CORPUS (files, globs or folders) into an index, once.

    A build that was interrupted goes on where it was when the same command is run again.
    """
    if dry_run and part is not None:
        raise click.UsageError(
            f"--dry-run looks at the whole corpus and not at --shard {part}; leave one of the two out"
        )
    require_no_other(ray, shard=part, dry_run=dry_run)
    if keep and keep_all:
        raise click.UsageError(
            "--keep-columns all keeps every column, and --keep-column names some; leave one of the two out"
        )
    given["columns"] = nagindex.Columns(text_column, id_column, token_column, keep_all or keep)
    given["shard"] = nagindex.Shard() if dry_run or ray else nagindex.Shard(*shard_of(part))
    options = nagindex.BuildOptions(**given)
    indexes = _indexes(index, neuron_types, repeat_kv)
    _print_ignored(corpus, options.corpus_root)
    if dry_run:
        print_cost(corpus, options, list(indexes), as_json)
        return
    with _committing([*indexes.values()]):
        built = nagindex.build_types(corpus, indexes, options=options, ray=ray)
    for opened, report in built:
        _print_report(report, opened.location, as_json, replacing=options.on_duplicate == "replace")


def _indexes(index: str | Path, neuron_types: str, repeat_kv: bool) -> dict[str, str | Path]:
    """Return the folder of each type's index: the one named, or one beside it for each of several types."""
    kinds = list(dict.fromkeys(name.strip() for name in neuron_types.split(",")))
    if unknown := [name for name in kinds if name not in nagindex.NEURON_TYPES]:
        raise click.UsageError(f"--neuron-type {unknown[0]}: known are {', '.join(nagindex.NEURON_TYPES)}")
    named = {f"{kind}_repeated" if repeat_kv and kind in ("k", "v") else kind: kind for kind in kinds}
    if repeat_kv and not {"k", "v"} & set(kinds):
        raise click.UsageError("--repeat-kv is about k and v, and neither is among the neuron types")
    if len(named) == 1:
        return dict.fromkeys(named, index)
    folder, _, name = str(index).rpartition("/")
    stem = name.removesuffix(".nagindex")
    if Path(stem).suffix.removeprefix(".") in nagindex.NEURON_TYPES:
        raise click.UsageError(
            f"-i {index} names the index of one type, and each of {neuron_types} gets one: give -i {Path(stem).stem}.nagindex"
        )
    beside = {name: f"{stem}.{kind}.nagindex" for name, kind in named.items()}
    if isinstance(index, Path):
        return {name: index.with_name(file) for name, file in beside.items()}
    return {name: f"{folder}/{file}" for name, file in beside.items()}


@click.command()
@click.argument("corpus", nargs=-1, metavar="CORPUS...")
@index_option
@model_option
@devices_option
@trust_option
@click.option("--text-column", metavar="C", help="Column of the texts in CORPUS. [default: as in build]")
@click.option("--id-column", metavar="C", help="Column of the document ids in CORPUS. [default: as in build]")
@click.option("--token-column", metavar="C", help="Column of token counts in CORPUS. [default: as in build]")
@click.option(
    "--keep-column",
    "keep",
    multiple=True,
    metavar="NEW=C",
    help="Column of CORPUS to carry into the index's column NEW; may be repeated. [default: as in build; null if missing]",
)
@corpus_root_option
@on_duplicate_option
@on_error_option
@shard_option
@ray_option("Encode on the nodes of a Ray cluster, all of which see the corpus and the index")
@workers_option
@click.option(
    "--accept-libraries",
    is_flag=True,
    help="Append although torch, transformers or tokenizers have another version than the index.",
)
@check_option
@json_option
def append(
    corpus: tuple[str, ...],
    index: str | Path,
    text_column: str | None,
    id_column: str | None,
    token_column: str | None,
    keep: tuple[str, ...],
    corpus_root: Path | None,
    on_duplicate: OnDuplicate,
    on_error: OnError,
    part: str | None,
    ray: str | None,
    workers: int | None,
    accept_libraries: bool,
    check: bool,
    as_json: bool,
    **backbone: Unpack[ModelKeywords],
) -> None:
    """Add CORPUS to an index, with the settings it was built with; columns may have other names than in the first corpus.

    Files that the index holds already, by name, size and content, are passed over.
    """
    require_no_other(ray, shard=part, check=check)
    if check:
        print_recheck(nagindex.open(index), as_json)
        return
    if not corpus:
        raise click.UsageError("Missing argument 'CORPUS...'.")
    shard = nagindex.Shard() if ray else nagindex.Shard(*shard_of(part))
    opened = nagindex.open(index)
    _print_ignored(corpus, corpus_root)
    with _committing([index]):
        report = opened.append(
            corpus,
            columns=nagindex.Columns(text_column, id_column, token_column, keep),
            corpus_root=corpus_root,
            on_duplicate=on_duplicate,
            on_error=on_error,
            accept_libraries=accept_libraries,
            shard=shard,
            workers=workers,
            ray=ray,
            **backbone,
        )
    _print_report(report, index, as_json, replacing=on_duplicate == "replace")


@contextmanager
def _committing(indexes: Sequence[str | Path]) -> Iterator[None]:
    """Say what is committed when a run ends early: on Ctrl-C or SIGTERM, which commit the complete windows, or by an error."""
    try:
        yield
    except KeyboardInterrupt:
        held = " and ".join(_held(indexes)) or "nothing is committed"
        raise Stopped(f"{held}; run the same command to go on") from None
    except nagindex.NagIndexError:
        for held in _held(indexes):
            note(f"Stopped; {held}")
        raise


def _held(indexes: Sequence[str | Path]) -> Iterator[str]:
    """Yield how many documents each index holds, of those that exist."""
    for index in indexes:
        with suppress(nagindex.NagIndexError, OSError):
            committed = len(nagindex.open(index, check=False))
            yield f"{plural(committed, 'document')} {'is' if committed == 1 else 'are'} committed in {index}"


def _print_ignored(corpus: Sequence[str], corpus_root: str | Path | None) -> None:
    listing = nagindex.find_sources(corpus, root=corpus_root, on_error="skip")  # the run itself stops where it must
    if listing.ignored:
        note(f"Passing over {plural(len(listing.ignored), 'file')} of other kinds, such as {listing.ignored[0]}")


def _print_report(report: IngestReport, index: str | Path, as_json: bool, *, replacing: bool) -> None:
    if as_json:
        fields = {k: (dict(v) if k == "skipped" else v) for k, v in vars(report).items()}
        click.echo(json.dumps({"index": str(index)} | with_flags_in(fields)))
    for warning in report.warnings:
        warn(warning)
    for said in report.unreadable:
        warn(f"{said}; skipped")
    for name in report.changed if not replacing else ():
        known = f"{name}: the index holds a file of this name with other content"
        told = "ids that are in already are duplicates (ids made of file and row are told apart, as FILE@CONTENT:ROW)"
        warn(
            f"{known}; {told}; to replace its documents, append a copy of the file, under another name, with --on-duplicate replace"
        )
    for name in report.empty:
        warn(f"{name}: the file is empty; replace it if it should not be")
    if report.already_in:
        note(f"{plural(report.already_in, 'source')} already in the index, passed over")
    if report.skipped:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in report.skipped.most_common())
        note(
            f"Skipped {plural(report.skipped.total(), 'row')}: {listed}; list them with: nagindex info --skipped -i {index}"
        )
    if report.replaced:
        note(f"Replaced {plural(report.replaced, 'document')}")
    added = f"{plural(report.documents, 'document')} ({plural(report.tokens, 'token')})"
    sources = plural(report.sources, "source")
    first = " (version 1 is the empty index)" if report.version == 2 and report.documents else ""
    note(f"Added {added} from {sources} to {index}, now version {report.version}{first}")
