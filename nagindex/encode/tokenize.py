"""From texts to token ids, of a whole text or only of the beginning that is kept.

Why a text may be cut. The cut stands between a letter or digit and a space or line feed. No added token can lie across it
(one that holds such a pair is not trusted), every trusted normalizer leaves the pair two characters side by side, a trusted
pre-tokenizer always splits there, without having looked further, and a model works inside one split. So the tokens of the
prefix are the first tokens of the whole. Whatever is not known to behave so is tokenized whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

CHARACTERS_AT_ONCE = 4_000_000
CHARACTERS_PER_TOKEN = 5  # more than most texts have, so that one prefix mostly suffices
SPARE_CHARACTERS = 64
SPARE_TOKENS = 8  # beyond those kept; the argument above needs none

# Ranges of letters and digits, called so since Unicode 3.0; a normalizer may rule a script out.
SCRIPTS = ("0-9", "A-Z", "a-z", "\u03b1-\u03c9", "\u041a-\u0438", "\u043a-\u044f", "\u05d0-\u05ea", "\u0621-\u063a",
           "\u0641-\u064a", "\u0905-\u0939", "\u3041-\u3094", "\u30a1-\u30fa", "\u4e00-\u9fa5", "\uac00-\ud7a3")  # fmt: skip
LETTER = f"[{''.join(SCRIPTS)}]"
SPACES = " \n\u2581"  # what the character after the cut may become: U+2581 is sentencepiece's space

LOCAL_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer", "Strip", "Prepend",
                     "Nmt", "Precompiled"}  # fmt: skip
SPLITTERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
# Alternatives of pre-tokenizers' patterns that never match a letter or digit and then a space, nor look beyond one.
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
        counts: int64 [n], tokens of each whole text; -1 for a text that was not counted.
    """

    ids: list[list[int]]
    counts: npt.NDArray[np.int64]


class PrefixTokenizer:
    """A tokenizer that reads of a text no more than it must.

    Args:
        tokenizer: one of transformers, fast or slow, or a `tokenizers.Tokenizer`. It is used as it stands at each call,
            but from the first text not counted on it must keep its components and added tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._slow = tokenizer
        itself = tokenizer if hasattr(tokenizer, "encode_batch_fast") else None
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", itself)

    @property
    def portable(self) -> bool:
        """Whether `to_json` keeps all that decides the ids."""
        return self._parts is not None

    def to_json(self) -> str:
        """Return the tokenizer as JSON, for `from_json` in another process; only if `portable`."""
        special = bool(self._backend.encode_special_tokens)
        return json.dumps({"tokenizer": self._backend.to_str(), "encode_special_tokens": special})

    @classmethod
    def from_json(cls, text: str) -> PrefixTokenizer:
        """Return the tokenizer that `to_json` described."""
        from tokenizers import Tokenizer

        described = json.loads(text)
        tokenizer = Tokenizer.from_str(described["tokenizer"])
        tokenizer.encode_special_tokens = described["encode_special_tokens"]
        return cls(tokenizer)

    def __call__(self, texts: Sequence[str], *, max_length: int, count: bool | Sequence[bool] = True) -> Tokens:
        """Return what `tokenize` returns."""
        flags = [count] * len(texts) if isinstance(count, bool) else [bool(flag) for flag in count]
        if len(flags) != len(texts):
            raise ValueError(f"{len(flags)} count flags for {len(texts)} texts")
        ids: list[list[int]] = [[] for _ in texts]
        counts = np.full(len(texts), -1, np.int64)
        todo, size = list(range(len(texts))), CHARACTERS_PER_TOKEN * max_length + SPARE_CHARACTERS
        while todo:
            ends = [len(texts[i]) if flags[i] else self._end(texts[i], size) for i in todo]
            rows = self._rows([texts[i][:end] for i, end in zip(todo, ends, strict=True)])
            again = []
            for i, end, row in zip(todo, ends, rows, strict=True):
                if end < len(texts[i]) and len(row) < max_length + SPARE_TOKENS:
                    again.append(i)
                    continue
                ids[i] = row[:max_length]
                counts[i] = len(row) if flags[i] else -1
            todo, size = again, 2 * size
        return Tokens(ids, counts)

    def _rows(self, texts: list[str]) -> Iterator[list[int]]:
        """Yield the ids of each text."""
        if self._backend is None:
            yield from self._slow(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
            return
        self._backend.no_truncation()
        self._backend.no_padding()
        sizes = np.cumsum([len(text) for text in texts])
        start = 0
        while start < len(texts):  # a whole window of books, tokenized at once, would take gigabytes
            done = sizes[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(sizes, done + CHARACTERS_AT_ONCE, "right")))
            for encoding in self._backend.encode_batch_fast(texts[start:stop], add_special_tokens=False):
                yield encoding.ids
            start = stop

    def _end(self, text: str, size: int) -> int:
        """Return the first place past `size` characters where the text may be cut, or its length."""
        found = self._cut.search(text, size) if size < len(text) and self._cut is not None else None
        return len(text) if found is None else found.end()

    @cached_property
    def _parts(self) -> list[list[dict[str, Any]]] | None:
        """Normalizers, pre-tokenizers, post-processors and decoders; None where something is not in the JSON."""
        if self._backend is None or any(getattr(self._backend.model, a, None) for a in ("alpha", "nbest_size")):
            return None
        parts = [getattr(self._backend, n) for n in ("normalizer", "pre_tokenizer", "post_processor", "decoder")]
        try:
            return [[] if part is None else list(_flat(json.loads(part.__getstate__()))) for part in parts]
        except Exception:  # what `tokenizers` raises for a component written in Python
            return None

    @cached_property
    def _cut(self) -> re.Pattern[str] | None:
        """The letter before a cut, if this tokenizer's components allow one anywhere."""
        if self._parts is None or getattr(self._backend.model, "dropout", None):
            return None
        normalizers, pre_tokenizers, post_processors, _ = self._parts
        if not all(map(_is_local, normalizers)) or not all(map(_adds_no_text, post_processors)):
            return None
        normalize = self._backend.normalizer.normalize_str if normalizers else str
        added = [token.content for token in self._backend.get_added_tokens_decoder().values()]
        if any(re.search(f"{LETTER}[{SPACES}]", form) for text in added for form in (text, normalize(text))):
            return None
        becomes = {n["content"][0] for n in normalizers if n["type"] == "Replace" and n["content"][:1] in set(SPACES)}
        places = []
        for space in " \n":
            outcomes = [(script, _outcomes(script, space, normalize)) for script in SCRIPTS]
            safe = [s for s, found in outcomes if found and all(_splits(pre_tokenizers, c) for c in found | becomes)]
            places += [f"[{''.join(safe)}](?={space})"] if safe else []
        return re.compile("|".join(places)) if places else None


