"""Loading of Hugging Face models and tokenizers, and the fingerprints that identify their encodings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.backbone.hooks import impacts_of, probe
from nagindex.backbone.locate import max_positions
from nagindex.backbone.options import ModelOptions
from nagindex.backbone.pretrained import load_pretrained
from nagindex.backbone.projections import Projection, find_projections
from nagindex.errors import BadInputError, UnsupportedBackboneError
from nagindex.nag import MAX_WIDTH, NagSpec, clip_top_k, default_relative_top_k, default_top_k, impact_divisors
from nagindex.storage.calibration import calibration_hash
from nagindex.storage.fingerprint import Fingerprint, installed_libraries

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Backbone:
    """A frozen model with its tokenizer, its projections of one neuron type, and hashes of both.

    Attributes:
        name: the model's name or path, as recorded in fingerprints.
        model: the transformer without a language-model head, in evaluation mode.
        tokenizer: its Hugging Face tokenizer.
        projections: each layer's projection, in order.
        neuron_type: type of the projections.
        causal: whether attention is causal.
        weights_hash, tokenizer_hash: SHA-256 of the tensors, or of the .gguf file that they come from, and of the tokenizer.
        numbers: numbers of the layers whose projections these are, ascending; None for all layers.
        calibration: SHA-256 of the mean impacts that impacts are divided by; None for absolute impact.
        divisors: what impacts are divided by, float32 [d_l] of each layer, on the model's device; None for absolute impact.
    """

    name: str
    model: Any
    tokenizer: Any
    projections: tuple[Projection, ...]
    neuron_type: str
    causal: bool
    weights_hash: str
    tokenizer_hash: str
    numbers: tuple[int, ...] | None = None
    calibration: str | None = None
    divisors: tuple[torch.Tensor, ...] | None = None

    def of_type(self, neuron_type: str) -> Backbone:
        """Return a view of the same model with the projections of another neuron type, in all layers and for absolute impact.

        Several views can share one forward pass; see `encoder.Encoder`.

        Raises:
            UnsupportedBackboneError: the model has no such projection.
        """
        if neuron_type == self.neuron_type and self.numbers is None:
            return self.calibrated(None)
        projections, causal = probe(self.model, find_projections(self.model, neuron_type))
        whole = dataclasses.replace(
            self, projections=projections, neuron_type=neuron_type, causal=self.causal and causal, numbers=None
        )
        return whole.calibrated(None)

    def of_layers(self, numbers: Sequence[int] | None) -> Backbone:
        """Return a view of the same model with the projections of some layers; a forward pass ends at the last of them.

        Args:
            numbers: numbers of layers of the model, ascending; None for all.

        Raises:
            BadInputError: the model has no layer of a number.
        """
        whole = self if self.numbers is None else self.of_type(self.neuron_type)
        count = len(whole.projections)
        if numbers is None or tuple(numbers) == tuple(range(count)):
            return whole
        if not numbers or max(numbers) >= count:
            raise BadInputError(f"{self.name}: its layers are 0 to {count - 1}, and not {', '.join(map(str, numbers))}")
        projections = tuple(whole.projections[number] for number in numbers)
        return dataclasses.replace(whole.calibrated(None), projections=projections, numbers=tuple(numbers))

    def calibrated(self, means: npt.NDArray[np.float32] | None) -> Backbone:
        """Return a view of the same model whose impacts are relative; see `nag.impact_divisors`.

        Args:
            means: mean impacts, float32 [L, max d_l]; None for absolute impact.
        """
        import torch

        if means is None:
            return self if self.divisors is None else dataclasses.replace(self, calibration=None, divisors=None)
        device = self.model.device
        divisors = tuple(torch.from_numpy(own).to(device) for own in impact_divisors(means, self.widths))
        return dataclasses.replace(self, calibration=calibration_hash(means), divisors=divisors)

    @property
    def widths(self) -> tuple[int, ...]:
        """Neurons d_l of each layer."""
        return tuple(p.width for p in self.projections)

    def fingerprint(self, *, top_k: int | None = None, max_length: int = 120) -> Fingerprint:
        """Return the fingerprint of encodings by this backbone.

        Args:
            top_k: neurons kept of each layer, clipped to the narrowest layer's width (`nag.clip_top_k`), so that the
                fingerprint's `spec.top_k` may be below it; by default `nag.default_top_k` of that width, or
                `nag.default_relative_top_k` where impact is relative.
            max_length: number of tokens read of a document.

        Raises:
            BadInputError: `max_length` is not positive or above the model's positions, or `top_k` is not positive.
            UnsupportedBackboneError: a layer has more neurons than codes can number.
        """
        limit = max_positions(self.model)
        if max_length < 1 or (limit is not None and max_length > limit):
            allowed = "any positive number of" if limit is None else f"1 to {limit}"
            raise BadInputError(
                f"max length {max_length}: {self.name} reads {allowed} tokens; give another `max_length`"
            )
        if top_k is not None and top_k < 1:
            raise BadInputError(f"top k {top_k}: a NAG keeps at least one neuron a layer; give another `top_k`")
        if max(self.widths) > MAX_WIDTH:
            raise UnsupportedBackboneError(
                f"{self.name}: {self.neuron_type} has layers of {max(self.widths):,} neurons, and codes number at most "
                f"{MAX_WIDTH:,}; give another `neuron_type`, or another model"
            )
        default = default_top_k if self.calibration is None else default_relative_top_k
        kept = default(min(self.widths)) if top_k is None else clip_top_k(top_k, self.widths)
        return Fingerprint(
            self.name,
            self.weights_hash,
            self.tokenizer_hash,
            NagSpec(self.neuron_type, self.widths, kept, self.numbers),
            max_length,
            str(self.model.dtype).removeprefix("torch."),
            str(getattr(self.model.config, "_attn_implementation", None) or "eager"),
            installed_libraries(),
            "absolute" if self.calibration is None else "relative",
            self.calibration,
        )

    def impacts(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """Return each layer's absolute impacts, L tensors of float32 [batch, d_l] on the model's device.

        See `hooks.impacts_of`.

        Args:
            ids: int64 [batch, tokens] token ids in CPU memory, padded on either side.
            mask: int64 [batch, tokens] in CPU memory, 1 for a token and 0 for padding; each row has at least one token.
        """
        return impacts_of(self.model, self.projections, ids, mask, causal=self.causal)


def load_backbone(
    name: str,
    *,
    neuron_type: str = "up",
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Backbone:
    """Load a model and its tokenizer as a backbone.

    Args:
        name: a Hugging Face hub name, a folder with config, safetensors weights and tokenizer, a .gguf file, `minilm` or `smollm2`.
        neuron_type: type of the projections whose output columns are the neurons.
        device: a torch device; `auto` is the first GPU if there is one, else the CPU.
        dtype: fp32, bf16 or fp16; `auto` is bf16 on a GPU and on a CPU that computes in it, else fp32.
        attention: sdpa, eager or flash_attention_2; `auto` is the default of transformers for the model.
        revision: a hub model's commit, tag or branch; it becomes part of the backbone's name, NAME@REVISION.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        InputNotFoundError: the model cannot be loaded.
        BadInputError: the dtype is unknown, or the device cannot be used.
        UnsupportedBackboneError: the checkpoint or tokenizer is incomplete, or the model has no such projection.
        MissingDependencyError: the packaged model is not installed.
    """
    name, model, tokenizer, missing, weights_hash = load_pretrained(
        name,
        "AutoModel",
        device=device,
        dtype=dtype,
        attention=attention,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )
    return wrap_model(name, model, tokenizer, neuron_type=neuron_type, missing=missing, weights_hash=weights_hash)


def load_matching_backbone(
    fingerprint: Fingerprint,
    loaded: Backbone | None = None,
    options: ModelOptions = ModelOptions(),
    *,
    where: str,
    means: npt.NDArray[np.float32] | None = None,
    accept_libraries: bool = True,
) -> Backbone:
    """Return the backbone that an index was encoded with, loaded unless given.

    Args:
        fingerprint: the index's fingerprint.
        loaded: the model, if it is already loaded.
        options: where the model is found and run.
        where: name of the index in messages.
        means: the index's calibration, float32 [L, max d_l]; None for absolute impact.
        accept_libraries: whether versions of torch, transformers and tokenizers may differ from the fingerprint's.

    Raises:
        SettingsMismatchError: the model's fingerprint differs; the message names both values.
        NagIndexError: as `load_backbone`.
    """
    if loaded is None:
        loaded = load_backbone(
            options.model or fingerprint.backbone,
            neuron_type=fingerprint.spec.neuron_type,
            device=options.device,
            dtype=fingerprint.dtype,
            attention=fingerprint.attention,
            trust_remote_code=options.trust_remote_code,
        )
    loaded = loaded.of_type(fingerprint.spec.neuron_type).of_layers(fingerprint.spec.numbers).calibrated(means)
    actual = loaded.fingerprint(top_k=fingerprint.spec.top_k, max_length=fingerprint.max_length)
    fingerprint.require(actual, where=where, ignore_libraries=accept_libraries)
    return loaded


def wrap_model(
    name: str,
    model: Any,
    tokenizer: Any,
    *,
    neuron_type: str = "up",
    missing: Sequence[str] = (),
    weights_hash: str | None = None,
) -> Backbone:
    """Return a backbone for a loaded model and tokenizer.

    Args:
        name: the backbone's name in fingerprints.
        model: a Hugging Face model without a language-model head.
        tokenizer: its tokenizer.
        neuron_type: type of the projections whose output columns are the neurons.
        missing: names of tensors that the checkpoint lacks; a pooling head's are ignored, as no NAG depends on them.
        weights_hash: SHA-256 of the file that holds the weights; by default the tensors are hashed.

    Raises:
        UnsupportedBackboneError: other tensors are missing, or the model has no such projection.
    """
    lacking = sorted(key for key in missing if "pooler" not in key)
    if lacking:
        others = " and others" if lacking[1:] else ""
        raise UnsupportedBackboneError(
            f"{name}: the checkpoint lacks weights of the model ({lacking[0]}{others}); use a complete checkpoint"
        )
    projections = find_projections(model, neuron_type)
    model.eval().requires_grad_(False)
    projections, causal = probe(model, projections)
    hashes = weights_hash or _weights_hash(model, set(missing)), _tokenizer_hash(tokenizer)
    return Backbone(name, model, tokenizer, projections, neuron_type, causal, *hashes)


def _weights_hash(model: Any, missing: set[str]) -> str:
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name not in missing:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tokenizer_hash(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return hashlib.sha256(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode()).hexdigest()
    backend.no_truncation()
    backend.no_padding()
    return hashlib.sha256(backend.to_str().encode()).hexdigest()
