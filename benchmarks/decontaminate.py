"""Decontamination against a plain implementation: a Python set of the evaluation texts' joined 13-grams.

    python -m benchmarks.decontaminate --pool corpus/pool --evaluation corpus/targets/gsm8k.jsonl corpus/targets/mmlu.jsonl

Both normalize texts the same way and must find the same contaminated documents and n-grams in the same run. Without --pool, texts
are random words with Zipf frequencies and a fixed seed, and one document in a hundred contains part of an evaluation text. Without
--evaluation, the evaluation texts are cut from the pool's documents. Nothing runs in parallel. Memory is what remains allocated after
building.
"""

from __future__ import annotations

import gc
import string
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.report import emit, median_seconds, options
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources
from nagindex.select.decontaminate import EvaluationTexts
from nagindex.select.signals import NGRAM

DISTINCT = 200_000
DOCUMENT_WORDS = 500
EVALUATION_WORDS = 100
CONTAMINATED = 100
"""One document in so many holds words of an evaluation text."""

JANITOR = str.maketrans(string.ascii_uppercase, string.ascii_lowercase, string.punctuation)
Row = tuple[str, int, str, str]


def made_up(count: int, words: int, rng: np.random.Generator) -> list[str]:
    """Return texts of random words, the r-th with a frequency of 1 / (r + 2.7), some capitalized or with a comma."""
    spelling = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    lengths = spelling.integers(2, 10, DISTINCT)
    vocabulary = ["".join(letters[spelling.integers(0, 26, length)]) for length in lengths]
    vocabulary = [w.capitalize() if i % 12 == 5 else f"{w}," if i % 15 == 7 else w for i, w in enumerate(vocabulary)]
    shares = np.cumsum(1 / (np.arange(DISTINCT) + 2.7))
    return [
        " ".join([vocabulary[i] for i in np.searchsorted(shares, rng.random(words) * shares[-1])]) for _ in range(count)
    ]


def planted(documents: list[str], evaluation: list[str], rng: np.random.Generator) -> None:
    """Insert 12 to 40 words of an evaluation text into one document in a hundred; 12 words are no contamination."""
    for at in range(0, len(documents), CONTAMINATED):
        words, source = documents[at].split(), evaluation[rng.integers(len(evaluation))].split()
        place, length = int(rng.integers(len(words))), int(rng.integers(NGRAM - 1, 41))
        words[place:place] = source[:length]
        documents[at] = " ".join(words)


def texts_in(paths: list[str]) -> list[Row]:
    """Return (file, row, id, text) of the documents in files and folders."""
    return [
        (source.name, document.row, document.id, document.text)
        for source in find_sources(paths).sources
        for document in read_documents(source, with_tokens=False)
        if document.text is not None
    ]


def excerpts(documents: list[str]) -> list[str]:
    """Return 100 words from the middle of one document in a hundred, which makes the document contaminated."""
    halves = [(words, len(words) // 2) for words in (text.split() for text in documents[::CONTAMINATED])]
    return [" ".join(words[middle : middle + EVALUATION_WORDS]) for words, middle in halves]


def naive_grams(evaluation: list[Row]) -> set[str]:
    """Return the evaluation texts' 13-grams as joined strings."""
    grams = set()
    for *_, text in evaluation:
        words = text.translate(JANITOR).split()
        grams.update(" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1))
    return grams


def naive_matches(grams: set[str], documents: list[str]) -> list[str | None]:
    """Return each document's first 13-gram in the set."""
    found = []
    for text in documents:
        words = text.translate(JANITOR).split()
        joined = (" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1))
        found.append(next((gram for gram in joined if gram in grams), None))
    return found


def built(build: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the built object, the seconds to build it, and its bytes, measured in a second run."""
    started = time.perf_counter()
    build()
    seconds = time.perf_counter() - started
    gc.collect()
    tracemalloc.start()
    result = build()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return result, seconds, held


def main() -> None:
    """Measure, check that both find the same, and report."""
    arguments = options(
        __doc__ or "",
        pool={"help": "real documents: Parquet or any other corpus"},
        evaluation={"nargs": "+", "default": [], "help": "real evaluation texts"},
    )
    rng = np.random.default_rng(0)
    count, held = (2_000, 5_000) if arguments.quick else (10_000, 50_000)
    documents = (
        [row[3] for row in texts_in([arguments.pool])] if arguments.pool else made_up(count, DOCUMENT_WORDS, rng)
    )
    if arguments.evaluation:
        evaluation = texts_in(arguments.evaluation)
    else:
        texts = excerpts(documents) if arguments.pool else made_up(held, EVALUATION_WORDS, rng)
        evaluation = [("made up", row, str(row), text) for row, text in enumerate(texts)]
    if not arguments.pool:
        planted(documents, [row[3] for row in evaluation], rng)

    EvaluationTexts(evaluation[:1]).matches(documents[:1])  # compiles
    ours, ours_build, ours_bytes = built(lambda: EvaluationTexts(evaluation))
    peer, peer_build, peer_bytes = built(lambda: naive_grams(evaluation))
    found = [match.gram if match else None for match in ours.matches(documents)]
    if found != naive_matches(peer, documents):
        raise SystemExit("nagindex and the set of strings disagree")

    words = sum(len(text.split()) for text in documents)
    seconds = {
        "nagindex": median_seconds(lambda: ours.matches(documents)),
        "set of joined strings": median_seconds(lambda: naive_matches(peer, documents), repeat=2),
        "normalizing and splitting alone": median_seconds(
            lambda: [len(d.translate(JANITOR).split()) for d in documents]
        ),
    }
    building = {"nagindex": (ours_build, ours_bytes), "set of joined strings": (peer_build, peer_bytes)}
    rows = []
    for name, value in seconds.items():
        build, size = building.get(name, (None, None))
        rows.append(
            [
                name,
                f"{words / value / 1e6:.2f}",
                f"{value / words * 1e9:.0f}",
                f"{value / seconds['set of joined strings']:.3f}",
                "" if build is None else f"{build:.1f}",
                "" if size is None else f"{size / 1e6:.1f}",
                "" if size is None else f"{size / len(peer):.0f}",
            ]
        )
    contaminated = sum(gram is not None for gram in found)
    print(
        f"{len(documents):,} documents, {words:,} words, {contaminated:,} contaminated; "
        f"{len(evaluation):,} evaluation texts, {ours.short:,} short, {len(peer):,} {NGRAM}-grams; one thread, medians"
    )
    headings = ["", "M words/s", "ns a word", "of the set's", "s to build", "MB held", "bytes a gram"]
    results = {
        "documents": len(documents),
        "words": words,
        "contaminated": contaminated,
        "evaluation_texts": len(evaluation),
        "grams": len(peer),
        "seconds": seconds,
        "build_seconds_and_bytes": building,
    }
    emit(headings, rows, results, arguments.json)


if __name__ == "__main__":
    main()
