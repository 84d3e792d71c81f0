"""Kills at random moments, and what they took."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from harness import Content, Server, content, faults, save_expected, versions


@dataclass
class Toll:
    """What random kills did.

    Attributes:
        builds, kills, resumes: indexes built, processes killed, processes that went on with a killed one's index.
        lost, differing: documents lacking or out of place, and documents with other codes, in finished indexes.
        lost_commits: versions that were there after one kill and were gone, or held something else, later.
        broken: what was wrong with an index right after a kill, or with a finished one.
        reads, reader_failures: whole readings by the reader processes, and those that failed.
        killed: kills by operation.
        messages: the first failures.
    """

    builds: int = 0
    kills: int = 0
    resumes: int = 0
    lost: int = 0
    differing: int = 0
    lost_commits: int = 0
    broken: int = 0
    reads: int = 0
    reader_failures: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether any promise was broken, or no reader ever read."""
        wrong = self.lost or self.differing or self.lost_commits or self.broken or self.reader_failures
        return bool(wrong or (self.builds and not self.reads))

    def count_death(self, op: str) -> None:
        """Note that a process was killed at an operation."""
        self.kills += 1
        self.killed[op] += 1

    def count_faults(self, found: list[str]) -> None:
        """Note what is wrong with an index that must be whole."""
        self.broken += bool(found)
        self.messages += found

    def hold(self, result: Content, expected: Content) -> None:
        """Note the documents that a finished index lacks, has too many, or has with other codes."""
        self.count_faults(result.differences(expected))
        same = sum(a == b for a, b in zip(result.rows, expected.rows, strict=False))
        self.lost += len(expected.rows) - same + max(0, len(result.rows) - len(expected.rows))
        there = dict(zip(result.rows, result.codes.tolist(), strict=True))
        self.differing += sum(
            there.get(row, codes) != codes for row, codes in zip(expected.rows, expected.codes.tolist(), strict=True)
        )


class Reader:
    """A process that reads an index over and over while a block runs; what it saw is added to the toll."""

    def __init__(self, server: Server, index: Path, folder: Path, expected: Content, toll: Toll) -> None:
        self.server, self.stop, self.toll = server, folder / "stop", toll
        self.pid = server.start("read", index, stop=self.stop, **save_expected(expected, folder))

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.touch()
        said = self.server.wait(self.pid)
        self.toll.reads += said.said.get("reads", 0)
        self.toll.reader_failures += said.said.get("failed", 1)
        self.toll.messages += said.said.get("failures", [str(said)])


def kill_at_random(
    server: Server,
    corpus: Path,
    folder: Path,
    expected: Content,
    rng: random.Random,
    toll: Toll,
    *,
    kills: int,
    longest: float,
) -> None:
    """Build an index once while killing the builder up to `kills` times at random moments, a reader looking on all the while.

    Args:
        server: starts the processes.
        corpus: to build of.
        folder: new; gets the index and the reader's files.
        expected: the unbroken build.
        rng: chooses the moments, and where segments are cut.
        toll: what happened is added to it.
        kills: at most so many.
        longest: seconds a builder may run before it is killed.
    """
    folder.mkdir()
    index = folder / "killed.nagindex"
    with Reader(server, index, folder, expected, toll):
        done = 0
        while True:
            builder = server.start("build", index, corpus=corpus, segment_documents=rng.choice((8, 16, 40)))
            toll.resumes += bool(done)
            if done < kills:
                time.sleep(rng.uniform(0, longest))
                kill(builder)
            outcome = server.wait(builder)
            if not outcome.killed:
                if outcome.status:
                    toll.count_faults([f"the build failed: {outcome.said.get('error')}"])
                break
            toll.count_death("build")
            done += 1
            if versions(index):
                toll.count_faults(faults(index) + content(index).differences(expected, prefix=True))
    toll.builds += 1
    toll.count_faults(faults(index))
    toll.hold(content(index), expected)


def kill(pid: int) -> None:
    """Kill -9 a child of the server that has not been waited for; one that has ended stays ended."""
    os.kill(pid, signal.SIGKILL)
