"""What the Ray tests share: a corpus of several shards, commands in processes of their own, and what an index holds."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MODEL = Path(__file__).parents[1] / "golden" / "data" / "models" / "qwen3"
WORDS = ("river", "sand", "fox", "index", "neuron", "graph", "sea", "quick", "lazy", "brown", "the", "of", "and", "to")
DOCUMENTS, MORE = 8200, 3000
DUPLICATES = 30
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_LOG_TO_DRIVER": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "OMP_NUM_THREADS": "1",
}
LIMIT = 240


def write_corpus(folder: Path, *, documents: int, seed: int, prefix: str) -> Path:
    """Write documents of random words in two files, some of whose ids occur in both."""
    rng = random.Random(seed)
    folder.mkdir()
    lines = [
        json.dumps({"id": f"{prefix}-{i}", "text": " ".join(rng.choices(WORDS, k=rng.randrange(40, 80)))})
        for i in range(documents)
    ]
    half = documents // 2
    (folder / "one.jsonl").write_text("\n".join(lines[:half]))
    (folder / "two.jsonl").write_text("\n".join([*lines[half:], *lines[:DUPLICATES]]))
    return folder


def command(*arguments: object) -> list[str]:
    """Return the command line of nagindex."""
    return [sys.executable, "-m", "nagindex", *map(str, arguments)]


def options(index: Path | str) -> list[object]:
    """Return the options of every build."""
    return [
        "-i",
        index,
        "--model",
        MODEL,
        "--device",
        "cpu",
        "--dtype",
        "fp32",
        "--preset",
        "paper",
        "--max-length",
        "48",
    ]


class Nodes:
    """A cluster of three nodes with a CPU each, in a process of its own; a context that ends it.

    Attributes:
        address: HOST:PORT.
    """

    def __enter__(self) -> Nodes:
        script = Path(__file__).with_name("nodes.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, script], text=True, env=os.environ | QUIET, **pipes)
        self.address = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=LIMIT)

    def lose(self) -> None:
        """End a node at once."""
        assert self._ask("lose") == "lost"

    def join(self) -> None:
        """Add a node."""
        assert self._ask("join") == "joined"

    def _ask(self, word: str) -> str:
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        return self.process.stdout.readline().strip()


class Driver:
    """A build or append in a process of its own, which another command may start."""

    def __init__(self, *arguments: object, errors: Path, by: Sequence[str] = (), **environment: str) -> None:
        self.errors = errors
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [*by, *command(*arguments, "--progress", "json", "--json")],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=os.environ | environment,
                start_new_session=True,
            )

    def said(self) -> str:
        """Return what stderr holds, without the progress."""
        return "\n".join(line for line in self.errors.read_text().splitlines() if not line.startswith("{"))

    def progress(self) -> list[dict[str, Any]]:
        """Return the states that were shown."""
        lines = self.errors.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, while the process runs."""
        end = time.monotonic() + LIMIT
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said()}"
            assert time.monotonic() < end, self.errors.read_text()[-3000:]
            time.sleep(0.1)

    def signal(self, number: int) -> None:
        """Send a signal to the process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def finish(self, status: int = 0) -> dict[str, Any]:
        """Wait for the end with a status, and return the report."""
        out, _ = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == status, self.errors.read_text()[-3000:]
        return json.loads(out) if out else {}

    def kill(self) -> None:
        """End the process at once, and with it what it started."""
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()


def content(path: Path | str) -> dict[str, tuple[str, int, int, bytes]]:
    """Return the living documents of an index by id: file, row, tokens and codes; an id that occurs twice fails."""
    import nagindex

    index = nagindex.open(path)
    codes = [np.asarray(part) for part in index.codes]
    rows = index.docs.order("_segment, _position").project("id, file, row, tokens, _segment, _position").fetchall()
    found = {row[0]: (*row[1:4], codes[row[4]][row[5]].tobytes()) for row in rows}
    assert len(found) == len(rows) == len(index)
    return found


def skipped(path: Path) -> list[tuple[str, int, str]]:
    """Return the rows of an index that became no document, sorted."""
    import nagindex

    return sorted((row.file, row.row, row.id) for row in nagindex.open(path).skipped())
