"""Frozen Hugging Face models and their tokenizers: how they are loaded, what identifies them, what they can encode."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nagindex.backbone.hooks import impacts_of, probe
from nagindex.backbone.locate import loading, locate, positions_of
from nagindex.backbone.projections import Projection, find_projections
from nagindex.errors import BadInputError, UnsupportedBackboneError
from nagindex.nag import MAX_WIDTH, NagSpec, default_top_k
from nagindex.storage.fingerprint import Fingerprint, installed_libraries

if TYPE_CHECKING:
    import torch

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Backbone:
    """A frozen model, its tokenizer and what identifies both.

    Attributes:
        name: the model's name or path, as a fingerprint records it.
        model: the transformer without a language-model head, in evaluation mode.
        tokenizer: its Hugging Face tokenizer.
        projections: the tapped projection of each layer, in order.
        neuron_type: which projection that is.
        causal: whether no token is influenced by those after it.
        weights, tokenizer_hash: SHA-256 of the tensors and of the tokenizer.
    """

    name: str
    model: Any
    tokenizer: Any
    projections: tuple[Projection, ...]
    neuron_type: str
    causal: bool
    weights: str
    tokenizer_hash: str

    def of_type(self, neuron_type: str) -> Backbone:
        """Return the same model with another projection tapped; one forward pass can serve both.

        Raises:
            UnsupportedBackboneError: the model has no such projection.
        """
        if neuron_type == self.neuron_type:
            return self
        projections, causal = probe(self.model, find_projections(self.model, neuron_type))
        return dataclasses.replace(
            self, projections=projections, neuron_type=neuron_type, causal=self.causal and causal
        )

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
        limit = positions_of(self.model)
        if max_length < 1 or (limit is not None and max_length > limit):
            raise BadInputError(
                f"max length {max_length}: {self.name} reads 1 to {limit} tokens; give another --max-length"
            )
        if top_k is not None and top_k < 1:
            raise BadInputError(f"top k {top_k}: a NAG keeps at least one neuron a layer; give another --top-k")
        narrowest, widest = min(self.widths), max(self.widths)
        if widest > MAX_WIDTH:
            what = f"{self.neuron_type} has layers of {widest:,} neurons, and codes name at most {MAX_WIDTH:,}"
            raise UnsupportedBackboneError(f"{self.name}: {what}; give another --neuron-type, or another model")
        spec = NagSpec(
            self.neuron_type, self.widths, default_top_k(narrowest) if top_k is None else min(top_k, narrowest)
        )
        dtype = str(self.model.dtype).removeprefix("torch.")
        attention = str(getattr(self.model.config, "_attn_implementation", None) or "eager")
        return Fingerprint(
            self.name, self.weights, self.tokenizer_hash, spec, max_length, dtype, attention, installed_libraries()
        )

    def impacts(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """Return each layer's neuron impacts, L tensors of float32 [batch, d_l] on the model's device; see `taps.impacts_of`.

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
    """Return a model by its hub name, its folder or a packaged name (`minilm`), ready to encode.

    Args:
        name: a Hugging Face hub name, a folder with config, safetensors weights and tokenizer, or `minilm`.
        neuron_type: which projection to tap.
        device: a torch device; `auto` is the first GPU where there is one, else the CPU.
        dtype: fp32, bf16 or fp16; `auto` is fp32 on a CPU and bf16 on a GPU.
        attention: sdpa, eager or flash_attention_2; `auto` is what transformers prefers for the model.
        revision: a hub model's commit, tag or branch; it becomes part of the backbone's name, NAME@REVISION.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        InputNotFoundError: the model cannot be loaded.
        UnsupportedBackboneError: it lacks weights, or has no projection that can be tapped.
        MissingDependencyError: a packaged model is not installed.
    """
    import torch

    name, place, options = locate(name, revision=revision, trust_remote_code=trust_remote_code)
    where = _device(device)
    kind = ("float32" if where.type == "cpu" else "bfloat16") if dtype == "auto" else DTYPES.get(dtype, dtype)
    if kind not in DTYPES.values():
        raise BadInputError(f"dtype {dtype!r}: one of auto, {', '.join(DTYPES)}")
    if attention != "auto":
        options["attn_implementation"] = attention
    with loading(name):
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(
            place, **{k: v for k, v in options.items() if k != "attn_implementation"}
        )
        model, told = transformers.AutoModel.from_pretrained(
            place, dtype=getattr(torch, kind), use_safetensors=True, output_loading_info=True, **options
        )
    if not tokenizer("the", add_special_tokens=False)["input_ids"]:  # transformers makes one up where files are missing
        raise UnsupportedBackboneError(f"{name}: its tokenizer knows no words; add the model's tokenizer files")
    return wrap_model(name, model.to(where), tokenizer, neuron_type=neuron_type, missing=told["missing_keys"])


def backbone_of(
    fingerprint: Fingerprint,
    loaded: Backbone | None = None,
    *,
    where: str,
    model: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
    accept_libraries: bool = True,
) -> Backbone:
    """Return the backbone that encodes as a fingerprint says.

    Args:
        fingerprint: an index's.
        loaded: the model, if it is loaded already.
        where: what to call the index in messages.
        model: where the model lies now; by default where it lay when the index was made.
        device: a torch device.
        trust_remote_code: whether code that comes with the model may run.
        accept_libraries: whether other versions of torch, transformers and tokenizers will do.

    Raises:
        SettingsMismatchError: the model is another one; names both values.
    """
    if loaded is None:
        loaded = load_backbone(
            model or fingerprint.backbone,
            neuron_type=fingerprint.spec.neuron_type,
            device=device,
            dtype=fingerprint.dtype,
            attention=fingerprint.attention,
            trust_remote_code=trust_remote_code,
        )
    loaded = loaded.of_type(fingerprint.spec.neuron_type)
    here = loaded.fingerprint(top_k=fingerprint.spec.top_k, max_length=fingerprint.max_length)
    fingerprint.require(here, where=where, ignore_libraries=accept_libraries)
    return loaded


def wrap_model(
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
    projections, causal = probe(model, projections)
    weights = _weights_hash(model, set(missing))
    return Backbone(name, model, tokenizer, projections, neuron_type, causal, weights, _tokenizer_hash(tokenizer))


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInputError(f"device {name!r} cannot be used ({reason}); give another --device, such as cpu") from None
    return device


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
