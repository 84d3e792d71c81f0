"""Evaluation texts read from files, and the words that documents are compared by."""

import gzip
import hashlib
import json
import string
import sys

import pytest
from corpora import json_lines, write_parquet

from nagindex.errors import BadInputError, InputNotFoundError
from nagindex.select import decontaminate
from nagindex.select.decontaminate import EvaluationTexts, Match

THIRTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen"


def texts_of(*texts, ngram=2):
    return EvaluationTexts([("made.txt", row, str(row), text) for row, text in enumerate(texts)], ngram=ngram)


@pytest.mark.parametrize(
    ("written", "gram"),
    [
        ("Don't PANIC", "dont panic"),
        ("well-known fact", "wellknown fact"),
        ("tabs\tand", "tabs and"),
        ("lines\r\n\nand", "lines and"),
        ("no\xa0break", "no break"),
        ("wide\u3000space", "wide space"),
        ("before -- after", "before after"),
        ("... leading", None),
        ("Écoute, Ñandú!", "Écoute Ñandú"),
        ("“quoted” words", "“quoted” words"),
        ("$3.50 (100%)", "350 100"),
        ("_a_ `b`", "a b"),
        ("!!! ???", None),
        ("", None),
    ],
)
def test_words_are_the_janitors(written, gram):
    """A to Z become lowercase, ASCII punctuation goes and leaves no word behind, other characters stay, whitespace divides."""
    match = texts_of(written).first_match(f"x {written} y")
    assert (match.gram if match else None) == gram
    if gram:
        assert texts_of(gram).first_match(written) == Match(gram, "made.txt", 0, "0")


def test_case_beyond_ascii_counts():
    """Only A to Z are folded, as the Janitor does: É and é are two letters."""
    assert texts_of("Écoute bien").first_match("écoute bien") is None


def test_every_character_is_seen_alike():
    """The compiled loop divides and folds each character of Unicode as Python's `split` and the Janitor's table do."""
    text = " ".join(f"x{chr(code)}Y" for code in range(sys.maxunicode + 1))
    words = text.translate(str.maketrans(string.ascii_uppercase, string.ascii_lowercase, string.punctuation)).split()
    assert decontaminate._words(text) == words
    hashes = decontaminate._gram_hashes(text, 1).tolist()
    pairs = set(zip(hashes, words, strict=True))
    assert len(pairs) == len(set(hashes)) == len(set(words))


def test_twelve_of_thirteen_words_are_not_enough():
    """By default 13 words in a row are shared, neither 12 nor 13 with another between them."""
    texts = EvaluationTexts([("a.jsonl", 4, "q4", f"Read this: {THIRTEEN}.")])
    assert texts.first_match(f"So {THIRTEEN.upper()}!") == Match(THIRTEEN, "a.jsonl", 4, "q4")
    assert texts.first_match(THIRTEEN.replace("one ", "uno ")) is None
    assert texts.first_match(THIRTEEN.replace("thirteen", "")) is None
    assert texts.first_match(THIRTEEN.replace("seven", "seven and")) is None
    assert texts.matches([]) == []


def test_grams_do_not_cross_texts():
    """Words at the end of one evaluation text and at the start of the next are no n-gram."""
    assert texts_of("a b", "c d").first_match("b c") is None


def test_first_text_is_reported():
    """Among evaluation texts that hold the document's first shared n-gram, the first in order is named."""
    texts = texts_of("y z", "x y", "w x y")
    assert texts.matches(["x y z", "z w x y", "z z"]) == [
        Match("x y", "made.txt", 1, "1"),
        Match("w x", "made.txt", 2, "2"),
        None,
    ]


def test_short_texts_are_counted():
    """A text of fewer words than an n-gram finds nothing, and is counted so that the caller can say so."""
    texts = texts_of("a b", "a", "", "-- a --", "a b c", ngram=3)
    assert (texts.texts, texts.short) == (5, 4)
    assert texts.matches(["a b", "a", "", "a b c"])[:3] == [None] * 3
    assert texts_of("a", "").first_match("a b") is None


