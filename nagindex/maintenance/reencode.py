"""Whether what is installed here encodes stored documents as the index has them: a sample of them is read and encoded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import Columns
from nagindex.corpus.sources import Paths, find_sources
from nagindex.corpus.sql import connect
from nagindex.encode.encoder import clamp_to_memory, encode_ids
from nagindex.encode.tokenize import tokenize
from nagindex.errors import BadInputError, SourceChangedError
from nagindex.nag import Codes
from nagindex.storage.fingerprint import LIBRARIES, installed_libraries
from nagindex.storage.source_texts import Texts
from nagindex.storage.tables import scan_sql

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone
    from nagindex.index import Index
    from nagindex.storage.manifest import Manifest
    from nagindex.storage.segment import Segment, SourceSpan

DOCUMENTS = 64


@dataclass(frozen=True)
class Recheck:
    """What encoding stored documents again came to.

    A layer whose codes come out as they are stored in the batches of this check, or with the document alone, counts as equal: how a
    sum is rounded depends on the texts beside it, with the same libraries too.

    Attributes:
        documents: encoded again.
        differing: of those, how many have other codes.
        codes: of all of them.
        differing_codes: those that name another neuron than the one stored in their place.
        differing_neurons: those whose neuron is not among the layer's stored ones at all; the others changed places only.
        ids: of the documents that differ.
        recorded: for each library, the versions that encoded what the index holds.
        installed: the versions here.
    """

    documents: int
    differing: int
    codes: int
    differing_codes: int
    differing_neurons: int
    ids: list[str]
    recorded: dict[str, list[str]]
    installed: dict[str, str]


def other_libraries(manifest: Manifest) -> dict[str, list[str]]:
    """Return for each library whose installed version is not the only one that encoded an index, the versions that did."""
    return {
        name: versions
        for name, versions in recorded_libraries(manifest).items()
        if versions != [installed_libraries().get(name)]
    }


def recorded_libraries(manifest: Manifest) -> dict[str, list[str]]:
    """Return for each library the versions that an index's fingerprint and segments state."""
    stated = [manifest.fingerprint.libraries, *(entry.libraries for entry in manifest.segments)]
    return {name: sorted({libraries[name] for libraries in stated if name in libraries}) for name in LIBRARIES}


def recheck(
    index: Index,
    corpus: Paths | None = None,
    *,
    corpus_root: str | Path | None = None,
    model: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
    documents: int = DOCUMENTS,
    seed: int = 0,
) -> Recheck:
    """Encode a sample of stored documents again, from their sources, and return what differs; nothing is written.

    Args:
        index: the index.
        corpus: files, globs or folders where sources of the index lie now; documents of others are left out. By default every
            source is sought where it was read.
        corpus_root: what names of sources are relative to; by default the deepest folder that holds everything named.
        model: where the backbone lies now, if it was moved.
        device: a torch device.
        trust_remote_code: whether code that comes with the model may run.
        documents: how many to sample, spread over the segments.
        seed: of the sample.

    Raises:
        BadInputError: the index holds no document, or none that comes from what was named.
        SourceChangedError: a source is missing or no longer holds what was read.
        SettingsMismatchError: the model is another one; names both values.
    """
    sample = _sample(index, _Named.of(corpus, corpus_root), documents, seed)
    texts = _texts(index, sample)
    stored = _stored(index.segments, sample.positions)
    backbone = index.backbone(model, device=device, trust_remote_code=trust_remote_code)
    here = _encoded(index, backbone, texts, together=True)
    unlike = np.flatnonzero((here != stored).any(axis=(1, 2)))
    alone = here.copy()
    alone[unlike] = _encoded(index, backbone, [texts[at] for at in unlike], together=False)
    same = (alone == stored).all(axis=2)
    here[same] = stored[same]
    other = here != stored
    new = ~(here[..., None] == stored[:, :, None, :]).any(axis=-1)
    differing = np.flatnonzero(other.any(axis=(1, 2)))
    return Recheck(
        documents=len(stored),
        differing=len(differing),
        codes=stored.size,
        differing_codes=int(other.sum()),
        differing_neurons=int(new.sum()),
        ids=[sample.ids[at] for at in differing],
        recorded=recorded_libraries(index.manifest),
        installed=installed_libraries(),
    )


@dataclass(frozen=True)
class _Sample:
    """Documents: positions in the pool, int64 [m], ids, and the root of each one's source, None where it was read."""

    positions: npt.NDArray[np.int64]
    ids: list[str]
    roots: list[Path | None]


