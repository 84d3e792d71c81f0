"""Encoding on a CPU: worker threads that each run one batch, and settings of the memory allocator.

One batch split over all cores synchronizes them after every operation, so concurrent batches, each on its own cores,
are faster. `keep_freed_memory` makes glibc reuse the large blocks that their tensors free.
"""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from nagindex.workers.cpus import available_cpus

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

Result = TypeVar("Result")

MAX_WORKERS = 8  # a window has some fifteen batches
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt
TRIM_BYTES, MMAP_BYTES = (1 << 31) - 1, 1 << 30
OLD_MMAP_BYTES = 32 << 20  # maximum that older versions of glibc accept


class CpuWorkers:
    """Threads that run batches, each through its own copy of the modules; the copies share the weights.

    A batch's result does not depend on the number of workers as long as each worker has one core.

    Args:
        backbones: views of one model, one for each neuron type.
        count: number of workers, which is the number of concurrent batches.
        cores: number of cores that the workers share.

    Attributes:
        count: number of workers.
    """

    def __init__(self, backbones: Sequence[Backbone], count: int, cores: int) -> None:
        import torch

        self.count = count
        self._replicas: SimpleQueue[Sequence[Backbone]] = SimpleQueue()
        for _ in range(count):
            self._replicas.put(_replicate(backbones))
        self._pool = ThreadPoolExecutor(
            count, "encoding", initializer=torch.set_num_threads, initargs=(max(1, cores // count),)
        )

    @classmethod
    def of(cls, backbones: Sequence[Backbone]) -> CpuWorkers | None:
        """Return one worker for each core that torch and this process may use, at most MAX_WORKERS; None if that is one core."""
        import torch

        cores = min(torch.get_num_threads(), available_cpus())
        return cls(backbones, min(cores, MAX_WORKERS), cores) if cores > 1 else None

    def submit(self, run: Callable[[Sequence[Backbone]], Result]) -> Future[Result]:
        """Submit a batch, which the next free worker runs with its copy of the backbones."""
        return self._pool.submit(self._run, run)

    def _run(self, run: Callable[[Sequence[Backbone]], Result]) -> Result:
        backbones = self._replicas.get()
        try:
            return run(backbones)
        finally:
            self._replicas.put(backbones)


def _replicate(backbones: Sequence[Backbone]) -> list[Backbone]:
    """Return the backbones with a copy of the model that has its own hooks and shares the weights."""
    model = backbones[0].model
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    replica = copy.deepcopy(model, shared)
    names = {id(module): name for name, module in model.named_modules()}
    return [
        dataclasses.replace(
            backbone,
            model=replica,
            projections=tuple(
                dataclasses.replace(p, module=replica.get_submodule(names[id(p.module)])) for p in backbone.projections
            ),
        )
        for backbone in backbones
    ]


@cache
def keep_freed_memory() -> bool:
    """Make glibc keep freed large blocks for reuse; return whether the setting took effect.

    By default glibc maps every block above some megabytes anew, and the kernel zeroes its pages one fault at a time,
    which takes a fifth of a small model's time on a CPU. Environment variables that configure glibc's malloc take
    precedence, and other C libraries are left unchanged; the result is False then.

    Source: mallopt(3), glibc.
    """
    if any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    mapped = mallopt(M_MMAP_THRESHOLD, MMAP_BYTES) or mallopt(M_MMAP_THRESHOLD, OLD_MMAP_BYTES)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, TRIM_BYTES))
