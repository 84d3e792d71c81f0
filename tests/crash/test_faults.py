"""A disk that fills up, fails, or goes away at any step of any command: the old version or the new, one line said, and the same again."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import DUCKDB, Content, Outcome, Server, content, faults, make_corpus, spread, strays, swept, versions
from shim import ACTIONS, INDEX, Command, Disk, Fault, compiled

import nagindex
from nagindex.errors import BadInputError, InputNotFoundError

CI_FAULTS = 3
SETTINGS = ("--preset", "paper", "--top-k", "6", "--keep-column", "label", "--device", "cpu", "--dtype", "fp32")
SKIP = ("--on-error", "skip")
TARGETS = ("river sand sea", "the fox of index", "graph of the quick brown neuron")
OLD_OUTPUT = b"what was here before"


LINES = {
    "build": ("build", "{place}/corpus", "-i", "{world}/i.nagindex", "--model", "{place}/model", *SETTINGS, *SKIP),
    "build, relative": (
        "build",
        "{place}/corpus",
        "-i",
        "{world}/i.nagindex",
        "--model",
        "{place}/model",
        "--impact",
        "relative",
        "--calibrate",
        "12",
        *SETTINGS,
        *SKIP,
    ),
    "append": ("append", "{place}/more", "-i", "{world}/i.nagindex", "--device", "cpu", *SKIP),
    "append replacing": ("append", "{place}/newer", "-i", "{world}/i.nagindex", "--on-duplicate", "replace", *SKIP),
    "delete": ("delete", "-i", "{world}/i.nagindex", "--where", "tokens > 60"),
    "compact": ("compact", "-i", "{world}/i.nagindex"),
    "vacuum": ("vacuum", "-i", "{world}/i.nagindex", "--grace", "0"),
    "optimize": ("optimize", "-i", "{world}/i.nagindex"),
    "query": ("query", "{place}/targets.jsonl", "-i", "{world}/i.nagindex", "-n", "5", "-o", "{world}/out.parquet"),
    "query, JSON lines": (
        "query",
        "{place}/targets.jsonl",
        "-i",
        "{world}/i.nagindex",
        "-n",
        "5",
        "-o",
        "{world}/out.jsonl",
    ),
}


@pytest.fixture(scope="module")
def disk(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Disk:
    place = tmp_path_factory.mktemp("faults").resolve()
    make_corpus(place / "corpus", seed=0, rows=24)
    make_corpus(place / "more", seed=1, rows=16, name="more")
    make_corpus(place / "newer", seed=2, rows=16)
    (place / "targets.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TARGETS))
    (place / "model").symlink_to(Path(server.process.args[2]))
    return Disk(server, compiled(place), place)


@pytest.fixture(scope="module")
def worlds(disk: Disk) -> dict[str, Path]:
    """The folders that commands start from."""
    empty, built, full, history = (disk.place / name for name in ("empty", "built", "full", "history"))
    empty.mkdir()
    for before, world, *lines in (
        (empty, built, LINES["build"]),
        (built, full, (*LINES["delete"][:-1], "row % 5 = 1"), LINES["optimize"]),
        (full, history, LINES["append"], LINES["compact"]),
    ):
        shutil.copytree(before, world)
        for line in lines:
            disk.finish(world, *line)
        for name in ("out.parquet", "out.jsonl"):
            (world / name).write_bytes(OLD_OUTPUT)
    starts = {"build": empty, "build, relative": empty, "vacuum": history, "optimize": built}
    return {name: starts.get(name, full) for name in LINES}


@pytest.fixture(scope="module")
def commands(disk: Disk, worlds: dict[str, Path]) -> dict[str, Command]:
    return {name: _unbroken(disk, worlds[name], line, disk.place / f"after {name}") for name, line in LINES.items()}


def _unbroken(disk: Disk, before: Path, line: tuple[str, ...], world: Path) -> Command:
    shutil.copytree(before, world)
    first = versions(world / INDEX)[-1:]
    steps = disk.finish(world, *line, trace=True)["steps"]
    seen: list[Content | None] = [content(world / INDEX, v) for v in versions(world / INDEX) if [v] >= first]
    after, output = content(world / INDEX), _output(world, line)
    assert output is None or len(output) == 5
    return Command(before, line, steps, seen if first else [None, *seen], after, output, _left(world))


def sampled(command: Command) -> list[Fault]:
    """Return faults spread over the steps on files that commands cannot do without, and a kill before the last of their writes."""
    steps = [k for k, (_, path) in enumerate(command.steps, 1) if not survivable(path)]
    found = [fault for fault in command.every() if fault[0] in steps]
    writes = [fault for fault in found if fault[1] == "short write"]
    chosen = [found[i - 1] for i in spread(len(found), CI_FAULTS)] if len(found) > CI_FAULTS else found
    return chosen + [(k, "kill before") for k, _ in writes[-1:]]


def _output(world: Path, line: tuple[str, ...]) -> list[Any] | None:
    """Return the rows of a command's output file, nothing where it writes none or has not begun to replace it."""
    path = Path(line[-1].format(place="", world=world))
    if line[0] != "query" or path.read_bytes() == OLD_OUTPUT:
        return None
    with DUCKDB.cursor() as connection:
        return connection.execute(f"SELECT * FROM '{path}' ORDER BY rank").fetchall()


