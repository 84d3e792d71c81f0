"""`nagindex explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nagindex

from .messages import warn
from .options import index_option, json_option
from .query_output import TEXT_SHOWN
from .tables import printable, table, terminal_width, wrapped
from .target_arguments import target_encoding_options, targets_of, text_option

if TYPE_CHECKING:
    from nagindex import EncodeKeywords, Explanation, Index

BAR = 20
"""Characters of the longest bar."""
TEXT_LINES = 3
"""Lines of a document's text on a terminal."""


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--targets", multiple=True, metavar="FILE", help="Examples, as in nagindex query; may be repeated.")
@text_option
@index_option
@click.option("--weights", default="frequency", show_default=True, metavar="W", help="As in the query.")
@click.option("--score", default="mean", show_default=True, metavar="S", help="As in the query.")
@click.option("--layers", metavar="L", help="As in the query. [default: all]")
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="As in the query. [default: the index's]")
@click.option("--neurons", type=click.IntRange(min=0), default=10, show_default=True, help="Neurons to show.")
@click.option("--examples", type=click.IntRange(min=0), default=3, show_default=True, help="Examples to show.")
@click.option(
    "--corpus-root", type=click.Path(path_type=Path, file_okay=False), help="Where the sources lie now, for the texts."
)
@target_encoding_options
@json_option
def explain(
    ids: tuple[str, ...],
    targets: tuple[str, ...],
    texts: tuple[str, ...],
    index: str | Path,
    neurons: int,
    examples: int,
    corpus_root: Path | None,
    encoding: EncodeKeywords,
    as_json: bool,
    weights: str,
    score: str,
    layers: str | None,
    top_k: int | None,
) -> None:
    """Show what the scores of documents are made of: layers, neurons, examples.

    IDs are those of documents in the index. For each document and target: the part of the score that each layer has, the neurons with the
    largest parts, the nearest examples, and the document's text. All parts of a kind add up to the score.
    """
    if not targets and not texts:
        raise click.UsageError("Missing option '--targets'; name files of examples, or give --text")
    opened = nagindex.open(index)
    given = targets_of(opened, targets, texts, **encoding)
    options = nagindex.QueryOptions(weights=weights, score=score, layers=layers, top_k=top_k)
    found = opened.explain(ids, given, options=options, **encoding)
    of_documents = _texts(opened, ids, corpus_root)
    told = [own.to_json(neurons=neurons, examples=examples) | {"text": of_documents.get(own.id)} for own in found]
    if as_json:
        click.echo(json.dumps({"explanations": told}))
        return
    click.echo("\n\n".join(_page(own, row) for own, row in zip(found, told, strict=True)))


def _texts(opened: Index, ids: Sequence[str], corpus_root: Path | None) -> dict[str, str]:
    """Return the texts of documents; where they cannot be read, warn and return none."""
    try:
        return opened.texts(ids, corpus_root=corpus_root)
    except nagindex.SourceChangedError as error:
        warn(f"shown without texts: {error}")
        return {}


def _page(own: Explanation, told: Mapping[str, Any]) -> str:
    """Return an explanation as text: the score, the document, its layers, neurons and nearest examples."""
    width = terminal_width()
    parts = [f"{own.id}, for {own.target}: score {own.score:.4f} ({own.scoring})"]
    if told["text"] is not None:
        start = told["text"][:TEXT_SHOWN]
        lines = [printable(start)] if width is None else wrapped(start, width, TEXT_LINES)
        parts[0] = "\n".join([parts[0], *lines])
    largest = max(max((abs(row["contribution"]) for row in told["layers"]), default=0.0), 1e-300)
    layers = [
        [str(row["layer"]), f"{row['contribution']:.4f}", _bar(row["contribution"] / largest)] for row in told["layers"]
    ]
    parts.append(table(["layer", "part of the score", ""], layers, right=lambda c: c < 2, width=width))
    if told["neurons"]:
        neurons = [
            [
                str(row["layer"]),
                str(row["neuron"]),
                str(row["place"]),
                f"{row['examples']:.1%}",
                f"{row['pool']:.1%}",
                f"{row['contribution']:.4f}",
            ]
            for row in told["neurons"]
        ]
        headings = ["layer", "neuron", "place", "of examples", "of pool", "part of the score"]
        parts.append(table(headings, neurons, right=lambda c: True, width=width))
    if told["examples"]:
        examples = [[f"{row['overlap']:.4f}", row["id"], (row["text"] or "")[:TEXT_SHOWN]] for row in told["examples"]]
        parts.append(table(["overlap", "nearest example", "text"], examples, right=lambda c: c == 0, width=width))
    if told["no_example_parts"] is not None:
        parts.append(told["no_example_parts"])
    return "\n\n".join(parts)


def _bar(share: float) -> str:
    """Return a bar whose length is a share, -1 to 1, of the longest; a negative one of minus signs."""
    return ("#" if share > 0 else "-") * round(abs(share) * BAR)
