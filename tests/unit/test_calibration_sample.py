"""The sample that relative impact is calibrated on: drawn by a seed and the sources' sizes, from every format, bad ones aside."""

import gzip
import json
import os

import numpy as np
import pytest
from corpora import texts_of

from nagindex import build
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import corpus_sources
from nagindex.errors import BadInputError
from nagindex.ingest import sample
from nagindex.ingest.calibrate import draw_calibration
from nagindex.ingest.sample import sample_texts

N = 40


TEXTS = texts_of(0, N)


def lines(texts, key="text"):
    return "".join(json.dumps({"id": f"d{i}", key: text}) + "\n" for i, text in enumerate(texts))


@pytest.fixture
def corpus(tmp_path):
    """A folder of two files with forty documents."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.jsonl").write_text(lines(TEXTS[:25]))
    (folder / "b.jsonl").write_text(lines(TEXTS[25:]).replace('"d', '"e'))
    return folder


def drawn(paths, count, *, seed=0, on_error="stop", **columns):
    return sample_texts(
        corpus_sources(paths, root=None, on_error=on_error),
        Columns(**columns),
        count=count,
        seed=seed,
        on_error=on_error,
    )


@pytest.fixture(params=["small", "large"])
def corpus_size(request, monkeypatch):
    """A corpus counts as small, or as one that is too large to be read as a whole."""
    if request.param == "large":
        monkeypatch.setattr(sample, "SMALL_CORPUS", 1)
    return request.param


def test_the_sample_depends_on_the_seed_and_the_sources_alone(corpus, corpus_size):
    """Drawn again it is the same, in the corpus's order and without repetition; another seed draws others."""
    first = drawn(corpus, 10)
    assert drawn(corpus, 10) == first
    assert len(first) == len(set(first)) == 10
    assert [text for text in TEXTS if text in first] == first
    assert any(drawn(corpus, 10, seed=seed) != first for seed in (1, 2))


def test_a_text_takes_no_part_in_the_draw_of_a_large_corpus(tmp_path, monkeypatch):
    """Of sources of the same names and sizes the same rows are drawn, whatever is in them: nothing needs to be read before."""
    monkeypatch.setattr(sample, "SMALL_CORPUS", 1)
    found = []
    for name, mark in (("one", "x"), ("two", "y")):
        (tmp_path / name).mkdir()
        for file in "ab":
            (tmp_path / name / f"{file}.jsonl").write_text(lines([f"{mark} {i:03}" for i in range(50)]))
        found.append([text[2:] for text in drawn(tmp_path / name, 12)])
    assert found[0] == found[1]


def test_every_source_of_a_large_corpus_gives_its_share(tmp_path, monkeypatch):
    """In proportion to its bytes, within one document of it."""
    monkeypatch.setattr(sample, "SMALL_CORPUS", 1)
    for number, rows in enumerate((100, 300, 600)):
        (tmp_path / f"{number}.jsonl").write_text(lines([f"{number} {i:04}" for i in range(rows)]))
    counts = np.bincount([int(text[0]) for text in drawn(tmp_path, 50)])
    sizes = np.array([path.stat().st_size for path in sorted(tmp_path.glob("*.jsonl"))])
    assert np.abs(counts - 50 * sizes / sizes.sum()).max() <= 1


def test_a_large_source_is_read_to_a_limit(tmp_path, monkeypatch):
    """Documents come from the part of it that is read; what lies behind it may be anything."""
    monkeypatch.setattr(sample, "SMALL_CORPUS", 4000)
    for name in ("BYTES_READ", "LEAST_READ"):
        monkeypatch.setattr(sample, name, 4000)
    monkeypatch.setattr(sample, "BYTES_COUNTED", 1000)
    good = lines([f"{i:05}" for i in range(1000)])
    (tmp_path / "a.jsonl").write_text(good + "{no JSON\n" * 10)
    found = drawn(tmp_path / "a.jsonl", 20)
    assert len(found) == 20
    assert max(map(int, found)) < 1000 * 6000 / len(good)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst", "json", "csv", "tsv", "txt", "parquet", "ndjson"])
