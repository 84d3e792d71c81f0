"""A selection that tasks write, with time to lose a node: `python write_parts.py INDEX DOCUMENTS FOLDER ADDRESS`.

Prints `looked up` once the rows lie on the nodes, and has them written after a line on stdin; then prints the totals as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np

import nagindex
from nagindex.query import remote_rows

look_up = remote_rows._look_up


def look_up_and_wait(*given: object) -> object:
    """Look up, say so, and wait for a line."""
    found = look_up(*given)
    print("looked up", flush=True)
    sys.stdin.readline()
    return found


def main(index: str, documents: str, folder: str, address: str) -> None:
    """Select, and write."""
    remote_rows._look_up = look_up_and_wait
    opened = nagindex.open(index)
    selection = opened.query({"a": np.asarray(opened.codes[0][:5])}, n=int(documents), ray=address)
    selection.to_parquet(folder)
    print(json.dumps(dataclasses.asdict(selection.totals())))


if __name__ == "__main__":
    main(*sys.argv[1:])
