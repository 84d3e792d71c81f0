"""Eight readers, two writers and a keeper at one index, for some seconds: a program that notes what each of them did and saw.

    python tests/crash/crowd.py FOLDER SECONDS

Five of the readers are processes, three are threads of a sixth. Each process writes FOLDER/<name>.jsonl: a line for each version that it
published and for each answer that it was given; errors are lines too. What a document is follows from its id, so that the notes
tell what any version held, long after its files are gone. Nobody stops before having done some of its work, however slow the machine,
and no reader before the others.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import random
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import nagindex
from nagindex.errors import BadInputError
from nagindex.index import Index
from nagindex.ingest.windows import PreparedWindow, SourceReport
from nagindex.ingest.writer import Destination, SegmentWriter
from nagindex.nag import CODE_DTYPE, NagSpec
from nagindex.search import hnsw
from nagindex.storage import commit as commits
from nagindex.storage import manifest as manifests
from nagindex.storage.fingerprint import Fingerprint, installed_libraries
from nagindex.storage.segment import Rows, SourceSpan

LAYERS, TOP_K, WIDTH = 3, 4, 30
SPEC = NagSpec("up", (WIDTH,) * LAYERS, TOP_K)
FINGERPRINT = Fingerprint("made-up", "0" * 64, "1" * 64, SPEC, 120, "float32", "sdpa", installed_libraries())
OLD = 7200.0
"""Seconds before now at which the index was made, as its files and manifests tell."""
GRACE = 1000.0
"""More than the crowd takes: what was current when it came is kept, what was old by then goes."""
SEEDED = 20
"""Appends before the crowd comes."""
LEAST = {"write": 4, "keep": 3, "read": 16}
"""What each of the crowd does at least."""
WRITERS, PROCESSES, THREADS = ("left", "right"), 5, 3
CONDITIONS = (None, None, "tokens >= 20")
Note = Callable[..., None]


def codes_of(identifier: str) -> np.ndarray:
    """Return the NAG of a document, uint16 [L, K]."""
    order = np.random.default_rng(zlib.crc32(identifier.encode()) % 97).random((LAYERS, WIDTH)).argsort(axis=-1)
    return order[:, :TOP_K].astype(CODE_DTYPE)


def tokens_of(identifier: str) -> int:
    return zlib.crc32(identifier.encode()) % 50


def target_of(seed: int) -> np.ndarray:
    """Return a target set, uint16 [n, L, K]."""
    return np.array([codes_of(f"target {seed} {i}") for i in range(1 + seed % 4)])


def append(path: Path, name: str, ids: list[str], on_duplicate: str) -> None:
    """Append a source of its own, as a builder does whose backbone is not of interest."""
    n = len(ids)
    rows = Rows(ids, [name] * n, list(range(n)), [tokens_of(i) for i in ids], [()] * n)
    span = SourceSpan(name, "/nowhere", 1, f"{zlib.crc32(name.encode()):064x}", 0, n, complete=True)
    nothing = np.empty(0, np.int32)
    window = PreparedWindow(nothing, nothing.astype(np.int64), rows, [span], [], SourceReport())
    destination = Destination(path, manifests.read_latest(path), None)
    run = SegmentWriter(
        destination, SimpleNamespace(batch_tokens=2048), [SimpleNamespace(name=name, size=1)], on_duplicate
    )
    run.pending.append((np.array([codes_of(i) for i in ids]), window))
    run.publish()


def announced(note: Note) -> dict[str, Any]:
    """Have each version that this process publishes noted; what is in the returned dictionary then belongs to the note."""
    about: dict[str, Any] = {}
    publish = commits.publish

    def published(index: Path, manifest: manifests.Manifest) -> bool:
        done = publish(index, manifest)
        if done:
            note(version=manifest.version, **about)
        return done

    commits.publish = published
    return about


def write(path: Path, note: Note, more: Callable[[int], bool], name: str) -> None:
    """Append sources of ids of its own and of ids that the other writer has too, and now and then delete some."""
    about, dice = announced(note), random.Random(name)
    for number in count():
        if not more(number):
            return
        shared = [f"both {i}" for i in dice.sample(range(40), 3)]
        ids = [f"{name} {number} {i}" for i in range(dice.choice((1, 10, 40)))] + shared
        on_duplicate = dice.choice(("skip", "replace"))
        about |= {"op": "append", "ids": ids, "on_duplicate": on_duplicate}
        append(path, f"{name}-{number}.jsonl", ids, on_duplicate)
        if number % 3 == 2:
            gone = dice.sample(ids, 1) + [f"{name} {number - 1} {i}" for i in range(0, 40, 2)]
            about |= {"op": "delete", "ids": gone}
            Index.open(path).delete(ids=gone)


def keep(path: Path, note: Note, more: Callable[[int], bool], name: str) -> None:
    """Compact, make graphs, old ones anew at times, and remove what is not needed any more."""
    about = announced(note)
    for number in count():
        if not more(number):
            return
        about |= {"op": "same"}
        index = Index.open(path)
        index.compact()
        index.optimize(refit=number % 3 == 1)
        removed = index.vacuum(keep=2, grace=GRACE)
        note(vacuumed=removed.versions)


def read(path: Path, note: Note, more: Callable[[int], bool], name: str) -> None:
    """Ask questions of the current version, of one that was opened a few questions ago, and of the first that it opened."""
    dice, opened = random.Random(name), []
    for number in count():
        if not more(number):
            return
        if not opened or dice.random() < 0.6:
            first = manifests.versions(path)[-1]
            index = Index.open(path)
            opened = [*opened[:1], (index, first, manifests.versions(path)[-1])]
        index, first, last = dice.choice((opened[0], opened[-1], opened[-1]))
        seed, approx, where = dice.randrange(50), dice.random() < 0.3, dice.choice(CONDITIONS)
        budget = dice.choice(({"n": 5}, {"n": 60}, {"tokens": 500}))
        approx = approx and "n" in budget
        ask = partial(index.query, target_of(seed), where=where, threads=1, **budget)
        try:
            found = ask(approx=approx)
        except BadInputError as error:
            if not approx or "there are no graphs" not in str(error):  # compaction leaves them behind
                raise
            found = ask()
        note(
            read=index.manifest.version,
            between=[first, last],
            seed=seed,
            where=where,
            budget=budget,
            engine=found.plan.engine,
            ids=found.ids.tolist(),
            scores=found.scores.tolist(),
        )


def found(path: Path, note: Note, more: Callable[[int], bool], name: str) -> None:
    """Make an index of many versions, with a graph, all of which seems to have been there for long."""
    about, now = announced(note), manifests.now
    manifests.now = lambda: time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - OLD))
    Index.create(path, FINGERPRINT, manifests.Settings())
    for number in range(SEEDED):
        ids = [f"old {number} {i}" for i in range(15)]
        about |= {"op": "append", "ids": ids, "on_duplicate": "skip"}
        append(path, f"old-{number}.jsonl", ids, "skip")
    Index.open(path).optimize()
    manifests.now = now
    for approx in (False, True):  # so that all find the loops compiled
        Index.open(path).query(target_of(0), n=5, approx=approx, threads=1)
    for file in path.rglob("*"):
        os.utime(file, (time.time() - OLD,) * 2)


def start(part: Callable[..., None], path: Path, folder: Path, name: str, end: float, threads: int = 0) -> int:
    """Run one of the crowd in a process of its own, or as several threads of one; return the process's id."""
    pid = os.fork()
    if pid:
        return pid
    parent = os.getppid()

    def work(name: str) -> None:
        with open(folder / f"{name}.jsonl", "w") as file:

            def note(**told: Any) -> None:
                file.write(json.dumps(told) + "\n")

            def more(done: int) -> bool:
                over = time.monotonic() > end if part is not read else (folder / "over").exists()
                return os.getppid() == parent and (done < LEAST[part.__name__] or not over)

            try:
                part(path, note, more, name)
            except BaseException:
                note(error=traceback.format_exc())

    workers = [threading.Thread(target=work, args=(f"{name}-{n}",)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if not workers:
        work(name)
    os._exit(0)


def main(folder: Path, seconds: float) -> None:
    """Make the index, let the crowd at it, and wait for the end."""
    for module in pkgutil.walk_packages(nagindex.__path__, "nagindex."):
        if not module.name.startswith(("nagindex.cli", "nagindex.backbone.load", "nagindex.targets.lm_eval")):
            importlib.import_module(module.name)
    hnsw.GROUP_DOCUMENTS = 200
    path = folder / "i.nagindex"
    founder = start(found, path, folder, "founder", 0)
    if os.waitpid(founder, 0)[1]:
        sys.exit("the index could not be made")
    end = time.monotonic() + seconds
    crowd = [start(write, path, folder, name, end) for name in WRITERS]
    crowd.append(start(keep, path, folder, "keeper", end))
    readers = [start(read, path, folder, f"reader-{number}", end) for number in range(PROCESSES)]
    readers.append(start(read, path, folder, "thread", end, THREADS))
    failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in crowd)
    (folder / "over").touch()
    failed += sum(os.waitpid(pid, 0)[1] != 0 for pid in readers)
    if failed:
        sys.exit(f"{failed} processes died")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