def test_every_format_gives_its_texts(tmp_path, corpus_size, suffix):
    """Compressed or not; of a large corpus too."""
    import duckdb

    path = tmp_path / f"c.{suffix}"  # of .txt, where a file is one document, a folder
    if suffix == "jsonl.gz":
        path.write_bytes(gzip.compress(lines(TEXTS).encode()))
    elif suffix == "txt":
        path.mkdir()
        for number, text in enumerate(TEXTS):
            (path / f"{number}.txt").write_text(text)
    elif suffix == "json":
        path.write_text(json.dumps([{"text": text} for text in TEXTS]))
    elif suffix in ("jsonl", "ndjson"):
        path.write_text(lines(TEXTS))
    else:
        (tmp_path / "plain.jsonl").write_text(lines(TEXTS))
        options = {
            "csv": "FORMAT csv, HEADER",
            "tsv": "FORMAT csv, HEADER, DELIMITER '\t'",
            "parquet": "FORMAT parquet",
        }
        as_format = options.get(suffix, "FORMAT json, COMPRESSION zstd")
        duckdb.sql(
            f"COPY (SELECT id, text FROM read_json('{tmp_path}/plain.jsonl', format='newline_delimited')) TO '{path}' ({as_format})"
        )
        (tmp_path / "plain.jsonl").unlink()
    column = {} if suffix == "txt" else {"text_column": "text"}
    found = drawn(path, 12, **column)
    assert len(found) >= 11  # the number of rows of a large compressed file is estimated
    assert set(found) <= set(TEXTS)
    assert sorted(drawn(path, 10**6, **column)) == sorted(TEXTS) or corpus_size == "large"


def test_a_sample_larger_than_the_corpus_is_all_of_it(corpus, tiny_backbone):
    """The means are then those of every document."""
    sources = corpus_sources(corpus, root=None, on_error="stop")
    assert drawn(corpus, 10**6) == TEXTS
    found = draw_calibration(sources, [tiny_backbone], Columns(), documents=10**6, max_length=120)
    assert found.documents == N


def test_rows_without_a_text_are_not_drawn(tmp_path, corpus_size):
    """Null and empty texts are no documents."""
    records = [{"text": text} for pair in zip(TEXTS, [None, ""] * N, strict=False) for text in pair]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    found = drawn(tmp_path / "a.jsonl", 30)
    assert set(found) <= set(TEXTS)
    assert len(found) == 30 if corpus_size == "small" else found


def test_what_cannot_be_read_stops_a_draw_or_is_passed_over(tmp_path, corpus, corpus_size):
    """A damaged Parquet file, a cut .gz and a row that is no record: one line under `stop`, the others' texts under `skip`."""
    (corpus / "c.parquet").write_bytes(b"PAR1" + b"\0" * 5000)
    (corpus / "d.jsonl.gz").write_bytes(gzip.compress(os.urandom(5000))[:4000])
    (corpus / "e.jsonl").write_text('{"text": "kept"}\n{no JSON\n' * 100)
    with pytest.raises(BadInputError):
        drawn(corpus, 30)
    found = drawn(corpus, 30, on_error="skip")
    assert set(found) <= {*TEXTS, "kept"}
    assert len(set(found) & set(TEXTS)) >= 3
    assert drawn(corpus, 30, on_error="skip") == found


def test_a_pipe_is_not_drawn_from(corpus):
    """It can be read once only, by the build; a corpus of nothing else needs a calibration that exists."""
    os.mkfifo(corpus / "z.jsonl")
    assert drawn(corpus, 10**6) == TEXTS
    with pytest.raises(BadInputError, match=r"no document to calibrate on.*give a `calibration`"):
        drawn(corpus / "z.jsonl", 4)


@pytest.mark.parametrize("text", [None, ""])
def test_a_corpus_without_documents_cannot_calibrate(tmp_path, tiny_backbone, text):
    """One line, and no index is left."""
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}) + "\n")
    with pytest.raises(BadInputError, match="no document to calibrate on"):
        build(tmp_path / "a.jsonl", tmp_path / "i", backbone=tiny_backbone, impact="relative")
    assert not (tmp_path / "i").exists()
