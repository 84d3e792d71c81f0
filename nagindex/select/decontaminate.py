"""Decontamination by n-grams: which documents share n consecutive words with an evaluation text.

Words are those of lm-evaluation-harness's Janitor: A to Z become lowercase, `string.punctuation` is deleted, what whitespace
separates is a word. Following appendix C of GPT-3 (arXiv 2005.14165) one shared run of 13 words makes a document contaminated.

Hashes of a document's n-grams are looked up among those of the evaluation texts; where one is found the words themselves are
compared, so the result is exact.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_texts
from nagindex.corpus.sources import Paths, Source, content_hash, find_sources
from nagindex.errors import BadInputError
from nagindex.progress import step
from nagindex.search.kernels import compiled
from nagindex.select.signals import NGRAM

SPACE = np.uint32(ord(" "))
DELETED = np.uint32(0xFFFFFFFF)
LAST_SPACE = 0x3000
"""The largest code point that `str.split` takes for whitespace."""
FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, with bits all over: 2**64 over the golden ratio."""
BITS_PER_GRAM = 16
"""At least, in the filter: with two bits a gram at most 1.4 % of other grams pass it."""

LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
PUNCTUATION = string.punctuation.encode()

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Match:
    """An n-gram that a document shares with an evaluation text.

    Attributes:
        gram: its n words as they are compared, joined by spaces.
        file: the name of the file of the evaluation text, the first that holds the n-gram in order of files and rows.
        row: that text's row.
        id: that text's id.
    """

    gram: str
    file: str
    row: int
    id: str


class EvaluationTexts:
    """The n-grams of evaluation texts.

    An n-gram takes 8 bytes for its hash, 4 for its place, 2 to 4 in the filter, and those of one word in UTF-8: about 21 in English.

    Attributes:
        ngram: words in an n-gram.
        texts: number of texts.
        short: number of texts with fewer words than an n-gram, which match no document.
        files: one record for each file read: name, sha256, examples.
        skipped: one sentence for each row without a text, naming file, row and reason.
    """

    def __init__(self, texts: Iterable[tuple[str, int, str, str]], *, ngram: int = NGRAM) -> None:
        """Take texts as (file, row, id, text).

        Raises:
            BadInputError: n-grams of less than one word.
        """
        if ngram < 1:
            raise BadInputError(f"n-grams of {ngram} words: an n-gram has at least one word; pass another `ngram`")
        self.ngram = ngram
        self.texts = self.short = 0
        self.files: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        self._sources: list[tuple[str, int, str]] = []
        hashes: list[Hashes] = [np.empty(0, np.uint64)]
        places: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
        firsts: list[int] = []
        written: list[bytes] = []
        size = 0
        for file, row, identifier, text in texts:
            self.texts += 1
            found = _gram_hashes(text, ngram)
            if not len(found):
                self.short += 1
                continue
            line = _utf8(" ".join([*_words(text), ""]))
            ends = np.flatnonzero(np.frombuffer(line, np.uint8) == SPACE)
            hashes.append(found.copy())  # not the buffer it is a view of
            places.append(size + np.concatenate([[0], ends + 1])[: len(found)])
            firsts.append(size)
            written.append(line)
            self._sources.append((file, row, identifier))
            size += len(line)
        self._line = b"".join(written)
        self._firsts = np.array(firsts, np.int64)
        grams = np.concatenate(hashes)
        order = np.argsort(grams, kind="stable")  # among equal hashes the first text comes first
        self._grams = grams[order]
        self._places = np.concatenate(places)[order].astype(np.min_scalar_type(size))
        bits = max(3, (BITS_PER_GRAM * len(grams) - 1).bit_length())
        self._shift = np.uint64(64 - bits)
        self._filter = _filter_of(self._grams, bits)

    @classmethod
    def read(cls, paths: Paths, *, ngram: int = NGRAM, text_column: str | None = None) -> EvaluationTexts:
        """Return the n-grams of the texts in files, globs and folders of any corpus format.

        Args:
            paths: what to read; its files are ordered by name.
            ngram: words in an n-gram.
            text_column: column of the texts; by default found in each file.

        Raises:
            InputNotFoundError: a path names no file.
            BadInputError: there is no text, a file cannot be read, or n-grams of less than one word.
        """
        files: list[dict[str, Any]] = []
        skipped: list[str] = []
        named = [paths] if isinstance(paths, (str, Path)) else list(paths)
        found = cls(_read(find_sources(named).sources, Columns(text_column=text_column), files, skipped), ngram=ngram)
        if not found.texts:
            rows = f" ({len(skipped)} skipped, the first: {skipped[0]})" if skipped else ""
            raise BadInputError(f"{', '.join(map(str, named))}: no evaluation text{rows}; give at least one text")
        found.files, found.skipped = files, skipped
        return found

    def first_match(self, text: str) -> Match | None:
        """Return the first n-gram of a document that occurs in an evaluation text, None if none does."""
        hashes = _gram_hashes(text, self.ngram)
        at, entry = _probe(hashes, 0, self._filter, self._shift, self._grams)
        if at < 0:
            return None
        words = _words(text)
        while at >= 0:
            gram = " ".join(words[at : at + self.ngram])
            place = self._place(gram, entry)
            if place is not None:
                return Match(gram, *self._sources[int(np.searchsorted(self._firsts, place, side="right")) - 1])
            at, entry = _probe(hashes, at + 1, self._filter, self._shift, self._grams)
        return None

    def matches(self, texts: Sequence[str]) -> list[Match | None]:
        """Return each document's first match, None for a document that is not contaminated."""
        return [self.first_match(text) for text in texts]

    def _place(self, gram: str, entry: int) -> int | None:
        """Return the first place of an n-gram, searching from the first entry with its hash; None if it does not occur."""
        words, hashed = _utf8(gram + " "), self._grams[entry]
        while entry < len(self._grams) and self._grams[entry] == hashed:
            place = int(self._places[entry])
            if self._line.startswith(words, place):
                return place
            entry += 1
        return None


