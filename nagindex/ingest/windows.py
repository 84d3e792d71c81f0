"""Windows: fixed blocks of rows of the input, read, tokenized and encoded together.

Batches are formed inside a window and segments end where a window ends, so a run that was killed goes on at a window's start
and repeats the same batches, and with them the same rounding. Where windows begin depends on the list of sources alone, not on
how many processes share them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import NOT_WANTED, Document, read_documents
from nagindex.corpus.sources import Position, Source, content_hash
from nagindex.encode.tokenize import PrefixTokenizer
from nagindex.errors import BadInputError, SourceChangedError
from nagindex.ingest.coverage import Coverage, JointCoverage
from nagindex.storage.manifest import Settings
from nagindex.storage.segment import Rows, SkippedRow, SourceSpan

NO_TOKENS = "no tokens"
GROUP_BYTES = 64 << 20
GROUPS_PER_SHARD = 8
WINDOWS_PER_CHUNK = 8


@dataclass(frozen=True)
class Shard:
    """One of several processes that share the windows of a corpus: number `index`, from 0, of `count`.

    Raises:
        BadInputError: there is no such shard.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise BadInputError(f"shard {self.index}/{self.count}: shards of {self.count} are 0 to {self.count - 1}")

    def part(self, index: int, count: int) -> Shard:
        """Return one of `count` parts of this shard."""
        return Shard(self.index * count + index, self.count * count)

    def takes_groups(self, groups: int) -> bool:
        """Whether so many groups of sources are dealt out whole, or else their windows, and every shard reads through all."""
        return groups >= GROUPS_PER_SHARD * self.count

    def windows(self, groups: int) -> Callable[[int, int], bool]:
        """Return f(group, window in it): whether the window is this shard's."""
        if self.takes_groups(groups):
            return lambda group, window: group % self.count == self.index
        return lambda group, window: (group + window // WINDOWS_PER_CHUNK) % self.count == self.index


@dataclass
class SourceReport:
    """What a run found its sources to be.

    Attributes:
        read: source files with rows that no version accounts for.
        already_in: source files that the index holds whole.
        changed: names of source files that the index holds with other content.
        empty: names of source files without a row.
        bytes_done: bytes of the source files that were passed or read.
        bytes_known: of those, what versions accounted for before the run.
    """

    read: int = 0
    already_in: int = 0
    changed: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    bytes_done: int = 0
    bytes_known: int = 0


@dataclass
class Window:
    """A window's rows of the input."""

    documents: list[tuple[str, Document]] = field(default_factory=list)
    spans: list[SourceSpan] = field(default_factory=list)


@dataclass(frozen=True)
class Prepared:
    """A window's documents, ready for the backbone.

    Attributes:
        tokens: int32 [sum of lengths], the token ids of all documents, one after the other.
        lengths: int64 [n], how many are each document's, at least one.
        rows: the documents.
        spans: the rows of the sources that the window accounts for.
        skipped: rows that became no document.
        seen: what the sources were found to be so far.
    """

    tokens: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]
    rows: Rows
    spans: list[SourceSpan]
    skipped: list[SkippedRow]
    seen: SourceReport

    @property
    def ids(self) -> list[npt.NDArray[np.int32]]:
        """Token ids of each document."""
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []


def prepared_windows(
    sources: Sequence[Source],
    settings: Settings,
    coverage: Coverage | JointCoverage,
    shard: Shard,
    prefix_tokenizer: PrefixTokenizer | str,
    max_length: int,
) -> Iterator[Prepared]:
    """Yield the windows that versions do not account for, tokenized; the last one has no documents, only what was seen.

    Args:
        sources: in the order to read them.
        settings: which columns to read, and how many rows make a window.
        coverage: what is accounted for.
        shard: which of the windows are wanted.
        prefix_tokenizer: the backbone's, or its `to_json`.
        max_length: token ids to keep of each document.

    Raises:
        SourceChangedError: a source changed while it was read.
        BadInputError: a source holds what it must not.
    """
    if isinstance(prefix_tokenizer, str):
        prefix_tokenizer = PrefixTokenizer.from_json(prefix_tokenizer)
    seen = SourceReport()
    for window in read_windows(sources, settings, coverage, shard, seen):
        yield _prepared(window, settings, seen, prefix_tokenizer, max_length)
    yield _prepared(Window(), settings, seen, prefix_tokenizer, max_length)


def grouped(sources: Sequence[Source]) -> list[list[Source]]:
    """Return the sources in runs of 64 MB or one source more; windows cross from source to source inside a group only."""
    groups: list[list[Source]] = []
    size = GROUP_BYTES
    for source in sources:
        if size >= GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(source)
        size += source.size
    return groups


def shared_bytes(sources: Sequence[Source], shard: Shard) -> int:
    """Return the bytes of those source files that a shard reads or passes over."""
    groups = grouped(sources)
    takes = shard.windows(len(groups))
    whole = shard.takes_groups(len(groups))
    return sum(s.size for number, group in enumerate(groups) if not whole or takes(number, 0) for s in group)


