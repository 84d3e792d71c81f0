"""Options of `build` and `calibrate`: how the backbone's activations become a NAG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

import nagindex

from .options import COUNT, IndexPath

DEFAULTS = nagindex.BuildOptions
Command = Callable[..., Any]

_ENCODING = (
    click.option(
        "--model",
        default=DEFAULTS.model,
        show_default=True,
        help="Backbone: a Hugging Face name, a folder, a .gguf file, or minilm or smollm2 (packaged, no download).",
    ),
    click.option(
        "--preset",
        type=click.Choice([*nagindex.ENCODINGS]),
        show_default=f"{nagindex.DEFAULT_PRESET}; where INDEX exists, paper or calibrated as it was built",
        help="paper: absolute impact. calibrated: relative impact. fast: relative impact of a third of the layers, 32 tokens and K = 5, "
        "for about a tenth of the cost. --impact, --layers, --top-k and --max-length change one of its settings.",
    ),
    click.option(
        "--layers",
        metavar="L",
        help="Layers whose neurons count: 0-9, last, first-third; the model runs up to the last of them. [default: all; fast: first-third]",
    ),
    click.option(
        "--max-length",
        type=click.IntRange(min=1),
        metavar="T",
        help="Tokens of each document that the backbone reads. [default: 120; fast: 32]",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "fp32", "bf16", "fp16", "float32", "bfloat16", "float16"]),
        default=DEFAULTS.dtype,
        show_default="bf16 on a GPU, and on a CPU that computes in it; else fp32",
        help="Floating-point type of the backbone.",
    ),
    click.option(
        "--attention",
        type=click.Choice(["auto", "sdpa", "eager", "flash_attention_2"]),
        default=DEFAULTS.attention,
        show_default="what transformers prefers",
        help="Attention implementation.",
    ),
)
_IMPACT = (
    click.option(
        "--neuron-type",
        "neuron_types",
        default="up",
        show_default=True,
        metavar="T[,T...]",
        help="Projection whose neurons are used: up, down, gate, q, k, v, o. Several, with commas, make an index each from one "
        "pass of the model: INDEX.nagindex becomes INDEX.T.nagindex.",
    ),
    click.option(
        "--impact",
        type=click.Choice(nagindex.IMPACTS),
        show_default="the preset's",
        help="relative divides a neuron's impact by its mean over a sample of the corpus, so that those that are "
        "always active do not fill every NAG.",
    ),
    click.option(
        "--calibrate",
        type=COUNT,
        metavar="N",
        help=f"Documents of the sample for relative impact. [default: {nagindex.CALIBRATED_ON}]",
    ),
    click.option(
        "--calibration",
        type=IndexPath(),
        metavar="INDEX|FILE",
        help="Take the means of another index, or those that nagindex calibrate wrote, in place of a sample's: indexes of one calibration "
        "are comparable.",
    ),
    click.option(
        "--repeat-kv",
        is_flag=True,
        help="Take k and v once for every query head that shares them, as the published code does.",
    ),
    click.option(
        "--top-k",
        type=click.IntRange(min=1),
        metavar="K",
        help="Neurons kept of each layer. [default: 0.3 % of the width, for absolute impact in tens; fast: 5]",
    ),
)


def encoding_options(command: Command) -> Command:
    """Add the options of the backbone: model, preset, layers, tokens and floating-point type."""
    return _with_options(command, _ENCODING)


def impact_options(command: Command) -> Command:
    """Add the options of neuron types, impact, calibration and K."""
    return _with_options(command, _IMPACT)


def _with_options(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
