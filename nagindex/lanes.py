"""Lanes: batches side by side on a CPU's cores, where one batch on all of them would wait at every step for the slowest."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING

from nagindex.batch import Result, TokenIds, start_batch

if TYPE_CHECKING:
    from nagindex.backbone import Backbone
    from nagindex.nag import NagSpec

MOST = 8  # a window has some fifteen batches


class Lanes:
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
    def of(cls, backbones: Sequence[Backbone]) -> Lanes | None:
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
