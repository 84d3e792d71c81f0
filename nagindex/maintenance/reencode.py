"""Re-encoding: a sample of stored documents is read and encoded again, and compared with the codes in the index."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sources import Paths, find_sources
from nagindex.corpus.sql import connect
from nagindex.encode.encoder import clamp_to_memory, encode_ids
from nagindex.encode.tokenize import tokenize
from nagindex.errors import BadInputError, SourceChangedError
from nagindex.nag import Codes
from nagindex.storage.fingerprint import installed_libraries
from nagindex.storage.manifest import Manifest
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.storage.tables import scan_sql

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone
    from nagindex.storage.segment import Segment, SourceSpan

SAMPLE_DOCUMENTS = 64


@dataclass(frozen=True)
class Reencoding:
    """Comparison of newly computed codes with stored ones, on a sample of documents.

    A layer counts as equal if its codes are the stored ones either in batches or with the document encoded alone: rounding depends on
    the other texts of a batch, even with the same libraries.

    Attributes:
        documents: number of documents in the sample.
        differing: number of documents with a differing code.
        codes: number of codes of all documents.
        differing_codes: number of codes that differ from the stored code at the same position.
        differing_neurons: number of codes that are not among the stored codes of the layer; the other differing codes are in
            another order only.
        ids: ids of the differing documents.
        recorded: versions that encoded the index, by library.
        installed: installed versions, by library.
    """

    documents: int
    differing: int
    codes: int
    differing_codes: int
    differing_neurons: int
    ids: list[str]
    recorded: dict[str, list[str]]
    installed: dict[str, str]


def reencode(
    snapshot: Snapshot,
    load: Callable[[], Backbone],
    corpus: Paths | None = None,
    *,
    corpus_root: str | Path | None = None,
    documents: int = SAMPLE_DOCUMENTS,
    seed: int = 0,
) -> Reencoding:
    """Encode a sample of stored documents again, from their sources, and compare the codes; the index does not change.

    Args:
        snapshot: the version of the index.
        load: loads the backbone.
        corpus: files, globs or folders with sources of the index; only documents from these are sampled. By default, sources are
            read at their original paths.
        corpus_root: names of sources are relative to it; by default the deepest folder that holds all of `corpus`.
        documents: size of the sample, spread over the segments.
        seed: seed of the sample.

    Raises:
        BadInputError: the index is empty, or holds no document from `corpus`.
        SourceChangedError: a source is missing or its content has changed.
        SettingsMismatchError: the backbone is another one; names both values.
    """
    manifest = snapshot.manifest
    sample = _draw_sample(snapshot, _Sources.find(corpus, corpus_root), documents, seed)
    texts = _read_texts(snapshot, sample)
    stored = snapshot.codes_at(sample.positions)
    backbone = load()
    computed = _encode(manifest, backbone, texts, clamp_to_memory(manifest.settings.batch_tokens, backbone))
    retried = np.flatnonzero((computed != stored).any(axis=(1, 2)))
    alone = computed.copy()
    alone[retried] = _encode(manifest, backbone, [texts[index] for index in retried], batch_tokens=1)
    equal_alone = (alone == stored).all(axis=2)
    computed[equal_alone] = stored[equal_alone]
    differs = computed != stored
    is_new = ~(computed[..., None] == stored[:, :, None, :]).any(axis=-1)
    differing = np.flatnonzero(differs.any(axis=(1, 2)))
    return Reencoding(
        documents=len(stored),
        differing=len(differing),
        codes=stored.size,
        differing_codes=int(differs.sum()),
        differing_neurons=int(is_new.sum()),
        ids=[sample.ids[index] for index in differing],
        recorded=snapshot.recorded_libraries(),
        installed=installed_libraries(),
    )


@dataclass(frozen=True)
class _Sample:
    """A sample of documents.

    Attributes:
        positions: int64 [m], ascending.
        ids: their ids.
        roots: the corpus root of each one's source; None for the original one.
    """

    positions: npt.NDArray[np.int64]
    ids: list[str]
    roots: list[Path | None]


@dataclass(frozen=True)
class _Sources:
    """The sources that may be read.

    Attributes:
        names: their names relative to `root`; None if all sources of the index may be read.
        paths: their paths.
        root: the corpus root; None for the original one.
    """

    names: frozenset[str] | None
    paths: frozenset[str]
    root: Path | None

    @classmethod
    def find(cls, corpus: Paths | None, root: str | Path | None) -> _Sources:
        """Return the sources in a corpus; without a corpus, all sources of the index."""
        if not corpus:
            return cls(None, frozenset(), None if root is None else Path(root))
        sources = find_sources(corpus, root=root).sources
        names, paths = frozenset(s.name for s in sources), frozenset(str(s.path) for s in sources)
        return cls(names, paths, Path(sources[0].root))

    def roots(self, spans: Sequence[SourceSpan]) -> dict[str, Path | None]:
        """Return the root of each of a segment's sources that may be read, by name; None for the original root."""
        if self.names is None:
            return {span.name: self.root for span in spans}
        roots: dict[str, Path | None] = {}
        for span in spans:
            if span.name in self.names:
                roots[span.name] = self.root
            elif str(Path(span.root, span.name)) in self.paths:
                roots[span.name] = None
        return roots


