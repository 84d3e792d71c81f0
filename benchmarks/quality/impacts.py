"""Impacts and hidden states of texts from one pass of a backbone: that of the paper, and other ways to measure one.

A causal backbone reads a document's beginning alike whatever follows, so one pass over the longest prefix has the impacts of all
shorter ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
import torch

from nagindex.backbone.hooks import hooked
from nagindex.backbone.load import Backbone
from nagindex.encode.batch import pad
from nagindex.encode.cpu_workers import CpuWorkers, keep_freed_memory
from nagindex.encode.encoder import default_batch_tokens, length_sorted_batches
from nagindex.encode.tokenize import tokenize
from nagindex.errors import UnsupportedBackboneError

Reduction = Callable[[torch.Tensor, torch.Tensor | None, torch.Tensor], torch.Tensor]
"""From outputs of `up` and `gate`, float [batch, tokens, d], and lengths, int64 [batch], to impacts, float32 [batch, d]."""
COUNTED = 20
"""Neurons of a token's layer that count as active in it."""
STATES = {"middle": 15 / 30, "late": 26 / 30, "last": 1.0}
"""Depth of the layers whose hidden states serve as embeddings; the late one was the best of SmolLM2-135M in an earlier trial."""


def mean_magnitude(up: torch.Tensor, gate: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Return the paper's impact: the mean over a text's tokens of the output's magnitude."""
    return sums_of(up.abs(), lengths) / lengths[:, None]


def of_gate(up: torch.Tensor, gate: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean magnitude of the gate's output before its activation function."""
    return mean_magnitude(required(gate), None, lengths)


def of_product(up: torch.Tensor, gate: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean magnitude of what the down projection reads: the activated gate times up."""
    return mean_magnitude(torch.nn.functional.silu(required(gate)) * up, None, lengths)


def of_signed_product(up: torch.Tensor, gate: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Return the magnitude of the mean, with its sign in each token, of what the down projection reads."""
    product = torch.nn.functional.silu(required(gate)) * up
    return (sums_of(product, lengths) / lengths[:, None]).abs()


def without_first(up: torch.Tensor, gate: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean magnitude over all tokens but the first, on which decoders park attention."""
    magnitudes = up.abs()
    others = sums_of(magnitudes, lengths) - magnitudes[:, 0].float()
    alone = (lengths == 1)[:, None]
    return torch.where(alone, magnitudes[:, 0].float(), others / (lengths - 1).clamp(min=1)[:, None])


def geometric_mean(up: torch.Tensor, gate: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Return the geometric mean of the magnitudes, that is of their logarithms."""
    return (sums_of(up.abs().clamp(min=1e-6).log(), lengths) / lengths[:, None]).exp()


def median(up: torch.Tensor, gate: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Return the lower median of the magnitudes."""
    rows = []
    for row, length in zip(up, lengths.tolist(), strict=True):
        rows.append(row[:length].abs().float().median(dim=0).values)
    return torch.stack(rows)


def active_tokens(up: torch.Tensor, gate: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Return the share of tokens in which a neuron is among the layer's largest magnitudes."""
    top = up.abs().topk(min(COUNTED, up.shape[2]), dim=2).indices
    active = torch.zeros(up.shape, dtype=torch.float32).scatter_(2, top, 1.0)
    return sums_of(active, lengths) / lengths[:, None]


def of_prefix(tokens: int, up: torch.Tensor, gate: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Return the paper's impact of a text's first tokens."""
    return mean_magnitude(up[:, :tokens], None, lengths.clamp(max=tokens))


PREFIXES = (16, 32, 60, 120, 240)
REDUCTIONS: dict[str, Reduction] = {
    "up": mean_magnitude,
    "gate": of_gate,
    "product": of_product,
    "signed product": of_signed_product,
    "up without first token": without_first,
    "up, geometric mean": geometric_mean,
    "up, median": median,
    "up, active tokens": active_tokens,
    **{f"up, {tokens} tokens": partial(of_prefix, tokens) for tokens in PREFIXES},
}
OF_GATE = ("gate", "product", "signed product")


def sums_of(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the sums over each text's own tokens, float32 [batch, d]."""
    inside = torch.arange(values.shape[1]) < lengths[:, None]
    return torch.einsum("btd,bt->bd", values.float(), inside.float())


def required(gate: torch.Tensor | None) -> torch.Tensor:
    """Return the gate's output, of a model that has one."""
    if gate is None:
        raise UnsupportedBackboneError("the model has no gate projection")
    return gate


def supported(backbone: Backbone, names: Sequence[str]) -> list[str]:
    """Return those of the named impacts that a backbone has: prefixes of causal ones, gates of gated ones."""
    gated = gate_of(backbone) is not None
    return [n for n in names if (gated or n not in OF_GATE) and (backbone.causal or not n.endswith("tokens"))]


def gate_of(backbone: Backbone) -> Backbone | None:
    """Return the view of a model's gates, None if it has none."""
    try:
        return backbone.of_type("gate")
    except UnsupportedBackboneError:
        return None


def token_ids(backbone: Backbone, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Return the first token ids of each text; a text without tokens reads as one padding token."""
    ids = tokenize(backbone.tokenizer, texts, max_length=max_length, count=False).ids
    return [row or [backbone.tokenizer.pad_token_id or 0] for row in ids]


def batch_impacts(
    backbones: Sequence[Backbone], names: Sequence[str], rows: Sequence[Sequence[int]]
) -> tuple[dict[str, list[torch.Tensor]], dict[str, torch.Tensor]]:
    """Return impacts, float32 [batch, d] of each layer, and hidden states, float32 [batch, hidden], of one batch.

    States are means over all tokens but the first.

    Args:
        backbones: view of `up`, and that of `gate` if one is wanted.
        names: names of `REDUCTIONS`.
        rows: token ids of each text.
    """
    up = backbones[0]
    gate = backbones[1] if len(backbones) > 1 else None
    ids, mask = pad(rows, up.tokenizer.pad_token_id or 0)
    lengths = mask.sum(dim=1)
    impacts: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    gates: dict[int, torch.Tensor] = {}
    layers = len(up.projections)

    def collect(position: int, output: torch.Tensor) -> None:
        if position >= layers:
            gates[position - layers] = output
            return
        own = gates.pop(position, None)  # a gate runs before its layer's up projection
        for name in names:
            impacts[name].append(REDUCTIONS[name](output, own, lengths))

    projections = [*up.projections, *(gate.projections if gate else ())]
    whole = bool(mask.all())
    with torch.inference_mode(), hooked(projections, collect):
        options = {} if up.causal or whole else {"attention_mask": mask}
        found = up.model(input_ids=ids, output_hidden_states=True, **options).hidden_states
        states = {}
        for name, depth in STATES.items():
            states[name] = without_first_state(found[round(depth * (len(found) - 1))], lengths)
    return impacts, states


def without_first_state(states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return means of hidden states over all tokens but the first, float32 [batch, hidden]; of one token, that one's."""
    sums = sums_of(states, lengths)
    first = states[:, 0].float()
    return torch.where((lengths == 1)[:, None], first, (sums - first) / (lengths - 1).clamp(min=1)[:, None])


def run_batches(
    backbones: Sequence[Backbone],
    ids: Sequence[Sequence[int]],
    work: Callable[[Sequence[Backbone], list[Sequence[int]]], object],
) -> Iterator[tuple[np.ndarray, object]]:
    """Yield positions and result of each batch of texts, several of them computed at the same time."""
    keep_freed_memory()
    workers = CpuWorkers.of(backbones)
    waiting: deque[tuple[np.ndarray, Future[object]]] = deque()
    for positions in length_sorted_batches([len(row) for row in ids], batch_tokens=default_batch_tokens(backbones[0])):
        rows = [ids[position] for position in positions]
        if workers is None:
            yield positions, work(backbones, rows)
            continue
        waiting.append((positions, workers.submit(partial(work, rows=rows))))
        while len(waiting) > workers.count:
            done, future = waiting.popleft()
            yield done, future.result()
    for done, future in waiting:
        yield done, future.result()
