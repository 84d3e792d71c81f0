"""How a corpus is read and encoded into indexes; importing this loads nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from nagindex.arguments import check_fields
from nagindex.backbone.options import LoadKeywords, ModelOptions
from nagindex.corpus.columns import Columns
from nagindex.corpus.sources import ON_ERROR as ON_ERROR
from nagindex.corpus.sources import OnError
from nagindex.errors import BadInputError

DEFAULT_MODEL = "Qwen/Qwen3-0.6B-Base"
OnDuplicate = Literal["skip", "error", "replace"]

ON_DUPLICATE: tuple[str, ...] = get_args(OnDuplicate)


@dataclass(frozen=True)
class Shard:
    """One of several processes that share the windows of a corpus.

    Attributes:
        index: number of the process, from 0.
        count: how many processes there are.

    Raises:
        BadInputError: `index` is not one of `count`.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.index < self.count:
            raise BadInputError(f"shard {self.index}/{self.count}: shards of {self.count} are 0 to {self.count - 1}")

    def part(self, index: int, count: int) -> Shard:
        """Return one of `count` parts of this shard."""
        return Shard(self.index * count + index, self.count * count)


@dataclass(frozen=True)
class IngestOptions:
    """How documents are read and added to an index.

    Attributes:
        shard: the part of the corpus that this process encodes.
        on_duplicate: what happens where an id occurs twice: `skip` drops the later document, `replace` the earlier one,
            `error` stops.
        workers: 1 reads and tokenizes ahead in a process of its own, 0 does not; by default 1 if the corpus is large
            enough.
        batch_tokens: padded tokens in a batch; by default the index's.
        columns: columns of these sources, where they are not those of the index's settings; see `Settings.reading`.
        accept_libraries: whether to mix encodings by different library versions.
        on_error: what happens to a row or file that cannot be read: `stop` raises, `skip` lists it and goes on.

    Raises:
        BadInputError: there is no such `on_duplicate` or `on_error`.
    """

    shard: Shard = Shard()
    on_duplicate: OnDuplicate = "skip"
    workers: int | None = None
    batch_tokens: int | None = None
    accept_libraries: bool = False
    columns: Columns | None = None
    on_error: OnError = "stop"

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value, known in (
            ("on_duplicate", self.on_duplicate, ON_DUPLICATE),
            ("on_error", self.on_error, ON_ERROR),
        ):
            if value not in known:
                raise BadInputError(f"{name} {value!r}: one of {', '.join(known)}")


class BuildKeywords(TypedDict, total=False):
    """The fields of `BuildOptions` as keyword arguments."""

    model: str
    top_k: int | None
    max_length: int
    dtype: str
    attention: str
    device: str
    revision: str | None
    trust_remote_code: bool
    batch_tokens: int | None
    count_tokens: bool
    columns: Columns
    corpus_root: str | Path | None
    on_duplicate: OnDuplicate
    on_error: OnError
    shard: Shard
    workers: int | None
    optimize: bool


@dataclass(frozen=True)
class BuildOptions:
    """How to build an index.

    Attributes:
        model: the backbone: a Hugging Face name, a folder, or `minilm`.
        top_k: neurons kept of each layer; by default 0.3 % of the width in tens; at most the narrowest layer's width.
        max_length: tokens of each document that the backbone reads.
        dtype: fp32, bf16, fp16, or auto: fp32 on a CPU and bf16 on a GPU.
        attention: sdpa, eager, flash_attention_2, or auto: what transformers prefers for the model.
        device: a torch device, several with commas between them, or `auto`: every visible GPU, else the CPU.
        revision: a hub model's commit, tag or branch.
        trust_remote_code: whether code that comes with the model may run.
        batch_tokens: padded tokens in a batch; by default measured if the corpus is large enough.
        count_tokens: whether to count the tokens of whole documents where the corpus states none; without, they count as 0.
        columns: the columns of text, id and token count, and those to keep.
        corpus_root: names of sources are relative to it; by default the deepest folder that holds everything named.
        on_duplicate: `skip`, `error` or `replace`: what happens to a document whose id is in the index already.
        on_error: `stop` or `skip`: what happens to a row, file or folder that cannot be read. A file that cannot be read to its
            end is skipped as a whole; to find out, `skip` reads each new file twice.
        shard: this process's part of the corpus, where several build the index together.
        workers: 1 reads and tokenizes ahead in a process of its own, 0 does not; by default 1 if the corpus is large enough.
        optimize: whether to end with sketches if the index holds a million documents or more and no shard is built.

    Raises:
        BadInputError: there is no such `on_duplicate` or `on_error`.
    """

    model: str = DEFAULT_MODEL
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
    on_duplicate: OnDuplicate = "skip"
    on_error: OnError = "stop"
    shard: Shard = Shard()
    workers: int | None = None
    optimize: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.ingest  # checks `on_duplicate` and `on_error`

    @classmethod
    def of(cls, **given: Any) -> BuildOptions:
        """Return options by name.

        Raises:
            BadInputError: there is no option of a name, or a value is out of range.
        """
        known = [own.name for own in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise BadInputError(f"no option {name!r} of a build; there are {', '.join(known)}")
        return cls(**given)

    @property
    def loading(self) -> LoadKeywords:
        """How the model is loaded: keyword arguments of `load_backbone`, except for the device."""
        return {
            "dtype": self.dtype,
            "attention": self.attention,
            "revision": self.revision,
            "trust_remote_code": self.trust_remote_code,
        }

    def placement(self, model: str | None, devices: Sequence[str]) -> ModelOptions:
        """Return where the model that was loaded by a name is found and run again, in the processes of some devices."""
        return ModelOptions(model, ",".join(devices), self.trust_remote_code)

    @property
    def ingest(self) -> IngestOptions:
        """How documents are read and added to the index."""
        return IngestOptions(self.shard, self.on_duplicate, self.workers, self.batch_tokens, on_error=self.on_error)
