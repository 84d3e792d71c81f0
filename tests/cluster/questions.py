"""Queries of one index with and without a cluster: `python questions.py INDEX TARGETS... ADDRESS`; fails if any two files differ.

So do parts that tasks write, and the file.

Prints how many documents each question selects, as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

import nagindex
from nagindex.cluster.connection import AUTO, connected

QUESTIONS = {
    "documents": {"n": 100},
    "tokens": {"tokens": 4000},
    "contrast": {"n": 100, "contrast": 0.5},
    "quality": {"n": 100, "quality": nagindex.Quality("tokens")},
    "several": {"n": 100},
    "several, merged, of tokens": {"tokens": 4000, "mix": "merge"},
}


def main(index: str, targets: list[Path], address: str) -> None:
    """Ask, compare and print."""
    opened, selected = nagindex.open(index), {}
    with connected(address), tempfile.TemporaryDirectory() as folder:
        for name, question in QUESTIONS.items():
            files, with_text = [], name == "several"
            for ray in (None, AUTO):
                asked = targets if "several" in name else targets[:1]
                selection = opened.query(asked, device="cpu", ray=ray, **question)
                files.append(Path(folder, f"{name}-{ray is None}.parquet"))
                selection.to_parquet(f"{folder}/{name}/" if ray else files[-1], with_text=with_text)
                if ray:
                    assert pq.read_table(f"{folder}/{name}").equals(pq.read_table(files[0])), name
                    selection.to_parquet(files[-1], with_text=with_text)
                selected[name] = len(selection)
            here, there = (file.read_bytes() for file in files)
            assert here == there, name
    print(json.dumps(selected))


if __name__ == "__main__":
    main(sys.argv[1], [*map(Path, sys.argv[2:-1])], sys.argv[-1])