def _read(
    sources: Sequence[Source], columns: Columns, files: list[dict[str, Any]], skipped: list[str]
) -> Iterator[tuple[str, int, str, str]]:
    """Yield (file, row, id, text) of readable rows; note the files, and the rows that are not."""
    with step("reading evaluation texts", sum(source.size for source in sources), "bytes") as advance:
        for source in sources:
            examples = 0
            for document in read_texts(source, columns, skipped):
                examples += 1
                yield source.name, document.row, document.id, document.text or ""
            files.append({"name": source.name, "sha256": content_hash(source.path), "examples": examples})
            advance(source.size)


def _words(text: str) -> list[str]:
    # No byte of a character that is not ASCII is one that is; str.translate is slow where any such character is.
    return _utf8(text).translate(LOWER, PUNCTUATION).decode(errors="surrogatepass").split()


def _utf8(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # a lone surrogate is a character like others


def _gram_hashes(text: str, ngram: int) -> Hashes:
    """Return the hash of each run of so many words, uint64 [words - ngram + 1], empty for fewer words."""
    characters = np.frombuffer(f"{text} ".encode("utf-32-le", errors="surrogatepass"), np.uint32)
    if 2 * ngram > len(characters):  # each word has a character and whitespace
        return np.empty(0, np.uint64)
    hashes = np.empty(len(characters) // 2, np.uint64)
    leaving = np.uint64(pow(int(FACTOR), ngram, 1 << 64))
    return hashes[: _roll(characters, CHARACTERS, ngram, leaving, hashes)]


def _filter_of(grams: Hashes, bits: int) -> npt.NDArray[np.uint8]:
    """Return a Bloom filter, 2**bits bits as bytes: those that the highest and the lowest bits of each hash name are set."""
    held = np.zeros(1 << bits - 3, np.uint8)
    for slots in (grams >> np.uint64(64 - bits), grams & np.uint64((1 << bits) - 1)):
        np.bitwise_or.at(held, slots >> np.uint64(3), np.uint8(1) << (slots & np.uint64(7)).astype(np.uint8))
    return held


def _character_table() -> npt.NDArray[np.uint32]:
    """Return what each code point up to `LAST_SPACE` becomes: itself, its lowercase, SPACE or DELETED."""
    characters = [chr(code) for code in range(LAST_SPACE + 1)]
    table = np.array([ord(c.lower()) if c in string.ascii_uppercase else ord(c) for c in characters], np.uint32)
    table[[c.isspace() for c in characters]] = SPACE
    table[[c in string.punctuation for c in characters]] = DELETED
    return table


CHARACTERS = _character_table()


@compiled
def _roll(characters: Any, table: Any, ngram: int, leaving: Any, hashes: Any) -> int:
    """Fill in the hash of each run of words and return how many there are.

    Args:
        characters: uint32 [n], code points of a text that ends in whitespace.
        table: uint32 [LAST_SPACE + 1], see `_character_table`.
        ngram: words in a run.
        leaving: uint64, FACTOR to the power of `ngram`.
        hashes: uint64 [>= runs], filled.
    """
    ring = np.zeros(ngram, np.uint64)  # hashes of the latest words
    slot = words = 0
    run, word, inside = np.uint64(0), FACTOR, False
    for code in characters:
        character = table[code] if code < len(table) else code
        if character == DELETED:
            continue
        if character != SPACE:
            word = (word ^ np.uint64(character)) * FACTOR
            inside = True
        elif inside:
            word = (word ^ (word >> np.uint64(29))) * FACTOR
            run = run * FACTOR + word - ring[slot] * leaving
            ring[slot] = word
            slot = slot + 1 if slot + 1 < ngram else 0
            words += 1
            if words >= ngram:
                hashes[words - ngram] = run
            word, inside = FACTOR, False
    return max(0, words - ngram + 1)


@compiled
def _probe(hashes: Any, start: int, held: Any, shift: Any, grams: Any) -> tuple[int, int]:
    """Return the first position from `start` on whose hash is among `grams`, and its first entry there; or -1, -1.

    Args:
        hashes: uint64 [n], what is looked up.
        start: position to begin at.
        held: uint8 [2**(61 - shift)], the filter of `grams`.
        shift: uint64, 64 less the bits of a place in the filter.
        grams: uint64 [m], sorted.
    """
    lowest = ~np.uint64(0) >> shift
    for at in range(start, len(hashes)):
        first, second = hashes[at] >> shift, hashes[at] & lowest
        if not held[first >> np.uint64(3)] >> (first & np.uint64(7)) & np.uint64(1):
            continue
        if not held[second >> np.uint64(3)] >> (second & np.uint64(7)) & np.uint64(1):
            continue
        entry = np.searchsorted(grams, hashes[at])
        if entry < len(grams) and grams[entry] == hashes[at]:
            return at, entry
    return -1, -1
