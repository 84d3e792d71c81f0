"""Causal language models: loading them with their heads, and the bits that texts take under them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.backbone.hooks import probe
from nagindex.backbone.locate import max_positions
from nagindex.backbone.pretrained import load_pretrained
from nagindex.backbone.projections import find_projections
from nagindex.errors import UnsupportedBackboneError
from nagindex.progress import step

WINDOW = 1024
"""Tokens that are read at once, where a model has positions for as many."""
BATCH_TOKENS = 1024
"""Padded tokens in a batch; logits take four bytes for each of them and each entry of the vocabulary."""


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its head.

    Attributes:
        name: its name or path.
        model: the model, in evaluation mode.
        tokenizer: its Hugging Face tokenizer.
        prefix: id of the token that stands before a text, of which the text's first token is predicted.
    """

    name: str
    model: Any
    tokenizer: Any
    prefix: int

    def bits(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the bits of each text, float64 [n]: -log2 of the probability that the model gives to its tokens.

        Texts are tokenized without special tokens. Long ones are read in windows, of which each knows the last token before it alone.

        Args:
            texts: n texts.
        """
        import torch

        rows = self.tokenizer([*texts], add_special_tokens=False)["input_ids"]
        size = min(WINDOW, max_positions(self.model) or WINDOW)
        windows = [
            (number, ([self.prefix, *ids][first : first + size], ids[first : first + size]))
            for number, ids in enumerate(rows)
            for first in range(0, len(ids), size)
        ]
        windows.sort(key=lambda window: len(window[1][1]))
        bits = np.zeros(len(texts))
        tokens = sum(map(len, rows))
        with torch.inference_mode(), step("measuring losses", tokens, "tokens") as advance:
            for batch in _batches(windows):
                found = self._nats([pair for _, pair in batch]) / math.log(2)
                np.add.at(bits, [number for number, _ in batch], found)
                advance(sum(len(expected) for _, (_, expected) in batch))
        return bits

    def _nats(self, pairs: Sequence[tuple[list[int], list[int]]]) -> npt.NDArray[np.float64]:
        """Return the negative log-likelihood of each row of expected tokens, float64 [batch], given the tokens before each.

        Padding goes to the right, where no token of a causal model attends to it.
        """
        import torch

        width = max(len(expected) for _, expected in pairs)
        read, expected = (
            torch.tensor([row + [filling] * (width - len(row)) for row in rows], device=self.model.device)
            for rows, filling in (
                ([own[: len(end)] for own, end in pairs], self.prefix),
                ([end for _, end in pairs], -100),
            )
        )
        logits = self.model(input_ids=read, use_cache=False).logits.float()
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), expected.flatten(), reduction="none")
        nats: npt.NDArray[np.float64] = losses.view(expected.shape).double().sum(dim=1).cpu().numpy()
        return nats


Window = tuple[int, tuple[list[int], list[int]]]
"""The number of a text, tokens that are read of it, and the tokens after each of them."""


def _batches(windows: Sequence[Window]) -> list[list[Window]]:
    """Return windows, sorted by length, in batches of at most `BATCH_TOKENS` padded tokens."""
    batches: list[list[Window]] = [[]]
    for window in windows:
        if batches[-1] and (len(batches[-1]) + 1) * len(window[1][1]) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(window)
    return batches if windows else []


def load_language_model(
    name: str, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False
) -> LanguageModel:
    """Load a causal language model with its head.

    Args:
        name: as in `load_backbone`, like the others.
        device: see there.
        dtype: see there.
        trust_remote_code: see there.

    Raises:
        InputNotFoundError, BadInputError, MissingDependencyError: as `load_backbone`.
        UnsupportedBackboneError: the checkpoint has no language-model head, attention is not causal, or the tokenizer has no token that
            can stand before a text.
    """
    name, model, tokenizer, missing, _ = load_pretrained(
        name,
        "AutoModelForCausalLM",
        device=device,
        dtype=dtype,
        attention="auto",
        revision=None,
        trust_remote_code=trust_remote_code,
    )
    if missing:
        raise UnsupportedBackboneError(
            f"{name}: the checkpoint lacks {sorted(missing)[0]}, so it is no language model; losses need a decoder with its head"
        )
    model.eval().requires_grad_(False)
    _, causal = probe(model.base_model, find_projections(model.base_model))
    if not causal:
        raise UnsupportedBackboneError(f"{name}: its tokens see those after them; losses need a causal language model")
    first = next((own for own in (tokenizer.bos_token_id, tokenizer.eos_token_id) if own is not None), None)
    if first is None:
        raise UnsupportedBackboneError(
            f"{name}: its tokenizer has neither a bos nor an eos token to stand before a text"
        )
    return LanguageModel(name, model, tokenizer, first)
