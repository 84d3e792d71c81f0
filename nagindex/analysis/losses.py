"""Losses of a language model on given texts while chosen neurons are switched off, beside equally many random ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.analysis.arms import RANDOM, chosen_in, measure
from nagindex.analysis.choice import NeuronChoice
from nagindex.arguments import checked
from nagindex.backbone.devices import require_devices
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_texts
from nagindex.corpus.sources import find_sources
from nagindex.errors import BadInputError
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.query.html import records


@dataclass(frozen=True)
class Loss:
    """The loss of a model with some neurons switched off.

    Attributes:
        name: of the choice; `untouched` where no neuron is off.
        neurons: number of neurons that are off.
        bits: float64 [n], bits of each text.
        draws: float64 [draws, n], bits of each text with equally many neurons of each layer off that were drawn at random.
    """

    name: str
    neurons: int
    bits: npt.NDArray[np.float64]
    draws: npt.NDArray[np.float64]


@dataclass(frozen=True)
class DeactivationLosses:
    """Losses on some texts: of the untouched model, and with each of some choices of neurons switched off.

    Attributes:
        backbone: the model's name.
        total: neurons of the model, of the choices' type.
        bytes: int64 [n], length of each text in UTF-8.
        losses: the untouched model first.
        skipped: one sentence for each row of the files that holds no text.
    """

    backbone: str
    total: int
    bytes: npt.NDArray[np.int64]
    losses: Sequence[Loss]
    skipped: Sequence[str] = ()

    def bits_per_byte(self, bits: npt.NDArray[np.float64]) -> float:
        """Return bits of all texts, float64 [n], over their bytes."""
        return float(bits.sum() / self.bytes.sum())

    def change(self, bits: npt.NDArray[np.float64]) -> tuple[float, float]:
        """Return how many bits per byte more than untouched some bits are, and the standard error over the texts.

        The error is that of a ratio of sums over a sample of texts; nan for one text.
        """
        more = bits - self.losses[0].bits
        ratio, n = float(more.sum() / self.bytes.sum()), len(more)
        if n < 2:
            return ratio, math.nan
        residual = more - ratio * self.bytes
        return ratio, float(np.sqrt(n / (n - 1) * (residual**2).sum()) / self.bytes.sum())

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values: bits per byte, and changes against the untouched model with standard errors."""
        return {
            "backbone": self.backbone,
            "texts": len(self.bytes),
            "bytes": int(self.bytes.sum()),
            "rows": [self._row(loss) for loss in self.losses],
        }

    def _repr_html_(self) -> str:
        """Return bits per byte of each choice of neurons as an HTML table, for notebooks."""
        told = self.to_json()
        heading = f"{self.backbone}: {told['texts']:,} texts, {told['bytes']:,} bytes"
        return f"<p>{escape(heading)}</p>{records(told['rows'], leave_out=['random'])}"

    def _row(self, loss: Loss) -> dict[str, Any]:
        change, error = self.change(loss.bits)
        draws = [self.change(own)[0] for own in loss.draws]
        return {
            "name": loss.name,
            "neurons": loss.neurons,
            "share": loss.neurons / self.total,
            "bits_per_byte": self.bits_per_byte(loss.bits),
            "change": change,
            "error": None if math.isnan(error) else error,
            "random": draws,
            "random_mean": float(np.mean(draws)) if draws else None,
            "random_deviation": float(np.std(draws, ddof=1)) if draws[1:] else None,
        }


@checked
@reports_progress
def evaluate_deactivation(
    keys: Mapping[str, NeuronChoice] | Sequence[str | Path],
    texts: str | Path | Sequence[str],
    *,
    random: int = RANDOM,
    seed: int = 0,
    text_column: str | None = None,
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    progress: ProgressCallback | None = None,
) -> DeactivationLosses:
    """Return the losses on texts with chosen neurons switched off, and with as many random ones in each of the same layers.

    Choices with the same number of neurons in the same layers share their random draws.

    Args:
        keys: choices by name, or files of choices, which are named after them.
        texts: a file, glob or folder of texts in any corpus format, or a list of texts.
        random: number of random draws; 0 for none.
        seed: of the draws.
        text_column: column of the texts; by default found in each file.
        model: name or folder of the model; by default the one that the choices were made with.
        device: a torch device.
        dtype: fp32, bf16 or fp16; `auto` as in `build`.
        trust_remote_code: whether code that comes with the model may run.
        progress: called with a `Progress` as each step begins, advances and ends.

    Raises:
        InputNotFoundError, BadInputError: a file is missing or damaged, the choices are of several models, the model has no such neuron,
            or there is no text.
        UnsupportedBackboneError: the model is no causal language model.
    """
    from nagindex.backbone.language_model import load_language_model

    chosen = chosen_in(keys, model, random)
    require_devices([device])
    read, skipped = _texts(texts, text_column)
    loaded = load_language_model(chosen.model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    arms, total = measure(loaded.model, chosen, lambda: loaded.bits(read), random=random, seed=seed)
    losses = [Loss(arm.name, arm.neurons, arm.value, np.array(arm.draws).reshape(-1, len(read))) for arm in arms]
    return DeactivationLosses(chosen.model, total, np.array([len(text.encode()) for text in read]), losses, skipped)


def _texts(given: str | Path | Sequence[str], text_column: str | None) -> tuple[list[str], list[str]]:
    """Return the texts that are not empty, and one sentence for each row of the files that holds none.

    Raises:
        InputNotFoundError, BadInputError: a file is missing or cannot be read, or there is no text.
    """
    skipped: list[str] = []
    if isinstance(given, (str, Path)):
        columns = Columns(text_column=text_column)
        rows = [row for source in find_sources([given]).sources for row in read_texts(source, columns, skipped)]
        texts = [row.text or "" for row in rows]
    else:
        texts = [*given]
    kept = [text for text in texts if text]
    if not kept:
        reason = f" (the first row skipped: {skipped[0]})" if skipped else ""
        raise BadInputError(f"`texts`: there is no text{reason}; give at least one")
    return kept, skipped
