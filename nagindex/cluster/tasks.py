"""Tasks: functions on parts of an index, run where a cluster has room, and run again where a node was lost."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from nagindex._version import __version__
from nagindex.cluster.connection import CPUS_OF_WORKER, Slots, connected, slots_of
from nagindex.cluster.worker import DONE, FAILED, other_version
from nagindex.errors import NagIndexError
from nagindex.workers.child import pack_error, unpack_error

RETRIES = 20
"""How often a task is run again whose node or process was lost."""
TASKS_PER_SLOT = 4
"""More tasks than run at a time even out nodes of different speed."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Task:
    """A task that was started.

    Attributes:
        answer: reference to what goes to the driver.
        left: references to the pieces that stay on the task's node until another task takes them.
    """

    answer: Any
    left: list[Any]


class Tasks:
    """Runs functions as tasks on a Ray cluster.

    Attributes:
        slots: what each task takes of the cluster.
    """

    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def split(self, items: Sequence[Item]) -> list[list[Item]]:
        """Return items in consecutive groups, one for each task of several for each slot; none of them is empty."""
        count = min(len(items), TASKS_PER_SLOT * self.slots.count)
        return [
            [items[place] for place in own] for own in np.array_split(np.arange(len(items)), max(count, 1)) if len(own)
        ]

    def share(self, value: Any) -> Any:
        """Return a reference to a value that several tasks take, which is sent to each node once."""
        import ray

        return ray.put(value)

    def start(self, function: str, *arguments: Any, pieces: int = 1) -> Task:
        """Start a task.

        Args:
            function: `module:function`; returns what goes to the driver, and a list of what stays on the node, or None.
            arguments: values, references to shared ones, or pieces that other tasks left.
            pieces: length of that list.
        """
        import ray

        options = {"num_cpus": self.slots.cpus, "num_returns": 1 + pieces, "max_retries": RETRIES}
        answer, *left = ray.remote(run).options(**options).remote(pieces, __version__, function, *arguments)
        return Task(answer, left)

    def answers(self, tasks: Sequence[Task], *, in_order: bool = False) -> Iterator[tuple[int, Any]]:
        """Yield the number of each task and its answer; when one fails, or no more are wanted, the others are cancelled.

        Args:
            tasks: the tasks.
            in_order: whether answers come in the order of the tasks, and not as tasks end.

        Raises:
            NagIndexError: a task was lost too often, or the nodes differ. A task's own error is raised unchanged.
        """
        import ray

        numbers = {task.answer: number for number, task in enumerate(tasks)}
        try:
            while numbers:
                ready, _ = ray.wait([*numbers][:1] if in_order else [*numbers])
                for reference in ready:
                    state, value = ray.get(reference)
                    if state == FAILED:
                        raise unpack_error(value)
                    yield numbers.pop(reference), value
        except ray.exceptions.RayError as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise NagIndexError(f"a task of the Ray cluster was lost: {reason}; run the same command again") from error
        finally:
            for reference in numbers if ray.is_initialized() else ():
                ray.cancel(reference, force=True)


def run(pieces: int, version: str, function: str, *arguments: Any) -> tuple[Any, ...]:
    """Run a function, and return how it ended and each piece that it leaves; a task of `Tasks`."""
    nothing = [None] * pieces
    if version != __version__:
        return other_version(version), *nothing
    module, _, name = function.partition(":")
    try:
        answer, left = getattr(importlib.import_module(module), name)(*arguments)
    except Exception as error:  # must reach the driver as it is, and not be tried again
        return (FAILED, pack_error(error)), *nothing
    return (DONE, answer), *(nothing if left is None else left)


@contextmanager
def tasks(address: str, *, most_cpus: int = CPUS_OF_WORKER) -> Iterator[Tasks]:
    """Context in which tasks run on the CPUs of a Ray cluster; see `connected`.

    Args:
        address: of the cluster.
        most_cpus: the most that a task takes; see `slots_of`.

    Raises:
        BadInputError, InputNotFoundError, MissingDependencyError: as `connected`.
    """
    with connected(address):
        import ray

        yield Tasks(slots_of(ray.nodes(), "cpu", most_cpus=most_cpus))
