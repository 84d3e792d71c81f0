"""`nagindex backbones`."""

from __future__ import annotations

import dataclasses
import json

import click

import nagindex

from .options import json_option, revision_option, trust_option
from .tables import table


@click.command()
@click.argument("model")
@revision_option
@trust_option
@json_option
def backbones(model: str, revision: str | None, trust_remote_code: bool, as_json: bool) -> None:
    """Describe MODEL: layers, widths, K and module of each neuron type.

    MODEL is a Hugging Face name, a folder, a .gguf file, minilm or smollm2. Only its configuration is read.
    """
    found = nagindex.describe_model(model, revision=revision, trust_remote_code=trust_remote_code)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found)))
        return
    positions = f", {found.positions:,} positions" if found.positions else ""
    click.echo(f"{found.name}: {found.architecture}, {found.parameters:,} parameters{positions}\n")
    rows = [
        [
            kind.neuron_type,
            str(kind.layers),
            " ".join(f"{width:,}" for width in sorted(set(kind.widths))),
            str(kind.top_k),
            f"{kind.bytes_per_document:,}",
            kind.module + (f" ({kind.columns:,} of its columns)" if kind.columns else ""),
        ]
        for kind in found.types
    ]
    headings = ["type", "layers", "width", "K", "bytes/document", "first module"]
    click.echo(table(headings, rows, right=lambda column: column in (1, 2, 3, 4)))
    for neuron_type, reason in found.missing.items():
        click.echo(f"\nNot in this model: {neuron_type} ({reason})")
