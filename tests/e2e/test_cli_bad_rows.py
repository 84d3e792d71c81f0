"""What bad rows and empty files get (section 7 of the design): a listed skip, or a line that names file, row and remedy."""

from __future__ import annotations

import json

import pytest
from parquet_files import parquet
from shell import Shell, jsonl

GOOD = jsonl([{"id": "a", "text": "river garden"}, {"id": "b", "text": "violin"}])


SKIPS = {
    "x.jsonl": b'{"id":"a","text":null}\n{"id":"b","text":""}\n{"id":"c","text":"\xff\xfe river"}\n{"id":"d"}\n{"id":"e","text":"river"}\n',
    "x.json": b'[{"id":"a","text":null},{"id":"b","text":""},{"id":"c","text":"\xff\xfe river"},{"id":"d"},{"id":"e","text":"river"}]',
    "lone.jsonl": b'{"id":"a","text":null}\n{"id":"b","text":""}\n{"id":"c","text":"\\ud800 x"}\n{"id":"d"}\n{"id":"e","text":"river"}\n',
    "x.parquet": b"",
}


@pytest.mark.parametrize("name", SKIPS)
def test_rows_without_text_tokens_or_utf8_are_skipped_counted_and_listed(shell: Shell, name: str) -> None:
    if name.endswith(".parquet"):
        rows = "('a', NULL), ('b', ''::BLOB), ('c', '\\xFF\\xFE river'::BLOB), ('d', NULL), ('e', 'river'::BLOB)"
        parquet(shell.folder / name, f"SELECT * FROM (VALUES {rows}) t(id, text)")
    else:
        shell.write(name, SKIPS[name])
    done = shell.build(name)
    assert "Skipped 4 rows: 2 null text" in done.stderr
    assert "1 invalid UTF-8" in done.stderr
    assert "1 no tokens" in done.stderr
    assert "nagindex info --skipped" in done.stderr
    assert "Added 1 document " in done.stderr
    assert shell.docs() == [("e", name, 4)]
    assert shell.skipped() == [
        (name, 0, "null text"),
        (name, 1, "no tokens"),
        (name, 2, "invalid UTF-8"),
        (name, 3, "null text"),
    ]
    listed = [line.split() for line in shell.run("info", "--skipped").stdout.splitlines()[2:]]
    assert [(row[0], row[1], row[-1]) for row in listed] == [(name, str(i), "abcd"[i]) for i in range(4)]
    assert json.loads(shell.run("info", "--json").stdout)["skipped"] == 4


def test_csv_rows_without_text_or_utf8_are_skipped_and_listed(shell: Shell) -> None:
    shell.write("x.csv", b'id,text\na,""\nb,\nc,\xff river\nd,river\n')
    shell.build("x.csv")
    assert shell.docs() == [("d", "x.csv", 3)]
    assert shell.skipped() == [("x.csv", 0, "null text"), ("x.csv", 1, "null text"), ("x.csv", 2, "invalid UTF-8")]


def test_text_files_without_tokens_or_utf8_are_skipped_and_listed(shell: Shell) -> None:
    shell.write("t/empty.txt", "")
    shell.write("t/good.txt", "river\n\ngarden")
    shell.write("t/latin.txt", "caf\xe9".encode("latin-1"))
    shell.build("t")
    assert shell.docs() == [("good.txt:0", "good.txt", 0)]
    assert shell.skipped() == [("empty.txt", 0, "no tokens"), ("latin.txt", 0, "invalid UTF-8")]


def test_skipped_rows_of_every_append_stay_listed_after_compact(pool: Shell) -> None:
    pool.write("more.jsonl", '{"text":null,"label":"x"}\n')
    pool.write("most.jsonl", '{"text":"","label":"x"}\n')
    pool.run("append", "more.jsonl")
    pool.run("append", "most.jsonl")
    expected = [("more.jsonl", 0, "null text"), ("most.jsonl", 0, "no tokens")]
    assert pool.skipped() == expected
    pool.run("compact")
    assert pool.skipped() == expected


