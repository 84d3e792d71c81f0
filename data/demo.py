"""The demo behind `make demo`: build an index of data/corpus, append data/more, query three targets, show what was picked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nagindex.cli.tables import table

import nagindex

DATA = Path(os.path.relpath(Path(__file__).parent))
INDEX = Path("demo.nagindex")
SELECTED = 30
TARGETS = ("science_questions", "short_narratives", "code_questions")


def run(*arguments: str) -> None:
    """Run a nagindex command as a user would type it, showing it first."""
    print("\n$ nagindex", *arguments, flush=True)
    subprocess.run([Path(sys.executable).with_name("nagindex"), *arguments], check=True)


def shares(selected: list[str]) -> dict[str, float]:
    """Return the share of each subject among documents."""
    return {subject: selected.count(subject) / len(selected) for subject in selected}


def main() -> None:
    """Build, append, query, and compare the subjects of each selection with the pool's."""
    corpus, more = DATA / "corpus", DATA / "more"
    columns = ("--keep-column", "subject", "--keep-column", "quality")
    run("build", str(corpus), "-i", str(INDEX), "--model", "minilm", *columns)
    run("append", str(more), "-i", str(INDEX))
    targets = DATA / "targets" / f"{TARGETS[0]}.jsonl"
    run("query", str(targets), "-n", str(SELECTED), "-i", str(INDEX), "-o", "selection.parquet")

    index = nagindex.open(INDEX)
    pool = shares([row[0] for row in index.sql("SELECT subject FROM docs").fetchall()])
    picked = {
        name: shares(list(index.query(DATA / "targets" / f"{name}.jsonl", n=SELECTED).column("subject")))
        for name in TARGETS
    }
    rows = [
        [subject, f"{share:.0%}", *(f"{picked[name].get(subject, 0):.0%}" for name in TARGETS)]
        for subject, share in sorted(pool.items())
    ]
    print(
        f"\nShare of each subject in the pool of {len(index)} documents and in the best {SELECTED} for three targets:\n"
    )
    print(table(["subject", "pool", *TARGETS], rows))
    print(
        f"""
The index is in {INDEX}, the science selection in selection.parquet. With your own corpus and a GPU:

    nagindex build CORPUS/ --dry-run               # what it would cost
    nagindex build CORPUS/                         # Qwen3-0.6B, downloaded once
    nagindex query YOUR_EXAMPLES.jsonl -n 1M -o best.parquet
"""
    )


if __name__ == "__main__":
    main()
