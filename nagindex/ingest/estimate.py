"""The cost of a build before it: documents, tokens, bytes and time, estimated from a sample of the sources."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nagindex.corpus import parquet
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import Document, read_documents, reason_of
from nagindex.corpus.sources import OnError, Position, Source, require_readable
from nagindex.encode.encoder import Encoder
from nagindex.encode.tokenize import tokenize
from nagindex.errors import BadInputError, NagIndexError
from nagindex.ingest.model_views import fingerprint_of, views_of
from nagindex.ingest.options import BuildOptions, Shard
from nagindex.progress import step
from nagindex.storage.manifest import Manifest, require_newest
from nagindex.storage.places import require_index_folder, require_room
from nagindex.storage.segment import Segment

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone
    from nagindex.nag import NagSpec

SOURCES_SAMPLED = 16
BYTES_SAMPLED = 16 << 20  # of one source
BYTES_COUNTED = 1 << 20  # of one source, where rows are only counted
DOCUMENTS_SAMPLED = 256  # of all sources together
WARM_UP = 8  # documents


@dataclass(frozen=True)
class Cost:
    """What one way to encode a corpus would cost.

    Attributes:
        option: how it is asked for, as in Python; empty for the options that were given.
        layers, top_k, max_length: layers whose neurons count, neurons kept of each, and tokens read of a document.
        documents_per_second: measured on the sample.
        seconds: time of encoding with this machine and model, estimated.
        index_bytes: size of the finished indexes together, estimated.
    """

    option: str
    layers: int
    top_k: int
    max_length: int
    documents_per_second: float
    seconds: float
    index_bytes: int


@dataclass(frozen=True)
class Plan:
    """One way to encode a corpus.

    Attributes:
        option: how it is asked for, as in Python; empty for the options that were given.
        backbones: the model, once for each neuron type.
        specs: the shape of each type's NAGs.
        max_length: tokens of each document that are read.
    """

    option: str
    backbones: Sequence[Backbone]
    specs: Sequence[NagSpec]
    max_length: int


@dataclass(frozen=True)
class Estimate:
    """What a build would cost.

    Attributes:
        sources: number of files.
        documents: number of rows; exact where `counted`, else estimated from a sample's bytes per row.
        counted: whether every row was counted.
        tokens: tokens of the whole documents, estimated.
        index_bytes: size of the finished indexes together, estimated.
        seconds: time of encoding with this machine and model, estimated.
        documents_per_second: measured on the sample.
        device: torch device that it was measured on.
        unreadable: sources that are known to be unreadable, or were found to be so among those sampled, each with the reason.
        cheaper: what cheaper encodings would cost.
    """

    sources: int
    documents: int
    counted: bool
    tokens: int
    index_bytes: int
    seconds: float
    documents_per_second: float
    device: str
    unreadable: list[str]
    cheaper: list[Cost] = field(default_factory=list)


def plan_of(loaded: Backbone, neuron_types: Sequence[str], options: BuildOptions, written: str) -> Plan:
    """Return one way to encode a corpus, with how it is asked for; the means of a calibration do not change its cost."""
    views = views_of(loaded, neuron_types, options)
    if options.encoding.impact == "relative":
        views = [view.calibrated(np.ones((len(view.widths), max(view.widths)), np.float32)) for view in views]
    specs = [fingerprint_of(view, options).spec for view in views]
    return Plan(written, views, specs, options.encoding.max_length)


def estimate(
    sources: Sequence[Source],
    plans: Sequence[Plan],
    columns: Columns,
    *,
    batch_tokens: int,
    on_error: OnError = "stop",
) -> Estimate:
    """Estimate the cost of indexes of some neuron types, built with one forward pass over a corpus.

    Args:
        sources: the corpus.
        plans: ways to encode it, the one that was asked for first.
        columns: which columns would be read.
        batch_tokens: padded tokens in a batch.
        on_error: what happens to a row or source that cannot be read: `stop` raises, `skip` passes over it.

    Raises:
        BadInputError: a sampled source cannot be read, or holds no text.
    """
    sample = _Sample.of(sources, columns, on_error)
    documents, counted = _count_rows([source for source in sources if source.name not in sample.unreadable], sample)
    backbone = plans[0].backbones[0]
    counted_tokens = tokenize(backbone.tokenizer, sample.texts, max_length=1).counts
    counts = [count if stated is None else stated for stated, count in zip(sample.tokens, counted_tokens, strict=True)]
    # Ids and paths compress about fourfold in each index's docs.parquet; row and token numbers take some six bytes.
    row_bytes = sample.column_bytes / len(sample.texts) / 4 + 6
    with step("encoding a sample", len(plans) * len(sample.texts), "documents") as advance:
        costs = [_cost(plan, documents, row_bytes, _rate(plan, sample.texts, batch_tokens, advance)) for plan in plans]
    first, *others = costs
    return Estimate(
        sources=len(sources),
        documents=documents,
        counted=counted,
        tokens=round(float(np.mean(counts)) * documents),
        index_bytes=first.index_bytes,
        seconds=first.seconds,
        documents_per_second=first.documents_per_second,
        device=str(backbone.model.device),
        unreadable=[f"{name}: {reason}" for name, reason in sorted(sample.unreadable.items())],
        cheaper=[cost for cost in others if cost.seconds < first.seconds],
    )


def _rate(plan: Plan, texts: Sequence[str], batch_tokens: int, advance: Callable[[int], None]) -> float:
    """Return how many documents a second are tokenized and encoded, after a warm-up."""
    encoder = Encoder(plan.backbones, plan.specs, batch_tokens, lambda texts, tokens: None)
    tokenizer = plan.backbones[0].tokenizer
    ids = [row for row in tokenize(tokenizer, texts, max_length=plan.max_length).ids if row]
    encoder.encode(ids[:WARM_UP])
    encoder.on_batch = lambda texts, tokens: advance(texts)
    started = time.perf_counter()
    encoder.encode([row for row in tokenize(tokenizer, texts, max_length=plan.max_length).ids if row])
    return len(texts) / (time.perf_counter() - started)


def _cost(plan: Plan, documents: int, row_bytes: float, rate: float) -> Cost:
    spec = plan.specs[0]
    index_bytes = round(sum(own.bytes_per_document + row_bytes for own in plan.specs) * documents)
    return Cost(plan.option, spec.layers, spec.top_k, plan.max_length, rate, documents / rate, index_bytes)


@dataclass
class _Sample:
    """Documents from evenly spaced sources, and how much of these was read.

    Attributes:
        on_error: `stop` or `skip`: what happens to a row or source that cannot be read.
        texts: the documents' texts.
        tokens: their token counts, None where the source states none.
        column_bytes: length of their ids, source names and kept columns.
        rows: rows read of text sources; those of Parquet files are counted in their footers.
        bytes: bytes read of text sources.
        finished: names of the sources that were read to the end.
        unreadable: why sources cannot be read, by name.
    """

    on_error: OnError
    texts: list[str] = field(default_factory=list)
    tokens: list[int | None] = field(default_factory=list)
    column_bytes: int = 0
    rows: int = 0
    bytes: int = 0
    finished: set[str] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, sources: Sequence[Source], columns: Columns, on_error: OnError) -> _Sample:
        """Return a sample of some sources.

        Raises:
            BadInputError: under `stop`, a sampled source cannot be read; or none holds a text.
        """
        sample = cls(on_error)
        for source in sources:
            with sample.noting_problems(source):
                require_readable(source)
        readable = [source for source in sources if source.name not in sample.unreadable]
        chosen = (
            np.unique(np.linspace(0, len(readable) - 1, SOURCES_SAMPLED).astype(int)) if readable else np.empty(0, int)
        )
        with step("reading a sample", len(chosen), "sources") as advance:
            for number in chosen.tolist():
                with sample.noting_problems(readable[number]):
                    sample._read(readable[number], columns, documents=-(-DOCUMENTS_SAMPLED // len(chosen)))
                advance(1)
        if not sample.texts:
            raise BadInputError(
                f"{sources[0].path}: no text in the sampled sources; name the text column with `text_column`"
            )
        return sample

    def _read(self, source: Source, columns: Columns, *, documents: int) -> None:
        """Add a source's first documents; text sources are read further, to measure their bytes per row."""
        position, taken = Position(), 0
        is_table = source.format == "parquet"
        for document in read_documents(source, columns, position=position, on_error=self.on_error):
            self.rows += not is_table
            if document.text and taken < documents:
                self._add(document, source)
                taken += 1
            if position.bytes > BYTES_SAMPLED or (is_table and taken >= documents):
                break
        else:
            self.finished.add(source.name)
        self.bytes += 0 if is_table else min(position.bytes, source.size)

    @contextmanager
    def noting_problems(self, source: Source) -> Iterator[None]:
        """Context in which a source turns out to be unreadable, which is noted under `skip` and raised under `stop`."""
        try:
            yield
        except BadInputError as error:
            if self.on_error == "stop":
                raise
            self.unreadable[source.name] = reason_of(error, source)

    def _add(self, document: Document, source: Source) -> None:
        self.texts.append(document.text or "")
        self.tokens.append(document.tokens)
        self.column_bytes += sum(len(str(value)) for value in (document.id, source.name, *document.kept))


