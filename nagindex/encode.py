"""From texts to NAGs: tokenise, batch by length under a token budget, run the backbone, keep the top K of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.nag import CODE_DTYPE, Codes, NagSpec

if TYPE_CHECKING:
    import torch

    from nagindex.backbone import Backbone

BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}
CHARACTERS_AT_ONCE = 4_000_000


def default_batch_tokens(backbone: Backbone) -> int:
    """Return how many padded tokens a batch holds on the backbone's device."""
    return BATCH_TOKENS.get(backbone.model.device.type, BATCH_TOKENS["cuda"])


class Tokens(NamedTuple):
    """Tokenised texts.

    Attributes:
        ids: the first `max_length` token ids of each text.
        counts: int64 [n], tokens of each whole text.
    """

    ids: list[list[int]]
    counts: npt.NDArray[np.int64]


def tokenise(backbone: Backbone, texts: Sequence[str], *, max_length: int) -> Tokens:
    """Return the token ids of each text's beginning and the token count of the whole; no special tokens are added.

    Text that spells a special token becomes that token, as in the published code.

    Args:
        backbone: whose tokenizer to use.
        texts: the texts.
        max_length: ids to keep of each.
    """
    backend = getattr(backbone.tokenizer, "backend_tokenizer", None)
    if backend is None:
        whole = backbone.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        return Tokens([ids[:max_length] for ids in whole], np.array([len(ids) for ids in whole], np.int64))
    backend.no_truncation()
    backend.no_padding()
    ids: list[list[int]] = []
    counts: list[int] = []
    for part in _slices(texts):  # a whole window of books, tokenised at once, would take gigabytes
        for encoding in backend.encode_batch(part, add_special_tokens=False):
            counts.append(len(encoding))
            encoding.truncate(max_length)
            ids.append(encoding.ids)
    return Tokens(ids, np.array(counts, np.int64))


def _slices(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts in runs of at most four million characters, at least one."""
    part: list[str] = []
    size = 0
    for text in texts:
        if part and size + len(text) > CHARACTERS_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part


def encode_ids(backbone: Backbone, ids: Sequence[Sequence[int]], spec: NagSpec, *, batch_tokens: int) -> Codes:
    """Return the NAGs of tokenised texts, uint16 [n, L, K], in the order given.

    Args:
        backbone: the model to run.
        ids: token ids of each text, at least one.
        spec: layers and K.
        batch_tokens: padded tokens in a batch, at least one text.

    Raises:
        BadInputError: the backbone's outputs are not finite in its dtype.
    """
    codes = np.empty((len(ids), *spec.shape), CODE_DTYPE)
    for positions in length_sorted_batches([len(row) for row in ids], batch_tokens=batch_tokens):
        codes[positions] = _encode_batch(backbone, [ids[p] for p in positions], spec.top_k)
    return codes


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


def _encode_batch(backbone: Backbone, rows: Sequence[Sequence[int]], k: int) -> Codes:
    import torch

    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).to(torch.int64)
    ids = torch.full_like(mask, backbone.tokenizer.pad_token_id or 0)
    ids[mask.bool()] = torch.tensor([token for row in rows for token in row])
    impacts = backbone.impacts(ids.to(backbone.model.device), mask.to(backbone.model.device))
    if not all(bool(torch.isfinite(layer).all()) for layer in impacts):
        raise BadInputError(
            f"{backbone.name} in {backbone.model.dtype} gives impacts that are not finite; use --dtype float32"
        )
    return np.stack([top_k_of(layer, k).cpu().numpy() for layer in impacts], axis=1).astype(CODE_DTYPE)


def top_k_of(impacts: torch.Tensor, k: int) -> torch.Tensor:
    """Return the k neurons of largest impact, int64 [batch, k], as `nag.top_k` orders them, computed on the tensor's device.

    `torch.topk` breaks ties as it likes, so rows where a tie could show are sorted again in full.

    Args:
        impacts: float32 [batch, d].
        k: how many to keep, 1 to d.
    """
    import torch

    values, neurons = impacts.topk(min(k + 1, impacts.shape[1]), dim=1)
    tied = (values[:, 1:] == values[:, :-1]).any(dim=1)
    neurons = neurons[:, :k].clone()
    if bool(tied.any()):
        neurons[tied] = torch.sort(impacts[tied], dim=1, descending=True, stable=True).indices[:, :k]
    return neurons
