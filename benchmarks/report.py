"""Shared by all benchmark scripts: options, description of the machine, medians, and results as table and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from nagindex.cli.tables import table

PACKAGES = ("nagindex", "numpy", "scipy", "numba", "torch", "transformers", "duckdb")


def options(description: str, **extra: dict[str, Any]) -> argparse.Namespace:
    """Return the command line's options: --quick, --json FILE and those of the script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON too")
    for name, settings in extra.items():
        parser.add_argument(f"--{name}", **settings)
    return parser.parse_args()


def median_seconds(work: Callable[[], object], *, repeat: int = 5) -> float:
    """Return the median time of some runs, after a warm-up run."""
    work()
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def in_a_process(module: str, *arguments: object) -> Any:
    """Return what a benchmark prints last, as JSON, when it runs in a process of its own with these arguments."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def machine() -> dict[str, Any]:
    """Return a description of the machine: processor, cores, memory, versions and the date."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": processor or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def emit(headings: list[str], rows: list[list[Any]], results: dict[str, Any], path: Path | None) -> None:
    """Print the machine and a table; if a path is given, write both and the results as JSON."""
    about = machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    print(
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, Python {about['python']}, {versions}"
    )
    print()
    print(table(headings, [[str(cell) for cell in row] for row in rows]))
    if path is not None:
        written = rounded({"machine": about, "headings": headings, "rows": rows} | results)
        path.write_text(
            "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(own)}" for key, own in written.items()) + "\n}\n"
        )


def rounded(value: Any) -> Any:
    """Return JSON values with floats of six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(own) for key, own in value.items()}
    return [rounded(own) for own in value] if isinstance(value, (list, tuple)) else value
