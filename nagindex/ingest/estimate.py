"""What a build would cost: documents, tokens, bytes and time, from the sources' footers and a timed sample."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nagindex.corpus import parquet
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import Position, Source
from nagindex.encode.encoder import Encoder
from nagindex.encode.tokenize import tokenize
from nagindex.errors import BadInputError

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone
    from nagindex.nag import NagSpec

SOURCES_LOOKED_AT = 16
BYTES_LOOKED_AT = 16 << 20
DOCUMENTS_TIMED = 256


@dataclass(frozen=True)
class Estimate:
    """What a build would cost.

    Attributes:
        sources: files.
        documents: rows; exact where `counted`, else estimated from a sample's bytes a row.
        counted: whether every row was counted.
        tokens: of the whole documents, estimated.
        index_bytes: of the finished indexes together, estimated.
        seconds: of encoding with this machine and model, estimated.
        documents_per_second: measured on the sample.
    """

    sources: int
    documents: int
    counted: bool
    tokens: int
    index_bytes: int
    seconds: float
    documents_per_second: float


def estimate(
    sources: Sequence[Source],
    backbones: Sequence[Backbone],
    specs: Sequence[NagSpec],
    columns: Columns,
    *,
    max_length: int,
    batch_tokens: int,
) -> Estimate:
    """Return what indexes of one or several neuron types, from one forward pass over some sources, would cost.

    Args:
        sources: the corpus.
        backbones: views of the model that would encode it, one for each neuron type.
        specs: the shape of each type's NAGs.
        columns: which columns would be read.
        max_length: tokens of each document that would be read.
        batch_tokens: padded tokens in a batch.

    Raises:
        BadInputError: a sampled source cannot be read, or holds no text.
    """
    looked_at = [sources[i] for i in np.unique(np.linspace(0, len(sources) - 1, SOURCES_LOOKED_AT).astype(int))]
    texts: list[str] = []
    stated: list[int | None] = []
    kept_bytes, rows, read, whole = 0, 0, 0, set()
    for source in looked_at:
        position, taken = Position(), 0
        for document in read_documents(source, columns, position=position):
            rows += source.format != "parquet"
            if document.text and taken * len(looked_at) < DOCUMENTS_TIMED:
                texts.append(document.text)
                stated.append(document.tokens)
                kept_bytes += sum(len(str(value)) for value in (document.id, source.name, *document.kept))
                taken += 1
            if position.bytes > BYTES_LOOKED_AT or (
                source.format == "parquet" and taken * len(looked_at) >= DOCUMENTS_TIMED
            ):
                break
        else:
            whole.add(source.name)
        read += min(position.bytes, source.size) if source.format != "parquet" else 0
    if not texts:
        raise BadInputError(
            f"{sources[0].path}: no text in the sampled sources; name the text column with --text-column"
        )
    tables = [source for source in sources if source.format == "parquet"]
    streams = [source for source in sources if source.format != "parquet"]
    counted = all(source.name in whole for source in streams)
    in_streams = rows if counted else round(rows / max(1, read) * sum(source.size for source in streams))
    documents = sum(parquet.row_count(source) for source in tables) + in_streams

    started = time.perf_counter()
    tokens = tokenize(backbones[0].tokenizer, texts, max_length=max_length)
    Encoder(backbones, specs, batch_tokens).encode([row for row in tokens.ids if row])
    rate = len(texts) / (time.perf_counter() - started)
    counts = [count if own is None else own for own, count in zip(stated, tokens.counts.tolist(), strict=True)]
    per_text = sum(counts) / len(counts)
    # Ids and paths compress about fourfold in each index's docs.parquet; row and token numbers take some six bytes.
    per_row = kept_bytes / len(texts) / 4 + 6
    per_document = sum(spec.bytes_per_document + per_row for spec in specs)
    return Estimate(
        len(sources),
        documents,
        counted,
        round(per_text * documents),
        round(per_document * documents),
        documents / rate,
        rate,
    )
