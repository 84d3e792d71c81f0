"""What the state machine drives: a model of an index in plain tuples, writers that can be overtaken or die, and a reader of its own."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np

from nagindex.ingest import writer
from nagindex.ingest.duplicates import DUPLICATE
from nagindex.ingest.windows import PreparedWindow, SourceReport
from nagindex.maintenance import compact
from nagindex.nag import CODE_DTYPE, NagSpec
from nagindex.search import hnsw
from nagindex.storage import commit as commits
from nagindex.storage import manifest as manifests
from nagindex.storage import segment as segments

LAYERS, TOP_K, WIDTH = 2, 3, 12
SPEC = NagSpec("up", (WIDTH,) * LAYERS, TOP_K)
WINDOW = 4
SETTINGS = manifests.Settings(keep_columns=("label",), window=WINDOW)
SMALL = (
    (writer, "SEGMENT_DOCUMENTS", 8),
    (compact, "SEGMENT_DOCUMENTS", 30),
    (hnsw, "GROUP_DOCUMENTS", 16),
)
"""What makes an append of ten rows several commits, and several graphs of fifty documents."""
DUCKDB = duckdb.connect(config={"threads": 1})


@dataclass(frozen=True)
class Row:
    """A document: its id, NAG as lists of lists, label, tokens, and where it came from."""

    id: str
    codes: tuple
    label: str
    tokens: int
    file: str
    row: int


@dataclass(frozen=True)
class Corpus:
    """A source file as windows of rows, of which `sha256` tells all sources apart; and what to do about ids that are in."""

    name: str
    sha256: str
    windows: tuple
    on_duplicate: str


@dataclass(frozen=True)
class State:
    """What a version holds: living documents in order, rows skipped as (file, row, id, reason), and rows of sources accounted for."""

    rows: tuple = ()
    skipped: tuple = ()
    covered: frozenset = frozenset()

    def with_windows(self, corpus, windows):
        """Return the state after some windows of a corpus joined it as one segment."""
        fresh = [row for window in windows for row in window if (corpus.sha256, row.row) not in self.covered]
        newest, living = corpus.on_duplicate == "replace", {row.id for row in self.rows}
        chosen, lost = {}, []
        for row in fresh:
            if row.id in chosen or (row.id in living and not newest):
                lost.append(chosen[row.id] if newest else row)
            if newest or (row.id not in living and row.id not in chosen):
                chosen[row.id] = row
        new = sorted(chosen.values(), key=lambda row: row.row)
        return State(
            (*(row for row in self.rows if row.id not in chosen), *new),
            tuple(sorted([*self.skipped, *((row.file, row.row, row.id, DUPLICATE) for row in lost)])),
            self.covered | {(corpus.sha256, row.row) for row in fresh},
        )

    def without(self, gone):
        """Return the state without the rows that f(row) says so of."""
        return replace(self, rows=tuple(row for row in self.rows if not gone(row)))


@dataclass
class Append:
    """An append under way: windows it has taken in, and how many of them a version is known to hold."""

    path: Path
    corpus: Corpus
    taken: int = 0
    known: int = 0
    forgets: bool = False

    def steps(self) -> Iterator[None]:
        """Append as a builder does whose backbone is not of interest; yields after each window, so that others can come between."""
        latest = manifests.read_latest(self.path)
        source = SimpleNamespace(name=self.corpus.name, format="parquet", size=int(self.corpus.sha256, 16))
        destination = writer.Destination(self.path, latest, None)
        run = writer.SegmentWriter(destination, SimpleNamespace(batch_tokens=2048), [source], self.corpus.on_duplicate)
        for window in self.corpus.windows:
            codes = np.array([row.codes for row in window], CODE_DTYPE).reshape(len(window), LAYERS, TOP_K)
            run.pending.append((codes, self._prepared(window)))
            self.taken += 1
            if run.is_due():
                run.publish()
            yield
        run.publish()

    def change(self, state: State) -> State:
        """Return the state with what the next version of this append adds."""
        pending, self.known = self.corpus.windows[self.known : self.taken], self.taken
        return state.with_windows(self.corpus, pending)

    def is_in(self, state: State) -> bool:
        """Return whether all rows of the corpus are accounted for."""
        return state.with_windows(self.corpus, self.corpus.windows) == state

    def _prepared(self, window: tuple) -> PreparedWindow:
        rows = segments.Rows(
            [row.id for row in window],
            [row.file for row in window],
            [row.row for row in window],
            [row.tokens for row in window],
            [(row.label,) for row in window],
        )
        first, stop, last = window[0].row, window[-1].row + 1, window == self.corpus.windows[-1]
        span = segments.SourceSpan(self.corpus.name, "/nowhere", 1, self.corpus.sha256, first, stop, complete=last)
        nothing = np.empty(0, np.int32)
        return PreparedWindow(nothing, nothing.astype(np.int64), rows, [span], [], SourceReport())


@dataclass
class Change:
    """Any other operation: what it does, what its version holds, and whether it removes versions."""

    do: Callable[[], object]
    change: Callable[[State], State] = lambda state: state
    forgets: bool = False

    def steps(self) -> Iterator[None]:
        self.do()
        yield

    def is_in(self, state: State) -> bool:
        return self.change(state) == state


class Dead(BaseException):
    """This writer was killed."""


@dataclass
class Disk:
    """The calls that change the disk, counted; at one of them the writer dies, and whatever it tries after that is not done.

    Nothing is forced to the disk, which the tests in tests/crash see to.
    """

    die_at: int = 0
    after: bool = False
    count: int = 0
    dead: bool = False
    made: list = field(default_factory=list)
    before_publication: Callable[[], None] = lambda: None

    def kill(self, at: int, *, after: bool) -> None:
        """Have the writer die at the `at`-th call from now, just before or just after it."""
        self.die_at, self.after, self.count, self.made = at, after, 0, []

    def revive(self) -> bool:
        """Let the next process begin; return whether the one before had died."""
        died, self.dead, self.die_at = self.dead, False, 0
        return died

    def install(self, patch) -> None:
        """Stand between the library and the disk, and before each publication of a version."""
        for module, name, value in SMALL:
            patch.setattr(module, name, value)
        for name in ("link", "replace", "unlink", "remove", "mkdir", "rmdir"):
            patch.setattr(os, name, self._watched(getattr(os, name)))
        patch.setattr(os, "fsync", self._watched(lambda descriptor: None))
        patch.setattr(segments, "write_table", self._watched(segments.write_table))
        plain, publish = builtins.open, commits.publish
        writing = self._watched(plain)

        def opened(file, mode="r", *args, **named):
            return (writing if set(mode) & set("xwa+") else plain)(file, mode, *args, **named)

        def published(*args):
            self.before_publication()
            return publish(*args)

        patch.setattr(builtins, "open", opened)
        patch.setattr(commits, "publish", published)

    def _watched(self, function):
        @wraps(function)
        def call(*args, **named):
            if self.dead:
                raise Dead
            self.count += 1
            here = self.count == self.die_at
            if here and not self.after:
                self.dead = True
                raise Dead
            found = function(*args, **named)
            if here:
                self.dead = True
                if hasattr(found, "close"):
                    found.close()
                raise Dead
            return found

        return call


class Reader:
    """Reads what a version holds off its files, without the library; a file that stayed the same is read once."""

    def __init__(self) -> None:
        self.read = {}

    def content(self, index: Path, version: int) -> tuple:
        """Return the living documents as `Row`s, in order, and the skipped rows, sorted."""
        manifest = json.loads((index / "manifests" / f"{version:012d}.json").read_bytes())
        rows, skipped = [], []
        for entry in manifest["segments"]:
            folder = index / "segments" / entry["id"]
            gone = set(self._once(folder / entry["deleted"], _positions)) if entry["deleted"] else ()
            found = self._once(folder / "docs.parquet", _documents)
            nags = self._once(folder / "nags.npy", _nags)
            skipped += self._once(folder / "skipped.parquet", _skipped)
            assert len(found) == len(nags) == entry["documents"]
            rows += [
                Row(d[0], nag, *d[1:]) for i, (d, nag) in enumerate(zip(found, nags, strict=True)) if i not in gone
            ]
        return tuple(rows), tuple(sorted(skipped))

    def _once(self, path, read):
        told = os.stat(path)
        key = path, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns
        if key not in self.read:
            self.read[key] = read(path)
        return self.read[key]


def _positions(path):
    return np.load(path).tolist()


def _nags(path):
    return [tuple(map(tuple, nag)) for nag in np.load(path).tolist()]


def _documents(path):
    listed = f"SELECT id, label, tokens, file, row FROM read_parquet('{path}', file_row_number = true)"
    return DUCKDB.execute(f"{listed} ORDER BY file_row_number").fetchall()


def _skipped(path):
    return DUCKDB.execute(f"SELECT file, row, id, reason FROM read_parquet('{path}')").fetchall()
