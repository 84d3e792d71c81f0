"""Options that the pretraining benchmarks share: where the inputs are, and which targets and arms are compared."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.pretrain.inputs import Inputs, read_folders, require, sample_inputs
from benchmarks.pretrain.model import Compute
from benchmarks.pretrain.runs import Experiment, Plan, prepare
from benchmarks.pretrain.training import SIZES
from nagindex.backbone.devices import default_dtype, device_of

PEER, SAMPLE_PEER = "absolute, plain", "shared words"
INPUT_OPTIONS: dict[str, dict[str, Any]] = {
    "folder": {
        "type": Path,
        "nargs": "+",
        "help": "documents, examples and rankings, and further rankings of the same, as arms FOLDER: ARM; by default the sample data",
    },
    "targets": {"nargs": "+", "help": "targets to evaluate; by default all"},
    "arms": {"nargs": "+", "help": "arms to train; by default all; random and the whole pool come always"},
    "examples": {"type": int, "help": "held-out examples of each target, drawn by a seed; by default all"},
    "frames": {
        "choices": ["keep", "drop"],
        "default": "keep",
        "help": "whether held-out texts keep the words Question: and Answer: around them",
    },
    "peer": {"help": f"arm that the others are compared with; by default {PEER!r}"},
}


def amount(text: str) -> int:
    """Return the number that a text such as 600M states."""
    factor = {"k": 10**3, "M": 10**6, "B": 10**9}.get(text[-1:], 1)
    return round(float(text.rstrip("kMB")) * factor)


TRAINING_OPTIONS: dict[str, dict[str, Any]] = {
    "size": {"choices": SIZES, "help": "parameters of the model; by default 1m, with --quick tiny"},
    "device": {
        "default": "auto",
        "help": "where models are trained; by default the first GPU if there is one, else the CPU",
    },
    "tokens": {
        "type": amount,
        "default": amount("1.5M"),
        "help": "that each model is trained on, repeated ones included",
    },
    "budget": {"type": float, "default": 0.1, "help": "share of the pool's tokens that an arm chooses"},
    "seeds": {"type": int, "default": 3, "help": "models of each arm: other parameters, order, random documents"},
    "workers": {"type": int, "help": "processes of one thread each; by default 2, with a GPU or --quick 1"},
    "runs": {"type": Path, "help": "folder that keeps finished runs; by default pretrain in the first FOLDER"},
}
QUICK_TOKENS, QUICK_SEEDS = 10_000, 2


def experiment_of(arguments: argparse.Namespace, inputs: Inputs) -> Experiment:
    """Return the experiment that the options of training describe."""
    if arguments.quick:
        arguments.tokens, arguments.seeds = min(arguments.tokens, QUICK_TOKENS), min(arguments.seeds, QUICK_SEEDS)
    arguments.size = arguments.size or ("tiny" if arguments.quick else "1m")
    device = device_of(arguments.device)
    arguments.workers = arguments.workers or (2 if device.type == "cpu" and not arguments.quick else 1)
    if arguments.runs is None and arguments.folder:
        arguments.runs = arguments.folder[0] / "pretrain"
    compute = Compute(str(device), default_dtype(device))
    return prepare(inputs, Plan(SIZES[arguments.size], compute, arguments.tokens, arguments.budget))


def inputs_of(arguments: argparse.Namespace) -> Inputs:
    """Return the inputs that the options name."""
    inputs = read_folders(arguments.folder) if arguments.folder else sample_inputs()
    inputs = inputs.without_frames() if arguments.frames == "drop" else inputs
    return inputs.only(arguments.targets, arguments.arms, arguments.examples)


def peer_of(arguments: argparse.Namespace, inputs: Inputs) -> str:
    """Return the arm to compare with.

    Raises:
        ValueError: the inputs have no such arm.
    """
    peer = arguments.peer or (PEER if arguments.folder else SAMPLE_PEER)
    require([peer], inputs.arms, "arm")
    return peer
