"""Fault injection into the files of an index: are faults detected, and is an answer ever wrong?

    python -m benchmarks.reliability [--seed 0] [--quick] [--kinds NAME]... [--kills N] [--json FILE]

The script builds an index with files of every kind. For each kind it cuts 1 to 100 bytes off the end, flips 200 random bits one at a
time, and empties files, exchanges them for those of another segment or version, and removes them. After each fault a separate process
verifies and opens the index, runs a query with every engine, and reads its documents, skipped rows and sources. Each answer must be
right or refused; damage under derived/ must never prevent a right answer, and `optimize` must repair it. --kills adds the killed
processes of tests/crash/kill_many.py.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.damage import ALWAYS, KINDS, SAVED, Fault, Kind, apply, faults_of, undo
from benchmarks.damaged import BEST, ENGINES, make
from benchmarks.report import emit, options

PATIENCE = 120.0
"""Seconds after which a process counts as hanging."""
FULL = {"cuts": 100, "flips": 200, "files": 3}
QUICK = {"cuts": 4, "flips": 8, "files": 1}
LEAST = {"cuts": 1, "flips": 1, "files": 1}
WORKERS = 2
ASKED = list(dict.fromkeys([*ALWAYS, *ENGINES, "documents", "texts", "saved", "new texts", "weights"]))
ROOT = Path(__file__).parent.parent
KILL_MANY = ROOT / "tests" / "crash" / "kill_many.py"


class Looker:
    """A process that examines damaged indexes; replaced by a new one if it crashes or hangs."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __call__(
        self, index: Path, asked: Sequence[str], version: int | None = None, *, repair: bool = False
    ) -> dict[str, Any]:
        """Return an index's responses, including a crash or a hang."""
        if self.process is None:
            command = [sys.executable, "-m", "benchmarks.damaged"]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        request = {"index": str(index), "version": version, "asked": asked, "repair": repair}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""  # type: ignore[union-attr]
        if line:
            return json.loads(line)
        status = self.close(kill=True)
        how = f"ended with {status}" if ready else f"hung for {PATIENCE:.0f} s"
        return {"verify": [], "opening": None, "answers": {}, "warnings": [], "crashes": [f"the process {how}"]}

    def close(self, *, kill: bool = False) -> int | None:
        """End the process."""
        ended, self.process = self.process, None
        if ended is None:
            return None
        if kill:
            ended.kill()
        ended.communicate()
        return ended.returncode


def judge(
    kind: Kind, fault: Fault, said: dict[str, Any], right: dict[str, Any], earlier: dict[str, Any]
) -> Counter[str]:
    """Return the outcome of a fault as counts, including those of `BROKEN` for each promise that it broke.

    Args:
        kind: kind of the file.
        fault: the fault that was applied.
        said: the index's responses.
        right: the right answers.
        earlier: answers of the previous version, which are right if the current manifest is removed.
    """
    found = Counter({"faults": 1, "crashes": len(said["crashes"])})
    outside = kind.name == SAVED
    named = any(str(path) in line for line in said["verify"] for path in fault.told)
    found["detectable"], found["detected"] = bool(fault.told) and not outside, named and not outside
    found["untold"] = found["detectable"] and not named
    found["at opening"], found["opening"] = fault.opening, fault.opening and said["opening"] is not None
    found["unseen"] = found["at opening"] - found["opening"]
    expected = earlier if kind.name == "manifest, current" and fault.what == "removed" else right
    for name, answer in said["answers"].items():
        refused = isinstance(answer, dict)
        found["wrong"] += not refused and answer != expected[name]
        found["right"] += not refused and answer == expected[name]
        found["refused"] += refused
        # An engine requested by name cannot answer without its files: its refusal is right.
        found["in the way"] += refused and kind.derived and name != "graph"
    used = kind.derived and kind.name not in ("cached targets", "popularity")  # made again without a word
    noticed = found["refused"] or any("not used" in warning for warning in said["warnings"])
    found["silent"] = used and bool(fault.told) and not noticed
    if kind.derived and said["opening"] is not None:
        found["in the way"] += 1
    if "repaired" in said:
        after = said["repaired"]
        whole = not after.get("refused") and not after["verify"] and not any("not used" in w for w in after["warnings"])
        found["repairs"], found["repaired"] = (
            1,
            whole and all(after["answers"][m] == right[m] for m in after["answers"]),
        )
        found["unrepaired"] = 1 - found["repaired"]
    return found


BROKEN = ("untold", "silent", "unseen", "wrong", "crashes", "in the way", "unrepaired")


class Worker:
    """A copy of the sample, the process that examines it, and the right answers."""

    def __init__(self, sample: Path, place: Path) -> None:
        shutil.copytree(sample.parent, place)
        self.index, self.looker = place / sample.name, Looker()
        newest = int(max((self.index / "manifests").glob("[0-9]*.json")).stem)
        undamaged = self.looker(self.index, ASKED)
        require_fit(undamaged)
        self.right, self.earlier = undamaged["answers"], self.looker(self.index, ASKED, newest - 1)["answers"]

    def attempt(self, kind: Kind, seed: int, sizes: dict[str, int]) -> tuple[Counter[str], list[str]]:
        """Apply the faults of a kind; return their outcomes, and a description of each broken promise."""
        rng, total, stories = random.Random(f"{seed} {kind.name}"), Counter[str](), list[str]()
        for number, fault in enumerate(faults_of(self.index, kind, rng, **sizes)):
            path = next(iter(fault.changes))
            version = int(path.stem) if kind.name == "manifest, older" else None
            repair = kind.derived and (number % 20 == 0 or not fault.what.startswith(("cut", "bit")))
            before = apply(fault)
            asked = [*ALWAYS, *kind.asked]
            said = self.looker(self.index, asked, version, repair=repair)
            undo(before)
            found = judge(kind, fault, said, self.right, self.earlier)
            total += found
            if broken := ", ".join(name for name in BROKEN if found[name]):
                where = path.relative_to(self.index.parent)
                stories.append(f"{fault.what} of {where}: {broken}: {_told(said, self.right)}")
        if self.looker(self.index, ASKED)["answers"] != self.right:
            raise AssertionError(f"{kind.name}: the sample did not survive its faults")
        return total, stories


