"""Ids are text, byte for byte; one that occurs twice is skipped, refused or replaced, as the user says; appending twice adds nothing."""

from __future__ import annotations

import json

import duckdb
import pytest
from shell import Shell, jsonl

IDS = [
    *["007", "1e3", "2024-01-01", "1_000", "0x1F", "-0", "1.0", "NaN", "null", "true", " x "],
    *["é", "e\u0301", "日本", "🙂", 'a"b', "a'b", "a,b", "a\tb"],
]


def write_ids(shell: Shell, kind: str, ids: list[str]) -> None:
    records = [{"id": i, "text": f"river {n}"} for n, i in enumerate(ids)]
    if kind == "jsonl":
        shell.write("corpus/x.jsonl", jsonl(records))
    elif kind == "json":
        shell.write("corpus/x.json", json.dumps(records))
    elif kind in ("csv", "tsv"):
        comma = "," if kind == "csv" else "\t"
        quoted = [('"' + i.replace('"', '""') + '"') for i in ids]
        shell.write(f"corpus/x.{kind}", f"id{comma}text\n" + "".join(f"{i}{comma}river\n" for i in quoted))
    else:
        (shell.folder / "corpus").mkdir()
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE t AS SELECT unnest(?::VARCHAR[]) AS id, 'river' AS text", [ids])
            connection.execute(f"COPY t TO '{shell.folder / 'corpus' / 'x.parquet'}' (FORMAT parquet)")


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json", "csv", "tsv"])
def test_text_ids_stay_byte_for_byte(shell: Shell, kind: str) -> None:
    write_ids(shell, kind, IDS)
    shell.build("corpus")
    assert shell.docs("id") == IDS
    shell.write("t.jsonl", '{"text":"river"}\n')
    assert sorted(row["id"] for row in shell.selected("t.jsonl", "-n", "100")) == sorted(IDS)


@pytest.mark.parametrize("kind", ["TINYINT", "BIGINT", "UBIGINT", "HUGEINT"])
def test_whole_number_ids_of_parquet_become_their_digits(shell: Shell, kind: str) -> None:
    (shell.folder / "corpus").mkdir()
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT i::{kind} AS id, 'river' AS text FROM range(9, 12) t(i)) TO '{shell.folder}/corpus/x.parquet' (FORMAT parquet)"
        )
    shell.build("corpus")
    # Parquet has no 128-bit integer: DuckDB stores HUGEINT as DOUBLE, and writes those with their point.
    assert shell.docs("id") == (["9.0", "10.0", "11.0"] if kind == "HUGEINT" else ["9", "10", "11"])


def test_numbers_as_json_ids_keep_their_spelling(shell: Shell) -> None:
    numbers = ["7", "1e3", "1.50", "12345678901234567890123"]
    shell.write("x.jsonl", "".join(f'{{"id":{number},"text":"river"}}\n' for number in numbers))
    shell.build("x.jsonl")
    assert shell.docs("id") == numbers


@pytest.mark.parametrize("identifier", ["null", '""'])
def test_a_missing_or_empty_id_becomes_file_and_row(shell: Shell, identifier: str) -> None:
    shell.write("corpus/a/x.jsonl", f'{{"id":"a","text":"river"}}\n{{"id":{identifier},"text":"violin"}}\n')
    shell.write("corpus/y.txt", "garden")
    shell.build("corpus")
    assert shell.docs("id") == ["a", "a/x.jsonl:1", "y.txt:0"]


def test_the_later_of_two_equal_ids_is_skipped_and_listed_by_default(pool: Shell) -> None:
    before = pool.state()
    texts = [("d3", "late"), ("z", "one"), ("z", "two")]
    pool.write("more.jsonl", jsonl({"id": i, "text": text, "label": "x"} for i, text in texts))
    done = pool.run("append", "more.jsonl")
    assert "Skipped 2 rows: 2 duplicate id" in done.stderr
    assert pool.skipped() == [("more.jsonl", 0, "duplicate id"), ("more.jsonl", 2, "duplicate id")]
    assert pool.docs()[6:] == [("z", "more.jsonl", 1)]
    assert pool.state()[:6] == before


@pytest.mark.parametrize("ids", [["z", "d4"], ["z", "y", "y"]])
def test_on_duplicate_error_names_both_places_and_adds_nothing(pool: Shell, ids: list[str]) -> None:
    before = pool.state()
    pool.write("more.jsonl", jsonl([{"id": i, "text": "violin", "label": "x"} for i in ids]))
    reason = pool.error("append", "more.jsonl", "--on-duplicate", "error")
    later, first = (f"more.jsonl, row {len(ids) - 1}", "b.jsonl, row 0" if "d4" in ids else "more.jsonl, row 1")
    assert reason.startswith(f"{later}: id {ids[-1]!r} occurs in {first}")
    assert "--on-duplicate" in reason
    assert pool.state() == before
    pool.run("append", "more.jsonl")
    assert pool.docs("id")[6:] == list(dict.fromkeys(i for i in ids if i != "d4"))


