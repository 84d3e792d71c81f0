"""How a corpus is read and encoded into indexes; importing this loads nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, Unpack, get_args

from nagindex.arguments import check_fields, written_layers
from nagindex.backbone.options import LoadKeywords, ModelOptions
from nagindex.corpus.columns import Columns
from nagindex.corpus.sources import ON_ERROR as ON_ERROR
from nagindex.corpus.sources import OnError
from nagindex.errors import BadInputError

DEFAULT_MODEL = "Qwen/Qwen3-0.6B-Base"
CALIBRATED_ON = 512
"""Documents that are drawn for a calibration by default."""
Impact = Literal["absolute", "relative"]
OnDuplicate = Literal["skip", "error", "replace"]
PresetName = Literal["paper", "calibrated", "fast"]

IMPACTS: tuple[str, ...] = get_args(Impact)
ON_DUPLICATE: tuple[str, ...] = get_args(OnDuplicate)


@dataclass(frozen=True)
class Encoding:
    """How the backbone's activations become a NAG.

    Attributes:
        impact: `absolute`, or `relative` to each neuron's mean impact over a sample of the pool.
        layers: layers whose neurons count, such as `0-9` or `first-third`; None for all.
        top_k: neurons kept of each layer; None for the default of the layer's width and the kind of impact.
        max_length: tokens of each document that the backbone reads.
    """

    impact: Impact = "absolute"
    layers: str | None = None
    top_k: int | None = None
    max_length: int = 120


ENCODINGS: dict[str, Encoding] = {
    "paper": Encoding(),
    "calibrated": Encoding("relative"),
    "fast": Encoding("relative", "first-third", 5, 32),
}
"""Encodings by name: the paper's, relative impact, and relative impact at about a tenth of the cost."""
DEFAULT_PRESET: PresetName = "paper"
"""The preset of a new index, chosen by docs/evidence.md's rule."""


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
    preset: PresetName | None
    impact: Impact | None
    calibrate: int | None
    calibration: str | Path | None
    layers: str | int | Sequence[int] | None
    top_k: int | None
    max_length: int | None
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


@dataclass(frozen=True)
class BuildOptions:
    """How to build an index.

    Attributes:
        model: the backbone: a Hugging Face name, a folder, a .gguf file, `minilm` or `smollm2`.
        preset: `paper`, `calibrated` or `fast`: what `impact`, `layers`, `top_k` and `max_length` are where they are None. By default
            `paper`; for an index that exists, `paper` or `calibrated` as its impact is.
        impact: `absolute`, or `relative`: divided by each neuron's mean impact over a sample of the corpus. By default the preset's.
        calibrate: documents of that sample; by default 512. An index that exists keeps its calibration.
        calibration: an index of relative impact, or a file that `calibrate` made, whose means are used in place of a sample's.
        layers: layers whose neurons count, by number or such as `0-9`, `last` or `first-third`; the forward pass ends at the last
            of them. By default the preset's.
        top_k: neurons kept of each layer, at most the narrowest layer's width; by default the preset's: 0.3 % of the width, for absolute
            impact in tens.
        max_length: tokens of each document that the backbone reads; by default the preset's: 120, of `fast` 32.
        dtype: fp32, bf16, fp16, or auto: that of an index that exists, else bf16 on a GPU and on a CPU that computes in it, else fp32.
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

    Raises:
        BadInputError: there is no such `on_duplicate`, `on_error`, `preset` or `impact`, or options contradict each other.
    """

    model: str = DEFAULT_MODEL
    preset: PresetName | None = None
    impact: Impact | None = None
    calibrate: int | None = None
    calibration: str | Path | None = None
    layers: str | int | Sequence[int] | None = None
    top_k: int | None = None
    max_length: int | None = None
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

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.ingest  # checks `on_duplicate` and `on_error`
        for name, value, known in (("preset", self.preset, ENCODINGS), ("impact", self.impact, IMPACTS)):
            if value is not None and value not in known:
                raise BadInputError(f"{name} {value!r}: one of {', '.join(known)}")
        if self.calibrate is not None and self.calibrate < 1:
            raise BadInputError(f"calibrate {self.calibrate}: a sample has at least one document")
        if self.calibrate is not None and self.calibration is not None:
            raise BadInputError(
                "`calibrate` draws a sample, and `calibration` names one that was drawn; give one of the two"
            )
        given = next((name for name in ("calibrate", "calibration") if getattr(self, name) is not None), None)
        if given is not None and self.encoding.impact == "absolute":
            raise BadInputError(f'`{given}` is for relative impact; add `impact="relative"` or `preset="calibrated"`')

    @classmethod
    def of(cls, **given: Unpack[BuildKeywords]) -> BuildOptions:
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
    def encoding(self) -> Encoding:
        """The preset's encoding, with what is given in place of it."""
        preset = ENCODINGS[self.preset or DEFAULT_PRESET]
        layers = written_layers(self.layers)
        return Encoding(
            preset.impact if self.impact is None else self.impact,
            preset.layers if layers is None else layers,
            preset.top_k if self.top_k is None else self.top_k,
            preset.max_length if self.max_length is None else self.max_length,
        )

    @property
    def sample(self) -> int | None:
        """How many documents to draw for a calibration; None where none is needed, or one is given."""
        if self.encoding.impact == "absolute" or self.calibration is not None:
            return None
        return self.calibrate or CALIBRATED_ON

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