def estimated_documents(sources: Sequence[Source], columns: Columns) -> int:
    """Return about how many rows some sources hold, from the first rows of a few; those that cannot be read count as empty.

    Args:
        sources: the sources.
        columns: which columns to read.
    """
    rows = read = 0
    for number in np.unique(np.linspace(0, len(sources) - 1, SOURCES_SAMPLED).astype(int)).tolist():
        source, position, own = sources[number], Position(), 0
        if not source.path.is_file():  # a pipe can be read once only
            continue
        with suppress(NagIndexError, OSError):  # reported where the source is read
            if source.format == "parquet":
                own, position.bytes = parquet.row_count(source), source.size
            else:
                for own, _ in enumerate(read_documents(source, columns, position=position), start=1):  # noqa: B007
                    if position.bytes > BYTES_COUNTED:
                        break
        rows, read = rows + own, read + min(position.bytes, source.size)
    return round(rows / max(1, read) * sum(source.size for source in sources))


def require_place(
    index: Path, manifest: Manifest, sources: Sequence[Source], shard: Shard, columns: Columns | None = None
) -> None:
    """Raise BadInputError unless documents of some sources can be written to an index, as far as rights and room are known.

    Args:
        index: the index's folder.
        manifest: its current version; sources that it names count as held.
        sources: the sources.
        shard: the part of them that this process writes.
        columns: columns of the sources that are not those of the index's settings.
    """
    require_newest(index)
    require_index_folder(index)
    held = {
        (span.name, span.bytes)
        for entry in manifest.segments
        for span in Segment(index, entry, manifest.fingerprint.spec).spans()
    }
    new = [source for source in sources if (source.name, source.size) not in held]
    reading = dataclasses.replace(manifest.settings.reading(columns).columns, keep_columns=())
    documents = estimated_documents(new, reading) // shard.count if new else 0
    require_room(index, documents * manifest.fingerprint.spec.bytes_per_document)


def _count_rows(sources: Sequence[Source], sample: _Sample) -> tuple[int, bool]:
    """Return the number of rows of some sources, and whether it is exact."""
    in_tables = 0
    for source in sources:
        with sample.noting_problems(source):
            in_tables += parquet.row_count(source) if source.format == "parquet" else 0
    streams = [source for source in sources if source.format != "parquet"]
    if all(source.name in sample.finished for source in streams):
        return in_tables + sample.rows, True
    return in_tables + round(sample.rows / max(1, sample.bytes) * sum(source.size for source in streams)), False
