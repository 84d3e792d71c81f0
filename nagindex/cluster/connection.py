"""The connection to a Ray cluster, and what a worker takes of it."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from nagindex.errors import BadInputError, InputNotFoundError, MissingDependencyError
from nagindex.progress import Progress, report
from nagindex.workers.cpus import available_cpus

AUTO, LOCAL = "auto", "local"
ADDRESS = re.compile(rf"{AUTO}|{LOCAL}|[^/\s]+:\d+")
DEVICES = ("auto", "cpu", "cuda")
CPUS_OF_WORKER = 8
"""The most that a worker takes: more threads of one process do not encode faster."""
OBJECT_STORE_BYTES = 80 << 20  # about the least that Ray takes; rows of a selection that do not fit are spilled to disk
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SCHEDULER_EVENTS": "0"}
"""Else what Ray reports on its own comes between the lines of the command."""
SECONDS_TO_ANSWER = 10.0
_held: list[str] = []
"""The address of the connection that this process has opened, as it was given."""


@dataclass(frozen=True)
class Slots:
    """What each worker takes of a cluster.

    Attributes:
        gpus, cpus: of one worker.
        count: workers for which the cluster has room now, at least 1; more nodes may join.
    """

    gpus: int
    cpus: int
    count: int

    @property
    def device(self) -> str:
        """The torch device that a worker runs on."""
        return "cuda" if self.gpus else "cpu"

    def __str__(self) -> str:
        unit = "GPU" if self.gpus else "worker"
        return f"{self.count:,} {unit}{'' if self.count == 1 else 's'}"


def require_ray(address: str) -> None:
    """Raise an error unless Ray is installed, and an address is one that `connected` takes.

    Raises:
        BadInputError: it is no such address.
        MissingDependencyError: Ray is not installed.
    """
    if not ADDRESS.fullmatch(address):
        raise BadInputError(f"`ray`: {address!r} is no address of a cluster; give {AUTO}, {LOCAL} or HOST:PORT")
    spec = find_spec("ray")
    if spec is None or spec.origin is None:  # a mere folder of that name has no origin
        raise MissingDependencyError("ray is not installed; run: pip install 'nagindex[ray]'")


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Return a context in which this process is connected to a Ray cluster, for several calls with `ray=`, each of which would connect.

    A connection that the program has already is used, and stays.

    Args:
        address: `auto` for the cluster of RAY_ADDRESS or else the one that runs on this machine, `local` for one that is
            started on this machine and ends with the context, or HOST:PORT.

    Raises:
        BadInputError: the program is connected to another cluster.
        InputNotFoundError: there is no such cluster, or it runs other versions of Ray or Python.
        MissingDependencyError: Ray is not installed.
    """
    require_ray(address)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        current = ray.get_runtime_context().gcs_address
        if address not in (AUTO, current, *_held):
            raise BadInputError(f"`ray`: connected to the cluster at {current} already, and not to {address}")
        yield
        return
    own = {
        "include_dashboard": False,
        "num_cpus": available_cpus(),
        "object_store_memory": OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
    }
    report(Progress("connecting to the Ray cluster", 0, 1, ""))
    chosen = os.environ.get("RAY_ADDRESS", AUTO) if address == AUTO else address
    try:
        _require_answer(chosen)
        with _own_signal_handlers():
            ray.init(chosen, log_to_driver=False, logging_level=logging.CRITICAL, **own if chosen == LOCAL else {})
    except Exception as error:  # Ray raises bare ones too
        raise InputNotFoundError(_no_connection(chosen, error)) from error
    own_worker = ray._private.worker
    own_worker._worker_logs_enabled = False  # else Ray prints on stdout that a node was lost, among results
    _held.append(address)
    try:
        yield
    finally:
        _held.remove(address)
        ray.shutdown()
        own_worker._worker_logs_enabled = True


def _require_answer(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT, for which Ray takes minutes."""
    host, _, port = address.rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_ANSWER).close()


def _no_connection(address: str, error: BaseException) -> str:
    """Return a sentence that says why there is no connection, with Ray's own reason, and what to do."""
    reasons = [getattr(error, "strerror", None) or " ".join(str(error).split())]
    if error.__cause__ is not None:  # Ray's outer message leaves out the reason, which is at the end of the inner one
        reasons += str(error.__cause__).strip().splitlines()[-1:]
    reason = ": ".join(own.split(". ")[0].rstrip(".") for own in reasons)
    if "Authentication" in reason:
        remedy = "set RAY_AUTH_MODE=token, and have the token of the head node in ~/.ray/auth_token or RAY_AUTH_TOKEN"
        return f"`ray`: the cluster at {address} does not let this process in ({reason}); {remedy}"
    return f'`ray`: no cluster at {address} ({reason}); start one (ray start), or give `ray="{LOCAL}"`'


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Context after which SIGTERM is handled as before: Ray ends the process at once, with nothing committed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def slots_of(nodes: Sequence[Mapping[str, Any]], device: str, *, most_cpus: int = CPUS_OF_WORKER) -> Slots:
    """Return what each worker takes of a cluster: a GPU where a node has one, else as many CPUs as the smallest node has.

    Args:
        nodes: as `ray.nodes()` returns them.
        device: `auto`, `cpu` or `cuda`.
        most_cpus: the most that a worker without a GPU takes.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = sum(int(own.get("GPU", 0)) for own in alive)
    if device == "cuda" or (device == "auto" and gpus):
        return Slots(1, 1, max(gpus, 1))
    sizes = [int(own["CPU"]) for own in alive if own.get("CPU", 0) >= 1]
    cpus = min([*sizes, most_cpus]) if sizes else 1
    return Slots(0, cpus, max(sum(size // cpus for size in sizes), 1))
