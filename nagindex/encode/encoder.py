"""From token ids to NAGs: texts of like length in batches under a token budget, several of them on their way at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.encode.batch import TokenIds, start_batch, synchronize
from nagindex.encode.cpu_workers import CpuWorkers, keep_freed_memory
from nagindex.nag import CODE_DTYPE, Codes, NagSpec

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}
WINDOW = {"cpu": 256, "cuda": 4096}
CPU_MOST = 8192


def default_batch_tokens(backbone: Backbone) -> int:
    """Return how many padded tokens a batch holds on the backbone's device where nobody measured or chose."""
    return BATCH_TOKENS.get(backbone.model.device.type, BATCH_TOKENS["cuda"])


def default_window(backbone: Backbone) -> int:
    """Return how many rows of the input are batched together on the backbone's device: some seconds of its work."""
    return WINDOW.get(backbone.model.device.type, WINDOW["cuda"])


def clamp_to_memory(batch_tokens: int, backbone: Backbone) -> int:
    """Return a budget of tokens a batch, bounded where it was found on a GPU and the backbone is on a CPU."""
    return min(batch_tokens, CPU_MOST) if backbone.model.device.type == "cpu" else batch_tokens


@dataclass
class Encoder:
    """One model as an encoder of token ids to NAGs of one or several neuron types, from one forward pass.

    Attributes:
        backbones: views of the same model, one for each neuron type.
        specs: the shape of each type's NAGs.
        batch_tokens: padded tokens in a batch, at least one text; halved whenever the device runs out of memory.
        on_batch: called with the texts and tokens of each batch that has come back.
    """

    backbones: Sequence[Backbone]
    specs: Sequence[NagSpec]
    batch_tokens: int
    on_batch: Callable[[int, int], None] = field(default=lambda texts, tokens: None)

    def __post_init__(self) -> None:
        self._workers: CpuWorkers | None = None
        if self.backbones[0].model.device.type == "cpu":
            keep_freed_memory()
            self._workers = CpuWorkers.of(self.backbones)

    @property
    def side_by_side(self) -> int:
        """How many batches run at once."""
        return 1 if self._workers is None else self._workers.count

    def encode(self, ids: TokenIds) -> list[Codes]:
        """Return the NAGs of tokenized texts, one uint16 [n, L, K] for each type, in the order given.

        Args:
            ids: token ids of each text, at least one.

        Raises:
            BadInputError: the backbone's outputs are not finite in its dtype.
        """
        codes = [np.empty((len(ids), *spec.shape), CODE_DTYPE) for spec in self.specs]
        lengths = [len(row) for row in ids]
        batches = deque(length_sorted_batches(lengths, batch_tokens=self.batch_tokens))
        in_flight = self.side_by_side + 1  # the next one waits already
        flying: deque[tuple[npt.NDArray[np.int64], Callable[[], list[Codes]]]] = deque()
        while batches or flying:
            starting = bool(batches) and len(flying) < in_flight
            positions, arriving = (batches.popleft(), None) if starting else flying.popleft()
            try:
                if arriving is None:
                    flying.append((positions, self._start([ids[p] for p in positions])))
                    continue
                parts = arriving()
            except RuntimeError as error:
                if not _is_out_of_memory(error) or len(positions) == 1:
                    raise
                batches = self._smaller(lengths, [positions, *batches])
                continue
            for into, part in zip(codes, parts, strict=True):
                into[positions] = part
            self.on_batch(len(positions), sum(lengths[p] for p in positions))
        return codes

    def _smaller(
        self, lengths: Sequence[int], batches: Sequence[npt.NDArray[np.int64]]
    ) -> deque[npt.NDArray[np.int64]]:
        """Halve the budget for good and form the batches that are left anew."""
        import torch

        failed = len(batches[0]) * max(lengths[p] for p in batches[0])
        self.batch_tokens = min(
            self.batch_tokens, max(1, failed // 2)
        )  # others of the old size may yet come back failed
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        left = np.concatenate(batches)
        smaller = length_sorted_batches([lengths[p] for p in left], batch_tokens=self.batch_tokens)
        return deque(left[places] for places in smaller)

    def _start(self, rows: TokenIds) -> Callable[[], list[Codes]]:
        """Queue a batch on the device, or on one of the CPU's lanes, and return what waits for its codes."""
        if self._workers is None:
            return partial(synchronize, self.backbones, start_batch(self.backbones, self.specs, rows))
        future = self._workers.submit(self.specs, rows)
        return lambda: synchronize(self.backbones, future.result())


def encode_ids(backbone: Backbone, ids: TokenIds, spec: NagSpec, *, batch_tokens: int) -> Codes:
    """Return the NAGs of tokenized texts, uint16 [n, L, K], in the order given; see `Encoder.encode`."""
    return Encoder([backbone], [spec], batch_tokens).encode(ids)[0]


def length_sorted_batches(lengths: Sequence[int], *, batch_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield positions, int64 [b], of texts to run together: shortest first, padded tokens at most `batch_tokens`."""
    batch: list[int] = []
    for position in np.argsort(np.asarray(lengths, np.int64), kind="stable"):
        if batch and (len(batch) + 1) * lengths[position] > batch_tokens:
            yield np.array(batch)
            batch = []
        batch.append(int(position))
    if batch:
        yield np.array(batch)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    told = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")  # the CPU's allocator, and a GPU library's
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in told)