@pytest.mark.parametrize("ngram", [0, -1])
def test_ngram_below_one_is_refused(ngram):
    """An n-gram has at least a word; the message names the option."""
    with pytest.raises(BadInputError, match="`ngram`"):
        texts_of("a b", ngram=ngram)


def test_longer_than_any_text():
    """n-grams longer than any text cost no memory and find nothing."""
    texts = texts_of("a b", ngram=10**12)
    assert (texts.short, texts.first_match("a b")) == (1, None)


def test_reads_every_format(tmp_path):
    """Files of any corpus format in a folder are read in order of their names, with ids where they have them."""
    (tmp_path / "a.jsonl").write_bytes(json_lines([{"id": "q1", "text": "alpha beta"}, {"text": "gamma delta"}]))
    (tmp_path / "b.csv").write_text('id,text\nc1,"Beta, gamma"\n')
    (tmp_path / "c.txt").write_text("delta\nepsilon\n")
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(json.dumps([{"text": "zeta eta"}]).encode()))
    write_parquet(tmp_path / "e.parquet", "SELECT 'p' || i AS id, 'theta iota ' || i AS text FROM range(2) t(i)")
    (tmp_path / "notes.md").write_text("not a corpus")
    texts = EvaluationTexts.read(tmp_path, ngram=2)
    names = ["a.jsonl", "b.csv", "c.txt", "d.json.gz", "e.parquet"]
    assert [(f["name"], f["examples"]) for f in texts.files] == list(zip(names, [2, 1, 1, 1, 2], strict=True))
    assert texts.files[0]["sha256"] == hashlib.sha256((tmp_path / "a.jsonl").read_bytes()).hexdigest()
    assert (texts.texts, texts.short, texts.skipped, texts.ngram) == (7, 0, [], 2)
    assert texts.matches(["gamma delta", "beta gamma", "delta epsilon", "zeta eta", "iota 1"]) == [
        Match("gamma delta", "a.jsonl", 1, "a.jsonl:1"),
        Match("beta gamma", "b.csv", 0, "c1"),
        Match("delta epsilon", "c.txt", 0, "c.txt:0"),
        Match("zeta eta", "d.json.gz", 0, "d.json.gz:0"),
        Match("iota 1", "e.parquet", 1, "p1"),
    ]


def test_text_column_can_be_named(tmp_path):
    """A file without a usual text column is read by the column named, one file or glob at a time."""
    (tmp_path / "a.jsonl").write_bytes(json_lines([{"question": "who goes there"}]))
    texts = EvaluationTexts.read(str(tmp_path / "*.jsonl"), ngram=3, text_column="question")
    assert texts.first_match("Who goes there?").gram == "who goes there"
    with pytest.raises(BadInputError, match="`text_column`"):
        EvaluationTexts.read(tmp_path / "a.jsonl")


def test_rows_without_text_are_listed(tmp_path):
    """A row that holds no text is named with its file and why, and the others count; an empty file is named too."""
    path, empty = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    path.write_bytes(b'{"text": null}\n{"text": "a b"}\n{"text": "\xff"}\n')
    empty.touch()
    texts = EvaluationTexts.read([path, empty], ngram=2)
    assert texts.skipped == [
        f"{path}, row 0: null text",
        f"{path}, row 2: invalid UTF-8",
        f"{empty}: the file is empty",
    ]
    assert [f["examples"] for f in texts.files] == [1, 0]
    assert texts.first_match("a b").row == 1


@pytest.mark.parametrize("content", [b"", b'{"text": null}\n'])
def test_no_text_is_refused(tmp_path, content):
    """Evaluation files that hold no text decontaminate nothing: the error names them and why."""
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(
        BadInputError, match=r"empty\.jsonl: no evaluation text \(1 skipped, the first: .*give at least one"
    ):
        EvaluationTexts.read([path])
    with pytest.raises(InputNotFoundError):
        EvaluationTexts.read([tmp_path / "missing.jsonl"])