@dataclass(frozen=True)
class _Named:
    """The names and places of sources that may be read, None where all may, and the root of the names."""

    names: frozenset[str] | None
    places: frozenset[str]
    root: Path | None

    @classmethod
    def of(cls, corpus: Paths | None, root: str | Path | None) -> _Named:
        """Return what a corpus names; without one, sources lie under the root, or where they were read."""
        if not corpus:
            return cls(None, frozenset(), None if root is None else Path(root))
        found = find_sources(corpus, root=root).sources
        return cls(frozenset(s.name for s in found), frozenset(str(s.path) for s in found), Path(found[0].root))

    def roots(self, spans: Sequence[SourceSpan]) -> dict[str, Path | None]:
        """Return under which root each of these sources lies, of those that may be read."""
        if self.names is None:
            return {span.name: self.root for span in spans}
        found: dict[str, Path | None] = {}
        for span in spans:
            if span.name in self.names:
                found[span.name] = self.root
            elif str(Path(span.root, span.name)) in self.places:
                found[span.name] = None
        return found


def _sample(index: Index, named: _Named, count: int, seed: int) -> _Sample:
    """Return documents from as many segments as can be, as many from each as there are in it or as come to its turn."""
    draw = np.random.default_rng(seed)
    starts = np.cumsum([0, *(segment.entry.documents for segment in index.segments)])
    usable = [number for number, s in enumerate(index.segments) if s.entry.documents > s.entry.deleted_documents]
    pools: list[list[tuple[int, str, Path | None]]] = []
    for number in draw.permutation(usable).tolist():
        segment = index.segments[number]
        roots = named.roots(segment.spans())
        found = _documents(segment, roots) if roots else []
        if found:
            chosen = draw.choice(len(found), min(count, len(found)), replace=False).tolist()
            rows = (found[place] for place in chosen)
            pools.append([(int(starts[number]) + row, name, roots[file]) for row, name, file in rows])
        if len(pools) == count:
            break
    in_turn = [document for turn in zip_longest(*pools) for document in turn if document is not None]
    taken = sorted(in_turn[:count], key=lambda document: document[0])
    if not taken:
        why = "no document of it comes from the files named" if usable else "it holds no document"
        raise BadInputError(
            f"{index.path}: {why}, so there is nothing to encode again; name its sources, with the --corpus-root they had"
        )
    positions, ids, roots_of = zip(*taken, strict=True)
    return _Sample(np.array(positions, np.int64), list(ids), list(roots_of))


def _documents(segment: Segment, files: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """Return (row, id, file) of a segment's documents that come from some files and are not deleted."""
    scan = scan_sql([segment.docs_path], extra=", file_row_number = true")
    with connect() as connection:
        rows = connection.execute(
            f"SELECT file_row_number, id, file FROM {scan} WHERE list_contains(?, file) ORDER BY file_row_number",
            [list(files)],
        ).fetchall()
    alive = segment.alive()
    return [(row, name, file) for row, name, file in rows if alive[row]]


def _texts(index: Index, sample: _Sample) -> list[str]:
    settings = index.manifest.settings
    columns = Columns(settings.text_column, settings.id_column)
    texts = [""] * len(sample.positions)
    for root in dict.fromkeys(sample.roots):
        places = [at for at, own in enumerate(sample.roots) if own == root]
        for at, text in Texts(index.segments, columns, root).read(sample.positions[places]):
            texts[places[at]] = text
    if not all(texts):
        lost = sample.ids[texts.index("")]
        raise SourceChangedError(f"{index.path}: the source holds no text for document {lost!r} any more; restore it")
    return texts


def _stored(segments: Sequence[Segment], positions: npt.NDArray[np.int64]) -> Codes:
    """Return the codes, uint16 [m, L, K], of documents at ascending positions, int64 [m], in the pool."""
    starts = np.cumsum([0, *(segment.entry.documents for segment in segments)])
    of = np.searchsorted(starts, positions, side="right") - 1
    parts = [segments[number].codes()[positions[of == number] - starts[number]] for number in np.unique(of)]
    return np.concatenate(parts)


def _encoded(index: Index, backbone: Backbone, texts: Sequence[str], *, together: bool) -> Codes:
    """Return the NAGs of texts, uint16 [n, L, K], in batches of the index's size or each alone; one without a token has no NAG."""
    spec = index.manifest.fingerprint.spec
    ids = tokenize(backbone.tokenizer, texts, max_length=index.manifest.fingerprint.max_length, count=False).ids
    codes = np.full((len(texts), *spec.shape), np.iinfo(np.uint16).max, np.uint16)
    present = [place for place, row in enumerate(ids) if row]
    budget = clamp_to_memory(index.manifest.settings.batch_tokens, backbone) if together else 1
    if present:
        codes[present] = encode_ids(backbone, [ids[place] for place in present], spec, batch_tokens=budget)
    return codes
