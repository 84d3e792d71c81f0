"""Decontamination over made-up texts of few words, against an oracle that keeps every n-gram as a tuple in a dict."""

import pickle
import string
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nagindex.select import decontaminate
from nagindex.select.decontaminate import EvaluationTexts, Match

JANITOR = str.maketrans(string.ascii_uppercase, string.ascii_lowercase, string.punctuation)
NGRAMS = [1, 2, 3, 13]
# As written in a text; several are the same word once normalized, and some are none.
WRITTEN = [
    "a",
    "A",
    "b,",
    "b",
    "ab",
    "a-b",
    "don't",
    "Dont",
    "É",
    "é",
    "日本",
    "\U0001f600",
    "\0",
    "!!!",
    "—",
    "'",
    "\ud800",
]
BETWEEN = [" ", "  ", "\t", "\n", "\r\n", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u2028", "\u3000", " - "]
AROUND = ["", " ", "\n", "...", "\u3000"]

HASHES = {
    "real": None,
    "all 0": lambda found: np.zeros_like(found),
    "all ones": lambda found: np.full_like(found, 2**64 - 1),
    "two values": lambda found: found >> np.uint64(63),
}


def words_of(text):
    return text.translate(JANITOR).split()


def grams_of(text, n):
    words = words_of(text)
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def expected(evaluation, document, n):
    """Return the first n-gram of the document that a text holds, and the first text that does."""
    first = {}
    for file, row, identifier, text in evaluation:
        for gram in grams_of(text, n):
            first.setdefault(gram, (file, row, identifier))
    return next((Match(" ".join(g), *first[g]) for g in grams_of(document, n) if g in first), None)


def written(random, words):
    """Return a text of these words, with any whitespace between and around them."""
    body = "".join(word + random.choice(BETWEEN) for word in words)
    return random.choice(AROUND) + body + random.choice(AROUND)


def near(random, text, n):
    """Return about n words of a text between other words, often with one of them left out or others in its place."""
    words = text.split()
    start = random.randint(0, max(0, len(words) - n))
    words = words[start : start + random.choice([n, n + 1, n + 5])]
    if words and random.random() < 0.5:
        place = random.choice([0, len(words) - 1, random.randrange(len(words))])
        words[place : place + 1] = random.choices(WRITTEN, k=random.choice([0, 1, 1, 2]))
    before, after = random.choices(WRITTEN, k=random.randint(0, 4)), random.choices(WRITTEN, k=random.randint(0, n))
    return [*before, *words, *after]


def made(random):
    """Return n, evaluation texts as (file, row, id, text), and documents that nearly or really share n-grams with them."""
    n = random.choice(NGRAMS)
    vocabulary = random.choices(WRITTEN, k=random.randint(1, 8))
    texts = [
        written(random, random.choices(vocabulary, k=random.choice([0, n - 1, n, 3 * n, 4 * n])))
        for _ in range(random.randint(1, 5))
    ]
    evaluation = [(f"{row % 2}.txt", row, f"id{row}", text) for row, text in enumerate(texts)]
    documents = [written(random, near(random, random.choice(texts), n)) for _ in range(5)]
    documents.append(written(random, random.choices(WRITTEN, k=random.randint(0, 2 * n))))
    return n, evaluation, documents


# Made from a seed: lists that Hypothesis draws are mostly too short to hold 13 words.
CASES = st.integers(0, 2**32 - 1).map(lambda seed: made(Random(seed)))


@pytest.mark.parametrize("hashing", HASHES)
@given(case=CASES)
@settings(max_examples=300)
def test_matches_equal_the_oracle(hashing, case):
    """The match is the document's first shared n-gram and the first text that holds it, whatever the hashes collide in."""
    n, evaluation, documents = case
    real, change = decontaminate._gram_hashes, HASHES[hashing]
    with pytest.MonkeyPatch.context() as patch:
        if change:
            patch.setattr(decontaminate, "_gram_hashes", lambda text, ngram: change(real(text, ngram)))
        texts = EvaluationTexts(evaluation, ngram=n)
        found = texts.matches(documents)
    assert found == [expected(evaluation, document, n) for document in documents]
    assert (texts.texts, texts.short) == (len(evaluation), sum(len(words_of(text)) < n for *_, text in evaluation))


def test_made_up_cases_hit_and_nearly_hit():
    """The cases above are worth their time: of those with 13 words many match, and many share 12 words but not 13."""
    seen = Counter()
    for seed in range(300):
        n, evaluation, documents = made(Random(seed))
        for document in documents if n == 13 else []:
            held = [expected(evaluation, document, k) is not None for k in (13, 12)]
            seen["hit" if held[0] else "near" if held[1] else "neither"] += 1
    assert min(seen[kind] for kind in ("hit", "near", "neither")) > 50, seen


@given(case=CASES)
@settings(max_examples=30)
def test_workers_can_be_sent_the_texts(case):
    """Evaluation texts that went to another process by pickle find the same."""
    n, evaluation, documents = case
    texts = EvaluationTexts(evaluation, ngram=n)
    assert pickle.loads(pickle.dumps(texts)).matches(documents) == texts.matches(documents)
