"""The tasks of a cluster, run in this process, with what they get and give pickled."""

from __future__ import annotations

import os
import pickle
from contextlib import contextmanager
from typing import ClassVar
from unittest.mock import patch

import numpy as np

import nagindex
from nagindex.cluster import connection
from nagindex.cluster import tasks as cluster_tasks
from nagindex.cluster.connection import Slots
from nagindex.cluster.tasks import Task, Tasks, run
from nagindex.workers.child import unpack_error

LAYERS, TOP_K, WIDTH, DOCUMENTS = 3, 4, 30, 400
KINDS = 40
"""NAGs that the documents of `many_segments` are copies of, so that ties are decided by ids."""


def many_segments(folder, write_index, random_codes, *, with_texts=False):
    """Write an index of eight segments, one of them empty, with deleted documents; return it, its targets, and the ids."""
    rng = np.random.default_rng(0)
    codes = random_codes(rng, KINDS, LAYERS, TOP_K, WIDTH)[rng.integers(0, KINDS, DOCUMENTS)]
    ids = [f"{number:03d}" for number in rng.permutation(DOCUMENTS)]
    kept = [(float(rng.random()), "ab"[rng.integers(2)]) for _ in ids]
    tokens = rng.integers(0, 60, DOCUMENTS)
    texts = [f"text {number} — naïve\n" for number in ids] if with_texts else None
    cuts, names = (30, 30, 90, 91, 200, 260, 390), ("worth", "tongue")
    index = write_index(folder / "i", codes, ids, tokens, width=WIDTH, cuts=cuts, kept=kept, keep=names, texts=texts)
    index.delete(ids=ids[10:20])
    return index, {"a": codes[[3, 40, 41]], "b": codes[300:310], "c": codes[[7]]}, ids


class Here(Tasks):
    """Tasks that run in this process when they are started, the last ones first to answer unless their order counts.

    Attributes:
        started: the functions of the tasks, with their arguments.
        environment: variables that tasks find set.
        connections: addresses that a command has connected to.
        slots_there: how many tasks the cluster has room for.
    """

    started: ClassVar[list] = []
    slots_there: ClassVar[int] = 2
    environment: ClassVar[dict] = {}
    connections: ClassVar[list] = []

    def share(self, value):
        return value

    def start(self, function, *arguments, pieces=1):
        Here.started.append((function, arguments))
        with patch.dict(os.environ, Here.environment):
            outcome, *left = run(pieces, nagindex.__version__, function, *pickle.loads(pickle.dumps(arguments)))
        return Task(pickle.loads(pickle.dumps(outcome)), left)

    def answers(self, tasks, *, in_order=False):
        numbered = [*enumerate(tasks)]
        for number, task in numbered if in_order else reversed(numbered):
            state, value = task.answer
            if state == "failed":
                raise unpack_error(value)
            yield number, value


def run_here(monkeypatch, *modules, **environment):
    """Have the tasks that modules start run in this process, on a cluster with room for two at a time by default.

    Args:
        monkeypatch: the fixture.
        modules: those that start tasks.
        environment: variables that tasks find set.
    """

    @contextmanager
    def tasks(address, **options):
        yield Here(Slots(0, 1, Here.slots_there))

    @contextmanager
    def connected(address):
        Here.connections.append(address)
        yield

    monkeypatch.setattr(connection, "connected", connected)
    for module in modules:
        monkeypatch.setattr(module, "tasks", tasks)
        monkeypatch.setattr(module, "require_ray", lambda address: None, raising=False)
    monkeypatch.setattr(cluster_tasks, "TASKS_PER_SLOT", 2)
    monkeypatch.setattr(Here, "started", [])
    monkeypatch.setattr(Here, "connections", [])
    monkeypatch.setattr(Here, "environment", environment)
