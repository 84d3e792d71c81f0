"""The driver's side: parts are dealt out to workers on a Ray cluster, and their results collected."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from nagindex._version import __version__
from nagindex.cluster.connection import Slots, connected, slots_of
from nagindex.cluster.worker import DONE, FAILED, Board, Worker
from nagindex.errors import NagIndexError
from nagindex.progress import Progress, report
from nagindex.workers.child import unpack_error

RESTARTS = 20
"""How often Ray starts a worker again whose node or process was lost, before the run fails."""
SECONDS_BETWEEN_POLLS = 0.25
SECONDS_TO_STOP = 120.0
Show = Callable[[Mapping[int, Progress]], None]


class Pool:
    """Workers on a cluster, which run the parts of one thing after another.

    Attributes:
        slots: what each worker takes of the cluster.
        repeated: whether a part of the last run was begun more than once, because its worker was lost.
    """

    def __init__(self, slots: Slots, board: Any) -> None:
        self.slots, self._board = slots, board
        self._workers: set[Any] = set()
        self._idle: list[Any] = []
        self.repeated = False

    def run(self, function: str, shared: Any, count: int, show: Show) -> list[Any]:
        """Run the parts of something on the workers, and return their results in order.

        A worker that has ended a part takes the next one. A worker for each part is requested from the start, so that an
        autoscaler sees the demand and nodes that join take part; those for which no part is left end.

        Args:
            function: `module:function`; see `Worker.run`.
            shared: picklable, the same for all parts.
            count: how many parts there are.
            show: called with the progress of each part by its number, now and then.

        Raises:
            NagIndexError: a worker was lost too often, or the nodes differ. A part's own error is raised unchanged, after the other parts
                have published what is complete; so is an interrupt.
        """
        import ray

        ray.get(self._board.reset.remote())
        waiting, results = deque(range(count)), dict[int, Any]()
        common = ray.put(shared)
        idle, self._idle = self._idle, []
        starting = [self._start() for _ in range(count - len(idle))]
        running: dict[Any, tuple[Any, int]] = {}
        shown: dict[int, Progress] = {}

        def assign(worker: Any) -> None:
            if waiting:
                number = waiting.popleft()
                running[worker.run.remote(self._board, function, common, number, count)] = worker, number
            elif count == 1:
                self._idle.append(worker)
            else:
                self._end(worker)

        started = {worker.ready.remote(__version__): worker for worker in starting}
        try:
            for worker in idle:
                assign(worker)
            while len(results) < count:
                ready, _ = ray.wait([*running, *started], timeout=SECONDS_BETWEEN_POLLS)
                for reference in ready:
                    result = _result(reference)
                    if reference in started:
                        assign(started.pop(reference))
                    else:
                        worker, number = running.pop(reference)
                        results[number] = result
                        assign(worker)
                states = ray.get(self._board.states.remote())
                if states != shown:
                    show(states)
                    shown = states
            self.repeated = ray.get(self._board.repeated.remote())
        except ray.exceptions.RayError as error:
            self._stop([*running])
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise NagIndexError(
                f"a worker of the Ray cluster was lost: {reason}; run the same command to go on"
            ) from error
        except BaseException:
            self._stop([*running])
            raise
        finally:
            for worker in started.values():
                self._end(worker)
        return [results[number] for number in range(count)]

    def _start(self) -> Any:
        import ray

        options = {"num_gpus": self.slots.gpus, "num_cpus": self.slots.cpus}
        lasting = {"max_restarts": RESTARTS, "max_task_retries": RESTARTS}
        threads = None if self.slots.gpus else self.slots.cpus
        worker = ray.remote(Worker).options(**options, **lasting).remote(os.getcwd(), threads)
        self._workers.add(worker)
        return worker

    def _end(self, worker: Any) -> None:
        import ray

        self._workers.discard(worker)
        ray.kill(worker)

    def _stop(self, running: list[Any]) -> None:
        """Have the parts that run publish what is complete, and wait for that."""
        import ray

        report(Progress("committing what is complete", 0, 1, ""))
        with suppress(ray.exceptions.RayError):
            ray.get(self._board.stop.remote())
            if running:
                ray.wait(running, num_returns=len(running), timeout=SECONDS_TO_STOP)

    def close(self) -> None:
        """End all workers."""
        for worker in [*self._workers]:
            self._end(worker)


def _result(reference: Any) -> Any:
    """Return the result of a part that has ended, or raise its error."""
    import ray

    state, value = ray.get(reference)
    if state == FAILED:
        raise unpack_error(value)
    if state != DONE:
        raise KeyboardInterrupt
    return value


@contextmanager
def pool(address: str, device: str) -> Iterator[Pool]:
    """Context with workers on a Ray cluster; see `connected`.

    Args:
        address: of the cluster.
        device: `auto`, `cpu` or `cuda`: what the workers run on.

    Raises:
        BadInputError, InputNotFoundError, MissingDependencyError: as `connected`.
    """
    with connected(address):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        board = (
            ray.remote(Board)
            .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
            .remote()
        )
        workers = Pool(slots_of(ray.nodes(), device), board)
        try:
            yield workers
        finally:
            workers.close()
            ray.kill(board)
