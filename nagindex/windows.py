"""Windows: fixed numbers of rows of the input, read and encoded together.

Batches are formed inside a window and segments end where a window ends, so a run that was killed goes on at a window's start
and repeats the same batches, and with them the same rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nagindex.corpus import Columns, Document, Source, content_hash, read_documents
from nagindex.corpus.sources import Position
from nagindex.encode import encode_ids, tokenise
from nagindex.errors import SourceChangedError
from nagindex.nag import Codes
from nagindex.storage.coverage import Coverage
from nagindex.storage.manifest import Manifest, Settings
from nagindex.storage.segment import Rows, SkippedRow, SourceSpan

if TYPE_CHECKING:
    from nagindex.backbone import Backbone

NO_TOKENS = "no tokens"


@dataclass
class Progress:
    """How far a run is; the counts are of this run alone.

    Attributes:
        documents, tokens: encoded so far.
        committed: documents that a published version holds.
        bytes_done, bytes_total: of the source files on disk.
        bytes_known: of those done, what versions accounted for before the run.
    """

    documents: int = 0
    tokens: int = 0
    committed: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_known: int = 0


@dataclass
class SourcesSeen:
    """What a run found its sources to be.

    Attributes:
        read: source files with rows that no version accounts for.
        already_in: source files that the index holds whole.
        changed: names of source files that the index holds with other content.
        empty: names of source files without a row.
    """

    read: int = 0
    already_in: int = 0
    changed: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


@dataclass
class Window:
    """A window's rows of the input: first read, then encoded."""

    documents: list[tuple[str, Document]] = field(default_factory=list)
    spans: list[SourceSpan] = field(default_factory=list)


@dataclass
class Encoded:
    """A window's documents with their NAGs, uint16 [n, L, K], and what became of its other rows."""

    codes: Codes
    rows: Rows
    spans: list[SourceSpan]
    skipped: list[SkippedRow]


def read_windows(
    sources: Sequence[Source], settings: Settings, coverage: Coverage, progress: Progress, seen: SourcesSeen
) -> Iterator[Window]:
    """Yield windows over the rows that no version accounts for, in order, the last one short.

    Args:
        sources: in the order to read them.
        settings: which columns to read, and how many rows make a window.
        coverage: what is accounted for.
        progress: told how many bytes have been read.
        seen: told what the sources turn out to be.

    Raises:
        SourceChangedError: a source changed while it was read.
        BadInputError: a source holds what it must not.
    """
    columns = Columns(settings.text_column, settings.id_column, settings.token_column, settings.keep_columns)
    window = Window()
    bytes_before = 0
    for source in sources:
        if all(coverage.holds(span) for span in window.spans):
            window = Window()  # another writer has these rows, and the next window starts where its does
        before, sha256, position = _state(source), content_hash(source.path), Position()
        if coverage.is_complete(source, sha256):
            seen.already_in += 1
            progress.bytes_known += source.size
        else:
            seen.read += 1
            if coverage.has_other(source.name, sha256):
                seen.changed.append(source.name)
            origin = (source.name, source.root, source.size, sha256)
            start = row = coverage.rows(source.name, sha256)
            for document in read_documents(source, columns, start=start, position=position):
                if len(window.documents) == settings.window:  # known full only here: a source may end with its window
                    if row > start:
                        window.spans.append(SourceSpan(*origin, start, row, complete=False))
                    progress.bytes_done = bytes_before + position.bytes
                    yield window
                    window, start = Window(), row
                window.documents.append((source.name, document))
                row = document.row + 1
            if _state(source) != before:
                remedy = "run the same command again when nothing writes to it"
                raise SourceChangedError(f"{source.path}: changed while it was read; {remedy}")
            if row == 0:
                seen.empty.append(source.name)
            window.spans.append(SourceSpan(*origin, start, row, complete=True))
        bytes_before += source.size
        progress.bytes_done = bytes_before
    if window.spans:
        yield window


def _state(source: Source) -> tuple[int, int]:
    found = source.path.stat()
    return found.st_size, found.st_mtime_ns


def encode_window(backbone: Backbone, window: Window, manifest: Manifest) -> Encoded:
    """Return a window's documents with their NAGs."""
    fingerprint = manifest.fingerprint
    readable = [document.text or "" for _, document in window.documents if document.problem is None]
    tokens = tokenise(backbone, readable, max_length=fingerprint.max_length)
    counted = iter(zip(tokens.ids, tokens.counts.tolist(), strict=True))
    rows, skipped, ids = Rows(), [], []
    for name, document in window.documents:
        prefix, count = next(counted) if document.problem is None else ([], 0)
        if count == 0:
            skipped.append(SkippedRow(name, document.row, document.id, document.problem or NO_TOKENS))
            continue
        ids.append(prefix)
        rows.ids.append(document.id)
        rows.files.append(name)
        rows.rows.append(document.row)
        rows.tokens.append(count if document.tokens is None else document.tokens)
        rows.kept.append(document.kept)
    codes = encode_ids(backbone, ids, fingerprint.spec, batch_tokens=manifest.settings.batch_tokens)
    return Encoded(codes, rows, window.spans, skipped)
