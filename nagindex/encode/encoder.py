"""Encoding of token ids to NAGs in length-sorted batches, several of them in flight.

The batch size is halved when the device runs out of memory.
"""

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
from nagindex.progress import step

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}
WINDOW = {"cpu": 256, "cuda": 4096}
MAX_CPU_BATCH_TOKENS = 8192

Positions = npt.NDArray[np.int64]
"""Positions of a batch's texts in the input, int64 [b]."""


def default_batch_tokens(backbone: Backbone) -> int:
    """Return the default batch size on the backbone's device, in padded tokens."""
    return BATCH_TOKENS.get(backbone.model.device.type, BATCH_TOKENS["cuda"])


def default_window(backbone: Backbone) -> int:
    """Return the default window on the backbone's device: input rows that are sorted into batches together."""
    return WINDOW.get(backbone.model.device.type, WINDOW["cuda"])


def clamp_to_memory(batch_tokens: int, backbone: Backbone) -> int:
    """Return the batch size, at most MAX_CPU_BATCH_TOKENS if the backbone is on a CPU.

    An index keeps the batch size that it was built with. One measured on a GPU can be too large for the CPU that
    encodes targets later; on a GPU no limit is needed, as `Encoder` halves a batch that does not fit.

    Args:
        batch_tokens: batch size in padded tokens.
        backbone: the backbone, on the device that will encode.
    """
    return min(batch_tokens, MAX_CPU_BATCH_TOKENS) if backbone.model.device.type == "cpu" else batch_tokens


@dataclass
class Encoder:
    """Encoder of token ids to NAGs of one or several neuron types, in one forward pass a batch.

    Attributes:
        backbones: views of the same model, one for each neuron type.
        specs: shape of each type's NAGs.
        batch_tokens: batch size in padded tokens (a batch has at least one text); halved when memory runs out.
        on_batch: called with the number of texts and of tokens of each finished batch.
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
    def concurrency(self) -> int:
        """Number of batches that run at the same time."""
        return 1 if self._workers is None else self._workers.count

    def encode(self, ids: TokenIds) -> list[Codes]:
        """Return the NAGs of tokenized texts, uint16 [n, L, K] for each neuron type, in input order.

        Args:
            ids: token ids of each text, at least one token each.

        Raises:
            BadInputError: an impact is not finite in the backbone's dtype.
            RuntimeError: the device runs out of memory on a single text.
        """
        codes = [np.empty((len(ids), *spec.shape), CODE_DTYPE) for spec in self.specs]
        lengths = [len(row) for row in ids]
        waiting = deque(length_sorted_batches(lengths, batch_tokens=self.batch_tokens))
        in_flight: deque[tuple[Positions, Callable[[], list[Codes]]]] = deque()
        max_in_flight = self.concurrency + 1  # one more than run, so that the device never idles
        while waiting or in_flight:
            start = bool(waiting) and len(in_flight) < max_in_flight
            positions, wait = (waiting.popleft(), None) if start else in_flight.popleft()
            try:
                if wait is None:
                    in_flight.append((positions, self._start([ids[p] for p in positions])))
                    continue
                results = wait()
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(positions) == 1:
                    raise
                waiting = self._halve_batches(lengths, [positions, *waiting])
                continue
            for array, result in zip(codes, results, strict=True):
                array[positions] = result
            self.on_batch(len(positions), sum(lengths[p] for p in positions))
        return codes

    def _halve_batches(self, lengths: Sequence[int], batches: Sequence[Positions]) -> deque[Positions]:
        """Lower the batch size below the first batch's, which ran out of memory, and form the batches anew."""
        import torch

        failed = len(batches[0]) * max(lengths[p] for p in batches[0])
        # Not simply half of the current size: batches of the former size may still be in flight and fail later.
        self.batch_tokens = min(self.batch_tokens, max(1, failed // 2))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        remaining = np.concatenate(batches)
        smaller = length_sorted_batches([lengths[p] for p in remaining], batch_tokens=self.batch_tokens)
        return deque(remaining[indices] for indices in smaller)

    def _start(self, rows: TokenIds) -> Callable[[], list[Codes]]:
        """Start a batch on the GPU or on a CPU worker; return a function that waits for its codes."""
        if self._workers is None:
            return partial(synchronize, self.backbones, start_batch(self.backbones, self.specs, rows))
        future = self._workers.submit(partial(start_batch, specs=self.specs, rows=rows))
        return lambda: synchronize(self.backbones, future.result())


def encode_ids(backbone: Backbone, ids: TokenIds, spec: NagSpec, *, batch_tokens: int) -> Codes:
    """Return the NAGs of tokenized texts, uint16 [n, L, K], in input order; see `Encoder.encode`."""
    with step("encoding texts", len(ids), "texts") as advance:
        return Encoder([backbone], [spec], batch_tokens, lambda texts, tokens: advance(texts)).encode(ids)[0]


def length_sorted_batches(lengths: Sequence[int], *, batch_tokens: int) -> Iterator[Positions]:
    """Yield batches of texts of similar length, shortest first, as positions, int64 [b].

    Args:
        lengths: number of tokens of each text.
        batch_tokens: maximum of a batch's padded tokens, unless a single text is longer.
    """
    batch: list[int] = []
    for position in np.argsort(np.asarray(lengths, np.int64), kind="stable"):
        if batch and (len(batch) + 1) * lengths[position] > batch_tokens:
            yield np.array(batch)
            batch = []
        batch.append(int(position))
    if batch:
        yield np.array(batch)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device has no memory left."""
    import torch

    messages = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")  # of torch's CPU allocator and of cuBLAS
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in messages)
