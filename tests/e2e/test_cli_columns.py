"""Columns of corpora in the wild, from the command that names them to every place where they are shown."""

from __future__ import annotations

import json

import duckdb
import pytest
from parquet_files import parquet, read, types
from shell import Shell, jsonl

import nagindex

TEXTS = ["river garden theorem", "violin salmon planet", "engine harvest window", "oxygen carbon winter"]
TARGETS = jsonl([{"text": TEXTS[0]}])


def lines(**columns: object) -> str:
    """Return JSON lines of one record for each text, with the same further columns."""
    return jsonl({"text": text, **columns} for text in TEXTS)


def test_nested_and_renamed_columns_are_queried_and_come_out_under_their_names(shell: Shell) -> None:
    parquet(shell.folder / "c/a.parquet", "SELECT 'river garden' AS text, {'url': 'u1', 'page': {'n': 7}} AS meta")
    shell.write("c/b.jsonl", jsonl([{"text": "violin salmon", "meta": {"url": "u2", "page": {"n": 8}}}]))
    shell.build("c", "--keep-column", "meta.url", "--keep-column", "n=meta.page.n", "--keep-column", "meta")
    assert shell.docs('"meta.url", n') == [("u1", 7), ("u2", 8)]
    assert [json.loads(value) for value in shell.docs("meta")] == [
        {"url": "u1", "page": {"n": 7}},
        {"url": "u2", "page": {"n": 8}},
    ]
    shell.write("t.jsonl", TARGETS)
    [row] = shell.selected("t.jsonl", "-n", "2", "--where", "n = 8 AND \"meta.url\" = 'u2'", "--cap", "meta.url=1")
    assert (row["meta.url"], row["n"]) == ("u2", 8)
    assert len(shell.selected("t.jsonl", "-n", "2", "--quality-column", "n")) == 2


def test_columns_named_like_nagindexs_own_are_source_name_everywhere(shell: Shell) -> None:
    own = {"score": 0.5, "file": "f", "target": "t", "row": 3, "tokens": 4, "rank": 5}
    shell.write("c.jsonl", lines(**own, language="en"))
    keep = [part for name in own for part in ("--keep-column", name)]
    shell.build("c.jsonl", *keep, "--keep-column", "edu=score")
    listed = ", ".join(f"source_{name}" for name in own)
    assert shell.docs(f"{listed}, edu") == [(*own.values(), 0.5)] * len(TEXTS)
    shell.write("t.jsonl", TARGETS)
    shell.run("query", "t.jsonl", "-n", "2", "--quality-column", "source_score", "--where", "source_row = 3",
              "--cap", "source_file=1", "--with-text", "-o", "out.parquet")  # fmt: skip
    assert read(shell.folder / "out.parquet", f"{listed}, edu") == [(*own.values(), 0.5)] * 2
    reason = shell.error("query", "t.jsonl", "-n", "2", "--quality-column", "score")
    assert reason.startswith("no column 'score' in the index (did you mean source_score?); its columns are id, file,")


def test_two_columns_of_one_name_are_refused_before_anything_is_read(shell: Shell) -> None:
    shell.write("c.jsonl", lines(score=1, source_score=2))
    reason = shell.build_error("c.jsonl", "--keep-column", "score", "--keep-column", "source_score")
    clash = "two kept columns would be 'source_score' in the index: score and source_score"
    assert reason == f"{clash}; name the columns to keep with --keep-column, this one as NEW=OLD"
    shell.build("c.jsonl", "--keep-column", "edu=score", "--keep-column", "source_score")
    assert shell.docs("edu, source_score")[0] == (1, 2)


