"""`nagindex map`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nagindex

from .messages import note, warn
from .options import COUNT, index_option, json_option, plural
from .query_output import check_outputs
from .tables import table, terminal_width
from .target_arguments import files_of, target_encoding_options, targets_of, text_option

if TYPE_CHECKING:
    from nagindex import EncodeKeywords
    from nagindex.analysis import Agreement

POOL, SWEPT = 20_000, 5_000


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGETS...]")
@text_option
@index_option
@click.option(
    "-o", "--output", "outputs", multiple=True, metavar="FILE", help="map.svg, map.png or map.parquet; may be repeated."
)
@click.option(
    "--pool",
    type=COUNT,
    metavar="N",
    help=f"Documents drawn from the pool. [default: {POOL:,}; {SWEPT:,} with --sweep]",
)
@click.option("--targets-only", is_flag=True, help="No documents of the pool.")
@click.option(
    "--label", metavar="C", help="Kept column whose values label the pool's documents. [default: all are `pool`]"
)
@click.option(
    "--layers",
    multiple=True,
    metavar="L",
    help="Layers that count, as in nagindex query; with --sweep, may be repeated.",
)
@click.option(
    "--top-k",
    multiple=True,
    type=click.IntRange(min=1),
    metavar="K",
    help="Neurons of a layer; with --sweep, may be repeated.",
)
@click.option(
    "--perplexity", type=float, default=30.0, show_default=True, help="Of t-SNE: about the neighbors that count."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the sample and the layout.")
@click.option(
    "--sweep", is_flag=True, help="Print how well clusters agree with labels, by K and layers, in place of a map."
)
@click.option(
    "--corpus-root", type=click.Path(path_type=Path, file_okay=False), help="Where the sources lie now, for the texts."
)
@target_encoding_options
@json_option
def map(  # noqa: A001 - the word users expect
    targets: tuple[str, ...],
    texts: tuple[str, ...],
    index: Path,
    outputs: tuple[str, ...],
    pool: int | None,
    targets_only: bool,
    label: str | None,
    layers: tuple[str, ...],
    top_k: tuple[int, ...],
    perplexity: float,
    seed: int,
    sweep: bool,
    corpus_root: Path | None,
    encoding: EncodeKeywords,
    as_json: bool,
) -> None:
    """Draw targets and a sample of the pool: t-SNE on 1 - overlap of NAGs.

    TARGETS are as in nagindex query; without any, the pool is drawn alone. A .parquet file has the columns x, y, label, id, text (its
    beginning) and example, true for examples of targets.

    With --sweep, points are clustered into as many clusters as there are labels: the pool's documents by values of --label, or
    else examples by names of targets. Printed are purity, normalized mutual information (NMI) and adjusted Rand index (ARI) for
    each K and set of layers: how well NAGs of these tell the labels apart.
    """
    if targets_only and (pool is not None or label is not None):
        raise click.UsageError("--targets-only leaves out the pool, and --pool and --label are about it; leave one out")
    if sweep and outputs:
        raise click.UsageError("--sweep draws no map; leave out -o, or --sweep")
    if not sweep and not outputs:
        raise click.UsageError("Missing option '-o' / '--output'; name a .svg, .png or .parquet file, or give --sweep")
    if not sweep and (len(layers) > 1 or len(top_k) > 1):
        raise click.UsageError("a map has one --layers and one --top-k; give --sweep to compare several")
    opened = nagindex.open(index)
    given = targets_of(opened, targets, texts, **encoding) if targets or texts else ()
    common: dict[str, Any] = {"label": label, "seed": seed, **encoding}
    if sweep:
        _print_agreement(opened.map_sweep(given, pool=pool or SWEPT, layers=layers, top_k=top_k, **common), as_json)
        return
    from nagindex.analysis import require_map_file

    for output in outputs:
        require_map_file(Path(output))
    check_outputs(opened, outputs, files_of(targets), corpus_root)
    found = opened.map(
        given,
        pool=0 if targets_only else pool or POOL,
        layers=layers[0] if layers else None,
        top_k=top_k[0] if top_k else None,
        perplexity=perplexity,
        with_text=any(output.lower().endswith(".parquet") for output in outputs),
        corpus_root=corpus_root,
        **common,
    )
    for warning in found.warnings:
        warn(warning)
    for output in outputs:
        found.write(output)
    counts = Counter("" if one is None else one for one in found.labels)
    if as_json:
        click.echo(
            json.dumps({"points": len(found.ids), "examples": found.examples, "labels": counts, "files": outputs})
        )
        return
    note(f"Drew {plural(len(found.ids), 'point')} of {plural(len(counts), 'label')} to {', '.join(outputs)}")


def _print_agreement(found: Agreement, as_json: bool) -> None:
    """Print how well clusters agree with labels."""
    for warning in found.warnings:
        warn(warning)
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    note(f"Clustered {plural(sum(found.labels.values()), 'point')} of {plural(len(found.labels), 'label')}")
    rows = [
        [str(row["layers"]), str(row["top_k"]), *(f"{row[name]:.3f}" for name in ("purity", "nmi", "ari"))]
        for row in found.rows
    ]
    click.echo(table(["layers", "K", "purity", "NMI", "ARI"], rows, width=terminal_width()))
