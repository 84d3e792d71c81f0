"""Windows: fixed blocks of rows of the corpus, read, tokenized and encoded together.

Batches are formed within a window and segments end with a window, so a run that was killed resumes at the start of a
window and repeats the same batches, with the same rounding. Where windows begin depends on the list of sources alone,
not on how many processes share them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from nagindex.corpus.reading import EXCLUDED, Document, find_columns, naming_skip, read_documents, reason_of
from nagindex.corpus.sources import Position, Source, digest_of, require_readable
from nagindex.encode.tokenize import PrefixTokenizer
from nagindex.errors import BadInputError, SettingsMismatchError
from nagindex.ingest.coverage import Coverage, JointCoverage, Key
from nagindex.ingest.options import IngestOptions
from nagindex.ingest.sharding import group_sources, shards_take_groups, windows_of_shard
from nagindex.storage.segment import Rows, SkippedRow, SourceSpan
from nagindex.storage.settings import Settings
from nagindex.stores.entries import changed
from nagindex.stores.remote_files import RemoteFile

State = tuple[int, int] | RemoteFile | None
SKIP_EMPTY = "no tokens"
UNREADABLE = "unreadable"


@dataclass
class SourceReport:
    """What the sources of a run turned out to be.

    Attributes:
        read: source files with rows that no version accounts for.
        already_in: source files that the index holds completely.
        changed: names of source files that the index holds with other content, which they do not merely continue.
        empty: names of source files without a row.
        unreadable: names of sources that cannot be read, each with the reason.
        bytes_done: bytes of the source files that were read, or were in the index before.
        bytes_known: of those, bytes that were in the index before.
        rows_known: rows that were in the index before.
    """

    read: int = 0
    already_in: int = 0
    changed: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    bytes_done: int = 0
    bytes_known: int = 0
    rows_known: int = 0


@dataclass
class Window:
    """The rows of one window.

    Attributes:
        documents: (source name, document) in order, without rows that versions account for.
        spans: the rows of each source that the window accounts for, with or without a document.
        unreadable: sources that cannot be read.
    """

    documents: list[tuple[str, Document]] = field(default_factory=list)
    spans: list[SourceSpan] = field(default_factory=list)
    unreadable: list[SkippedRow] = field(default_factory=list)


@dataclass(frozen=True)
class PreparedWindow:
    """A window's documents, tokenized.

    Attributes:
        tokens: int32 [sum of lengths], the token ids of all documents, one after the other.
        lengths: int64 [n], token ids of each document, at least one.
        rows: the documents.
        spans: the rows of the sources that the window accounts for.
        skipped: rows that became no document, and sources that cannot be read.
        report: what the sources turned out to be, up to this window.
    """

    tokens: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]
    rows: Rows
    spans: list[SourceSpan]
    skipped: list[SkippedRow]
    report: SourceReport

    @property
    def ids(self) -> list[npt.NDArray[np.int32]]:
        """Token ids of each document."""
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []


def prepare_windows(
    sources: Sequence[Source],
    settings: Settings,
    coverage: Coverage | JointCoverage,
    options: IngestOptions,
    prefix_tokenizer: PrefixTokenizer | str,
    max_length: int,
) -> Iterator[PreparedWindow]:
    """Yield the tokenized windows of a shard that no version accounts for.

    The last window is empty and has the final report.

    Args:
        sources: in the order to read them.
        settings: which columns to read, and how many rows make a window.
        coverage: the rows that versions account for.
        options: the part of the windows to read, and what happens to rows and files that cannot be read.
        prefix_tokenizer: the backbone's, or its `to_json`.
        max_length: token ids to keep of each document.

    Raises:
        SourceChangedError: a source changed while it was read.
        SettingsMismatchError: a part of a source is in the index with texts of another column.
        BadInputError: a source cannot be read, or holds a value of the wrong type, and `on_error` is `stop`.
    """
    if isinstance(prefix_tokenizer, str):
        prefix_tokenizer = PrefixTokenizer.from_json(prefix_tokenizer)
    report = SourceReport()
    for window in read_windows(sources, settings, coverage, options, report):
        yield _prepare(window, settings, report, prefix_tokenizer, max_length)
    yield _prepare(Window(), settings, report, prefix_tokenizer, max_length)


def read_windows(
    sources: Sequence[Source],
    settings: Settings,
    coverage: Coverage | JointCoverage,
    options: IngestOptions,
    report: SourceReport,
) -> Iterator[Window]:
    """Yield a shard's windows that no version accounts for.

    Args:
        sources: in the order to read them.
        settings: which columns to read, and how many rows make a window.
        coverage: the rows that versions account for.
        options: the part of the windows to read, and what happens to rows and files that cannot be read.
        report: updated with what the sources turn out to be.
    """
    groups = group_sources(sources)
    takes = windows_of_shard(options.shard, len(groups))
    for number, group in enumerate(groups):
        if shards_take_groups(options.shard, len(groups)) and not takes(number, 0):
            continue
        reader = _GroupReader(settings, coverage, report, options, partial(takes, number))
        for source in group:
            yield from reader.read(source)
        yield from reader.close(reader.number + 1)


class _GroupReader:
    """Cuts a group of sources into windows: window w holds rows [w * size, (w + 1) * size) of the group.

    Attributes:
        window: the open window, to which documents are added.
        number: its number in the group.
        base: rows of the group before the source that is being read.
        origin: that source's name, root, size and content hash; None between sources.
        text_column: where it has its texts.
    """

    def __init__(
        self,
        settings: Settings,
        coverage: Coverage | JointCoverage,
        report: SourceReport,
        options: IngestOptions,
        takes: Callable[[int], bool],
    ) -> None:
        self.size, self.coverage, self.report, self.takes = settings.window, coverage, report, takes
        self.on_error = options.on_error
        self.columns = settings.columns
        self.window, self.number, self.base = Window(), 0, 0
        self.origin: tuple[str, str, int, str] | None = None
        self.text_column: str | None = None

    def read(self, source: Source) -> Iterator[Window]:
        """Yield the windows that end within a source; under `skip` a source that cannot be read is listed, and yields none."""
        sha256 = ""
        try:
            with naming_skip(self.on_error):
                before, sha256 = _identified(source)
            length = self.coverage.length(source, sha256)
            if length is not None:
                self.report.already_in += 1
                self.report.bytes_known += source.size
                self.report.bytes_done += source.size
                self.report.rows_known += length
                self.base += length
                return
            if (
                self.on_error == "skip"
            ):  # a file damaged halfway must not end as half of a file: all of it is tried first
                for _ in read_documents(source, self.columns, wanted=lambda row: False):
                    pass
        except BadInputError as error:
            if self.on_error == "stop":
                raise
            self._pass_over(source, sha256, reason_of(error, source))
        else:
            try:
                yield from self._read(source, sha256, before)
            except BadInputError:
                if source.version is not None and _state(source) != before:  # parts of two versions
                    raise changed(str(source.path)) from None
                raise

    def _pass_over(self, source: Source, sha256: str, reason: str) -> None:
        """List a source as unreadable, unless the index lists it already with this content."""
        self.report.unreadable.append(f"{source.name}: {reason}")
        self.report.bytes_done += source.size
        span = SourceSpan(source.name, source.root, source.size, sha256, 0, 0, complete=False)
        if self.takes(self.number) and not self.coverage.covers_span(span):
            self.window.spans.append(span)
            self.window.unreadable.append(SkippedRow(source.name, 0, "", f"{UNREADABLE}: {reason}"))

    def _read(self, source: Source, sha256: str, before: State) -> Iterator[Window]:
        """Yield the windows that end within a source that can be read.

        Raises:
            SourceChangedError: its state is not what it was `before`.
        """
        bytes_before, key, position = self.report.bytes_done, (source.name, sha256), Position()
        self.report.read += 1
        if self.coverage.has_other_content(*key) and not self.coverage.continues(source, sha256):
            self.report.changed.append(source.name)
        columns = find_columns(source, self.columns, on_error=self.on_error)
        self.origin = (source.name, source.root, source.size, sha256)
        self.text_column = None if columns is None else columns.text
        self._require_text_column(source, key)
        first = stop = self.coverage.first_gap(key)
        self.report.rows_known += first

        def wanted(row: int) -> bool:
            return self.takes((self.base + row) // self.size) and not self.coverage.covers_row(key, row)

        rows = read_documents(source, columns, start=stop, position=position, wanted=wanted, on_error=self.on_error)
        for document in rows:
            yield from self.close((self.base + document.row) // self.size)
            self.report.bytes_done = bytes_before + position.bytes
            if first and stop == first:  # the bytes up to here were passed over
                self.report.bytes_known += position.bytes
            if document.problem is not EXCLUDED:
                self.window.documents.append((source.name, document))
            stop = document.row + 1
        if _state(source) != before:
            raise changed(str(source.path))
        if stop == 0:
            self.report.empty.append(source.name)
        yield from self.close((self.base + max(stop, 1) - 1) // self.size)
        self._add_span(stop, complete=True)
        self.base, self.origin = self.base + stop, None
        self.report.bytes_done = bytes_before + source.size

    def close(self, following: int) -> Iterator[Window]:
        """Yield the open window if it comes before number `following`, and open that one."""
        while self.number < following:
            self._add_span((self.number + 1) * self.size - self.base, complete=False)
            if any(
                not self.coverage.covers_span(span) for span in self.window.spans
            ):  # unless another writer was faster
                yield self.window
            self.window, self.number = Window(), self.number + 1

    def _require_text_column(self, source: Source, key: Key) -> None:
        """Raise SettingsMismatchError if some rows of a source are in the index with texts of another column."""
        begun = self.coverage.text_column(key)
        if begun is not None and begun != self.text_column:
            here = f"its texts are from column {begun!r} in the index and from {self.text_column!r} here"
            raise SettingsMismatchError(f"{source.path}: {here}; go on with {begun!r} as `text_column`")

    def _add_span(self, stop: int, *, complete: bool) -> None:
        """Record that the open window accounts for its rows of the source, up to row `stop`."""
        start = max(self.number * self.size - self.base, 0)
        if self.origin is not None and (start < stop or complete) and self.takes(self.number):
            self.window.spans.append(SourceSpan(*self.origin, start, stop, complete, self.text_column))


def _identified(source: Source) -> tuple[State, str]:
    """Return a source's state, and what its content is known by.

    Raises:
        BadInputError: it cannot be read.
    """
    require_readable(source)
    if isinstance(source.path, RemoteFile):  # as it was found: its version is what is read, or nothing
        return source.path, digest_of(source)
    try:
        return _state(source), digest_of(source)
    except OSError as error:
        require_readable(dataclasses.replace(source, problem=error.strerror))
        raise


def _state(source: Source) -> State:
    """Return what changes when a source does: length and time of a local file, the version of a remote one."""
    if isinstance(source.path, RemoteFile):
        return source.path.current()
    status = os.stat(source.path)
    return status.st_size, status.st_mtime_ns


def _prepare(
    window: Window, settings: Settings, report: SourceReport, prefix_tokenizer: PrefixTokenizer, max_length: int
) -> PreparedWindow:
    """Tokenize a window; rows without a text or a token are skipped."""
    readable = [document for _, document in window.documents if document.problem is None]
    uncounted = [settings.count_tokens and document.tokens is None for document in readable]
    texts = [document.text or "" for document in readable]
    tokens = prefix_tokenizer(texts, max_length=max_length, count=uncounted)
    tokenized = iter(zip(tokens.ids, tokens.counts.tolist(), strict=True))
    rows, skipped, prefixes = Rows(), [*window.unreadable], []
    for name, document in window.documents:
        prefix, count = next(tokenized) if document.problem is None else ([], 0)
        if not prefix:
            skipped.append(SkippedRow(name, document.row, document.id, document.problem or SKIP_EMPTY))
            continue
        prefixes.append(prefix)
        rows.ids.append(document.id)
        rows.files.append(name)
        rows.rows.append(document.row)
        rows.tokens.append(max(count, 0) if document.tokens is None else document.tokens)
        rows.kept.append(document.kept)
    flat = np.concatenate([np.empty(0, np.int32), *(np.asarray(prefix, np.int32) for prefix in prefixes)])
    lengths = np.array([len(prefix) for prefix in prefixes], np.int64)
    return PreparedWindow(flat, lengths, rows, window.spans, skipped, report)
