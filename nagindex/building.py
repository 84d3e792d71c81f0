"""Building: a corpus and a backbone become a new index, or go on with one that was begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.corpus import Columns, Paths, find_sources
from nagindex.encode import default_batch_tokens
from nagindex.index import Index
from nagindex.ingest import IngestReport
from nagindex.storage.manifest import Settings
from nagindex.windows import Progress

if TYPE_CHECKING:
    from nagindex.backbone import Backbone


def build(
    corpus: Paths,
    index: str | Path,
    *,
    model: str = "Qwen/Qwen3-0.6B-Base",
    neuron_type: str = "up",
    top_k: int | None = None,
    max_length: int = 120,
    dtype: str = "auto",
    device: str = "auto",
    columns: Columns = Columns(),
    corpus_root: str | Path | None = None,
    on_duplicate: str = "skip",
    progress: Callable[[Progress], None] = lambda progress: None,
    backbone: Backbone | None = None,
) -> tuple[Index, IngestReport]:
    """Encode a corpus into an index, or go on with one that was begun with the same settings; return it and what was done.

    Args:
        corpus: files, globs or folders of .parquet, .jsonl, .ndjson, .json, .csv, .tsv or .txt, text formats also .gz and .zst.
        index: the index's folder.
        model: the backbone: a Hugging Face name, a folder, or `minilm`.
        neuron_type: which projection's neurons to look at.
        top_k: neurons kept of each layer; by default 0.3 % of the width in tens.
        max_length: tokens of each document that the backbone reads.
        dtype: float32, bfloat16, float16, or auto: float32 on a CPU and bfloat16 on a GPU.
        device: a torch device.
        columns: which columns hold text, id and token count, and which to keep.
        corpus_root: source names are relative to it; by default the deepest folder that holds everything named.
        on_duplicate: `skip`, `error` or `replace`: what happens to a document whose id is in already.
        progress: called after each window of documents.
        backbone: a loaded model to use in place of `model`.

    Raises:
        InputNotFoundError, BadInputError: the corpus or the model cannot be read; what was committed stays.
        SettingsMismatchError: the index is there with other settings; names both values.
    """
    find_sources(corpus, root=corpus_root)
    if backbone is None:
        from nagindex.backbone import load_backbone

        backbone = load_backbone(model, neuron_type=neuron_type, device=device, dtype=dtype)
    fingerprint = backbone.fingerprint(top_k=top_k, max_length=max_length)
    settings = Settings(
        columns.text,
        columns.id,
        columns.tokens,
        columns.keep,
        batch_tokens=default_batch_tokens(backbone),
    )
    opened = Index.create(index, fingerprint, settings, backbone=backbone)
    report = opened.append(corpus, corpus_root=corpus_root, on_duplicate=on_duplicate, progress=progress)
    return opened, report
