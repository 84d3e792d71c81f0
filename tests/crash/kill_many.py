"""Kill -9 builds, appends, deletions and compactions at random moments, go on with them, and hold the result against unbroken runs.

    python tests/crash/kill_many.py --kills 1000 --seed 0

Each index lives through a build, an append with a compaction beside it, a compaction, a deletion and a last compaction; each of them
is killed a few times, and the same command goes on. It has a graph from the build on. A reader opens, reads
and queries the index until the deletion. After every kill the index must open, verify to the last byte, and hold what it held
before. Prints what it cost; exits with 1 where a commit or a document was lost, a code differs, an index was not whole, or a reader failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Content, Server, content, faults, make_corpus, versions
from toll import Reader, Toll, kill

import nagindex

KILLS = {"build": 4, "append": 4, "compact": 2, "delete": 1}
"""How often each operation of an index is killed at most, each time it comes."""
WHERE = "row % 5 = 1"


@dataclass(frozen=True)
class World:
    """What unbroken runs gave: the corpora, the content after each operation, and how many seconds each took."""

    corpus: Path
    more: Path
    built: Content
    appended: Content
    deleted: Content
    seconds: dict[str, float]


@dataclass
class Life:
    """An index that is killed at, and what of it has been seen.

    Attributes:
        server, world, rng, toll: as their names say.
        index: the index's folder.
        kills: how many are left for it.
        seen: content of the versions that were current right after a kill.
    """

    server: Server
    world: World
    rng: random.Random
    toll: Toll
    index: Path
    kills: int
    seen: dict[int, Content] = field(default_factory=dict)

    def through(self, op: str, allowed: Callable[[Content], list[str]], *, beside: str = "", **request: Any) -> None:
        """Run an operation until it ends, killing it a few times on the way, sometimes with another beside it.

        Args:
            op: the operation.
            allowed: returns what is wrong with the content after a kill.
            beside: an operation that half of the time runs at the same time, and is killed too.
            request: the operation's arguments.
        """
        left = KILLS[op]
        while True:
            request["segment_documents"] = self.rng.choice((8, 16, 40))
            running = [(op, self.server.start(op, self.index, **request))]
            if beside and left and self.rng.random() < 0.5:
                running.append((beside, self.server.start(beside, self.index, segment_documents=8)))
            if left and self.kills > 0:
                self.rng.shuffle(running)
                time.sleep(self.rng.uniform(0, 0.8 * self.world.seconds[op]))
                for _, pid in running[: self.rng.randint(1, len(running))]:
                    kill(pid)
            outcomes = {name: self.server.wait(pid) for name, pid in running}
            for name, outcome in outcomes.items():
                if outcome.killed:
                    self.toll.count_death(name)
                    self.kills, left = self.kills - 1, max(left - 1, 0)
                elif outcome.status:
                    self.toll.count_faults([f"{name} failed: {outcome.said.get('error')}"])
                    return
            self.look(allowed)
            if not outcomes[op].killed:
                return
            self.toll.resumes += 1

    def look(self, allowed: Callable[[Content], list[str]]) -> None:
        """Hold the index as it lies there against what it may hold, and against what it held when it was last looked at."""
        found = versions(self.index)
        if not found:
            self.toll.lost_commits += len(self.seen)
            return
        now = content(self.index)
        self.toll.count_faults(faults(self.index) + allowed(now))
        if self.seen:
            self.remember(max(self.seen))
        self.seen[found[-1]] = now

    def remember(self, version: int) -> None:
        """Note a commit as lost where a version is gone, or is not what it was."""
        if version not in versions(self.index) or content(self.index, version).differences(self.seen[version]):
            self.toll.lost_commits += 1
            self.toll.messages.append(f"version {version} is lost")


def live(life: Life, folder: Path) -> None:
    """Lead an index through all operations."""
    world, index = life.world, life.index

    def growing(now: Content) -> list[str]:
        before = len(life.seen[max(life.seen)].rows) if life.seen else 0
        shrunk = [f"{len(now.rows)} documents after {before}"] if len(now.rows) < before else []
        return shrunk + now.differences(world.appended, prefix=True)

    with Reader(life.server, index, folder, world.appended, life.toll):
        life.through("build", growing, corpus=world.corpus)
        life.toll.count_faults(content(index).differences(world.built))
        nagindex.open(index).optimize()
        life.through("append", growing, beside="compact", corpus=world.more)
        life.through("compact", lambda now: now.differences(world.appended))
    either = (world.appended, world.deleted)
    life.through("delete", lambda now: min((now.differences(one) for one in either), key=len), where=WHERE)
    life.through("compact", lambda now: now.differences(world.deleted))
    for version in sorted(life.seen):
        life.remember(version)
    life.toll.builds += 1
    life.toll.count_faults(faults(index))
    life.toll.hold(content(index), world.deleted)


def make_world(server: Server, place: Path, seed: int, rows: int) -> World:
    """Run everything unbroken, and time it; the first build finds everything cold and does not count."""
    corpus = make_corpus(place / "corpus", seed=seed, rows=rows)
    more = make_corpus(place / "more", seed=seed + 1, rows=rows // 2, name="more")
    server.finish("build", place / "cold", corpus=corpus)
    index, seconds, after = place / "unbroken", {}, {}
    requests = {"build": {"corpus": corpus}, "append": {"corpus": more}, "delete": {"where": WHERE}, "compact": {}}
    for op, request in requests.items():
        began = time.monotonic()
        server.finish(op, index, **request)
        seconds[op], after[op] = time.monotonic() - began, content(index)
    if after["compact"].differences(after["delete"]) or len(after["delete"].rows) == len(after["append"].rows):
        raise AssertionError("the unbroken runs show nothing")
    return World(corpus, more, after["build"], after["append"], after["delete"], seconds)


def run(kills: int, seed: int, rows: int, say: Callable[[str], object]) -> Toll:
    """Lead indexes through their operations until so many processes were killed, and return the toll."""
    rng, toll = random.Random(seed), Toll()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(os.path.realpath(folder))
        with Server(place / "model") as server:
            world = make_world(server, place, seed, rows)
            timed = ", ".join(f"{op} {seconds:.1f} s" for op, seconds in world.seconds.items())
            say(f"unbroken: {len(world.appended.rows)} documents, {timed}")
            while toll.kills < kills and not toll.failed:
                own = place / "killed"
                own.mkdir()
                live(Life(server, world, rng, toll, own / "killed.nagindex", kills - toll.kills), own)
                shutil.rmtree(own)
                say(f"  {toll.kills} kills, {toll.builds} indexes")
    return toll


def main() -> int:
    """Parse the command line, run, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="processes to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the corpus and the moments")
    parser.add_argument("--rows", type=int, default=80, help="rows of the corpus")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    arguments = parser.parse_args()
    began = time.monotonic()
    toll = run(arguments.kills, arguments.seed, arguments.rows, lambda line: print(line, flush=True))
    for message in toll.messages[:10]:
        print(message, file=sys.stderr)
    of = ", ".join(f"{op} {count}" for op, count in sorted(toll.killed.items()))
    print(
        f"kills {toll.kills} ({of}), resumes {toll.resumes}, indexes {toll.builds}, lost commits {toll.lost_commits}, "
        f"indexes not whole {toll.broken}, lost documents {toll.lost}, differing codes {toll.differing}, reads {toll.reads}, "
        f"reader failures {toll.reader_failures}, {time.monotonic() - began:.0f} s"
    )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(vars(toll), indent=1) + "\n")
    return int(toll.failed)


if __name__ == "__main__":
    sys.exit(main())
