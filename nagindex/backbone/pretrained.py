"""Models and tokenizers as transformers loads them, with the hash of the .gguf file that they may come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nagindex.backbone.devices import default_dtype, device_of
from nagindex.backbone.gguf import dequantized, file_hash
from nagindex.backbone.locate import loading, locate
from nagindex.errors import BadInputError, UnsupportedBackboneError
from nagindex.progress import step

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class Pretrained(NamedTuple):
    """A model as transformers loads it.

    Attributes:
        name: its name in fingerprints.
        model: the model, on its device.
        tokenizer: its tokenizer.
        missing: names of tensors that the checkpoint lacks.
        weights_hash: SHA-256 of the .gguf file that holds the weights; None for other formats.
    """

    name: str
    model: Any
    tokenizer: Any
    missing: Sequence[str]
    weights_hash: str | None


def load_pretrained(
    name: str,
    kind: str,
    *,
    device: str,
    dtype: str,
    attention: str,
    revision: str | None,
    trust_remote_code: bool,
) -> Pretrained:
    """Load a model and its tokenizer.

    Args:
        name: as in `load_backbone`, like all but `kind`.
        kind: class of transformers that loads it, `AutoModel` or `AutoModelForCausalLM`.
        device: see there.
        dtype: see there.
        attention: see there.
        revision: see there.
        trust_remote_code: see there.

    Raises:
        InputNotFoundError: the model cannot be loaded.
        BadInputError: the dtype is unknown, or the device cannot be used.
        UnsupportedBackboneError: the tokenizer is incomplete.
        MissingDependencyError: the packaged model is not installed.
    """
    import torch

    name, location, options = locate(name, revision=revision, trust_remote_code=trust_remote_code)
    torch_device = device_of(device)
    torch_dtype = default_dtype(torch_device) if dtype == "auto" else DTYPES.get(dtype, dtype)
    if torch_dtype not in DTYPES.values():
        raise BadInputError(f"dtype {dtype!r}: one of auto, {', '.join(DTYPES)}")
    chosen_attention = {} if attention == "auto" else {"attn_implementation": attention}
    with step(f"loading {name}"), loading(name), _plain_weights(location, options) as (folder, weights_hash):
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        model, loading_info = getattr(transformers, kind).from_pretrained(
            folder,
            dtype=getattr(torch, torch_dtype),
            use_safetensors=True,
            output_loading_info=True,
            **options,
            **chosen_attention,
        )
    # transformers substitutes an empty tokenizer for missing files
    if not tokenizer("the", add_special_tokens=False)["input_ids"]:
        raise UnsupportedBackboneError(f"{name}: its tokenizer has no vocabulary; add the model's tokenizer files")
    return Pretrained(name, model.to(torch_device), tokenizer, loading_info["missing_keys"], weights_hash)


@contextmanager
def _plain_weights(location: str, options: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Provide what transformers loads a model from, and the SHA-256 of its .gguf file, if it is one.

    Args:
        location: the model's location.
        options: keyword arguments of `from_pretrained`, from which `gguf_file` is removed.
    """
    name = options.pop("gguf_file", None)
    if name is None:
        yield location, None
        return
    path = Path(location, name)
    sha256 = file_hash(path)
    with dequantized(path, sha256) as folder:
        yield folder, sha256
