"""Cutting a text before it is tokenized never changes the ids that are kept, whatever the tokenizer and the text."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from made_tokenizers import BUILDERS, FRAGMENTS, TEXTS, WHOLE
from tokenizers import pre_tokenizers

from nagindex.encode import tokenize as tokenizing
from nagindex.encode.tokenize import PrefixTokenizer


@pytest.fixture(scope="module", params=BUILDERS)
def tokenizer(request):
    return BUILDERS[request.param]()


def whole(tokenizer, texts):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def assert_every_cut_is_safe(prefix_tokenizer, tokenizer, text):
    """At every place where the text may be cut, the prefix's tokens are the whole's first; return how many places those are."""
    prefixes = [text[: match.end()] for match in prefix_tokenizer._cut_pattern.finditer(text)]
    *rows, expected = whole(tokenizer, [*prefixes, text])
    for prefix, row in zip(prefixes, rows, strict=True):
        assert row == expected[: len(row)], (prefix, text)
    return len(prefixes)


def test_a_cut_is_safe_at_every_place(tokenizer):
    """Of texts of fragments chosen to break it, whatever stands before and after the cut."""
    prefix_tokenizer, cuts = PrefixTokenizer(tokenizer), []

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(TEXTS)
    def check(parts):
        cuts.append(assert_every_cut_is_safe(prefix_tokenizer, tokenizer, "".join(parts)))

    check()
    assert sum(cuts)


def test_a_cut_is_safe_between_fragments(tokenizer):
    """A quarter of all pairs of fragments, one before a cut and one after it, and one text of them all."""
    prefix_tokenizer, total = PrefixTokenizer(tokenizer), 0
    for spaced in ("a {}b {}", "{}9\n{}я \n"):
        assert_every_cut_is_safe(prefix_tokenizer, tokenizer, "".join(spaced.format(f, f) for f in FRAGMENTS))
        texts = [spaced.format(first, second) for i, first in enumerate(FRAGMENTS) for second in FRAGMENTS[i % 4 :: 4]]
        cuts = [
            (i, match.end()) for i, text in enumerate(texts) for match in prefix_tokenizer._cut_pattern.finditer(text)
        ]
        expected = whole(tokenizer, texts)
        for (i, end), row in zip(cuts, whole(tokenizer, [texts[i][:end] for i, end in cuts]), strict=True):
            assert row == expected[i][: len(row)], (texts[i], end)
        total += len(cuts)
    assert total


@pytest.mark.parametrize("tight", [False, True])
def test_ids_are_those_of_the_whole_wherever_the_cut_falls(tokenizer, tight, monkeypatch):
    """A nasty passage slid over the cut, a character at a time, and long words, spaces and lines before it."""
    if tight:
        for name in ("SPARE_CHARACTERS", "SPARE_TOKENS"):
            monkeypatch.setattr(tokenizing, name, 0)
        monkeypatch.setattr(tokenizing, "CHARACTERS_PER_TOKEN", 1)
    prefix_tokenizer = PrefixTokenizer(tokenizer)
    nasty = [
        "e\u0301 \n\n the <msk>  word<mask> \u0301don't 12345 \r\n",
        "a   <msk>",
        "9\n\n\n  \n<tool> ",
        "界 世 ▁a 각 ▁",
    ]
    slid = ["lo w" * (offset // 4) + "x" * (offset % 4) + passage * 40 for passage in nasty for offset in range(60)]
    long = ["x" * 10_000 + " the end " * 9, " " * 10_000 + "the end\n" * 9, "\n" * 10_000 + "a b" * 9, "7" * 10_000]
    mixed = ["ab " * 30 + middle + " cd" * 50 for middle in ("\n \n" * 3000, "z" * 9999, "🇩🇪" * 900, "\u0301" * 5000)]
    texts = [*slid, *long, *mixed]
    expected = whole(tokenizer, texts)
    for max_length in (0, 1, 5, 12):
        found = prefix_tokenizer(texts, max_length=max_length, count=False)
        assert found.ids == [row[:max_length] for row in expected]
        assert (found.counts == -1).all()


def assert_pieces_make_the_whole(tokenizer, texts):
    prefix_tokenizer, expected = PrefixTokenizer(tokenizer), whole(tokenizer, texts)
    for max_length in (0, 3, 12):
        found = prefix_tokenizer(texts, max_length=max_length, count=True)
        assert found.counts.tolist() == [len(row) for row in expected]
        assert found.ids == [row[:max_length] for row in expected]


@pytest.mark.parametrize("size", [1, 25])
def test_tokens_counted_in_pieces_are_those_of_the_whole(tokenizer, size, monkeypatch):
    """Of texts of fragments chosen to break it, whatever stands before and after the places where a text is cut."""
    monkeypatch.setattr(tokenizing, "CHARACTERS_PER_PIECE", size)

    @settings(max_examples=20, derandomize=True, deadline=None)
    @given(TEXTS)
    def check(parts):
        assert_pieces_make_the_whole(tokenizer, ["".join(parts)])

    check()
    for spaced in ("a {}b {}", "{}9\n{}я \n"):
        texts = [spaced.format(first, second) for i, first in enumerate(FRAGMENTS) for second in FRAGMENTS[i % 9 :: 9]]
        assert_pieces_make_the_whole(tokenizer, [*texts, "".join(texts)])


class Spy:
    """A `tokenizers.Tokenizer` that notes how many characters it is given."""

    def __init__(self, tokenizer):
        self.tokenizer, self.given = tokenizer, 0

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def encode_batch_fast(self, texts, **options):
        self.given += sum(map(len, texts))
        return self.tokenizer.encode_batch_fast(texts, **options)


@pytest.mark.parametrize("words", ["The light bends. ", "Свет гнётся там\n"])
def test_of_a_long_text_only_the_beginning_is_read(tokenizer, words):
    """A megabyte of words costs its first thousand characters or so."""
    spy = Spy(tokenizer)
    PrefixTokenizer(SimpleNamespace(backend_tokenizer=spy))([words * 60_000], max_length=120, count=False)
    metaspace_of_lines = isinstance(tokenizer.pre_tokenizer, pre_tokenizers.Metaspace) and "\n" in words
    assert spy.given < 2000 or (metaspace_of_lines and spy.given == 960_000)


@pytest.mark.parametrize("words", ["The light bends. ", "Свет гнётся там\n"])
def test_of_a_long_text_only_pieces_are_given_to_the_tokenizer_at_once(tokenizer, words, monkeypatch):
    """Counting takes the memory of a fraction of the text, whose size does not depend on the text's."""
    monkeypatch.setattr(tokenizing, "CHARACTERS_PER_CALL", 4000)
    monkeypatch.setattr(tokenizing, "CHARACTERS_PER_PIECE", 1000)
    largest = 0

    class Largest(Spy):
        def encode_batch_fast(self, texts, **options):
            nonlocal largest
            largest = max(largest, sum(map(len, texts)))
            return super().encode_batch_fast(texts, **options)

    spy = Largest(tokenizer)
    found = PrefixTokenizer(SimpleNamespace(backend_tokenizer=spy))([words * 2000], max_length=120)
    metaspace_of_lines = isinstance(tokenizer.pre_tokenizer, pre_tokenizers.Metaspace) and "\n" in words
    assert largest <= tokenizing.CHARACTERS_PER_CALL or metaspace_of_lines
    assert found.counts[0] >= 2000


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_not_known_to_be_safe_is_tokenized_whole(name):
    """Components, patterns and added tokens that look across a space."""
    tokenizer = WHOLE[name]()
    prefix_tokenizer = PrefixTokenizer(tokenizer)
    assert prefix_tokenizer._cut_pattern is None
    text = "The light bends where the water is deep\n" * 50
    if name != "dropout":
        assert prefix_tokenizer([text], max_length=9, count=False).ids == [whole(tokenizer, [text])[0][:9]]
