"""Processor seconds of a command on a tiny index, from the start of its process to its end, against importing DuckDB and NumPy alone.

    python -m benchmarks.start [--quick] [--json FILE]

The commands run one after another, round after round, so that other work on the machine hits all of them alike; medians are of user and
system time. Python keeps compiled modules, as it does unless it is told not to. The index has 1,000 synthetic documents; targets are
saved NAGs, so no model is needed. The same query is also measured where compiled loops are used, first without a cache of them, then
with one.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import emit, options
from benchmarks.synthetic import make_codes, write_pool
from nagindex.nag import NagSpec
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet, write_nags

SPEC = NagSpec("up", (1536,) * 10, 5)
DOCUMENTS, EXAMPLES = 1000, 200
PEER = "import duckdb, numpy"
COMPILED = "from nagindex.search import plain; plain.FEW = -1; from nagindex.cli import main; main()"


def cpu_seconds(command: Sequence[str], environment: Mapping[str, str] = {}) -> float:
    """Run a command whose output is not wanted, and return its processor seconds.

    Raises:
        SystemExit: it fails.
    """
    actions = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    child = os.posix_spawn(command[0], command, os.environ | environment, file_actions=actions)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure in a temporary folder, and report."""
    arguments = options((__doc__ or "").splitlines()[0])
    rounds = 3 if arguments.quick else 7
    python = sys.executable
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index, saved = folder / "tiny.nagindex", folder / "saved-nags.parquet"
        caches = {"NUMBA_CACHE_DIR": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
        write_pool(index, DOCUMENTS, spec=SPEC, kind="relative")
        examples = TargetSet(
            make_codes(EXAMPLES, topic=3, spec=SPEC, kind="relative"), list(map(str, range(EXAMPLES))), []
        )
        write_nags(saved, [examples], Snapshot.open(index).manifest.fingerprint)
        query = ["query", str(saved), "-i", str(index), "-n", "10", "-o", str(folder / "best.parquet")]
        commands = {
            PEER: [python, "-c", PEER],
            "nagindex --help": [python, "-m", "nagindex", "--help"],
            "nagindex info": [python, "-m", "nagindex", "info", "-i", str(index)],
            "nagindex query": [python, "-m", "nagindex", *query],
            "nagindex query, compiled loops": [python, "-c", COMPILED, *query],
        }
        cpu_seconds(commands["nagindex query"], caches)
        first = cpu_seconds(commands["nagindex query, compiled loops"], caches)
        found: dict[str, list[float]] = {what: [] for what in commands}
        for _ in range(rounds):
            for what, command in commands.items():
                found[what].append(cpu_seconds(command, caches))
    seconds = {what: statistics.median(own) for what, own in found.items()}
    seconds["nagindex query, compiling loops"] = first
    rows = [[what, f"{own:.2f}", f"{own / seconds[PEER]:.2f}"] for what, own in seconds.items()]
    emit(["", "processor seconds", f"of {PEER}"], rows, {"rounds": rounds, "seconds": seconds}, arguments.json)


if __name__ == "__main__":
    main()
