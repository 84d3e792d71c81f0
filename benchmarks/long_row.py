"""Peak memory of an append of one long row: its first tokens are encoded, and all of them are counted.

Each measurement runs in a separate process, which first appends a short row, so that memory taken by libraries is not counted. The
figure is the peak resident set minus the resident set before. The peer is the tokenizer alone, given the whole text at once.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import duckdb

import nagindex
from benchmarks.memory import memory_mb
from benchmarks.report import emit, in_a_process, options
from nagindex.backbone.load import load_backbone

SUFFIXES = ("jsonl", "csv", "txt", "parquet")
PEER = "tokenizer"


def write_row(path: Path, size: int) -> None:
    """Write a source of one row of about `size` letters and spaces."""
    letters = random.Random(size)
    words = ["".join(letters.choices("abcdefghijklmnop", k=letters.randint(1, 9))) for _ in range(5000)]
    text = " ".join(letters.choices(words, k=size // 6))
    if path.suffix == ".parquet":
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE rows AS SELECT ? AS text", [text])
            connection.execute(f"COPY rows TO '{path}' (FORMAT parquet)")
    else:
        forms = {".jsonl": json.dumps({"text": text}), ".csv": f"text\n{text}\n", ".txt": text}
        path.write_text(forms[path.suffix])


def measure(case: str, folder: Path) -> None:
    """Do a case with the short row, then with the long one, and print the second one's peak memory as JSON."""
    backbone = load_backbone("minilm", device="cpu")

    def do(length: str) -> None:
        if case == PEER:
            backbone.tokenizer((folder / f"{length}.txt").read_text(), add_special_tokens=False, verbose=False)
        else:
            nagindex.build(folder / f"{length}.{case}", folder / f"{case}.nagindex", backbone=backbone, workers=0)

    do("short")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory_mb("VmRSS")
    do("long")
    print(json.dumps(memory_mb("VmHWM") - before))


def main() -> None:
    """Measure each case in a fresh process and report."""
    arguments = options(__doc__ or "", measure={"nargs": 2, "help": argparse.SUPPRESS})
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
        return
    sizes = [1_000_000, 3_000_000] if arguments.quick else [10_000_000, 50_000_000]
    suffixes = ("jsonl", "txt") if arguments.quick else SUFFIXES
    peaks: dict[str, list[float]] = {case: [] for case in (*suffixes, PEER)}
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            for suffix in suffixes:
                write_row(Path(name, f"short.{suffix}"), 1000)
                write_row(Path(name, f"long.{suffix}"), size)
            for case in peaks:
                peaks[case].append(in_a_process("benchmarks.long_row", "--measure", case, name))
    rows = [[case, *(f"{value:,.0f}" for value in values)] for case, values in peaks.items()]
    headings = ["MB above what it took before", *(f"a row of {size // 10**6} MB" for size in sizes)]
    emit(headings, rows, {"sizes": sizes, "peaks_mb": peaks}, arguments.json)


if __name__ == "__main__":
    main()
