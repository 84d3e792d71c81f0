"""The demo behind `make demo`: index data/corpus, append data/more, query three targets, show what was selected and why."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from nagindex.cli.tables import table

import nagindex

DATA = Path(os.path.relpath(Path(__file__).parent))
INDEX = Path("demo.nagindex")
SELECTED = 30
TARGETS = ("biology_questions", "short_narratives", "code_questions")


def run(*arguments: str) -> None:
    """Run a nagindex command as a user would type it, showing it first."""
    print("\n$ nagindex", *arguments, flush=True)
    subprocess.run([Path(sys.executable).with_name("nagindex"), *arguments], check=True)


def ranked(index: nagindex.Index, target: str) -> list[dict[str, Any]]:
    """Return every document of the pool with its text, best first for a target."""
    selection = index.query(DATA / "targets" / f"{target}.jsonl", n=len(index))
    return selection.head(len(index), with_text=True)


def shares(documents: list[dict[str, Any]]) -> dict[str, float]:
    """Return the share of each subject among documents."""
    subjects = [document["subject"] for document in documents]
    return {subject: subjects.count(subject) / len(subjects) for subject in sorted(subjects)}


def shown(document: dict[str, Any]) -> str:
    """Return a document's place, and the beginning of its text."""
    place = f"rank {document['rank']}, score {document['score']:.3f}, {document['id']} ({document['subject']})"
    return f"{place}\n{textwrap.indent(textwrap.fill(textwrap.shorten(document['text'], 220), 100), '    ')}\n"


def main() -> None:
    """Build, append and query; compare the selections with the pool, and show three documents."""
    columns = ("--keep-column", "subject", "--keep-column", "quality")
    run("build", str(DATA / "corpus"), "-i", str(INDEX), "--model", "smollm2", "--preset", "calibrated", *columns)
    run("append", str(DATA / "more"), "-i", str(INDEX))
    run(
        "query",
        str(DATA / "targets" / f"{TARGETS[0]}.jsonl"),
        "-n",
        str(SELECTED),
        "-i",
        str(INDEX),
        "-o",
        "selection.parquet",
    )

    index = nagindex.open(INDEX)
    rankings = {target: ranked(index, target) for target in TARGETS}
    columns_of = {target: shares(ranking[:SELECTED]) for target, ranking in rankings.items()}
    rows = [
        [subject, f"{share:.0%}", *(f"{columns_of[target].get(subject, 0):.0%}" for target in TARGETS)]
        for subject, share in shares(rankings[TARGETS[0]]).items()
    ]
    first, second, *_, last = rankings[TARGETS[0]]
    print(
        f"""
Share of each subject in the pool of {len(index)} documents, and among the best {SELECTED} for three targets:

{table(["subject", "pool", *TARGETS], rows)}

Two documents selected for {TARGETS[0]}, and one that is not. The score is the mean share of neurons that
a document has in common with the examples; subjects play no part in it.

{shown(first)}
{shown(second)}
{shown(last)}
The index is in {INDEX}, the selection for {TARGETS[0]} in selection.parquet. With your own corpus:

    nagindex build CORPUS/ --dry-run               # documents, tokens, bytes and hours
    nagindex build CORPUS/                         # Qwen3-0.6B-Base, downloaded once; on a GPU if there is one
    nagindex query YOUR_EXAMPLES.jsonl -n 1M -o best.parquet"""
    )


if __name__ == "__main__":
    main()