def _left(world: Path) -> list[str]:
    """Vacuum; return the names of all that is left in an index, without what is random in them."""
    nagindex.open(world / INDEX).vacuum(grace=0)
    names = (str(path.relative_to(world / INDEX)) for path in (world / INDEX / "derived").rglob("*"))
    unnamed = [name for name in strays(world / INDEX) if not name.startswith("derived")]
    return sorted(re.sub("[0-9a-f]{8,}|[0-9]{6}", "#", name) for name in names) + unnamed


def struck(disk: Disk, command: Command, folder: Path, fault: Fault) -> list[str]:
    """Run a command with a fault, and again without; return what was wrong on the way."""
    k, action = fault
    world = folder / f"{k}-{ACTIONS.index(action)}"
    shutil.copytree(command.before, world)
    outcome = disk.run(world, command.arguments, fault_at=k, action=action)
    wrong = (
        killed(outcome) if action.startswith("kill") else told(outcome, command, world, full=action == "short write")
    )
    wrong += broken(world, command)
    if not wrong and k % 2 and versions(world / INDEX):
        nagindex.open(world / INDEX).vacuum(grace=0)
        wrong += [f"after a vacuum: {text}" for text in broken(world, command)]
        wrong += [f"left by a vacuum: {path}" for path in temporary(world / INDEX)]
    again = disk.run(world, command.arguments)
    if again.killed or again.said.get("status") != 0:
        wrong.append(f"the command cannot be run again: {again}")
    else:
        wrong += [f"run again: {text}" for text in broken(world, command)]
        wrong += [f"run again: {text}" for text in unlike(world / INDEX, command.after)]
        if _output(world, command.arguments) != command.output:
            wrong.append("run again: another output")
        if not wrong and (left := _left(world)) != command.left:
            wrong.append(f"left behind after a vacuum: {sorted(set(left) ^ set(command.left)) or left}")
    shutil.rmtree(world)
    kind, path = command.steps[k - 1]
    where = re.sub("[0-9a-f]{8,}", "#", Path(path).name)
    return [f"{action} at step {k}, {kind} {where}: {text}" for text in wrong]


def killed(outcome: Outcome) -> list[str]:
    return [] if outcome.killed else [f"not killed: {outcome}"]


def told(outcome: Outcome, command: Command, world: Path, *, full: bool) -> list[str]:
    """Return what is wrong with how a command dealt with an error of the disk, which may be full from then on."""
    if outcome.killed or outcome.status:
        return [f"the process died: {outcome}"]
    said, hit = outcome.said, outcome.said["hit"]
    if not hit:
        return ["nothing was struck"]
    wrong = [f"a temporary file is left: {path}" for path in temporary(world)]
    if said["status"] == 0:
        unsaid = [] if survivable(hit) else ["an error of the disk was passed over"]
        return wrong + unsaid + unlike(world / INDEX, command.after)
    lines = said["stderr"].splitlines()
    if said["status"] != 1 or "Traceback" in said["stderr"] or sum(line.startswith("Error: ") for line in lines) != 1:
        wrong.append(f"no one-line error: status {said['status']}, {said['raised']}, {lines}")
    if not {"nagindex.errors.NagIndexError", "builtins.OSError"} & set(said["classes"]):
        wrong.append(f"neither an error of nagindex nor of the system: {said['raised']}")
    elif not any(str(path) in lines[-1] for path in (hit, Path(hit).parent, *([world] if full else []))):
        wrong.append(f"the error does not name the file: {lines[-1]}")
    return wrong


def survivable(hit: str) -> bool:
    """Whether commands do without a file: cached targets, popularities, the record of verified files, the version hint."""
    return any(part in hit for part in ("/derived/targets", "/derived/popularity", "/cache", "latest.json"))


