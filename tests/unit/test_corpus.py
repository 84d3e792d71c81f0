"""Corpus reading: every format, what ids stay, what is a problem of one row and what of a whole file."""

import gzip
import json
import os
import sys

import duckdb
import pytest

from nagindex.corpus import Columns, find_sources, read_documents
from nagindex.errors import BadInputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RECORDS = [
    {"id": "a", "text": "one"},
    {"id": "b", "text": "two\nlines"},
    {"id": "ç", "text": "trois 文 \U0001f600 \u2028 x"},
]
EXPECTED = [("a", "one"), ("b", "two\nlines"), ("ç", "trois 文 \U0001f600 \u2028 x")]


def source(path):
    [found] = find_sources([path]).sources
    return found


def read(path, *, start=0, **columns):
    return list(read_documents(source(path), Columns(**columns), start=start))


def pairs(path, **options):
    return [(d.id, d.text) for d in read(path, **options)]


def json_lines(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def write_parquet(path, select):
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet, COMPRESSION uncompressed)")
    return path


CSV = 'id,text\na,one\nb,"two\nlines"\nç,trois 文 \U0001f600 \u2028 x\n'.encode()
FORMATS = {
    "d.jsonl": json_lines(RECORDS),
    "d.ndjson": json_lines(RECORDS),
    "array.json": json.dumps(RECORDS).encode(),
    "pretty.json": json.dumps(RECORDS, indent=2, ensure_ascii=False).encode(),
    "concatenated.json": "\n".join(json.dumps(r, indent=1) for r in RECORDS).encode(),
    "lines.json": json_lines(RECORDS),
    "d.csv": CSV,
    "crlf.csv": CSV.replace(b"\na,", b"\r\na,").replace(b"one\n", b"one\r\n"),
    "d.tsv": CSV.replace(b",", b"\t"),
}
COMPRESS = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_text_format_reads_the_same(tmp_path, name, bom, suffix):
    """Text formats, plain or compressed, with or without a byte order mark, give the same ids and texts."""
    path = tmp_path / (name + suffix)
    path.write_bytes(COMPRESS[suffix](bom + FORMATS[name]))
    assert pairs(path) == EXPECTED
    assert [d.row for d in read(path)] == [0, 1, 2]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_txt_file_is_one_document(tmp_path, suffix):
    """All of a .txt is the text, line ends and blank lines as they are; its id is its name and row 0."""
    path = tmp_path / ("note.txt" + suffix)
    path.write_bytes(COMPRESS[suffix](b"\n one\r\n\n two \n"))
    assert pairs(path) == [(f"note.txt{suffix}:0", "\n one\r\n\n two \n")]
    assert read(path, start=1) == []


def test_parquet_reads_texts_and_ids(tmp_path):
    """Parquet rows come in file order with ids of any type as text."""
    path = write_parquet(tmp_path / "d.parquet", "SELECT i AS id, 'text ' || i AS content FROM range(3000) t(i)")
    documents = read(path)
    assert [(d.row, d.id, d.text) for d in documents] == [(i, str(i), f"text {i}") for i in range(3000)]


def test_concatenated_compressed_streams_are_read_to_the_end(tmp_path):
    """Compressed files made by `cat a.gz b.gz` hold the documents of both."""
    halves = json_lines(RECORDS[:1]), json_lines(RECORDS[1:])
    for suffix in (".gz", ".zst"):
        path = tmp_path / f"d.jsonl{suffix}"
        path.write_bytes(b"".join(COMPRESS[suffix](half) for half in halves))
        assert pairs(path) == EXPECTED


IDS = ["007", "1e3", "2024-01-01", "1.0", " a ", "NULL", "true", "0x10"]


@pytest.mark.parametrize("name", ["i.jsonl", "i.json", "i.csv", "i.tsv", "i.parquet"])
def test_ids_that_look_like_something_else_stay_byte_for_byte(tmp_path, name):
    """Text ids are never read as numbers, dates or nulls, in any format."""
    path = tmp_path / name
    if name.endswith("parquet"):
        write_parquet(path, " UNION ALL ".join(f"SELECT '{i}' AS id, 't' AS text" for i in IDS))
    elif "json" in name:
        path.write_bytes(json_lines([{"id": i, "text": "t"} for i in IDS]))
    else:
        separator = "," if name.endswith("csv") else "\t"
        path.write_text(
            "\n".join(f"{i}{separator}t" for i in ["id", *IDS]).replace(f"id{separator}t", f"id{separator}text", 1)
        )
    assert [d.id for d in read(path)] == IDS


@pytest.mark.parametrize("name", ["n.jsonl", "n.json"])
def test_numbers_as_json_ids_stay_as_they_are_written(tmp_path, name):
    """The number 1e3 is the id "1e3", not "1000.0"; 7 is "7"; a long number loses no digit."""
    written = ["1e3", "7", "1.50", "12345678901234567890123", "0.1E-7", "-3"]
    path = tmp_path / name
    path.write_text("\n".join(f'{{"id": {i}, "text": "t", "x": {{"id": 2.50}}}}' for i in written))
    assert [d.id for d in read(path)] == written


def test_an_id_that_is_no_text_or_number_is_an_error_with_file_and_row(tmp_path):
    """A list as an id stops the read, naming the file and the row."""
    path = tmp_path / "d.jsonl"
    path.write_text('{"id": "a", "text": "t"}\n{"id": [1], "text": "t"}\n')
    with pytest.raises(BadInputError, match=r"d\.jsonl, row 1"):
        read(path)