def read_windows(
    sources: Sequence[Source],
    settings: Settings,
    coverage: Coverage | JointCoverage,
    shard: Shard,
    seen: SourceReport,
) -> Iterator[Window]:
    """Yield the windows of a shard that versions do not account for; see `prepared_windows`.

    Args:
        sources: in the order to read them.
        settings: which columns to read, and how many rows make a window.
        coverage: what is accounted for.
        shard: which of the windows are wanted.
        seen: told what the sources turn out to be.
    """
    groups = grouped(sources)
    takes = shard.windows(len(groups))
    for number, group in enumerate(groups):
        if shard.takes_groups(len(groups)) and not takes(number, 0):
            continue
        reader = _GroupReader(settings, coverage, seen, partial(takes, number))
        for source in group:
            yield from reader.read(source)
        yield from reader.close(reader.number + 1)


class _GroupReader:
    """Cuts a group of sources into windows: window w holds the rows w * size to (w + 1) * size of the group."""

    def __init__(
        self,
        settings: Settings,
        coverage: Coverage | JointCoverage,
        seen: SourceReport,
        takes: Callable[[int], bool],
    ) -> None:
        self.size, self.coverage, self.seen, self.takes = settings.window, coverage, seen, takes
        self.columns = Columns(settings.text_column, settings.id_column, settings.token_column, settings.keep_columns)
        self.window, self.number = Window(), 0
        self.base = 0  # rows of the group before the source that is being read
        self.origin: tuple[str, str, int, str] | None = None

    def read(self, source: Source) -> Iterator[Window]:
        """Yield the windows that end in a source."""
        before, sha256, position = _state(source), content_hash(source.path), Position()
        bytes_before, key = self.seen.bytes_done, (source.name, sha256)
        length = self.coverage.length(source, sha256)
        if length is not None:
            self.seen.already_in += 1
            self.seen.bytes_known += source.size
            self.seen.bytes_done += source.size
            self.base += length
            return
        self.seen.read += 1
        if self.coverage.has_other(*key):
            self.seen.changed.append(source.name)
        self.origin = (source.name, source.root, source.size, sha256)
        stop = self.coverage.first_gap(key)

        def wanted(row: int) -> bool:
            return self.takes((self.base + row) // self.size) and not self.coverage.covers(key, row)

        for document in read_documents(source, self.columns, start=stop, position=position, wanted=wanted):
            yield from self.close((self.base + document.row) // self.size)
            self.seen.bytes_done = bytes_before + position.bytes
            if document.problem is not NOT_WANTED:
                self.window.documents.append((source.name, document))
            stop = document.row + 1
        if _state(source) != before:
            remedy = "run the same command again when nothing writes to it"
            raise SourceChangedError(f"{source.path}: changed while it was read; {remedy}")
        if stop == 0:
            self.seen.empty.append(source.name)
        yield from self.close((self.base + max(stop, 1) - 1) // self.size)
        self._account(stop, complete=True)
        self.base, self.origin = self.base + stop, None
        self.seen.bytes_done = bytes_before + source.size

    def close(self, following: int) -> Iterator[Window]:
        """Yield the windows before number `following` that are still open, and open that one."""
        while self.number < following:
            self._account((self.number + 1) * self.size - self.base, complete=False)
            if any(not self.coverage.holds(span) for span in self.window.spans):  # another writer may have been faster
                yield self.window
            self.window, self.number = Window(), self.number + 1

    def _account(self, stop: int, *, complete: bool) -> None:
        """Note that the open window accounts for its rows of the source, up to row `stop`."""
        start = max(self.number * self.size - self.base, 0)
        if self.origin is not None and (start < stop or complete) and self.takes(self.number):
            self.window.spans.append(SourceSpan(*self.origin, start, stop, complete))


def _state(source: Source) -> tuple[int, int]:
    found = os.stat(source.path)
    return found.st_size, found.st_mtime_ns


def _prepared(
    window: Window, settings: Settings, seen: SourceReport, prefix_tokenizer: PrefixTokenizer, max_length: int
) -> Prepared:
    readable = [document for _, document in window.documents if document.problem is None]
    uncounted = [settings.count_tokens and document.tokens is None for document in readable]
    texts = [document.text or "" for document in readable]
    tokens = prefix_tokenizer(texts, max_length=max_length, count=uncounted)
    found = iter(zip(tokens.ids, tokens.counts.tolist(), strict=True))
    rows, skipped, ids = Rows(), [], []
    for name, document in window.documents:
        prefix, count = next(found) if document.problem is None else ([], 0)
        if not prefix:
            skipped.append(SkippedRow(name, document.row, document.id, document.problem or NO_TOKENS))
            continue
        ids.append(prefix)
        rows.ids.append(document.id)
        rows.files.append(name)
        rows.rows.append(document.row)
        rows.tokens.append(max(count, 0) if document.tokens is None else document.tokens)
        rows.kept.append(document.kept)
    flat = np.concatenate([np.empty(0, np.int32), *(np.asarray(row, np.int32) for row in ids)])
    return Prepared(flat, np.array([len(row) for row in ids], np.int64), rows, window.spans, skipped, seen)