def tokenize(tokenizer: Any, texts: Sequence[str], *, max_length: int, count: bool | Sequence[bool] = True) -> Tokens:
    """Return the token ids of each text's beginning and the token count of the whole; no special tokens are added.

    Text that spells a special token becomes that token, as in the published code.

    Args:
        tokenizer: one of transformers, a `tokenizers.Tokenizer`, or a `PrefixTokenizer`, which is quicker called again.
        texts: the texts.
        max_length: ids to keep of each.
        count: whether to count the tokens of the whole text, of all or of each; the ids are the same either way.

    Raises:
        ValueError: there are not as many count flags as texts.
    """
    prefix_tokenizer = tokenizer if isinstance(tokenizer, PrefixTokenizer) else PrefixTokenizer(tokenizer)
    return prefix_tokenizer(texts, max_length=max_length, count=count)


def _flat(component: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the component, or those of the sequence that it is."""
    if component["type"] != "Sequence":
        yield component
        return
    for part in next(parts for parts in component.values() if isinstance(parts, list)):
        yield from _flat(part)


def _is_local(normalizer: dict[str, Any]) -> bool:
    """Return whether what it makes of the text before a cut does not depend on what follows, and the other way round."""
    if normalizer["type"] != "Replace":
        return normalizer["type"] in LOCAL_NORMALIZERS
    kind, pattern = next(iter(normalizer["pattern"].items()))
    if set(pattern) <= set(SPACES) or (kind == "Regex" and pattern in {" {2,}", r"\s+"}):
        return normalizer["content"][:1] in set(SPACES)
    return kind == "String" and not re.search(f"{LETTER}|[{SPACES}]", pattern)


def _adds_no_text(post_processor: dict[str, Any]) -> bool:
    """Return whether the text's tokens come out of it once, as they went in, where no special tokens are asked for."""
    if post_processor["type"] == "TemplateProcessing":
        return sum("Sequence" in piece for piece in post_processor["single"]) == 1
    return post_processor["type"] in {"ByteLevel", "BertProcessing", "RobertaProcessing"}


def _outcomes(script: str, space: str, normalize: Any) -> set[str]:
    """Return what a space after a letter of the script is normalized to; empty if a letter may become none."""
    letters = range(ord(script[0]), ord(script[2]) + 1)
    forms = [normalize(f"{chr(letter)}{space}a") for letter in letters[:: 1 + len(letters) // 100]]
    kept = [re.fullmatch(f".*{LETTER}([{SPACES}])a", form, re.DOTALL) for form in forms]
    return {match[1] for match in kept if match} if all(kept) else set()


def _splits(pre_tokenizers: list[dict[str, Any]], space: str) -> bool:
    """Return whether the pre-tokenizers split between a letter and the space, whatever follows it."""
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
            if re.search(r"(^|\|)\\s\+$", pattern):  # matches at every space, so a match begins at the cut
                return True
        elif kind not in {"Digits", "Punctuation", *SPLITTERS}:
            return False  # those pass on, whole, the piece that the cut is in
    return False