def test_default_ids_are_the_source_name_and_row(tmp_path):
    """Without an id column, or where the id is missing, the id is `<path relative to the corpus root>:<row>`."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jsonl").write_text('{"text": "x"}\n\n{"text": "y"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "x", "id": null}\n{"text": "y", "id": "own"}\n')
    ids = [d.id for s in find_sources([tmp_path]).sources for d in read_documents(s)]
    assert ids == ["b.jsonl:0", "own", "sub/a.jsonl:0", "sub/a.jsonl:2"]


def test_columns_are_found_by_their_usual_names_or_named(tmp_path):
    """text, content, doc, document and body hold the text; a named column wins."""
    for name in ("text", "content", "doc", "document", "body"):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(json_lines([{"other": "o", name: "found"}]))
        assert [d.text for d in read(path)] == ["found"]
        assert [d.text for d in read(path, text="other")] == ["o"]
    for name in ("id", "docid", "doc_id"):
        path.write_bytes(json_lines([{"text": "t", name: "I", "other": "O"}]))
        assert [d.id for d in read(path)] == ["I"]
        assert [d.id for d in read(path, id="other")] == ["O"]


@pytest.mark.parametrize("columns", [{"text": "nope"}, {"id": "nope"}, {"tokens": "nope"}, {"keep": ("nope",)}, {}])
def test_a_missing_column_is_an_error_that_lists_what_there_is(tmp_path, columns):
    """The message names the file and the available columns."""
    path = tmp_path / "d.csv"
    path.write_text("url,words\nu,w\n")
    with pytest.raises(BadInputError, match=r"d\.csv.*available columns are url, words"):
        read(path, **columns)


@pytest.mark.parametrize("keep", [("id",), ("Score",), ("x", "X")])
def test_kept_columns_may_not_collide(keep):
    """A kept column cannot have a name of the index's own, nor the name of another."""
    with pytest.raises(BadInputError):
        Columns(keep=keep)


@pytest.mark.parametrize("column", ["token_num", "token_count", "n_tokens", "num_tokens"])
def test_token_counts_are_found(tmp_path, column):
    """A column of a usual name states the tokens; a missing count is None, for the tokenizer to fill."""
    path = tmp_path / "d.jsonl"
    path.write_bytes(
        json_lines([{"text": "a", column: 5}, {"text": "b", column: None}, {"text": "c"}, {"text": "d", column: 7.0}])
    )
    assert [d.tokens for d in read(path)] == [5, None, None, 7]


def test_token_counts_of_a_named_column(tmp_path):
    """A named column states the tokens, in CSV and in Parquet with gaps (NaN) too."""
    path = tmp_path / "d.csv"
    path.write_text("text,words\na,3\nb,\n")
    assert [d.tokens for d in read(path)] == [None, None]
    assert [d.tokens for d in read(path, tokens="words")] == [3, None]
    path = write_parquet(tmp_path / "d.parquet", "SELECT 'a' AS text, unnest([1.0, NULL, 'NaN'::DOUBLE]) AS w")
    assert [d.tokens for d in read(path, tokens="w")] == [1, None, None]


@pytest.mark.parametrize("count", ["-1", "2.5", '"many"', "true", "[1]"])
def test_a_token_count_that_is_none_is_an_error_with_file_and_row(tmp_path, count):
    """Negative, broken and non-numeric counts name file, row and column."""
    path = tmp_path / "d.jsonl"
    path.write_text(f'{{"text": "a", "n_tokens": 1}}\n{{"text": "a", "n_tokens": {count}}}\n')
    with pytest.raises(BadInputError, match=r"d\.jsonl, row 1.*n_tokens"):
        read(path)


def test_kept_columns_are_carried(tmp_path):
    """Kept columns come in the order asked for, numbers as numbers, nested values as JSON."""
    path = tmp_path / "d.jsonl"
    path.write_bytes(json_lines([{"text": "a", "q": 0.5, "label": "x"}, {"text": "b", "q": None, "label": "y"}]))
    assert [d.kept for d in read(path, keep=("label", "q"))] == [("x", 0.5), ("y", None)]


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


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.jsonl.gz", "d.txt"])
def test_a_document_of_several_megabytes_is_one_document(tmp_path, name):
    """A book on one line is read whole, and what follows it too."""
    book = "word " * 1_000_000
    path = tmp_path / name
    if name.endswith("txt"):
        path.write_text(book)
        assert [d.text for d in read(path)] == [book]
        return
    raw = f"text\n{book}\nafter\n".encode() if "csv" in name else json_lines([{"text": book}, {"text": "after"}])
    path.write_bytes(gzip.compress(raw, 1) if name.endswith("gz") else raw)
    assert [d.text for d in read(path)] == [book, "after"]


@pytest.mark.parametrize("name", [*FORMATS, "d.parquet"])
def test_reading_goes_on_from_a_row(tmp_path, name):
    """`start` passes over the rows before it and numbers the rest as before."""
    path = tmp_path / name
    if name == "d.parquet":
        write_parquet(path, "SELECT i::VARCHAR AS id, 't' AS text FROM range(1500) t(i)")
    else:
        path.write_bytes(FORMATS[name])
    whole = read(path)
    for start in (1, 2, len(whole) - 1, len(whole), len(whole) + 5):
        assert read(path, start=start) == whole[start:]


def test_resuming_after_blank_lines_repeats_no_row(tmp_path):
    """Blank lines count as rows in .jsonl, so a row's number is its line's."""
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'\n{"text": "a"}\n  \n\n{"text": "b"}')
    assert [(d.row, d.text) for d in read(path)] == [(1, "a"), (4, "b")]
    assert [(d.row, d.text) for d in read(path, start=2)] == [(4, "b")]


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
