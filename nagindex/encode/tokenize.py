"""Tokenizing of texts: the first token ids of each, from a prefix where that gives the same ids.

A prefix ends at a cut: between a letter or digit and a space or line feed. The prefix's tokens are the first tokens of
the whole text if no added token contains such a pair of characters, every normalizer keeps the two characters
adjacent, and a pre-tokenizer always splits between them without looking further, since the tokenizer's model works
within one split. A tokenizer with any component that is not known to behave like this reads whole texts.

The tokens of a long text are counted in pieces between cuts, as a tokenizer takes a hundred bytes or more for each
character that it is given at once. Each piece starts with the letter before its cut, so that no component takes it for
the beginning of a text; that letter's tokens come first, as it is a prefix, and are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

CHARACTERS_PER_CALL = 1_000_000
CHARACTERS_PER_PIECE = 250_000
CHARACTERS_PER_TOKEN = 5  # more than most texts have, so that one prefix usually suffices
SPARE_CHARACTERS = 64
SPARE_TOKENS = 8  # required beyond those kept, as a safety margin; the reasoning above needs none

# Ranges of letters and digits since Unicode 3.0; some normalizers exclude a script.
SCRIPTS = ("0-9", "A-Z", "a-z", "\u03b1-\u03c9", "\u041a-\u0438", "\u043a-\u044f", "\u05d0-\u05ea", "\u0621-\u063a",
           "\u0641-\u064a", "\u0905-\u0939", "\u3041-\u3094", "\u30a1-\u30fa", "\u4e00-\u9fa5", "\uac00-\ud7a3")  # fmt: skip
LETTER = f"[{''.join(SCRIPTS)}]"
SPACES = " \n\u2581"  # the character after the cut, once normalized; U+2581 is the space of sentencepiece

LOCAL_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer", "Strip", "Prepend",
                     "Nmt", "Precompiled"}  # fmt: skip
SPLITTERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
# Alternatives in pre-tokenizers' patterns that neither match a letter or digit before a space nor look past the space.
_ENDING, _BEFORE = "(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ALTERNATIVES = [
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'(?:[sdmt]|ll|ve|re)", "'(?i:[sdmt]|ll|ve|re)", _ENDING,
    r" ?\p{L}+", r" ?\p{N}+", r"\p{N}", r"\p{N}{1,3}", r"\s+", r"\s+(?!\S)", r"\s*[\r\n]+", _BEFORE + r"\p{L}+",
    _BEFORE + r"[\p{L}\p{M}]+", r" ?[^\s\p{L}\p{N}]+", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*", r" ?[\p{P}\p{S}]+[\r\n]*", r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    *(f"{_BEFORE}{_UPPER}{a}{_LOWER}{b}{end}" for a, b in ("*+", "+*") for end in ("", f"{_ENDING}?")),
]  # fmt: skip
_ALTERNATIVE = f"(?:{'|'.join(map(re.escape, ALTERNATIVES))})"
KNOWN_PATTERN = re.compile(rf"{_ALTERNATIVE}(?:\|{_ALTERNATIVE})*")


class Tokens(NamedTuple):
    """Tokenized texts.

    Attributes:
        ids: the first `max_length` token ids of each text.
        counts: int64 [n], number of tokens of each whole text; -1 for a text that was not counted.
    """

    ids: list[list[int]]
    counts: npt.NDArray[np.int64]


class PrefixTokenizer:
    """A tokenizer that reads only the prefix of a text that its first tokens depend on.

    Args:
        tokenizer: a tokenizer of transformers, fast or slow, or a `tokenizers.Tokenizer`. Its components and added
            tokens must not change after the first call.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._slow = tokenizer
        default = tokenizer if hasattr(tokenizer, "encode_batch_fast") else None
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", default)  # None for a slow tokenizer

    @property
    def portable(self) -> bool:
        """Whether `to_json` is lossless: the tokenizer can be sent to another process."""
        return self._components is not None

    def to_json(self) -> str:
        """Return the tokenizer as JSON for `from_json`; only valid if `portable`."""
        special = bool(self._backend.encode_special_tokens)
        return json.dumps({"tokenizer": self._backend.to_str(), "encode_special_tokens": special})

    @classmethod
    def from_json(cls, text: str) -> PrefixTokenizer:
        """Return the tokenizer that `to_json` serialized."""
        from tokenizers import Tokenizer

        state = json.loads(text)
        tokenizer = Tokenizer.from_str(state["tokenizer"])
        tokenizer.encode_special_tokens = state["encode_special_tokens"]
        return cls(tokenizer)

    def __call__(self, texts: Sequence[str], *, max_length: int, count: bool | Sequence[bool] = True) -> Tokens:
        """Tokenize texts; see `tokenize`."""
        flags = [count] * len(texts) if isinstance(count, bool) else [bool(flag) for flag in count]
        if len(flags) != len(texts):
            raise ValueError(f"{len(flags)} count flags for {len(texts)} texts")
        ids: list[list[int]] = [[] for _ in texts]
        counts = np.full(len(texts), -1, np.int64)
        remaining, size = [], CHARACTERS_PER_TOKEN * max_length + SPARE_CHARACTERS
        for i, text in enumerate(texts):
            if flags[i] and len(text) > CHARACTERS_PER_PIECE:
                ids[i], counts[i] = self._read_in_pieces(text, max_length)
            else:
                remaining.append(i)
        while remaining:
            ends = [len(texts[i]) if flags[i] else self._prefix_end(texts[i], size) for i in remaining]
            rows = self._encode([texts[i][:end] for i, end in zip(remaining, ends, strict=True)])
            too_short = []
            for i, end, row in zip(remaining, ends, rows, strict=True):
                if end < len(texts[i]) and len(row) < max_length + SPARE_TOKENS:
                    too_short.append(i)
                    continue
                ids[i] = row[:max_length]
                counts[i] = len(row) if flags[i] else -1
            remaining, size = too_short, 2 * size
        return Tokens(ids, counts)

    def _read_in_pieces(self, text: str, max_length: int) -> tuple[list[int], int]:
        """Return the first token ids of a text, and the number of all of them."""
        starts = [0]
        while (start := self._prefix_end(text, starts[-1] + CHARACTERS_PER_PIECE)) < len(text):
            starts.append(start)
        leads = [text[max(start - 1, 0) : start] for start in starts]
        pieces = [text[max(start - 1, 0) : stop] for start, stop in pairwise([*starts, len(text)])]
        own, ids, count = dict(zip(leads, self._encode(leads), strict=True)), list[int](), 0
        for lead, row in zip(leads, self._encode(pieces), strict=True):
            begin = len(own[lead])
            ids += row[begin : begin + max_length - len(ids)]
            count += len(row) - begin
        return ids, count

    def _encode(self, texts: list[str]) -> Iterator[list[int]]:
        """Yield all token ids of each text."""
        if self._backend is None:
            yield from self._slow(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
            return
        self._backend.no_truncation()
        self._backend.no_padding()
        sizes = np.cumsum([len(text) for text in texts])
        start = 0
        while start < len(texts):  # one call for a window of books would take gigabytes
            done = sizes[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(sizes, done + CHARACTERS_PER_CALL, "right")))
            for encoding in self._backend.encode_batch_fast(texts[start:stop], add_special_tokens=False):
                yield encoding.ids
            start = stop

    def _prefix_end(self, text: str, size: int) -> int:
        """Return the first cut after `size` characters, or the text's length if there is none."""
        if size >= len(text) or self._cut_pattern is None:
            return len(text)
        match = self._cut_pattern.search(text, size)
        return len(text) if match is None else match.end()

    @cached_property
    def _components(self) -> list[list[dict[str, Any]]] | None:
        """Normalizers, pre-tokenizers, post-processors and decoders as JSON; None if that is incomplete."""
        if self._backend is None or any(getattr(self._backend.model, a, None) for a in ("alpha", "nbest_size")):
            return None
        names = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
        components = [getattr(self._backend, name) for name in names]
        try:
            return [[] if c is None else list(_flatten(json.loads(c.__getstate__()))) for c in components]
        except Exception:  # raised by `tokenizers` for a component written in Python
            return None

    @cached_property
    def _cut_pattern(self) -> re.Pattern[str] | None:
        """A pattern of the character before a cut; None if this tokenizer's texts cannot be cut."""
        if self._components is None or getattr(self._backend.model, "dropout", None):
            return None
        normalizers, pre_tokenizers, post_processors, _ = self._components
        if not all(map(_is_local, normalizers)) or not all(map(_adds_no_text, post_processors)):
            return None
        normalize = self._backend.normalizer.normalize_str if normalizers else str
        added = [token.content for token in self._backend.get_added_tokens_decoder().values()]
        if any(re.search(f"{LETTER}[{SPACES}]", form) for text in added for form in (text, normalize(text))):
            return None
        replaced = {n["content"][0] for n in normalizers if n["type"] == "Replace" and n["content"][:1] in set(SPACES)}
        alternatives = []
        for space in " \n":
            safe = []
            for script in SCRIPTS:
                spaces = _normalized_spaces(script, space, normalize)
                if spaces and all(_splits_before(pre_tokenizers, c) for c in spaces | replaced):
                    safe.append(script)
            alternatives += [f"[{''.join(safe)}](?={space})"] if safe else []
        return re.compile("|".join(alternatives)) if alternatives else None


