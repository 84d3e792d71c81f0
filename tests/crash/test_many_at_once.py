"""Readers, writers and a keeper at one index at once; and two builds of one corpus, whichever ends first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import crowd
import numpy as np
import pytest
from crowd import LAYERS, TOP_K, WIDTH, codes_of, target_of, tokens_of
from harness import Server, Unbroken, content, faults, versions

from nagindex.index import Index

SECONDS, LONG = 8, 60


class Crowd:
    """What the crowd noted: changes by version, answers, vacuums, errors; and what each version held."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.index = folder / "i.nagindex"
        program = Path(crowd.__file__)
        subprocess.run([sys.executable, program, folder, str(seconds)], check=True, timeout=seconds + 300)
        self.notes = {
            file.stem: [json.loads(line) for line in file.read_text().splitlines()] for file in folder.glob("*.jsonl")
        }
        self.errors = [note["error"] for notes in self.notes.values() for note in notes if "error" in note]
        published = [note for notes in self.notes.values() for note in notes if "version" in note]
        self.changes = {note["version"]: note for note in published}
        self.twice = len(published) - len(self.changes)
        self.versions: dict[int, list[str]] = {1: []}
        for number in sorted(self.changes):
            self.versions[number] = changed(self.versions[number - 1], self.changes[number])

    def answers(self) -> list[dict]:
        return [note for notes in self.notes.values() for note in notes if "read" in note]


def changed(ids: list[str], change: dict) -> list[str]:
    """Return the documents, in order, after a change."""
    if change["op"] == "same":
        return ids
    named = set(change["ids"])
    if change["op"] == "delete" or change["on_duplicate"] == "replace":
        ids = [i for i in ids if i not in named]
    present = set(ids)
    return ids if change["op"] == "delete" else ids + [i for i in change["ids"] if i not in present]


def is_right(answer: dict, ids: list[str]) -> bool:
    """Return whether an answer is the one that a version's documents have to that question, or by graphs one that they could have."""
    candidates = [i for i in ids if answer["where"] is None or tokens_of(i) >= 20]
    weights = np.zeros((LAYERS, WIDTH), int)
    target = target_of(answer["seed"])
    for nag in target:
        np.add.at(weights, (np.arange(LAYERS)[:, None], nag), 1)
    codes = np.array([codes_of(i) for i in candidates])
    sums = weights[np.arange(LAYERS)[:, None], codes].sum(axis=(1, 2))
    order = sorted(range(len(candidates)), key=lambda i: (-sums[i], candidates[i].encode()))
    scale = LAYERS * TOP_K * len(target)
    hits = [(candidates[i], sums[i] / scale) for i in order]
    most = answer["budget"].get("n", len(hits))
    if "tokens" in answer["budget"]:
        spent = np.cumsum([tokens_of(name) for name, _ in hits])
        most = max(int((spent <= answer["budget"]["tokens"]).sum()), 1)
    given = list(zip(answer["ids"], answer["scores"], strict=True))
    if answer["engine"] != "graph":
        return given == hits[:most]
    place = {hit: at for at, hit in enumerate(hits)}
    places = [place.get(hit, -1) for hit in given]
    return len(given) == min(most, len(hits)) and -1 not in places and places == sorted(set(places))


def judged(told: Crowd) -> None:
    """Hold everything that the crowd noted against the promises."""
    assert told.twice == 0
    assert [b - a for a, b in pairwise(sorted(told.versions))] == [1] * (len(told.versions) - 1)
    wrong = [a for a in told.answers() if not is_right(a, told.versions[a["read"]])]
    assert wrong == []
    late = [a for a in told.answers() if not a["between"][0] <= a["read"] <= a["between"][1]]
    assert late == []
    readers = Counter({name: len(notes) for name, notes in told.notes.items() if name.startswith(("reader", "thread"))})
    assert len(readers) == crowd.PROCESSES + crowd.THREADS == 8
    assert min(readers.values()) >= crowd.LEAST["read"]
    operations = Counter(change["op"] for change in told.changes.values())
    assert min(operations[name] for name in ("append", "delete", "same")) >= 1
    assert sum(note.get("vacuumed", 0) for note in told.notes["keeper"]) >= crowd.SEEDED
    assert {answer["engine"] for answer in told.answers()} >= {"scan", "graph"}
    index = Index.open(told.index)
    assert index.manifest.version == max(told.versions)
    assert list(index.verify()) == []
    assert held(index) == [(i, tokens_of(i), codes_of(i).tolist()) for i in told.versions[max(told.versions)]]


def held(index: Index) -> list[tuple]:
    """Return the documents of an index in order: id, tokens, codes."""
    places = index.sql("SELECT id, tokens, _segment, _position FROM docs ORDER BY 3, 4").fetchall()
    codes = index.codes
    return [(name, tokens, codes[segment][row].tolist()) for name, tokens, segment, row in places]


def test_every_answer_is_right_while_others_append_delete_compact_optimize_and_vacuum(tmp_path: Path):
    """No reader fails, and each answer is that of the version it read, to the last score, which was current when it was opened."""
    told = Crowd(tmp_path, SECONDS)
    assert told.errors == []
    judged(told)


@pytest.mark.slow
def test_every_answer_is_right_for_a_minute(tmp_path: Path):
    told = Crowd(tmp_path, LONG)
    assert told.errors == []
    judged(told)


@pytest.mark.parametrize("commits", [1, 2, 4])
@pytest.mark.parametrize("sizes", [(16, 24), (24, 16)], ids=str)
def test_two_builds_of_one_corpus_hold_every_document_once_whichever_ends_first(
    server: Server, unbroken: Unbroken, tmp_path: Path, sizes: tuple[int, int], commits: int
):
    """One stands still after some commits while the other runs from its start to its end; then it goes on, and adds nothing twice."""
    index = tmp_path / "both.nagindex"
    slow = server.start("build", index, corpus=unbroken.corpus, segment_documents=sizes[0])
    while len(versions(index)) < commits and server.poll(slow) is None:
        time.sleep(0.001)
    os.kill(slow, signal.SIGSTOP)
    try:
        fast = server.finish("build", index, corpus=unbroken.corpus, segment_documents=sizes[1])
        assert faults(index) == []
        assert content(index).differences(unbroken.content) == []
    finally:
        os.kill(slow, signal.SIGCONT)
    end = server.wait(slow)
    assert end.status == 0, end
    assert faults(index) == []
    assert content(index).differences(unbroken.content) == []
    assert end.said["documents"] + fast["documents"] == len(unbroken.content.rows)
