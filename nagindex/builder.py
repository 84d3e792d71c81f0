"""Building: a corpus and a backbone become new indexes, or go on with those that were begun."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.corpus.columns import Columns
from nagindex.corpus.sources import Paths, find_sources
from nagindex.encode.batch_size import measure_batch_tokens
from nagindex.encode.encoder import default_batch_tokens, default_window
from nagindex.index import Index
from nagindex.ingest.pipeline import EncodingProgress
from nagindex.ingest.prefetch import SMALL_CORPUS
from nagindex.ingest.run import Job, run, visible_devices
from nagindex.ingest.windows import Shard
from nagindex.ingest.writer import IngestReport
from nagindex.sketches.build import FROM_DOCUMENTS, sketch_new_segments
from nagindex.sketches.build import Progress as Optimizing
from nagindex.storage.manifest import Settings, read_latest, versions

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone


@dataclass(frozen=True)
class BuildOptions:
    """How to build; see `build` for what each means."""

    model: str = "Qwen/Qwen3-0.6B-Base"
    top_k: int | None = None
    max_length: int = 120
    dtype: str = "auto"
    attention: str = "auto"
    device: str = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    batch_tokens: int | None = None
    count_tokens: bool = True
    columns: Columns = Columns()
    corpus_root: str | Path | None = None
    on_duplicate: str = "skip"
    shard: Shard = Shard()
    workers: int | None = None
    optimize: bool = True

    def load(self, neuron_type: str, device: str) -> Backbone:
        """Return the backbone that is named here, on a torch device and with a neuron type tapped; see `load_backbone`."""
        from nagindex.backbone.load import load_backbone

        return load_backbone(
            self.model,
            neuron_type=neuron_type,
            device=device,
            dtype=self.dtype,
            attention=self.attention,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
        )


def build(
    corpus: Paths,
    index: str | Path,
    *,
    model: str = "Qwen/Qwen3-0.6B-Base",
    neuron_type: str = "up",
    top_k: int | None = None,
    max_length: int = 120,
    dtype: str = "auto",
    attention: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    batch_tokens: int | None = None,
    count_tokens: bool = True,
    columns: Columns = Columns(),
    corpus_root: str | Path | None = None,
    on_duplicate: str = "skip",
    shard: Shard = Shard(),
    workers: int | None = None,
    optimize: bool = True,
    progress: Callable[[EncodingProgress], None] = lambda progress: None,
    backbone: Backbone | None = None,
) -> tuple[Index, IngestReport]:
    """Encode a corpus into an index, or go on with one that was begun with the same settings; return it and what was done.

    Args:
        corpus: files, globs or folders of .parquet, .jsonl, .ndjson, .json, .csv, .tsv or .txt, text formats also .gz and .zst.
        index: the index's folder.
        model: the backbone: a Hugging Face name, a folder, or `minilm`.
        neuron_type: which projection's neurons to look at: up, down, gate, q, k, v or o; k_repeated and v_repeated have keys and
            values once for every query head, as the published code does.
        top_k: neurons kept of each layer; by default 0.3 % of the width in tens.
        max_length: tokens of each document that the backbone reads.
        dtype: fp32, bf16, fp16, or auto: fp32 on a CPU and bf16 on a GPU.
        attention: sdpa, eager, flash_attention_2, or auto: what transformers prefers for the model.
        device: a torch device, several with commas between them, or `auto`: every visible GPU, else the CPU.
        revision: a hub model's commit, tag or branch.
        trust_remote_code: whether code that comes with the model may run.
        batch_tokens: padded tokens in a batch; by default measured where the corpus is worth it.
        count_tokens: whether to count the tokens of whole documents where the corpus states none; without, they count as 0.
        columns: which columns hold text, id and token count, and which to keep.
        corpus_root: source names are relative to it; by default the deepest folder that holds everything named.
        on_duplicate: `skip`, `error` or `replace`: what happens to a document whose id is in already.
        shard: which part of the corpus is this process's, where several build the index together.
        workers: 1 reads and tokenizes ahead in a process of its own, 0 does not; by default where the corpus is worth one.
        optimize: whether to end with sketches where the index holds a million documents or more and no shard is built.
        progress: called after each batch.
        backbone: a loaded model to use in place of `model`, in this process.

    Raises:
        InputNotFoundError, BadInputError: the corpus or the model cannot be read; what was committed stays.
        SettingsMismatchError: the index is there with other settings; names both values.
    """
    options = BuildOptions(
        model=model,
        top_k=top_k,
        max_length=max_length,
        dtype=dtype,
        attention=attention,
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
        batch_tokens=batch_tokens,
        count_tokens=count_tokens,
        columns=columns,
        corpus_root=corpus_root,
        on_duplicate=on_duplicate,
        shard=shard,
        workers=workers,
        optimize=optimize,
    )
    [built] = build_types(corpus, {neuron_type: index}, options, progress=progress, backbone=backbone)
    return built


def build_types(
    corpus: Paths,
    indexes: dict[str, str | Path],
    options: BuildOptions = BuildOptions(),
    *,
    progress: Callable[[EncodingProgress], None] = lambda progress: None,
    optimizing: Callable[[Optimizing], None] = lambda progress: None,
    backbone: Backbone | None = None,
) -> list[tuple[Index, IngestReport]]:
    """Encode a corpus into an index for each neuron type, all from one forward pass; return each with what was done.

    Args:
        corpus: see `build`, like the next three.
        indexes: the folder of each neuron type's index.
        options: how to build.
        progress: see there.
        optimizing: called while sketches are made.
        backbone: see there.

    Raises:
        NagIndexError: as `build`.
    """
    sources = tuple(find_sources(corpus, root=options.corpus_root).sources)
    devices = visible_devices(options.device)
    loaded = backbone or options.load(next(iter(indexes)), devices[0])
    large = sum(source.size for source in sources) >= SMALL_CORPUS
    keep = loaded if backbone or len(devices) == 1 else None  # each device's process loads its own
    opened = _create(indexes, loaded, options, keep=keep is not None, worth_measuring=large)
    job = Job(
        indexes=tuple(index.path for index in opened),
        sources=sources,
        shard=options.shard,
        on_duplicate=options.on_duplicate,
        workers=options.workers,
        model=None if backbone else loaded.name,
        device=",".join(devices),
        trust_remote_code=options.trust_remote_code,
        batch_tokens=options.batch_tokens,
    )
    del loaded
    if keep is None:
        _free_memory()
    try:
        reports = run(job, backbone=keep, progress=progress)
    finally:
        for index in opened:
            index.refresh()
    for index in opened:
        if options.optimize and options.shard == Shard() and len(index) >= FROM_DOCUMENTS:
            index.optimize(progress=optimizing)
        else:
            sketch_new_segments(index.path, index.segments)
    return list(zip(opened, reports, strict=True))


def _free_memory() -> None:
    """Hand what the model and the measurement of batches took on a GPU back to the processes that now work there."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _create(
    indexes: dict[str, str | Path], loaded: Backbone, options: BuildOptions, *, keep: bool, worth_measuring: bool
) -> Sequence[Index]:
    """Return the indexes, new ones or those that are there with the same settings; `keep`: with the loaded model."""
    views = [loaded.of_type(neuron_type) for neuron_type in indexes]
    fingerprints = [view.fingerprint(top_k=options.top_k, max_length=options.max_length) for view in views]
    batch_tokens = options.batch_tokens
    begun = [Path(path).expanduser() for path in indexes.values() if versions(Path(path).expanduser())]
    if batch_tokens is None and begun:
        batch_tokens = read_latest(begun[0]).settings.batch_tokens
    elif batch_tokens is None and worth_measuring:
        batch_tokens = measure_batch_tokens(views, [f.spec for f in fingerprints], max_length=options.max_length)
    columns = options.columns
    settings = Settings(
        text_column=columns.text,
        id_column=columns.id,
        token_column=columns.tokens,
        keep_columns=columns.keep,
        window=default_window(loaded),
        batch_tokens=batch_tokens or default_batch_tokens(loaded),
        count_tokens=options.count_tokens,
    )
    return [
        Index.create(path, fingerprint, settings, backbone=view if keep else None)
        for path, fingerprint, view in zip(indexes.values(), fingerprints, views, strict=True)
    ]
