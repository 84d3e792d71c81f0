"""Corpus reading: what is a problem of one row, and what of a whole file."""

import gzip
import os
import sys

import pytest
from corpora import json_lines, pairs, read, write_parquet

from nagindex.errors import BadInputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


PROBLEMS = [
    ("d.jsonl", b'{"text": "good"}\n{"text": null}\n{"x": 1}\n{"text": "fine"}\n', {1: "null text", 2: "null text"}),
    ("d.jsonl", b'{"text": "good"}\n{"text": "b\xff\xfed"}\n{"text": "fine"}\n', {1: "invalid UTF-8"}),
    ("d.jsonl", b'{"text": "good"}\n{"text": "\\ud800 lone"}\n{"text": "fine"}\n', {1: "invalid UTF-8"}),
    ("d.jsonl", b'{"text": "good"}\n{"text": "x", "id": "\\udc00"}\n{"text": "fine"}\n', {1: "invalid UTF-8"}),
    (
        "d.json",
        b'[{"text": "good"}, {"text": "b\xffd"}, {"text": null}, {"text": "fine"}]',
        {1: "invalid UTF-8", 2: "null text"},
    ),
    ("d.csv", b"text,x\ngood,1\n,2\nb\xe9,3\nfine,4\n", {1: "null text", 2: "invalid UTF-8"}),
    ("d.tsv", b"text\tx\ngood\t1\n\t2\nb\xe9\t3\nfine\t4\n", {1: "null text", 2: "invalid UTF-8"}),
]


@pytest.mark.parametrize(("name", "content", "problems"), PROBLEMS)
def test_rows_that_are_no_text_are_problems_of_their_own(tmp_path, name, content, problems):
    """Null texts, invalid UTF-8 and lone surrogates are reported with their row and reason; the rows around them are read."""
    path = tmp_path / name
    path.write_bytes(content)
    documents = read(path)
    assert {d.row: d.problem for d in documents if d.problem} == problems
    assert [d.text for d in documents if not d.problem] == ["good", "fine"]
    assert all(d.text is None for d in documents if d.problem)
    for d in documents:
        d.id.encode()


def test_invalid_utf8_in_a_txt_is_a_problem(tmp_path):
    """A .txt that is not UTF-8 is one bad row."""
    path = tmp_path / "d.txt"
    path.write_bytes(b"caf\xe9")
    assert [(d.row, d.problem) for d in read(path)] == [(0, "invalid UTF-8")]


def test_a_null_text_in_parquet_is_a_problem_of_its_row(tmp_path):
    """Parquet nulls are reported with their row."""
    path = write_parquet(tmp_path / "d.parquet", "SELECT unnest(['good', NULL, 'fine']) AS text")
    assert [d.problem for d in read(path)] == [None, "null text", None]


def test_invalid_utf8_in_parquet_is_a_problem_of_its_row(tmp_path):
    """A Parquet string that is not UTF-8 costs its row, not the file."""
    path = write_parquet(tmp_path / "d.parquet", "SELECT unnest(['good', 'ZZbadZZ', 'fine']) AS text")
    path.write_bytes(path.read_bytes().replace(b"ZZbadZZ", b"\xff\xfebad\xff\xff"))
    assert [(d.row, d.problem) for d in read(path)] == [(0, None), (1, "invalid UTF-8"), (2, None)]


def test_invalid_utf8_in_a_parquet_blob_is_a_problem_of_its_row(tmp_path):
    """Texts stored as bytes are decoded; those that are not UTF-8 cost their row."""
    path = write_parquet(tmp_path / "d.parquet", r"SELECT unnest(['good'::BLOB, '\xFFbad'::BLOB]) AS text")
    assert [(d.text, d.problem) for d in read(path)] == [("good", None), (None, "invalid UTF-8")]


BROKEN = {
    "cut.jsonl": (b'{"text": "a"}\n{"text": "b', "line 2"),
    "list.jsonl": (b'{"text": "a"}\n[1]\n', "row 1"),
    "cut.json": (b'[{"text": "a"}, {"text": "b', "record 1"),
    "open.json": (b'[{"text": "a"}', "record 1"),
    "tail.json": (b'[{"text": "a"}] x', "record 1"),
    "number.json": (b'[{"text": "a"}, 5]', "row 1"),
    "deep.jsonl": (b'{"text": "a"}\n{"text": ' + b"[" * 100_000, "line 2"),
    "deep.json": (b'[{"text": "a"}, {"text": ' + b"[" * 100_000, "record 1"),
    "digits.jsonl": (b'{"text": "a"}\n{"text": "b", "x": ' + b"1" * 5000 + b"}\n", "line 2"),
    "digits.json": (b'[{"text": "a"}, {"text": "b", "x": ' + b"1" * 5000 + b"}]", "record 1"),
    "quote.csv": (b'text,x\na,1\n"b,2\n', "line"),
    "fields.csv": (b"text,x\na,1\nb,2,3\n", "row 1"),
    "cut.jsonl.gz": (gzip.compress(json_lines([{"text": os.urandom(3000).hex()}] * 5))[:-20], ""),
    "cut.jsonl.zst": (zstd.compress(json_lines([{"text": os.urandom(3000).hex()}] * 5))[:-20], ""),
    "not.jsonl.gz": (b"plain text", ""),
    "not.jsonl.zst": (b"plain text", ""),
    "not.parquet": (b"plain text", ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_clear_error_that_names_it_and_the_place(tmp_path, name):
    """Truncated, corrupt and malformed files are a BadInputError of one line with the file, the row and a remedy."""
    content, where = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert where in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_is_one_clear_error(tmp_path):
    """A Parquet file that lost its middle says so."""
    path = write_parquet(tmp_path / "d.parquet", "SELECT md5(i::VARCHAR) AS text FROM range(5000) t(i)")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(BadInputError, match=r"d\.parquet.*truncated or corrupt"):
        read(path)


def test_a_text_column_of_numbers_is_an_error(tmp_path):
    """Numbers where text is expected name the column."""
    with pytest.raises(BadInputError, match="'text'"):
        read(write_parquet(tmp_path / "d.parquet", "SELECT 5 AS text"))
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": 5}')
    with pytest.raises(BadInputError, match="'text'"):
        read(path)


def test_a_file_whose_name_holds_glob_characters_is_a_file(tmp_path):
    """`[x].txt`, named outright, is that file, in every format."""
    (tmp_path / "[x].txt").write_text("x")
    assert pairs(tmp_path / "[x].txt") == [("[x].txt:0", "x")]
    path = write_parquet(tmp_path / "[y]*'.parquet".replace("'", ""), "SELECT 'a' AS text")
    assert [d.text for d in read(path)] == ["a"]
