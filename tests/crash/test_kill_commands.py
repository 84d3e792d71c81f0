"""Append, delete, compact and vacuum, killed at their commit steps: the old version or the new, and steps in a safe order."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import (
    Content,
    Death,
    Server,
    Unbroken,
    content,
    every,
    faults,
    make_corpus,
    sampled,
    strays,
    swept,
    versions,
)

import nagindex
from nagindex.maintenance import delete

CI_COMMAND_KILLS = 3


@dataclass(frozen=True)
class Command:
    """A command run unbroken on a copy of an index, to compare with.

    Attributes:
        before: the index that it starts from.
        request: its operation and arguments.
        steps: its commit steps.
        allowed: content of each version on the way.
        after: content in the end.
        segments: how many there are in the end.
    """

    before: Path
    request: dict[str, Any]
    steps: int
    allowed: list[Content]
    after: Content
    segments: int


COMMANDS = ("append", "append replacing", "delete", "compact", "vacuum")


@pytest.fixture(scope="session")
def commands(place: Path, server: Server, unbroken: Unbroken) -> dict[str, Command]:
    """The commands, on an index of several versions with deleted rows and small segments."""
    before, history = place / "before.nagindex", place / "history.nagindex"
    more = make_corpus(place / "more", seed=1, rows=20, name="more")
    newer = make_corpus(place / "newer", seed=2, rows=20)  # the same file names and ids as the corpus, other texts
    shutil.copytree(unbroken.index, before)
    server.finish("delete", before, where="row % 5 = 1 AND label = 'b'")
    shutil.copytree(before, history)
    server.finish("append", history, corpus=more)
    server.finish("compact", history)
    requests = {
        "append": (before, {"op": "append", "corpus": more}),
        "append replacing": (before, {"op": "append", "corpus": newer, "on_duplicate": "replace"}),
        "delete": (before, {"op": "delete", "where": "tokens > 60"}),
        "compact": (before, {"op": "compact"}),
        "vacuum": (history, {"op": "vacuum"}),
    }
    return {
        name: _unbroken_command(server, index, request, place / f"{name}.nagindex")
        for name, (index, request) in requests.items()
    }


def _unbroken_command(server: Server, before: Path, request: dict[str, Any], index: Path) -> Command:
    shutil.copytree(before, index)
    first = versions(index)[-1]
    said = server.finish(request["op"], index, **arguments(request))
    allowed = [content(index, version) for version in versions(index) if version >= first]
    return Command(before, request, said["steps"], allowed, content(index), len(nagindex.open(index).segments))


def arguments(request: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name != "op"}


def killed_command(server: Server, command: Command, folder: Path, death: Death) -> list[str]:
    """Kill a command at a step and run it again; return what was wrong on the way."""
    index = folder / f"{death[0]}-{death[1]}.nagindex"
    shutil.copytree(command.before, index)
    request, pinned = command.request, nagindex.open(index)
    read_before = [codes.tobytes() for codes in pinned.codes]
    outcome = server.run(request["op"], index, die_at=death[0], after=death[1], **arguments(request))
    wrong = [] if outcome.killed else [f"not killed: {outcome}"]
    now = content(index)
    if all(now.differences(allowed) for allowed in command.allowed):
        wrong.append(
            f"neither the old nor the new version: {now.differences(command.allowed[0])}, {now.differences(command.after)}"
        )
    wrong += faults(index)
    server.finish(request["op"], index, **arguments(request))
    wrong += faults(index) + content(index).differences(command.after)
    if request["op"] != "vacuum" and [codes.tobytes() for codes in pinned.codes] != read_before:
        wrong.append("a reader that pinned the old version reads something else")
    current = nagindex.open(index)
    if len(current.segments) != command.segments:
        wrong.append(f"{len(current.segments)} segments where the unbroken command leaves {command.segments}")
    current.vacuum(grace=0)
    wrong += [f"left behind after a vacuum: {path}" for path in strays(index)]
    shutil.rmtree(index)
    return [f"{request['op']}, {death}: {text}" for text in wrong]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_a_step_leaves_the_old_or_the_new_version(
    server: Server, commands: dict[str, Command], tmp_path: Path, name: str
):
    """After a kill the index is whole; the same command again completes it."""
    assert (
        swept(killed_command, server, commands[name], tmp_path, sampled(commands[name].steps, CI_COMMAND_KILLS)) == []
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_any_step_leaves_the_old_or_the_new_version(
    server: Server, commands: dict[str, Command], tmp_path: Path, name: str
):
    """The same at every commit step, just before and just after."""
    assert swept(killed_command, server, commands[name], tmp_path, every(commands[name].steps)) == []


def test_a_deletion_holds_when_a_compaction_comes_first(
    commands: dict[str, Command], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The rows were looked up in segments that are merged by the time they are to go: the loser re-reads, nothing is forgotten."""
    index, command = tmp_path / "i.nagindex", commands["delete"]
    shutil.copytree(command.before, index)
    with_deleted = delete.segments.with_deleted
    rivals = [nagindex.open(index)]

    def overtaken(*args: Any, **named: Any) -> Any:
        if rivals:
            rivals.pop().compact()
        return with_deleted(*args, **named)

    monkeypatch.setattr(delete.segments, "with_deleted", overtaken)
    removed = nagindex.open(index).delete(where=command.request["where"])
    assert removed == len(command.allowed[0].rows) - len(command.after.rows)
    assert content(index).differences(command.after) == []


