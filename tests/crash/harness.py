"""What the crash tests and kill_many.py share: the driver's server, a small awkward corpus, and an independent reading of an index."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from nagindex.index import Index

DUCKDB = duckdb.connect()
Death = tuple[int, bool]
"""At which commit step, and whether just after it rather than just before."""
WORDS = (
    "river",
    "sand",
    "fox",
    "index",
    "neuron",
    "graph",
    "sea",
    "quick",
    "lazy",
    "brown",
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
)


@dataclass
class Outcome:
    """How a child ended: killed by a signal or not, its exit status, and what it said."""

    killed: bool
    status: int
    said: dict[str, Any]


class Server:
    """The driver's forking server; safe to use from several threads."""

    def __init__(self, model: Path) -> None:
        driver = Path(__file__).with_name("driver.py")
        self.process = subprocess.Popen(
            [sys.executable, driver, model, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.lock = threading.Lock()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()

    def start(self, op: str, index: Path, **request: Any) -> int:
        """Start an operation in a child of its own and return the child's process id."""
        return self._ask(
            {"op": op, "index": str(index)} | {k: str(v) if isinstance(v, Path) else v for k, v in request.items()}
        )["pid"]

    def poll(self, pid: int) -> Outcome | None:
        """Return how a child ended, None while it runs."""
        answer = self._ask({"op": "poll", "pid": pid})
        return None if answer["running"] else Outcome(answer["killed"], answer["status"], answer["said"])

    def wait(self, pid: int, *, timeout: float = 120) -> Outcome:
        """Return how a child ended."""
        end = time.monotonic() + timeout
        while (outcome := self.poll(pid)) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"process {pid} still runs after {timeout} s")
            time.sleep(0.005)
        return outcome

    def run(self, op: str, index: Path, **request: Any) -> Outcome:
        """Run an operation to its end, or death."""
        return self.wait(self.start(op, index, **request))

    def finish(self, op: str, index: Path, **request: Any) -> dict[str, Any]:
        """Run an operation that must end well and return what it said."""
        outcome = self.run(op, index, **request)
        if outcome.killed or outcome.status:
            raise AssertionError(f"{op} ended with {outcome.status}: {outcome.said.get('error')}")
        return outcome.said

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the driver's server ended with {self.process.wait()}")
        return json.loads(line)


def make_corpus(folder: Path, *, seed: int, rows: int, name: str = "part") -> Path:
    """Write a corpus of about `rows` rows in four formats, with null, empty, broken, bad and twice-named rows, and return it.

    Its first file is cut off, and must be skipped.

    Files are of uneven length, so windows cross their ends and begin inside them.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True)

    def record(file: str, i: int) -> dict[str, Any]:
        text: str | None = " ".join(rng.choices(WORDS, k=rng.choice((1, 3, 12, 40, 90)) + rng.randrange(9)))
        if rng.random() < 0.06:
            text = rng.choice((None, ""))
        number = i - 1 if i and rng.random() < 0.05 else i
        return {"id": f"{name}/{file}-{number}", "text": text, "label": rng.choice(("a", "b"))}

    quarter = rows // 4
    for file, count in (("one", quarter + 3), ("two", quarter // 2)):
        lines = [json.dumps(record(file, i)).encode() for i in range(count)]
        lines.insert(5, b'{"id": "broken", "label": "a", "text": "not \xff UTF-8"}')
        lines.insert(7, b'{"id": "bad", "label": "a", "text": ["a list"]}')
        (folder / f"{name}-{file}.jsonl").write_bytes(b"\n".join(lines))
    zipped = [json.dumps(record("zip", i)) for i in range(quarter)]
    zipped[3] = json.dumps(record("one", 2))  # an id of an earlier file
    (folder / f"{name}-cut.jsonl.gz").write_bytes(gzip.compress("\n".join(zipped).encode(), mtime=0)[:-9])
    (folder / f"{name}-three.jsonl.gz").write_bytes(gzip.compress("\n".join(zipped).encode(), mtime=0))
    lines = [f'{r["label"]},"{r["text"] or ""}"' for r in (record("csv", i) for i in range(quarter // 2))]
    (folder / f"{name}-four.csv").write_text("label,text\n" + "\n".join(lines))
    with DUCKDB.cursor() as connection:
        connection.execute("CREATE OR REPLACE TEMP TABLE t (id VARCHAR, text VARCHAR, label VARCHAR)")
        for r in (record("table", i) for i in range(quarter)):
            connection.execute("INSERT INTO t VALUES (?, ?, ?)", list(r.values()))
        connection.execute(f"COPY t TO '{folder / f'{name}-five.parquet'}' (FORMAT parquet)")
    return folder


@dataclass
class Content:
    """The living documents of a version in order, and the rows that became none.

    Attributes:
        rows: id, file, row, tokens and label of each document.
        codes: uint16 [n, L, K].
        skipped: file, row, id and reason, sorted.
    """

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    codes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint16))
    skipped: list[tuple[Any, ...]] = field(default_factory=list)

    def differences(self, other: Content, *, prefix: bool = False) -> list[str]:
        """Return what tells this content from another, or from its beginning; nothing where they are equal."""
        n = len(self.rows) if prefix else len(other.rows)
        found = []
        if self.rows != other.rows[:n]:
            mine, theirs = set(self.rows), set(other.rows[:n])
            excess = f"lacking {sorted(theirs - mine)[:3]}, excess {sorted(mine - theirs)[:3]}"
            found.append(f"{len(self.rows)} documents for {n}, different or in another order: {excess}")
        if n and self.codes.tobytes() != other.codes[:n].tobytes():
            found.append(
                f"codes differ in {sum((a != b).any() for a, b in zip(self.codes, other.codes[:n], strict=False))} rows"
            )
        if not set(self.skipped) <= set(other.skipped) or (not prefix and self.skipped != other.skipped):
            found.append(f"skipped rows differ: {sorted(set(self.skipped) ^ set(other.skipped))[:3]}")
        return found


@dataclass(frozen=True)
class Unbroken:
    """A build that nothing disturbed: its corpus, index, content, number of commit steps, seconds, and options."""

    corpus: Path
    index: Path
    content: Content
    steps: int
    seconds: float
    options: dict[str, Any] = field(default_factory=dict)


def versions(index: Path) -> list[int]:
    """Return the versions of an index, read off its folder."""
    return sorted(int(path.stem) for path in (index / "manifests").glob("[0-9]*.json"))


def content(index: Path, version: int | None = None) -> Content:
    """Return what a version holds, by default the current one, read off its files without the library."""
    number = versions(index)[-1] if version is None else version
    manifest = json.loads((index / "manifests" / f"{number:012d}.json").read_bytes())
    found, codes = Content(), []
    with DUCKDB.cursor() as connection:
        for entry in manifest["segments"]:
            folder = index / "segments" / entry["id"]
            gone = set(np.load(folder / entry["deleted"]).tolist()) if entry["deleted"] else set()
            table = f"read_parquet('{folder / 'docs.parquet'}', file_row_number = true)"
            rows = connection.execute(
                f"SELECT id, file, row, tokens, label FROM {table} ORDER BY file_row_number"
            ).fetchall()
            nags = np.load(folder / "nags.npy")
            if not len(rows) == len(nags) == entry["documents"]:
                raise AssertionError(
                    f"segment {entry['id']}: {len(rows)} rows, {len(nags)} codes, {entry['documents']} stated"
                )
            alive = [i for i in range(len(rows)) if i not in gone]
            found.rows += [rows[i] for i in alive]
            codes.append(nags[alive])
            found.skipped += connection.execute(
                f"SELECT file, row, id, reason FROM read_parquet('{folder / 'skipped.parquet'}')"
            ).fetchall()
    found.skipped.sort()
    if codes:
        found.codes = np.concatenate(codes)
    return found


def faults(index: Path) -> list[str]:
    """Return what is wrong with an index that must be whole: every version opens, the current one verifies to the last byte."""
    for version in versions(index):
        current = Index.open(index, version=version)
    return [str(error) for error in current.verify()]


def strays(index: Path) -> list[str]:
    """Return files and folders of an index that its current version does not name, once older versions are gone."""
    manifest = json.loads((index / "manifests" / f"{versions(index)[-1]:012d}.json").read_bytes())
    named = {f"segments/{entry['id']}" for entry in manifest["segments"]}
    named |= {f"segments/{entry['id']}/{name}" for entry in manifest["segments"] for name in entry["files"]}
    named |= {"manifests", "segments", f"manifests/{versions(index)[-1]:012d}.json", "manifests/latest.json"}
    if (calibration := manifest["fingerprint"].get("calibration")) is not None:
        named |= {"calibration", f"calibration/{calibration}.npy"}
    return sorted({str(path.relative_to(index)) for path in index.rglob("*")} ^ named)


def spread(steps: int, samples: int) -> list[int]:
    """Return `samples` of the steps 1 .. steps, evenly spread, the first and the last among them."""
    return sorted({round(1 + i * (steps - 1) / (samples - 1)) for i in range(samples)})


def save_expected(expected: Content, folder: Path) -> dict[str, Path]:
    """Write what a reader process compares with and return the request's arguments for it."""
    np.save(folder / "codes.npy", expected.codes)
    (folder / "ids.json").write_text(json.dumps([row[0] for row in expected.rows]))
    return {"codes": folder / "codes.npy", "ids": folder / "ids.json"}


def sampled(steps: int, samples: int) -> list[Death]:
    return [(k, i % 2 == 1) for i, k in enumerate(spread(steps, samples))]


def swept(kill: Callable[..., list[str]], *arguments: Any) -> list[str]:
    """Return all that is wrong after the deaths that come last among the arguments, each with the arguments before; two at a time."""
    *before, deaths = arguments
    with ThreadPoolExecutor(2) as pool:
        return [text for wrong in pool.map(lambda death: kill(*before, death), deaths) for text in wrong]


def every(steps: int) -> list[Death]:
    return [(k, after) for k in range(1, steps + 1) for after in (False, True)]
