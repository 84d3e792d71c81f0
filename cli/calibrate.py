"""`nagindex calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

import nagindex

from .encoding_options import encoding_options
from .messages import note
from .options import (
    COUNT,
    corpus_root_option,
    device_option,
    on_error_option,
    plural,
    revision_option,
    text_column_option,
    trust_option,
)

if TYPE_CHECKING:
    from nagindex import BuildKeywords


@click.command()
@click.argument("corpus", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="File to write, which ends in .npz.",
)
@encoding_options
@click.option(
    "--neuron-type",
    type=click.Choice(nagindex.NEURON_TYPES),
    default="up",
    show_default=True,
    help="Projection whose neurons are measured.",
)
@click.option("--repeat-kv", is_flag=True, help="Take k or v once for every query head that shares them, as in build.")
@click.option(
    "--calibrate",
    "documents",
    type=COUNT,
    default=nagindex.CALIBRATED_ON,
    show_default=True,
    metavar="N",
    help="Documents of the sample.",
)
@device_option
@revision_option
@trust_option
@text_column_option
@corpus_root_option
@on_error_option
def calibrate(
    corpus: tuple[str, ...],
    output: Path,
    text_column: str | None,
    documents: int,
    neuron_type: str,
    repeat_kv: bool,
    **given: Unpack[BuildKeywords],
) -> None:
    """Measure each neuron's mean impact over a sample of CORPUS, for build --calibration.

    Indexes that are built with the same calibration are comparable, whatever corpora they hold.
    """
    if repeat_kv and neuron_type not in ("k", "v"):
        raise click.UsageError("--repeat-kv is about k and v, and the neuron type is neither")
    kind = f"{neuron_type}_repeated" if repeat_kv else neuron_type
    given |= {"columns": nagindex.Columns(text_column), "calibrate": documents, "impact": "relative"}
    options = nagindex.BuildOptions(**given)
    drawn = nagindex.calibrate(corpus, output, neuron_type=kind, options=options)
    note(f"Calibrated on {plural(drawn, 'document')}: {output}")