def temporary(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*.tmp")]


def broken(world: Path, command: Command) -> list[str]:
    """Return what is wrong with a folder that must hold the old version or the new, and the old output or the new."""
    index, now = world / INDEX, None
    wrong = []
    if versions(index):
        try:
            wrong, now = faults(index), content(index)
            wrong += differing(index)
        except Exception as error:
            wrong.append(f"cannot be read: {error!r}")
    else:
        with pytest.raises(InputNotFoundError):
            nagindex.open(index)
    if not wrong and not any(now == one if None in (now, one) else not now.differences(one) for one in command.allowed):
        wrong.append(f"neither the old version nor the new: {now.differences(command.after) if now else 'none'}")
    try:
        if _output(world, command.arguments) not in (None, command.output):
            wrong.append("neither the old output nor the new")
    except Exception as error:
        wrong.append(f"neither the old output nor the new: {error!r}")
    return wrong


def unlike(index: Path, expected: Content) -> list[str]:
    try:
        return content(index).differences(expected)
    except Exception as error:
        return [f"cannot be read: {error!r}"]


def differing(index: Path) -> list[str]:
    """Return how graphs answer otherwise than a scan: they may be missing, but never wrong."""
    opened = nagindex.open(index)
    if not (index / "derived").exists() or not len(opened):
        return []
    targets = np.concatenate(opened.codes)[:3]
    answer = partial(opened.query, targets, n=4, threads=1)
    try:
        selection = answer(approx=True)
    except BadInputError as error:
        return [] if "there are no" in str(error) else [str(error)]
    same = selection.to_duckdb().fetchall() == answer().to_duckdb().fetchall()
    return [] if same else ["graphs answer otherwise than a scan"]


def test_every_kind_of_step_is_seen(commands: dict[str, Command]):
    """Otherwise the tests below would show little."""
    kinds = {kind for command in commands.values() for kind, _ in command.steps}
    assert kinds == {"write", "fsync", "link", "rename", "resize", "create", "mkdir"}
    for name, suffix in {
        "build": ".parquet",
        "delete": ".npy",
        "optimize": ".usearch",
        "query": ".tmp",
    }.items():
        assert suffix in {Path(path).suffix for kind, path in commands[name].steps if kind == "write"}, name


@pytest.mark.parametrize("name", LINES)
def test_a_fault_at_a_step_leaves_the_old_or_the_new_version(
    disk: Disk, commands: dict[str, Command], tmp_path: Path, name: str
):
    """Killed, out of space, failing, or cut short: the index is whole, the reason is one line, and the same command completes it."""
    wrong = swept(struck, disk, commands[name], tmp_path, sampled(commands[name]))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "kind", "suffix", "action"),
    [
        ("delete", "write", ".npy", "no space"),
        ("optimize", "write", ".npy", "no space"),
        ("optimize", "write", ".usearch", "no space"),
        ("optimize", "fsync", "", "i/o error"),
    ],
)
def test_the_last_step_on_a_file_is_not_passed_over(
    disk: Disk, commands: dict[str, Command], tmp_path: Path, name: str, kind: str, suffix: str, action: str
):
    """Bytes that C's buffers write when a file is closed, and a folder that cannot be forced once its file is published."""
    found = [k for k, (of, path) in enumerate(commands[name].steps, 1) if of == kind and Path(path).suffix == suffix]
    wrong = swept(struck, disk, commands[name], tmp_path, [(found[-1], action)])
    assert not wrong, "\n".join(wrong)


def test_a_fault_on_a_calibration_leaves_no_index_that_lacks_it(
    disk: Disk, commands: dict[str, Command], tmp_path: Path
):
    """At every step on the file and its folder, with every fault: a version that names it has it, whole."""
    command = commands["build, relative"]
    steps = {k for k, (_, path) in enumerate(command.steps, 1) if "/calibration" in path}
    found = [fault for fault in command.every() if fault[0] in steps]
    assert {command.steps[k - 1][0] for k, _ in found} >= {"mkdir", "write", "fsync", "link"}
    wrong = swept(struck, disk, command, tmp_path, found)
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_a_fault_at_any_step_leaves_the_old_or_the_new_version(
    disk: Disk, commands: dict[str, Command], tmp_path: Path, name: str
):
    """The same at every step, with every fault."""
    wrong = swept(struck, disk, commands[name], tmp_path, commands[name].every())
    assert not wrong, "\n".join(wrong)
