"""Appends made-up documents to an index, without a model: `python writer.py URL NAME COUNT [kill]`."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np

from nagindex.nag import CODE_DTYPE, NagSpec
from nagindex.storage import locations, mirror
from nagindex.storage.commit import commit
from nagindex.storage.create import create_index
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.segment import Rows, SourceSpan, write_segment
from nagindex.storage.settings import Settings

SPEC = NagSpec("up", (16, 16), 4)
FINGERPRINT = Fingerprint("made-up", "0" * 64, "1" * 64, SPEC, 120, "float32", "sdpa", {})


def start(url: str) -> None:
    """Make an empty index."""
    create_index(locations.index_folder(url), FINGERPRINT, Settings())


def append(url: str, name: str) -> None:
    """Append a segment of one document."""
    index = locations.index_folder(url)
    codes = np.random.default_rng(sum(name.encode())).permuted(
        np.tile(np.arange(16, dtype=CODE_DTYPE), (1, 2, 1)), axis=-1
    )
    entry = write_segment(
        index,
        SPEC,
        codes=[np.ascontiguousarray(codes[..., :4])],
        rows=Rows([name], ["made.jsonl"], [0], [3], [()]),
        keep=(),
        spans=[SourceSpan("made.jsonl", "/nowhere", 1, "2" * 64, 0, 1, complete=True)],
        skipped=[],
        libraries={},
    )
    commit(index, lambda current: current.following("append", (*current.segments, entry)))


if __name__ == "__main__":
    _, url, name, count, *kill = sys.argv
    if kill:
        mirror.Mirror.create = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    for number in range(int(count)):
        append(url, f"{name}-{number}")