def tokenize(tokenizer: Any, texts: Sequence[str], *, max_length: int, count: bool | Sequence[bool] = True) -> Tokens:
    """Return the first token ids of each text and the number of tokens of the whole text.

    No special tokens are added. Text that spells a special token is encoded as that token, as in the published code.

    Args:
        tokenizer: of transformers, a `tokenizers.Tokenizer`, or a `PrefixTokenizer`, which is the fastest when reused.
        texts: texts to tokenize.
        max_length: number of ids kept of each text.
        count: whether to count the tokens of whole texts, one flag for all or one for each; ids do not depend on it.

    Raises:
        ValueError: the numbers of flags and texts differ.
    """
    prefix_tokenizer = tokenizer if isinstance(tokenizer, PrefixTokenizer) else PrefixTokenizer(tokenizer)
    return prefix_tokenizer(texts, max_length=max_length, count=count)


def _flatten(component: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the component, or the components of a sequence."""
    if component["type"] != "Sequence":
        yield component
        return
    for part in next(parts for parts in component.values() if isinstance(parts, list)):
        yield from _flatten(part)


def _is_local(normalizer: dict[str, Any]) -> bool:
    """Return whether normalizing the two sides of a cut separately gives the same as normalizing the text."""
    if normalizer["type"] != "Replace":
        return normalizer["type"] in LOCAL_NORMALIZERS
    kind, pattern = next(iter(normalizer["pattern"].items()))
    if set(pattern) <= set(SPACES) or (kind == "Regex" and pattern in {" {2,}", r"\s+"}):
        return normalizer["content"][:1] in set(SPACES)
    return kind == "String" and not re.search(f"{LETTER}|[{SPACES}]", pattern)


def _adds_no_text(post_processor: dict[str, Any]) -> bool:
    """Return whether the post-processor keeps the text's tokens unchanged if it adds no special tokens."""
    if post_processor["type"] == "TemplateProcessing":
        return sum("Sequence" in piece for piece in post_processor["single"]) == 1
    return post_processor["type"] in {"ByteLevel", "BertProcessing", "RobertaProcessing"}


def _normalized_spaces(script: str, space: str, normalize: Any) -> set[str]:
    """Return the normalized forms of a space after the script's letters; empty unless all stay letters."""
    letters = range(ord(script[0]), ord(script[2]) + 1)
    forms = [normalize(f"{chr(letter)}{space}a") for letter in letters[:: 1 + len(letters) // 100]]
    matches = [re.fullmatch(f".*{LETTER}([{SPACES}])a", form, re.DOTALL) for form in forms]
    return {match[1] for match in matches if match} if all(matches) else set()


def _splits_before(pre_tokenizers: list[dict[str, Any]], space: str) -> bool:
    """Return whether the pre-tokenizers split between a letter and the space, whatever follows the space."""
    for part in pre_tokenizers:
        kind, plain = part["type"], space != SPACES[-1]
        if kind in SPLITTERS and plain:
            return True
        if kind == "ByteLevel":
            return plain and part["use_regex"]
        if kind == "Metaspace":
            return part["replacement"] == SPACES[-1] and part["split"] and space != "\n"
        if kind == "Split":
            pattern = part["pattern"].get("Regex", "")
            if not plain or part["behavior"] not in {"Isolated", "Removed"} or not KNOWN_PATTERN.fullmatch(pattern):
                return False
            if re.search(r"(^|\|)\\s\+$", pattern):  # matches any space, so a match begins at the cut
                return True
        elif kind not in {"Digits", "Punctuation", *SPLITTERS}:
            return False  # the others leave the split that contains the cut whole
    return False
