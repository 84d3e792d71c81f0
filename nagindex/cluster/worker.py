"""The worker's side of a pool: functions that are named by module and name, run on some node of a cluster."""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from nagindex._version import __version__
from nagindex.errors import InputNotFoundError, NagIndexError
from nagindex.progress import Progress, reporting
from nagindex.workers.child import pack_error

DONE, STOPPED, FAILED = "done", "stopped", "failed"
SECONDS_BETWEEN_REPORTS = 0.3
Outcome = tuple[str, Any]
"""How a part ended: DONE and the result, STOPPED and None, or FAILED and the packed error."""


def other_version(version: str) -> Outcome:
    """Return the failure on a node that has another version of nagindex than the driver."""
    node = f"node {socket.gethostname()} has nagindex {__version__}, and this one {version}"
    return FAILED, pack_error(NagIndexError(f"{node}; install the same on all nodes"))


def require_folders(*folders: Path | str) -> None:
    """Raise InputNotFoundError unless this node sees folders."""
    for folder in folders:
        require_folder(folder, folder, "index and corpus")


def require_folder(folder: Path | str, named: Path | str, what: str = "outputs") -> None:
    """Raise InputNotFoundError unless this node sees a folder.

    Args:
        folder: the folder.
        named: the same as the user named it.
        what: what lies in such folders.
    """
    if not Path(folder).is_dir():
        node = f"not there on node {socket.gethostname()}"
        raise InputNotFoundError(f"{named}: {node}; {what} must lie on a file system that all nodes see")


class Board:
    """How far the parts of a run are, and whether it is to stop; an actor, beside the driver where that has room."""

    def __init__(self) -> None:
        self.reset()
        self._saw_all = False  # until a run begins: Ray has started the actor again whose node was lost

    def reset(self) -> None:
        """Begin a run."""
        self._states: dict[int, Progress] = {}
        self._begun: Counter[int] = Counter()
        self._stopping, self._saw_all = False, True

    def begin(self, number: int) -> bool:
        """Note that a part begins, perhaps anew; return whether it is to stop."""
        self._begun[number] += 1
        return self._stopping

    def update(self, number: int, progress: Progress) -> bool:
        """Note how far a part is; return whether it is to stop."""
        self._states[number] = progress
        return self._stopping

    def states(self) -> dict[int, Progress]:
        """Return how far each part is that has reported."""
        return self._states

    def repeated(self) -> bool:
        """Return whether a part may have been begun more than once, because its worker was lost."""
        return not self._saw_all or any(count > 1 for count in self._begun.values())

    def stop(self) -> None:
        """Ask all parts to publish what is complete and to end."""
        self._stopping = True


class Worker:
    """Runs parts one after the other, on a GPU or CPUs of its own; an actor, which Ray starts again if its node is lost."""

    def __init__(self, folder: str, threads: int | None) -> None:
        self._kept: Any = None
        with suppress(OSError):  # relative paths of the command line mean the same here, where the folder is shared
            os.chdir(folder)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)

    def ready(self, version: str) -> Outcome:
        """Return once the worker has started; fails if the node has another version of nagindex than the driver."""
        return (DONE, None) if version == __version__ else other_version(version)

    def run(self, board: Any, function: str, shared: Any, number: int, count: int) -> Outcome:
        """Run a part, and keep what it leaves for the next one.

        Args:
            board: the actor to report to; no argument of the constructor, as Ray could not restore that for a restart.
            function: `module:function`; called with `shared`, the part's number, the number of parts and what the part before
                left; returns the result and what it leaves.
            shared: the same for all parts.
            number: the part.
            count: how many parts there are.
        """
        import ray

        module, _, name = function.partition(":")
        try:
            if ray.get(board.begin.remote(number)):
                return STOPPED, None
            with reporting(_Reports(board, number)):
                result, self._kept = getattr(importlib.import_module(module), name)(shared, number, count, self._kept)
        except KeyboardInterrupt:
            return STOPPED, None
        except Exception as error:  # an error of the input must reach the driver as it is, and not be tried again
            return FAILED, pack_error(error)
        return DONE, result


class _Reports:
    """Sends a part's progress to the board now and then, and raises KeyboardInterrupt in the part when the run is to stop."""

    def __init__(self, board: Any, number: int) -> None:
        self.board, self.number = board, number
        self.sent_at, self.answer = 0.0, None

    def __call__(self, progress: Progress) -> None:
        import ray

        if self.answer is not None and ray.wait([self.answer], timeout=0)[0]:
            stopping, self.answer = ray.get(self.answer), None
            if stopping:
                raise KeyboardInterrupt
        now = time.monotonic()
        due = self.answer is None and now - self.sent_at >= SECONDS_BETWEEN_REPORTS
        if due or progress.done >= progress.total:
            self.answer, self.sent_at = self.board.update.remote(self.number, progress), now
