"""Corpus reading: every format, what ids stay, what is a problem of one row and what of a whole file."""

import gzip
import json
import sys

import duckdb
import pytest
from corpora import json_lines, pairs, read, write_parquet

from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources
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


NESTED_IDS = ["{'docid': 'a'}", "['a', 'b']", "MAP {'docid': 'a'}", "[{'docid': 'a'}]", "[1.5]"]


@pytest.mark.parametrize("value", NESTED_IDS)
def test_a_nested_id_column_of_parquet_is_an_error_with_file_and_type(tmp_path, value):
    """A struct, list or map is no id, whether the column is named or found by its usual name."""
    path = write_parquet(tmp_path / "d.parquet", f"SELECT {value} AS docid, {value} AS other, 't' AS text")
    kind = duckdb.sql(f"SELECT {value} AS v").types[0]
    for column, options in {"docid": {}, "other": {"id_column": "other"}}.items():
        with pytest.raises(BadInputError) as caught:
            read(path, **options)
        reason = f"column {column!r} is {kind}, not a single value; name the id column with `id_column`"
        assert str(caught.value) == f"{path}: {reason}"


def test_an_id_column_of_any_scalar_type_is_read_as_text(tmp_path):
    """Dates, UUIDs, decimals, floats and truth values are the ids that DuckDB writes."""
    values = {
        "DATE '2026-01-02'": "2026-01-02",
        "UUID 'c5f4aaee-0000-4000-8000-0123456789ab'": "c5f4aaee-0000-4000-8000-0123456789ab",
        "1.50::DECIMAL(10, 2)": "1.50",
        "0.5::DOUBLE": "0.5",
        "true": "true",
        "TIMESTAMP '2026-01-02 03:04:05'": "2026-01-02 03:04:05",
        "'a'::BLOB": "a",
    }
    for value, expected in values.items():
        path = write_parquet(tmp_path / "d.parquet", f"SELECT {value} AS key, 't' AS text")
        assert [d.id for d in read(path, id_column="key")] == [expected]


@pytest.mark.parametrize("name", ["d.jsonl", "d.json"])
@pytest.mark.parametrize("value", ['{"docid": "a"}', "[1]", "true"])
def test_a_nested_id_of_json_is_an_error_with_file_row_and_remedy(tmp_path, name, value):
    """Objects, arrays and truth values are refused in the row that holds one, and the other column is named."""
    path = tmp_path / name
    path.write_text(f'{{"meta": "a", "text": "t"}}\n{{"meta": {value}, "text": "t"}}\n')
    with pytest.raises(BadInputError, match=r"row 1: the id is .*; name the id column with `id_column`"):
        read(path, id_column="meta")


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
        assert [d.text for d in read(path, text_column="other")] == ["o"]
    for name in ("id", "docid", "doc_id"):
        path.write_bytes(json_lines([{"text": "t", name: "I", "other": "O"}]))
        assert [d.id for d in read(path)] == ["I"]
        assert [d.id for d in read(path, id_column="other")] == ["O"]


@pytest.mark.parametrize(
    "columns",
    [{"text_column": "nope"}, {"id_column": "nope"}, {"token_column": "nope"}, {}],
)
def test_a_missing_column_is_an_error_that_lists_what_there_is(tmp_path, columns):
    """The message names the file and the available columns."""
    path = tmp_path / "d.csv"
    path.write_text("url,words\nu,w\n")
    with pytest.raises(BadInputError, match=r"d\.csv.*available columns are url, words"):
        read(path, **columns)


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
    assert [d.tokens for d in read(path, token_column="words")] == [3, None]
    path = write_parquet(tmp_path / "d.parquet", "SELECT 'a' AS text, unnest([1.0, NULL, 'NaN'::DOUBLE]) AS w")
    assert [d.tokens for d in read(path, token_column="w")] == [1, None, None]


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
    assert [d.kept for d in read(path, keep_columns=("label", "q"))] == [("x", 0.5), ("y", None)]


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
