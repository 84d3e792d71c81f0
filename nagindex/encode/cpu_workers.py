"""CpuWorkers: batches side by side on a CPU's cores, where one batch on all of them would wait at every step for the slowest."""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING

from nagindex.encode.batch import Result, TokenIds, start_batch

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone
    from nagindex.nag import NagSpec

MOST = 8  # a window has some fifteen batches
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = (1 << 31) - 1, 1 << 30
OLD_LIMIT = 32 << 20  # the largest threshold that older C libraries accept


class CpuWorkers:
    """Threads that each run batches through a copy of the model's modules, all with the same weights.

    A batch's arithmetic does not depend on how many lanes there are, as long as each has one core.

    Attributes:
        count: how many batches run at once.
    """

    def __init__(self, backbones: Sequence[Backbone], count: int, cores: int) -> None:
        import torch

        self.count = count
        self._free: SimpleQueue[Sequence[Backbone]] = SimpleQueue()
        for _ in range(count):
            self._free.put(_replica(backbones))
        self._pool = ThreadPoolExecutor(
            count, "encoding", initializer=torch.set_num_threads, initargs=(max(1, cores // count),)
        )

    @classmethod
    def of(cls, backbones: Sequence[Backbone]) -> CpuWorkers | None:
        """Return a lane for each core that torch may use, at most eight; None for a single one."""
        import torch

        cores = torch.get_num_threads()
        return cls(backbones, min(cores, MOST), cores) if cores > 1 else None

    def submit(self, specs: Sequence[NagSpec], rows: TokenIds) -> Future[Result]:
        """Return the future outcome of a batch; see `batch.start_batch`."""
        return self._pool.submit(self._run, specs, rows)

    def _run(self, specs: Sequence[NagSpec], rows: TokenIds) -> Result:
        backbones = self._free.get()
        try:
            return start_batch(backbones, specs, rows)
        finally:
            self._free.put(backbones)


def _replica(backbones: Sequence[Backbone]) -> list[Backbone]:
    """Return the backbones around a copy of the modules, whose hooks are its own and whose weights are the same tensors."""
    model = backbones[0].model
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, shared)
    names = {id(module): name for name, module in model.named_modules()}
    return [
        dataclasses.replace(
            backbone,
            model=twin,
            projections=tuple(
                dataclasses.replace(p, module=twin.get_submodule(names[id(p.module)])) for p in backbone.projections
            ),
        )
        for backbone in backbones
    ]


@cache
def keep_freed_memory() -> bool:
    """Have the C library reuse large blocks in place of returning them; whether it does.

    By default every tensor above some megabytes is mapped anew, and the system clears its pages one fault at a time: a fifth of
    the time of a small model on a CPU. A user who set glibc's own variables, or another C library, is left alone.

    Source: mallopt(3), glibc.
    """
    if any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    mapped = mallopt(M_MMAP_THRESHOLD, KEPT[1]) or mallopt(M_MMAP_THRESHOLD, OLD_LIMIT)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, KEPT[0]))