REFUSED_ROWS = {
    "list.jsonl": (GOOD + "[1]\n", "row 2", ()),
    "string.jsonl": (GOOD + '"words"\n', "row 2", ()),
    "array.json": ('[{"text":"river"}, 7]', "row 1", ()),
    "object.jsonl": (GOOD + '{"text":{"a":1}}\n', "row 2", ("--text-column",)),
    "number.jsonl": (GOOD + '{"text":12}\n', "row 2", ("--text-column",)),
    "id.jsonl": (GOOD + '{"id":{},"text":"river"}\n', "row 2", ()),
    "tokens.jsonl": (GOOD + '{"id":"c","text":"river","n_tokens":"many"}\n', "row 2", ("--token-column", "n_tokens", "many")),
    "negative.jsonl": (GOOD + '{"id":"c","text":"river","n_tokens":-1}\n', "row 2", ("--token-column",)),
    "more.csv": ("id,text\na,river\nb,garden,3\n", "row 1", ("3 fields", "header has 2")),
    "fewer.csv": ("id,text\na,river\nb\n", "row 1", ("1 field", "header has 2")),
    "quote.csv": ('id,text\na,river\nb,"gar"den\n', "line 3", ("quote",)),
    "open.csv": ('id,text\na,river\nb,"garden\nc,violin\n', "", ("quote",)),
    "open.tsv": ('id\ttext\na\triver\nb\t"garden\nc\tviolin\n', "", ("quote",)),
    "header.csv": ("id,id,text\na,b,river\n", "header", ("id, id, text",)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_ROWS)
def test_a_row_that_is_no_record_stops_the_append_naming_file_and_row(shell: Shell, name: str) -> None:
    content, row, mentioned = REFUSED_ROWS[name]
    shell.write("good.jsonl", jsonl([{"id": "g", "text": "harvest"}]))
    shell.build("good.jsonl")
    before = shell.state()
    path = shell.write(name, content)
    reason = shell.error("append", name)
    assert reason.startswith(str(path))
    said = reason.removeprefix(str(path))
    assert row in said
    assert all(word in said for word in mentioned), reason
    assert shell.state() == before


JSON_WORDS = {"list.jsonl": "array", "string.jsonl": "string", "object.jsonl": "object", "number.jsonl": "number"}


@pytest.mark.parametrize("name", JSON_WORDS)
def test_a_value_of_the_wrong_kind_is_called_what_json_calls_it(shell: Shell, name: str) -> None:
    path = shell.write(name, REFUSED_ROWS[name][0])
    assert JSON_WORDS[name] in shell.build_error(name).removeprefix(str(path))


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.tsv", "x.jsonl.gz"])
def test_a_file_of_no_bytes_is_a_source_of_no_documents_and_named(pool: Shell, name: str) -> None:
    """Jobs write empty shards, so it stops nothing; it may be what is left of a failed download, so it is not silent."""
    pool.write(name, b"")
    done = pool.run("append", name)
    assert f"Warning: {name}: the file is empty" in done.stderr
    assert "Added 0 documents" in done.stderr


@pytest.mark.parametrize("name", ["x.jsonl.zst", "x.parquet"])
def test_a_file_of_no_bytes_that_cannot_be_one_stops_the_append(pool: Shell, name: str) -> None:
    """No bytes are no Parquet file and no zstd stream: something was cut off."""
    before = pool.state()
    path = pool.write(name, b"")
    reason = pool.error("append", name)
    assert reason.startswith(str(path))
    said = reason.removeprefix(str(path))
    assert "empty" in said or "truncated" in said
    assert "remove" in said
    assert pool.state() == before


@pytest.mark.parametrize("name", ["x.json", "x.csv", "x.parquet"])
def test_a_table_without_rows_adds_no_document_and_counts_as_a_source(shell: Shell, name: str) -> None:
    contents = {"x.json": "[]", "x.csv": "id,text\n"}
    shell.write("good.jsonl", GOOD)
    shell.build("good.jsonl")
    if name in contents:
        shell.write(name, contents[name])
    else:
        parquet(shell.folder / name, "SELECT 'i' AS id, 't' AS text LIMIT 0")
    assert "Added 0 documents (0 tokens) from 1 source " in shell.run("append", name).stderr
    assert shell.docs("id") == ["a", "b"]
    assert "1 source already in the index" in shell.run("append", name).stderr
