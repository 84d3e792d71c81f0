"""A build by one worker of a local Ray cluster against the same build without Ray: what Ray costs beside its start.

    python -m benchmarks.ray_overhead [--quick] [--json FILE]

Both encode the same made-up corpus with the same random model, on the same CPUs, in commands that take turns. The seconds of
encoding are those of the command's progress, from the first batch to the last publication; the rest is start-up: imports, the model
and, with Ray, the cluster.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.peers import SHAPES, trained_tokenizer
from benchmarks.report import emit, options

WORDS = 2_000
STAGE = "encoding documents"
HEADINGS = ["build", "seconds", "encoding", "start-up", "documents/s", "encoding / without Ray"]


def texts_of(count: int) -> list[str]:
    """Return texts of 20 to 200 random words."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwyp"))
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(WORDS)]
    return [" ".join(rng.choice(words, rng.integers(20, 200))) for _ in range(count)]


def prepare(folder: Path, documents: int) -> None:
    """Write the corpus and the model."""
    texts = texts_of(documents)
    lines = (json.dumps({"id": f"d{number}", "text": text}) + "\n" for number, text in enumerate(texts))
    (folder / "corpus.jsonl").write_text("".join(lines))
    torch.manual_seed(0)
    shape = SHAPES["small"] | {
        "vocab_size": 4_000,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
    }
    transformers.Qwen3Model(transformers.Qwen3Config(**shape, pad_token_id=0)).save_pretrained(folder / "model")
    trained_tokenizer(texts[:1000], 4_000).save_pretrained(folder / "model")


def measure(folder: Path, round_number: int, *, ray: bool) -> tuple[float, float]:
    """Return the seconds of a build, and of its encoding."""
    index = folder / f"{round_number}-{ray}.nagindex"
    command = [
        sys.executable,
        "-m",
        "nagindex",
        "build",
        folder / "corpus.jsonl",
        "-i",
        index,
        "--model",
        folder / "model",
    ]
    command += [
        "--device",
        "cpu",
        "--dtype",
        "fp32",
        "--preset",
        "paper",
        "--batch-tokens",
        "4096",
        "--progress",
        "json",
    ]
    started = time.perf_counter()
    done = subprocess.run([*map(str, command), *(["--ray", "local"] * ray)], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    states = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return seconds, max(state["seconds"] for state in states if state["stage"] == STAGE)


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__.splitlines()[0], rounds={"type": int, "default": 2, "help": "builds of each kind"})
    rounds, documents = (1, 1_500) if chosen.quick else (chosen.rounds, 5_000)
    times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), documents)
        for number in range(rounds):
            for ray in (False, True) if number % 2 else (True, False):
                times[ray].append(measure(Path(name), number, ray=ray))
    rows: list[list[Any]] = []
    plain = statistics.median(encoding for _, encoding in times[False])
    for ray, label in ((False, "without Ray"), (True, "Ray, one worker")):
        seconds, encoding = (statistics.median(own) for own in zip(*times[ray], strict=True))
        shown = [f"{seconds:.1f}", f"{encoding:.1f}", f"{seconds - encoding:.1f}", f"{documents / encoding:.0f}"]
        rows.append([label, *shown, f"{encoding / plain:.3f}"])
    load = os.getloadavg()[0]
    print(f"{documents:,} documents, medians of {rounds} builds each, load of the machine {load:.1f}")
    emit(HEADINGS, rows, {"documents": documents, "rounds": rounds, "load": load, "seconds": times}, chosen.json)


if __name__ == "__main__":
    main()
