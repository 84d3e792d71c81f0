"""Kills at random moments, and what they took."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness import Content, Server, content, faults, save_expected, versions


@dataclass
class Toll:
    """What random kills did.

    Attributes:
        builds, kills, resumes: indexes built, processes killed, processes that went on with a killed one's index.
        lost, differing: documents lacking or out of place, and documents with other codes, in finished indexes.
        broken: what was wrong with an index right after a kill, or with a finished one.
        reads, reader_failures: whole readings by the reader processes, and those that failed.
        messages: the first failures.
    """

    builds: int = 0
    kills: int = 0
    resumes: int = 0
    lost: int = 0
    differing: int = 0
    broken: int = 0
    reads: int = 0
    reader_failures: int = 0
    messages: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether any promise was broken, or no reader ever read."""
        return bool(
            self.lost or self.differing or self.broken or self.reader_failures or (self.builds and not self.reads)
        )


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
    reader = server.start("read", index, stop=folder / "stop", **save_expected(expected, folder))
    done, resuming = 0, False
    while True:
        builder = server.start("build", index, corpus=corpus, segment_documents=rng.choice((8, 16, 40)))
        toll.resumes += resuming
        if done < kills:
            time.sleep(rng.uniform(0, longest))
            kill(builder)
        outcome = server.wait(builder)
        if not outcome.killed:
            if outcome.status:
                toll.broken += 1
                toll.messages.append(f"the build failed: {outcome.said.get('error')}")
            break
        done, resuming = done + 1, True
        if versions(index):
            found = faults(index) + content(index).differences(expected, prefix=True)
            toll.broken += bool(found)
            toll.messages += found
    (folder / "stop").touch()
    said = server.wait(reader)
    toll.builds, toll.kills = toll.builds + 1, toll.kills + done
    toll.reads += said.said.get("reads", 0)
    toll.reader_failures += said.said.get("failed", 1)
    toll.messages += said.said.get("failures", [str(said)])
    result = content(index)
    found = faults(index) + result.differences(expected)
    toll.broken += bool(found)
    toll.messages += found
    there = dict(zip(result.rows, result.codes.tolist(), strict=True))
    toll.lost += (
        len(expected.rows)
        - sum(a == b for a, b in zip(result.rows, expected.rows, strict=False))
        + max(0, len(result.rows) - len(expected.rows))
    )
    toll.differing += sum(
        there.get(row, codes) != codes for row, codes in zip(expected.rows, expected.codes.tolist(), strict=True)
    )


def kill(pid: int) -> None:
    """Kill -9 a child of the server that has not been waited for; one that has ended stays ended."""
    os.kill(pid, signal.SIGKILL)