# ---- what must be on the disk before what ----


@pytest.fixture(scope="session")
def traces(
    place: Path, server: Server, unbroken: Unbroken, commands: dict[str, Command]
) -> dict[str, tuple[Path, list[list[str]]]]:
    """The commit steps of each operation in order, with the index that they made."""
    found = {}
    operations: dict[str, tuple[Path | None, dict[str, Any]]] = {
        name: (command.before, command.request) for name, command in commands.items()
    }
    operations["build"] = None, {"op": "build", "corpus": unbroken.corpus}
    for name, (before, request) in operations.items():
        index = place / f"traced {name}.nagindex"
        if before:
            shutil.copytree(before, index)
        found[name] = index, server.finish(request["op"], index, trace=True, **arguments(request))["trace"]
    return found


@pytest.mark.parametrize("name", ["build", *COMMANDS[:-1]])
def test_a_version_is_published_after_its_files_reached_the_disk(
    traces: dict[str, tuple[Path, list[list[str]]]], name: str
):
    """Every new file and its folder are forced before the manifest that names them, and the manifest's folder right after."""
    index, trace = traces[name]
    links = [(at, Path(step[2])) for at, step in enumerate(trace) if step[0] == "link"]
    assert links
    for at, target in links:
        synced = {step[1]: i for i, step in enumerate(trace[:at]) if step[0] == "fsync"}
        made = {step[1]: i for i, step in enumerate(trace[:at]) if step[0] in ("create", "table", "mkdir")}
        manifest = json.loads(target.read_bytes())
        for entry in manifest["segments"]:
            folder = index / "segments" / entry["id"]
            new = [str(folder / file) for file in entry["files"] if str(folder / file) in made]
            assert all(synced.get(file, -1) > made[file] for file in new), new
            assert not new or synced.get(str(folder), -1) > max(made[file] for file in new)
            assert str(folder) not in made or synced.get(str(folder.parent), -1) > made[str(folder)]
        assert synced.get(trace[at][1], -1) > made[trace[at][1]]
        assert ["fsync", str(target.parent)] in trace[at : at + 2]


def test_a_new_index_is_in_its_folder_before_its_first_version(traces: dict[str, tuple[Path, list[list[str]]]]):
    """Folders are files too: those that an index consists of are forced to the disk with the folder that names them."""
    index, trace = traces["build"]
    first = next(at for at, step in enumerate(trace) if step[0] == "link")
    made = {step[1] for step in trace[:first] if step[0] == "mkdir" and Path(step[1]).exists()}
    assert {str(index / "manifests"), str(index / "segments")} <= made
    for folder in made:
        last = max(i for i, step in enumerate(trace) if step == ["mkdir", folder])
        assert ["fsync", os.path.dirname(folder)] in trace[last:first], f"{folder} may be gone after a power cut"


def test_a_vacuum_forgets_versions_before_it_removes_their_files(traces: dict[str, tuple[Path, list[list[str]]]]):
    """So no version that a reader can find names a missing file, wherever the vacuum dies."""
    index, trace = traces["vacuum"]
    removed = [Path(step[1]) for step in trace if step[0] in ("unlink", "remove")]
    kinds = [path.parent == index / "manifests" for path in removed]
    assert kinds == sorted(kinds, reverse=True)
    assert np.unique(kinds).tolist() == [False, True]