def test_a_column_that_some_files_lack_is_null_there_and_a_typo_is_refused_before_the_model_is_loaded(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.write("c/a.jsonl", lines(url="u"))
    parquet(shell.folder / "c/b.parquet", "SELECT 'violin' AS text, 5 AS stars")
    shell.write("c/c.csv", "text,stars\nsalmon,4\n")
    shell.write("c/d.txt", "kettle")
    told = shell.build("c", "--keep-column", "url", "--keep-column", "stars").stderr
    assert "Warning" not in told
    assert shell.docs("url, stars") == [("u", None)] * 4 + [(None, 5), (None, 4), (None, None)]
    monkeypatch.setattr("nagindex.ingest.prepare.load_model", None)
    for arguments in (["-i", "new.nagindex"], ["--dry-run"]):
        reason = shell.build_error("c", "--keep-column", "Stars", *arguments)
        found = "no column 'Stars' (--keep-column; did you mean stars?); available columns are text, url, stars"
        assert reason == f"{shell.folder / 'c/a.jsonl'} and 3 more: {found}"
    assert not (shell.folder / "new.nagindex").exists()


def test_values_of_different_types_take_the_widest_and_a_mixture_with_text_is_said(shell: Shell) -> None:
    parquet(shell.folder / "c/a.parquet", "SELECT 'river' AS text, 1 AS n, 1 AS q, true AS b, 1.5::DECIMAL(4,2) AS d")
    parquet(shell.folder / "c/b.parquet", "SELECT 'violin' AS text, 2.5 AS n, 'high' AS q, 3 AS b, 2 AS d")
    keep = [part for name in "nqbd" for part in ("--keep-column", name)]
    a, b = (shell.folder / "c" / name for name in ("a.parquet", "b.parquet"))
    at_once = shell.build("c", *keep, "-i", "one.nagindex").stderr
    shell.build(a, *keep, "-i", "two.nagindex")
    later = shell.run("append", b, "-i", "two.nagindex").stderr
    for index, told, other in [("one.nagindex", at_once, a), ("two.nagindex", later, "two.nagindex")]:
        assert shell.docs("n, q, b, d", index=index) == [(1.0, "1", 1, 1.5), (2.5, "high", 3, 2.0)]
        assert f"Warning: column 'q' is text in {b} and not in {other}: all of it is kept as text\n" in told
        assert told.count("Warning") == 1


def test_a_selection_has_the_indexs_types_whatever_documents_it_holds(shell: Shell) -> None:
    """A column that the chosen documents' segment has no value of, or narrower ones, is not another type for it."""
    shell.write("a.jsonl", jsonl([{"id": "a", "text": TEXTS[0], "n": 1}]))
    shell.write("b.jsonl", jsonl([{"id": "b", "text": TEXTS[1], "n": 0.5, "url": "u"}]))
    shell.build("b.jsonl", "--keep-column", "url", "--keep-column", "n")
    shell.run("append", "a.jsonl")
    shell.write("t.jsonl", TARGETS)
    shell.run("query", "t.jsonl", "-n", "1", "-o", "out.parquet")
    assert read(shell.folder / "out.parquet", "id, url, n") == [("a", None, 1.0)]
    assert {name: types(shell.folder / "out.parquet")[name] for name in ("url", "n")} == {
        "url": "VARCHAR",
        "n": "DOUBLE",
    }


def test_all_columns_are_kept_but_those_that_are_used(shell: Shell) -> None:
    shell.write("c/a.jsonl", lines(url="u", meta={"a": 1}, score=2))
    shell.write("c/b.jsonl", jsonl([{"text": "captain", "token_count": 2, "lang": "en", "docid": "x"}]))
    shell.build("c", "--keep-columns", "all")
    assert nagindex.open("index.nagindex").manifest.settings.keep_columns == ("url", "meta", "source_score", "lang")
    assert shell.docs("url, meta, source_score, lang")[-2:] == [("u", '{"a": 1}', 2, None), (None, None, None, "en")]
    assert "Added 0 documents" in shell.build("c", "--keep-columns", "all").stderr

    shell.write("c/later.jsonl", jsonl([{"text": "lantern", "lang": "de", "date": "d", "why": 1}]))
    left = "Warning: columns that the index does not keep, as it was begun without them: date, why"
    told = shell.run("append", "c").stderr
    assert told.count(left) == told.count("Warning") == 1
    assert shell.docs("lang")[-1] == "de"
    shell.write("c/last.jsonl", jsonl([{"text": "puzzle", "why": 1}]))
    assert "without them: why\n" in shell.build("c", "--keep-columns", "all").stderr
    assert "--keep-column is all in the index and url here" in shell.build_error("c", "--keep-column", "url")
    assert "--keep-columns all keeps every column" in shell.error(
        "build", "c", "--keep-columns", "all", "--keep-column", "url", status=2
    )


@pytest.fixture
def two_schemas(shell: Shell) -> Shell:
    """An index of a file with the texts in `body`, and an append of one that has them in `content` beside a `body`."""
    shell.write("c/first.jsonl", jsonl({"body": text, "key": f"a{i}", "url": f"u{i}"} for i, text in enumerate(TEXTS)))
    second = [
        {"body": "wrong", "page": {"content": f"{text} kettle"}, "name": f"b{i}", "link": f"v{i}", "words": 3 + i}
        for i, text in enumerate(TEXTS)
    ]
    shell.write("c/second.jsonl", jsonl(second))
    shell.build("c/first.jsonl", "--text-column", "body", "--id-column", "key", "--keep-column", "url")
    options = ["--text-column", "page.content", "--id-column", "name", "--token-column", "words"]
    shell.run("append", "c", *options, "--keep-column", "url=link", "--corpus-root", "c")
    shell.write("t.jsonl", TARGETS)
    return shell


def test_append_reads_sources_with_columns_of_their_own(two_schemas: Shell) -> None:
    assert two_schemas.docs("id, url")[4:] == [(f"b{i}", f"v{i}") for i in range(4)]
    assert two_schemas.docs("tokens")[4:] == [3, 4, 5, 6]
    assert "Added 0 documents" in two_schemas.run("append", "c").stderr


@pytest.mark.parametrize("compacted", [False, True])
def test_texts_are_read_again_from_the_column_they_came_from(two_schemas: Shell, compacted: bool) -> None:
    """--with-text, --decontaminate and append --check, before and after the segments are merged."""
    if compacted:
        two_schemas.run("compact")
        assert len(nagindex.open("index.nagindex").segments) == 1
    found = {row["id"]: row["text"] for row in two_schemas.selected("t.jsonl", "-n", "8", "--with-text")}
    assert found == {f"a{i}": text for i, text in enumerate(TEXTS)} | {
        f"b{i}": f"{text} kettle" for i, text in enumerate(TEXTS)
    }
    two_schemas.write("e.jsonl", jsonl([{"text": "planet kettle"}]))
    left = two_schemas.selected("t.jsonl", "-n", "8", "--decontaminate", "e.jsonl", "--ngram", "2")
    assert {row["id"] for row in left} == set(found) - {"b1"}
    check = json.loads(two_schemas.run("append", "--check", "--model", two_schemas.model, "--json").stdout)
    assert (check["documents"], check["differing"]) == (8, 0)


def test_an_older_nagindex_is_told_by_a_flag_that_sources_name_their_columns(two_schemas: Shell) -> None:
    """And indexes that do without are written as before: earlier versions of nagindex read them."""
    newest = max((two_schemas.folder / "index.nagindex/manifests").glob("0*.json"))
    assert json.loads(newest.read_text())["flags"] == ["columns"]
    two_schemas.run("compact")
    assert nagindex.open("index.nagindex").manifest.flags == ("columns",)
    two_schemas.write("c.jsonl", lines(url="u"))
    two_schemas.build("c.jsonl", "--keep-column", "url", "-i", "plain.nagindex")
    two_schemas.build("c.jsonl", "--keep-column", "link=url", "-i", "renamed.nagindex")
    for index, flags, names in [
        ("plain", [], {"keep_columns"}),
        ("renamed", ["columns"], {"keep_columns", "keep_paths"}),
    ]:
        for path in (two_schemas.folder / f"{index}.nagindex/manifests").glob("0*.json"):
            manifest = json.loads(path.read_text())
            assert manifest["flags"] == flags
            assert {name for name in manifest["settings"] if name.startswith("keep")} == names


def test_wrong_columns_of_an_append_are_refused_before_the_model_is_loaded(
    two_schemas: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nagindex.ingest.jobs.run_job", None)
    path = two_schemas.write("d.jsonl", jsonl([{"content": "lantern", "adress": "u"}]))
    before = two_schemas.state()
    available = "available columns are content, adress"
    for options, reason in {
        (): f"{path}: no column 'body' (--text-column); {available}",
        (
            "--text-column",
            "contents",
        ): f"{path}: no column 'contents' (--text-column; did you mean content?); {available}",
        ("--text-column", "content", "--id-column", "content", "--keep-column", "url=address"): (
            f"{path}: no column 'address' (--keep-column; did you mean adress?); {available}"
        ),
        ("--text-column", "content", "--keep-column", "adress"): (
            "no column 'adress' in the index (--keep-column); it keeps url: write NEW=OLD, where NEW is one of these"
        ),
    }.items():
        assert two_schemas.error("append", "d.jsonl", *options) == reason
    assert two_schemas.state() == before


def test_a_kept_column_that_no_appended_source_has_is_null_and_said(two_schemas: Shell) -> None:
    two_schemas.write("d.jsonl", jsonl([{"body": "lantern", "key": "d"}]))
    told = two_schemas.run("append", "d.jsonl").stderr
    assert "Warning: kept columns that no source here has, and that are null: url\n" in told
    assert two_schemas.docs("id, url")[-1] == ("d", None)


def test_a_column_that_holds_no_numbers_is_shown_by_a_value(shell: Shell) -> None:
    parquet(shell.folder / "c.parquet", "SELECT 'river' AS text, {'edu': 1} AS quality, '7' AS digits, [1] AS listed")
    keep = [part for name in ("quality", "digits", "listed") for part in ("--keep-column", name)]
    shell.build("c.parquet", *keep)
    shell.write("t.jsonl", TARGETS)
    query = ("query", "t.jsonl", "-n", "1", "--quality-column")
    objects = (
        """column 'quality' holds objects, such as '{"edu":1}', not numbers; keep the number in them in a new index"""
    )
    assert shell.error(*query, "quality") == f"{objects}, as NEW=quality.FIELD (--keep-column)"
    assert "column 'listed' holds text, such as '[1]', not numbers" in shell.error(*query, "listed")
    shell.run(*query, "digits", "-o", "out.parquet")
    assert duckdb.sql("SELECT quality_value FROM 'out.parquet'").fetchall() == [(7.0,)]


def test_targets_are_read_from_nested_columns_too(two_schemas: Shell) -> None:
    two_schemas.write("n.jsonl", jsonl({"body": {"text": text}, "meta": {"task": text[:3]}} for text in TEXTS[:2]))
    asked = ("n.jsonl", "-n", "2", "--text-column", "body.text", "--target-column", "meta.task")
    assert {(row["target"], row["score"]) for row in two_schemas.selected(*asked)} == {("riv", 1.0), ("vio", 1.0)}


def test_a_kept_value_is_the_same_whatever_else_is_selected(shell: Shell) -> None:
    """Three segments hold a column as doubles, integers and text: it is text, and written in one way."""
    shell.write("a.jsonl", jsonl([{"id": "a1", "text": "river", "mark": 1.5}]))
    shell.write("b.jsonl", jsonl([{"id": "b1", "text": "violin", "mark": 7}]))
    shell.write("c.jsonl", jsonl([{"id": "c1", "text": "salmon", "mark": "high"}]))
    shell.build("a.jsonl", "--keep-column", "mark")
    shell.run("append", "b.jsonl")
    shell.run("append", "c.jsonl")
    found = set()
    for condition in ("id = 'b1'", "id IN ('a1', 'b1')", "true"):
        rows = shell.selected("--text", "violin", "-n", "3", "--where", condition)
        found |= {row["mark"] for row in rows if row["id"] == "b1"}
    assert found == {dict(shell.docs("id, mark"))["b1"]}