def _draw_sample(snapshot: Snapshot, sources: _Sources, count: int, seed: int) -> _Sample:
    """Draw a sample of `count` documents, spread over as many segments as possible."""
    rng = np.random.default_rng(seed)
    usable = [number for number, s in enumerate(snapshot.segments) if s.entry.documents > s.entry.deleted_documents]
    drawn: list[list[tuple[int, str, Path | None]]] = []
    for number in rng.permutation(usable).tolist():
        segment = snapshot.segments[number]
        roots = sources.roots(segment.spans())
        documents = _documents_from(segment, roots) if roots else []
        if documents:
            chosen = rng.choice(len(documents), min(count, len(documents)), replace=False).tolist()
            rows = (documents[index] for index in chosen)
            drawn.append([(int(snapshot.starts[number]) + row, name, roots[file]) for row, name, file in rows])
        if len(drawn) == count:
            break
    round_robin = [document for turn in zip_longest(*drawn) for document in turn if document is not None]
    sample = sorted(round_robin[:count], key=lambda document: document[0])
    if not sample:
        why = "no document of it comes from the files named" if usable else "it holds no document"
        raise BadInputError(
            f"{snapshot.path}: {why}, so there is nothing to encode again; name its sources, with the `corpus_root` they had"
        )
    positions, ids, roots_of = zip(*sample, strict=True)
    return _Sample(np.array(positions, np.int64), list(ids), list(roots_of))


def _documents_from(segment: Segment, files: Collection[str]) -> list[tuple[int, str, str]]:
    """Return (row, id, file) of a segment's documents that come from these files and are not deleted."""
    scan = scan_sql([segment.docs_path], extra=", file_row_number = true")
    with connect() as connection:
        rows = connection.execute(
            f"SELECT file_row_number, id, file FROM {scan} WHERE list_contains(?, file) ORDER BY file_row_number",
            [list(files)],
        ).fetchall()
    alive = segment.alive()
    return [(row, name, file) for row, name, file in rows if alive[row]]


def _read_texts(snapshot: Snapshot, sample: _Sample) -> list[str]:
    """Read the texts of a sample from their sources."""
    texts = [""] * len(sample.positions)
    for root in dict.fromkeys(sample.roots):
        members = [index for index, own in enumerate(sample.roots) if own == root]
        for index, text in SourceTexts(snapshot, root).read(sample.positions[members]):
            texts[members[index]] = text
    if not all(texts):
        lost = sample.ids[texts.index("")]
        raise SourceChangedError(
            f"{snapshot.path}: the source holds no text for document {lost!r} any more; restore it"
        )
    return texts


def _encode(manifest: Manifest, backbone: Backbone, texts: Sequence[str], batch_tokens: int) -> Codes:
    """Return the NAGs of texts, uint16 [n, L, K]; a text without tokens gets 65535 for every code.

    Args:
        manifest: its fingerprint determines the encoding.
        backbone: the model.
        texts: the texts.
        batch_tokens: batch size in tokens; 1 encodes each text alone.
    """
    spec = manifest.fingerprint.spec
    ids = tokenize(backbone.tokenizer, texts, max_length=manifest.fingerprint.max_length, count=False).ids
    codes = np.full((len(texts), *spec.shape), np.iinfo(np.uint16).max, np.uint16)
    present = [index for index, row in enumerate(ids) if row]
    if present:
        codes[present] = encode_ids(backbone, [ids[index] for index in present], spec, batch_tokens=batch_tokens)
    return codes
