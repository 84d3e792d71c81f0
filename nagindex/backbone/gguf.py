"""GGUF files as folders of plain weights: transformers takes seconds to parse and dequantize one, so the result is kept.

A folder in the user's cache, named after the file's content and the libraries that read it, holds the model in float32 (four bytes a
parameter), its configuration and its tokenizer. It may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from nagindex.errors import DamagedIndexError
from nagindex.storage.files import FileEntry, verify_once
from nagindex.storage.verified import record_path

LISTING = "files.json"
PREFIX, LEFT_SECONDS = ".nagindex-", 3600
READERS = ("gguf", "transformers", "tokenizers")


def file_hash(path: Path) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def dequantized(path: Path, sha256: str) -> Iterator[str]:
    """Provide a folder with the model of a GGUF file in float32: the one in the cache, made on first use.

    Where the cache cannot be written, the folder is a temporary one.

    Args:
        path: the file.
        sha256: its SHA-256.
    """
    versions = "-".join(metadata.version(name) for name in READERS)
    kept = record_path().parent / "gguf" / f"{sha256[:32]}-{versions}"
    there = kept.exists()
    if _is_intact(kept):
        yield str(kept)
        return
    if there:  # damaged; one that another process has made since stays
        shutil.rmtree(kept, ignore_errors=True)
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
    cache = kept.parent if os.access(kept.parent, os.W_OK) else None
    if cache is not None:
        _remove_leftovers(cache)
    with tempfile.TemporaryDirectory(dir=cache, prefix=PREFIX) as folder:
        made = Path(folder, kept.name)
        made.mkdir()
        _convert(path, made)
        yield str(kept if cache is not None and _is_published(made, kept) else made)


def _remove_leftovers(cache: Path) -> None:
    """Remove what conversions that were killed have left in the cache, once it is an hour old."""
    for folder in cache.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.lstat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(folder)


def _is_published(made: Path, kept: Path) -> bool:
    """Move a folder into the cache; return False, without any change, where another process was faster or something is in the way."""
    entries = {one.name: vars(FileEntry.of(one)) for one in sorted(made.iterdir())}
    (made / LISTING).write_text(json.dumps(entries))
    try:
        made.rename(kept)
    except OSError:
        return False
    return True


def _is_intact(folder: Path) -> bool:
    """Return whether a folder of the cache is complete, and its files are what was written."""
    try:
        entries = json.loads((folder / LISTING).read_bytes())
        for name, entry in entries.items():
            verify_once(folder / name, FileEntry(**entry), owner=folder.name)
    except (OSError, ValueError, TypeError, AttributeError, DamagedIndexError):
        return False
    return True


def _convert(path: Path, folder: Path) -> None:
    """Write the model of a GGUF file into a folder, in float32, as transformers reads it."""
    import torch
    import transformers
    from safetensors.torch import save_file

    options: dict[str, Any] = {"gguf_file": path.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path.parent), **options)
    if hasattr(transformers, "GgufConfig"):  # versions that have it may keep weights packed
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with _without_bar():
        model = transformers.AutoModel.from_pretrained(str(path.parent), dtype=torch.float32, **options)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if packed := [name for name, tensor in tensors.items() if not tensor.is_floating_point()]:
        raise ValueError(f"the weights of {packed[0]} stay packed")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _without_bar() -> Iterator[None]:
    """Keep transformers from drawing a progress bar of its own while it dequantizes."""
    from transformers import modeling_gguf_pytorch_utils as reader

    drawn = getattr(reader, "tqdm", None)
    if drawn is None:
        yield
        return
    reader.tqdm = partial(drawn, disable=True)
    try:
        yield
    finally:
        reader.tqdm = drawn
