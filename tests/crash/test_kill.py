"""A killed writer loses nothing that was committed, the same command goes on, and readers never notice."""

from __future__ import annotations

import json
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import (
    Content,
    Server,
    Toll,
    Unbroken,
    content,
    faults,
    kill_at_random,
    make_corpus,
    spread,
    strays,
    versions,
)

import nagindex
from nagindex import maintain
from nagindex.corpus import find_sources
from nagindex.errors import InputNotFoundError
from nagindex.storage.coverage import Coverage
from nagindex.storage.manifest import Manifest, read_manifest
from nagindex.windows import Shard, SourcesSeen, read_windows

CI_BUILD_KILLS = 12
CI_COMMAND_KILLS = 3
Death = tuple[int, bool]
"""At which commit step, and whether just after it rather than just before."""


def sampled(steps: int, samples: int) -> list[Death]:
    return [(k, i % 2 == 1) for i, k in enumerate(spread(steps, samples))]


def every(steps: int) -> list[Death]:
    return [(k, after) for k in range(1, steps + 1) for after in (False, True)]


# ---- builds ----


def killed_build(server: Server, unbroken: Unbroken, folder: Path, death: Death) -> list[str]:
    """Kill a build at a step and go on with it; return what was wrong on the way."""
    index = folder / f"{death[0]}-{death[1]}.nagindex"
    outcome = server.run("build", index, corpus=unbroken.corpus, die_at=death[0], after=death[1])
    wrong = [] if outcome.killed else [f"not killed: {outcome}"]
    if versions(index):
        wrong += faults(index) + content(index).differences(unbroken.content, prefix=True)
    else:
        with pytest.raises(InputNotFoundError):
            nagindex.open(index)
    server.finish("build", index, corpus=unbroken.corpus)
    wrong += faults(index) + content(index).differences(unbroken.content)
    nagindex.open(index).vacuum(grace=0)
    wrong += [f"left behind after a vacuum: {path}" for path in strays(index)]
    shutil.rmtree(index)
    return [f"{death}: {text}" for text in wrong]


def sweep_build(server: Server, unbroken: Unbroken, folder: Path, deaths: list[Death]) -> list[str]:
    with ThreadPoolExecutor(2) as pool:
        return [
            text
            for wrong in pool.map(lambda death: killed_build(server, unbroken, folder, death), deaths)
            for text in wrong
        ]


def test_the_corpus_makes_several_segments_and_skips_rows(unbroken: Unbroken):
    """Otherwise the tests below would show little."""
    assert len(versions(unbroken.index)) > 5
    assert len({row[3] for row in unbroken.content.skipped}) >= 4
    assert faults(unbroken.index) == []


def test_the_same_build_gives_the_same_documents_and_codes(server: Server, unbroken: Unbroken, tmp_path: Path):
    """Another cut into segments changes neither order nor codes."""
    server.finish("build", tmp_path / "i", corpus=unbroken.corpus, segment_documents=40)
    assert len(versions(tmp_path / "i")) < len(versions(unbroken.index))
    assert content(tmp_path / "i").differences(unbroken.content) == []


def test_a_build_killed_at_a_step_goes_on_as_if_unbroken(server: Server, unbroken: Unbroken, tmp_path: Path):
    """What a killed build committed is a whole prefix; the same command ends with the same documents and codes."""
    assert sweep_build(server, unbroken, tmp_path, sampled(unbroken.steps, CI_BUILD_KILLS)) == []


@pytest.mark.slow
def test_a_build_killed_at_any_step_goes_on_as_if_unbroken(server: Server, unbroken: Unbroken, tmp_path: Path):
    """The same at every commit step, just before and just after."""
    assert sweep_build(server, unbroken, tmp_path, every(unbroken.steps)) == []


def test_random_kills_lose_nothing_and_readers_never_fail(server: Server, unbroken: Unbroken, tmp_path: Path):
    """Kill -9 from outside, at moments that no step marks, while a reader opens, reads and queries."""
    toll = Toll()
    kill_at_random(
        server,
        unbroken.corpus,
        tmp_path / "kills",
        unbroken.content,
        random.Random(0),
        toll,
        kills=5,
        longest=unbroken.seconds * 0.6,
    )
    assert toll.kills >= 2
    assert not toll.failed, toll


# ---- append, delete, compact, vacuum ----


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