def test_on_duplicate_replace_keeps_the_newer_one(pool: Shell) -> None:
    texts = [("d4", "late"), ("z", "one"), ("z", "two")]
    pool.write("more.jsonl", jsonl({"id": i, "text": text, "label": "x"} for i, text in texts))
    done = pool.run("append", "more.jsonl", "--on-duplicate", "replace")
    assert "Replaced 1 document" in done.stderr
    assert sorted(pool.docs())[4:] == [("d4", "more.jsonl", 0), ("d5", "b.jsonl", 1), ("z", "more.jsonl", 2)]
    assert len(pool.state()) == 7
    pool.write("t.jsonl", '{"text":"late"}\n')
    [best] = pool.selected("t.jsonl", "-n", "1")
    assert (best["id"], best["score"]) == ("d4", 1.0)


def test_replace_within_the_first_build_keeps_the_newer_one(shell: Shell) -> None:
    shell.write("x.jsonl", jsonl({"id": i, "text": f"river {n}"} for n, i in enumerate("aba")))
    shell.build("x.jsonl", "--on-duplicate", "replace")
    assert sorted(shell.docs()) == [("a", "x.jsonl", 2), ("b", "x.jsonl", 1)]


@pytest.mark.parametrize("mode", ["skip", "replace", "error"])
def test_appending_twice_adds_nothing_the_second_time(pool: Shell, mode: str) -> None:
    pool.write("more/c.jsonl", jsonl([{"id": "c", "text": "violin", "label": "x"}]))
    pool.run("append", "more", "--on-duplicate", mode)
    before, version = pool.state(), json.loads(pool.run("info", "--json").stdout)["version"]
    done = pool.run("append", "more", "--on-duplicate", mode)
    assert "1 source already in the index" in done.stderr
    assert "Added 0 documents" in done.stderr
    assert pool.state() == before
    assert json.loads(pool.run("info", "--json").stdout)["version"] == version


def test_building_again_with_more_files_adds_only_those(shell: Shell) -> None:
    shell.write("corpus/a.jsonl", jsonl([{"id": "a", "text": "river"}]))
    shell.build("corpus")
    shell.write("corpus/b.jsonl", jsonl([{"id": "b", "text": "garden"}]))
    done = shell.build("corpus")
    assert "1 source already in the index" in done.stderr
    assert "Added 1 document " in done.stderr
    assert shell.docs("id") == ["a", "b"]


def test_lines_appended_to_a_source_are_all_that_is_read_of_it(pool: Shell) -> None:
    with open(pool.folder / "pool" / "b.jsonl", "a") as file:
        file.write(jsonl([{"id": "d6", "text": "violin", "label": "even"}]))
    done = pool.run("append", "pool")
    assert "Warning" not in done.stderr
    assert "Added 1 document" in done.stderr
    assert pool.docs("id") == [f"d{i}" for i in range(7)]
    assert pool.skipped() == []
    assert "Added 0 documents" in pool.run("append", "pool").stderr


def test_a_source_that_changed_is_told_and_its_new_rows_are_added(pool: Shell) -> None:
    records = [{"id": "d6", "text": "violin", "label": "even"}, {"id": "d5", "text": "river", "label": "odd"}]
    pool.write("pool/b.jsonl", jsonl(records))
    done = pool.run("append", "pool")
    assert "Warning: b.jsonl: the index holds a file of this name with other content" in done.stderr
    assert "--on-duplicate replace" in done.stderr
    assert pool.docs("id") == [f"d{i}" for i in range(7)]
    assert pool.skipped() == [("b.jsonl", 1, "duplicate id")]
    assert "Added 0 documents" in pool.run("append", "pool").stderr


def test_a_deleted_document_does_not_come_back_when_its_source_is_appended_again(pool: Shell) -> None:
    pool.run("delete", "--ids", "-", stdin="d1\n")
    pool.run("append", "pool")
    pool.run("compact")
    pool.run("append", "pool")
    assert pool.docs("id") == ["d0", "d2", "d3", "d4", "d5"]


def test_a_folder_inside_a_corpus_that_is_in_adds_nothing(shell: Shell) -> None:
    """A file is known by its place and content too, so naming a part of the corpus does not bring its documents again."""
    shell.write("c/sub/x.jsonl", jsonl([{"text": "river"}, {"text": "garden"}]))
    shell.write("c/y.jsonl", jsonl([{"text": "violin"}]))
    shell.build("c")
    before = shell.state()
    assert "1 source already in the index" in shell.run("append", "c/sub").stderr
    assert shell.state() == before


@pytest.mark.parametrize("name", ["filename", "file_row_number"])
def test_a_column_that_would_make_the_index_unreadable_is_kept_under_another_name(shell: Shell, name: str) -> None:
    shell.write("c.jsonl", jsonl([{"text": "river", name: "x"}]))
    shell.build("c.jsonl", "--keep-column", name)
    assert shell.docs(f"source_{name}") == ["x"]