def _told(said: dict[str, Any], right: dict[str, Any]) -> str:
    """Return the responses to a fault as JSON, without the right answers."""
    other = {name: answer for name, answer in said["answers"].items() if answer != right[name]}
    repaired = said.get("repaired", {}) | {"answers": None}
    return json.dumps(said | {"answers": other, "repaired": repaired})[:2000]


def attempts(
    sample: Path, folder: Path, kinds: Sequence[Kind], seed: int, sizes: dict[str, int]
) -> dict[str, tuple[Counter[str], list[str]]]:
    """Apply the faults of all kinds, several kinds concurrently, and return the outcomes by kind."""
    left, done = list(reversed(kinds)), dict[str, tuple[Counter[str], list[str]]]()

    def work(number: int) -> None:
        worker = Worker(sample, folder / f"worker-{number}")
        while left:
            kind = left.pop()
            done[kind.name] = worker.attempt(kind, seed, sizes)
            total, stories = done[kind.name]
            print(f"{kind.name}: {total['faults']} faults, {len(stories)} broke a promise", file=sys.stderr, flush=True)
        worker.looker.close()

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(min(WORKERS, len(kinds)))))
    return {kind.name: done[kind.name] for kind in kinds}


def require_fit(said: dict[str, Any]) -> None:
    """Raise AssertionError unless the undamaged sample verifies and every engine gives the same answer."""
    answers = said["answers"]
    if said["verify"] or said["crashes"] or any(answers[engine] != answers["scan"] for engine in ENGINES):
        raise AssertionError(f"the undamaged sample will not do: {said}")
    if any(isinstance(answer, dict) for answer in answers.values()) or len(answers["scan"][0]) != BEST:
        raise AssertionError(f"the undamaged sample refuses: {answers}")


HEADINGS = [
    "files",
    "faults",
    "named by verify",
    "refused at opening",
    "right answers",
    "refusals",
    "repaired",
    "wrong answers",
    "crashes",
]


def row_of(name: str, total: Counter[str]) -> list[str]:
    """Return a row of the table."""

    def of(part: str, whole: str) -> str:
        return f"{total[part]:,} of {total[whole]:,}" if total[whole] else "-"

    return [
        name,
        f"{total['faults']:,}",
        of("detected", "detectable"),
        of("opening", "at opening"),
        f"{total['right']:,}",
        f"{total['refused']:,}",
        of("repaired", "repairs"),
        f"{total['wrong']:,}",
        f"{total['crashes']:,}",
    ]


def killed(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run kill_many.py and return its figures."""
    figures = folder / "kills.json"
    command = [sys.executable, str(KILL_MANY), "--kills", str(kills), "--seed", str(seed), "--json", str(figures)]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(figures.read_text())
    return found


def main() -> int:
    """Run all faults, report, and return 1 if a promise was broken."""
    names = [kind.name for kind in KINDS]
    arguments = options(
        __doc__ or "",
        least={"action": "store_true", "help": "one fault of each sort, for tests"},
        seed={"type": int, "default": 0, "help": "seed of the choice of files and bits"},
        kinds={"action": "append", "choices": names, "help": "only files of this kind"},
        kills={"type": int, "default": 0, "metavar": "N", "help": "also kill N processes"},
    )
    began, sizes = time.monotonic(), LEAST if arguments.least else QUICK if arguments.quick else FULL
    kinds = [kind for kind in KINDS if kind.name in (arguments.kinds or names)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.path.realpath(name))
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # records of verified files: not in the user's cache
        (folder / "sample").mkdir()
        sample = make(folder / "sample")
        done = attempts(sample, folder, kinds, arguments.seed, sizes)
        deaths = killed(arguments.kills, arguments.seed, folder) if arguments.kills else None
    totals = {name: total for name, (total, _) in done.items()}
    stories = [f"{name}: {story}" for name, (_, own) in done.items() for story in own]
    rows = [row_of(name, total) for name, total in totals.items()]
    rows.append(row_of("all", sum(totals.values(), Counter())))
    results = {"seed": arguments.seed, "totals": totals, "broken": stories, "kills": deaths}
    emit(HEADINGS, rows, results, arguments.json)
    if deaths is not None:
        counted = {name: count for name, count in deaths.items() if isinstance(count, int)}
        print("\n" + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counted.items()))
    for story in stories[:20]:
        print(story, file=sys.stderr)
    print(
        f"{time.monotonic() - began:.0f} s, seed {arguments.seed}, {len(stories)} faults broke a promise",
        file=sys.stderr,
    )
    lost = deaths is not None and any(
        deaths[name] for name in ("lost", "differing", "lost_commits", "broken", "reader_failures")
    )
    return int(bool(stories) or lost)


if __name__ == "__main__":
    sys.exit(main())