def sweep_command(server: Server, command: Command, folder: Path, deaths: list[Death]) -> list[str]:
    with ThreadPoolExecutor(2) as pool:
        return [
            text
            for wrong in pool.map(lambda death: killed_command(server, command, folder, death), deaths)
            for text in wrong
        ]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_a_step_leaves_the_old_or_the_new_version(
    server: Server, commands: dict[str, Command], tmp_path: Path, name: str
):
    """After a kill the index is whole; the same command again completes it."""
    assert sweep_command(server, commands[name], tmp_path, sampled(commands[name].steps, CI_COMMAND_KILLS)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_any_step_leaves_the_old_or_the_new_version(
    server: Server, commands: dict[str, Command], tmp_path: Path, name: str
):
    """The same at every commit step, just before and just after."""
    assert sweep_command(server, commands[name], tmp_path, every(commands[name].steps)) == []


# ---- several writers at once ----


def test_two_builders_of_one_corpus_end_with_every_document_once(server: Server, unbroken: Unbroken, tmp_path: Path):
    """Neither fails, whoever is first."""
    index = tmp_path / "both.nagindex"
    both = [server.start("build", index, corpus=unbroken.corpus, segment_documents=size) for size in (16, 24)]
    ends = [server.wait(pid) for pid in both]
    assert [end.status for end in ends] == [0, 0], ends
    assert faults(index) == []
    assert content(index).differences(unbroken.content) == []
    assert sum(end.said["documents"] for end in ends) == len(unbroken.content.rows)


def test_a_builder_killed_beside_another_takes_nothing_along(server: Server, unbroken: Unbroken, tmp_path: Path):
    """The other one finishes the corpus."""
    index = tmp_path / "both.nagindex"
    killed = server.start("build", index, corpus=unbroken.corpus, die_at=unbroken.steps // 2)
    other = server.start("build", index, corpus=unbroken.corpus)
    assert server.wait(other).status == 0
    server.wait(killed)
    assert faults(index) == []
    assert content(index).differences(unbroken.content) == []


def test_two_appends_at_once_are_both_there(server: Server, unbroken: Unbroken, tmp_path: Path):
    """Appends never conflict: the loser of a version number re-reads and goes on."""
    index, expected = tmp_path / "both.nagindex", {}
    shutil.copytree(unbroken.index, index)
    running = []
    for seed, name in ((3, "left"), (4, "right")):
        corpus = make_corpus(tmp_path / name, seed=seed, rows=32, name=name)
        server.finish("build", tmp_path / f"{name}.nagindex", corpus=corpus)
        expected[name] = content(tmp_path / f"{name}.nagindex")
        running.append((corpus, name))
    pids = [server.start("append", index, corpus=corpus, segment_documents=8) for corpus, _ in running]
    ends = [server.wait(pid) for pid in pids]
    assert [end.status for end in ends] == [0, 0], ends
    assert faults(index) == []
    found = content(index)
    assert part(found, unbroken.corpus).differences(unbroken.content) == []
    for corpus, name in running:
        assert part(found, corpus).differences(expected[name]) == []
    assert len(found.rows) == len(unbroken.content.rows) + sum(len(each.rows) for each in expected.values())


def part(whole: Content, corpus: Path) -> Content:
    """Return what a content holds of one corpus, in order."""
    names = {path.name for path in corpus.iterdir()}
    chosen = [i for i, row in enumerate(whole.rows) if row[1] in names]
    return replace(
        whole,
        rows=[whole.rows[i] for i in chosen],
        codes=whole.codes[chosen],
        skipped=[row for row in whole.skipped if row[0] in names],
    )


def test_windows_stay_where_they_are_when_another_writer_is_ahead(unbroken: Unbroken):
    """Batches are formed inside fixed windows of the input, so that rounding repeats whoever encodes a window."""
    sources = find_sources([unbroken.corpus]).sources
    manifests = [read_manifest(unbroken.index, version) for version in versions(unbroken.index)]

    def windows(learnt: Manifest) -> list[tuple[bool, list[tuple[str, int]]]]:
        """Return each window's rows, and whether it was of use, for a builder that learns of a version after its first."""
        coverage, found = Coverage(unbroken.index, manifests[0]), []
        for window in read_windows(sources, manifests[0].settings, coverage, Shard(), SourcesSeen()):
            useful = not all(coverage.holds(span) for span in window.spans)
            found.append((useful, [(name, document.row) for name, document in window.documents]))
            coverage.learn(learnt)
        return found

    fixed = [rows for _, rows in windows(manifests[0])]
    shifted = [
        (m.version, rows) for m in manifests[1:-1] for useful, rows in windows(m) if useful and rows not in fixed
    ]
    assert shifted == []


def test_a_deletion_holds_when_a_compaction_comes_first(
    commands: dict[str, Command], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The rows were looked up in segments that are merged by the time they are to go: the loser re-reads, nothing is forgotten."""
    index, command = tmp_path / "i.nagindex", commands["delete"]
    shutil.copytree(command.before, index)
    with_deleted = maintain.segments.with_deleted
    rivals = [nagindex.open(index)]

    def overtaken(*args: Any, **named: Any) -> Any:
        if rivals:
            rivals.pop().compact()
        return with_deleted(*args, **named)

    monkeypatch.setattr(maintain.segments, "with_deleted", overtaken)
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
