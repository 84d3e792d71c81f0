"""What a user sees of the options of a query: several targets, files of ids and scores, replayed queries, messages."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from parquet_files import rows
from shell import Shell, jsonl


def refused(shell: Shell, message: str, *asked: object) -> str:
    """Return the one line that a query gets: of wrong usage (status 2), or of what was found wrong (1)."""
    usage = any(
        mark in message
        for mark in ("--", "name a file that ends in", "no option", "whole number", "NAME=NUMBER", "COLUMN=SHARE")
    )
    return shell.error("query", *asked, status=2 if usage else 1)


def test_each_file_is_a_target_and_so_is_each_value_of_a_column(ready: Shell) -> None:
    told = ready.run("query", "odd.jsonl", "even.jsonl", "-n", "4", "-o", "files.parquet").stderr
    assert "(odd 2, even 2)" in told
    ready.run("query", "both.jsonl", "--target-column", "task", "-n", "4", "-o", "column.parquet")
    assert rows("files.parquet") == rows("column.parquet")
    assert [r["rank"] for r in rows("files.parquet")] == [1, 2, 1, 2]
    assert [r["target"] for r in rows("files.parquet")] == ["odd", "odd", "even", "even"]


def test_targets_can_be_named(ready: Shell) -> None:
    ready.run(
        "query", "one=odd.jsonl", "two=even.jsonl", "-n", "4", "--target-weight", "one=0.25", "-o", "named.parquet"
    )
    assert [r["target"] for r in rows("named.parquet")] == ["one", "two", "two", "two"]
    ready.run("query", "--config", "named.parquet", "-o", "again.parquet")
    assert rows("again.parquet") == rows("named.parquet")
    assert "name all targets" in ready.error("query", "one=odd.jsonl", "even.jsonl", "-n", "4", status=2)


def test_saved_nags_keep_the_targets_apart(ready: Shell) -> None:
    assert (
        "4 texts of 2 targets"
        in ready.run("encode", "both.jsonl", "--target-column", "task", "-o", "t.nags.parquet").stderr
    )
    ready.run("query", "t.nags.parquet", "-n", "4", "-o", "saved.parquet")
    ready.run("query", "odd.jsonl", "even.jsonl", "-n", "4", "-o", "texts.parquet")
    assert rows("saved.parquet") == rows("texts.parquet")


def test_one_selection_excludes_the_next(ready: Shell) -> None:
    ready.run("query", "odd.jsonl", "-n", "2", "-o", "first.parquet")
    ready.run("query", "odd.jsonl", "-n", "2", "--exclude", "first.parquet", "-o", "second.parquet")
    ready.run("query", "odd.jsonl", "-n", "4", "-o", "all.parquet")
    found = [[r["id"] for r in rows(f"{name}.parquet")] for name in ("first", "second", "all")]
    assert found[0] + found[1] == found[2]
    ready.write("ids.txt", "d1\nd3\nunknown\n")
    told = ready.run("query", "odd.jsonl", "-n", "6", "--exclude", "ids.txt", "-o", "rest.parquet").stderr
    assert sorted(r["id"] for r in rows("rest.parquet")) == ["d0", "d2", "d4", "d5"]
    assert "excluded ids that are not in the index: 1 of 3" in told
    assert "6 documents asked for, and the candidates have 4" in told


@pytest.mark.parametrize("name", ["scores.jsonl", "scores.csv", "scores.parquet"])
def test_scores_of_a_file_rank_too(ready: Shell, name: str) -> None:
    values = {f"d{i}": float(i) for i in range(5)}
    if name.endswith("jsonl"):
        ready.write(name, jsonl({"id": i, "value": v} for i, v in values.items()))
    elif name.endswith("csv"):
        ready.write(name, "id,value\n" + "".join(f"{i},{v}\n" for i, v in values.items()))
    else:
        listed = ", ".join(f"('{i}', {v})" for i, v in values.items())
        with duckdb.connect() as connection:
            connection.execute(f"COPY (SELECT * FROM (VALUES {listed}) t(id, value)) TO '{name}' (FORMAT parquet)")
    told = ready.run(
        "query", "odd.jsonl", "-n", "9", "--scores", name, "--quality-weight", "1000", "-o", "q.parquet"
    ).stderr
    assert [r["id"] for r in rows("q.parquet")] == ["d4", "d3", "d2", "d1", "d0"]
    assert [r["quality_value"] for r in rows("q.parquet")] == [4, 3, 2, 1, 0]
    assert f"documents without a value in {name}, which are left out: 1" in told


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_a_smaller_k_selects_as_an_index_built_with_it_does(ready: Shell, top_k: int) -> None:
    ready.build("pool", "-i", "narrow.nagindex", "--top-k", top_k, "--keep-column", "label")
    narrow = ready.selected("odd.jsonl", "-n", "6", "-i", "narrow.nagindex")
    assert ready.selected("odd.jsonl", "-n", "6", "--top-k", top_k) == narrow
    assert len({row["score"] for row in narrow}) > 1


def test_saved_nags_of_one_target_are_called_as_the_query_says(ready: Shell) -> None:
    """Two files that were saved under one name stay two targets."""
    for name in ("odd", "even"):
        ready.write(f"{name}/examples.jsonl", Path(f"{name}.jsonl").read_text())
        ready.run("encode", f"{name}/examples.jsonl", "-o", f"{name}.nags.parquet")
    ready.run("query", "a=odd.nags.parquet", "b=even.nags.parquet", "-n", "4", "-o", "named.parquet")
    assert [r["target"] for r in rows("named.parquet")] == ["a", "a", "b", "b"]
    ready.run("query", "odd.nags.parquet", "even.nags.parquet", "-n", "4", "-o", "plain.parquet")
    assert [r["target"] for r in rows("plain.parquet")] == ["examples", "examples", "even.nags", "even.nags"]


def test_a_config_is_not_overridden_by_the_environment(ready: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.run("query", "odd.jsonl", "-n", "2", "-o", "a.parquet")
    monkeypatch.setenv("NAGINDEX", "nowhere.nagindex")
    ready.run("query", "--config", "a.parquet", "-o", "b.parquet")
    assert rows("a.parquet") == rows("b.parquet")
    assert "nowhere.nagindex" in ready.error("query", "odd.jsonl", "-n", "2", "-o", "b.parquet")


def test_a_selection_is_made_again_from_any_folder(ready: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.write("ids.txt", "\ufeffd1\r\n")
    ready.run("query", "odd.jsonl", "-n", "2", "--exclude", "ids.txt", "-o", "a.parquet")
    assert "d1" not in [r["id"] for r in rows("a.parquet")]
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    ready.run("query", "--config", "../a.parquet", "-o", "b.parquet")
    assert rows("../a.parquet") == rows("b.parquet")


def test_decontaminate_takes_several_files_up_to_the_next_option(ready: Shell, words: list[str]) -> None:
    ready.write("e1.jsonl", jsonl([{"text": " ".join(words[5:11])}, {"text": None}]))
    ready.write("e2.jsonl", jsonl([{"text": " ".join(words[15:22])}]))
    told = ready.run(
        "query", "odd.jsonl", "--decontaminate", "e1.jsonl", "e2.jsonl", "--ngram", "6", "-n", "6", "-o", "a.parquet"
    ).stderr
    assert sorted(r["id"] for r in rows("a.parquet")) == ["d0", "d2", "d4", "d5"]
    assert "not an evaluation text" in told
    assert "row 1: null text" in told
    assert "Missing argument 'TARGETS...'" in ready.error(
        "query", "--decontaminate", "e1.jsonl", "odd.jsonl", "-n", "1", status=2
    )


def test_what_meets_the_budget_exactly_is_not_called_too_little(ready: Shell) -> None:
    for asked in (("--dedup", "1"), ("--cap", "label=1"), ("--mix", "union")):
        assert (
            "less than was asked for"
            not in ready.run("query", "odd.jsonl", "-n", "6", *asked, "-o", "a.parquet").stderr
        )
    told = ready.run("query", "odd.jsonl", "-n", "6", "--cap", "label=0.34", "-o", "a.parquet").stderr
    assert "the constraints leave 4 documents, less than was asked for" in told


def test_a_folder_with_an_equals_sign_is_no_name(ready: Shell) -> None:
    ready.write("year=2024/a.jsonl", Path("odd.jsonl").read_text())
    assert ready.selected("year=2024/*.jsonl", "-n", "2") == ready.selected("odd.jsonl", "-n", "2")


def test_a_selection_can_be_made_again_from_itself(ready: Shell) -> None:
    asked = (
        "--mix",
        "union",
        "--target-weight",
        "odd=0.75",
        "--where",
        "label = 'odd'",
        "--layers",
        "last",
        "--top-k",
        "2",
    )
    ready.run("query", "odd.jsonl", "even.jsonl", "-n", "4", *asked, "--score", "top:2", "-o", "a.parquet")
    ready.run("query", "--config", "a.parquet", "-o", "b.parquet")
    assert Path("a.parquet").read_bytes() == Path("b.parquet").read_bytes()


def test_a_query_is_written_once_and_overridden_where_it_must_be(ready: Shell) -> None:
    ready.write("q.yaml", "targets: [odd.jsonl, even.jsonl]\ntokens: 1k\ntarget_weight: {odd: 0.75}\nlayers: [0, 1]\n")
    ready.run("query", "--config", "q.yaml", "-n", "4", "-o", "a.parquet")
    ready.run(
        "query",
        "odd.jsonl",
        "even.jsonl",
        "-n",
        "4",
        "--target-weight",
        "odd=0.75",
        "--layers",
        "0,1",
        "-o",
        "b.parquet",
    )
    assert rows("a.parquet") == rows("b.parquet")


BAD_CONFIGS = {
    "weights: log-ratio\ncontrast: 0.5": "weights log-ratio and contrast 0.5 are given",
    "layer: last": "no option 'layer'; there are approx, background, cap, ",
    "[1, 2]": "not a query",
    "n: [": "not YAML",
    "tokens: many\nn: null": "'many' is not a whole number",
    "target-weight: {odd: much}": "write NAME=NUMBER, such as hellaswag=0.4",
    "cap: {label: much}": "write COLUMN=SHARE, such as domain=0.05",
    "config: b.yaml": "no option 'config'",
    "cap: null\nscore: 'top:\u00b2'": "write mean, max, or top:R",
}


@pytest.mark.parametrize(("content", "message"), BAD_CONFIGS.items(), ids=BAD_CONFIGS)
def test_a_mistyped_setting_is_never_ignored(ready: Shell, content: str, message: str) -> None:
    ready.write("q.yaml", content)
    assert message in refused(ready, message, "odd.jsonl", "--config", "q.yaml", "-n", "1", "-o", "a.parquet")
    assert not Path("a.parquet").exists()


def test_a_file_that_is_no_selection_cannot_be_replayed(ready: Shell) -> None:
    with duckdb.connect() as connection:
        connection.execute("COPY (SELECT 1 AS a) TO 'x.parquet' (FORMAT parquet)")
    assert "x.parquet: not a selection of nagindex" in ready.error("query", "--config", "x.parquet")


def test_decontamination_lists_what_it_drops_and_fills_up(ready: Shell, words: list[str]) -> None:
    ready.write("eval.jsonl", jsonl([{"id": "e1", "text": " ".join(words[5:11])}, {"id": "e2", "text": "short"}]))
    run = (
        "query",
        "odd.jsonl",
        "-n",
        "3",
        "--decontaminate",
        "eval.jsonl",
        "--ngram",
        "6",
        "--dropped",
        "dropped.jsonl",
    )
    told = ready.run(*run, "-o", "clean.parquet").stderr
    assert "d1" not in [r["id"] for r in rows("clean.parquet")]
    assert len(rows("clean.parquet")) == 3
    listed = [json.loads(line) for line in Path("dropped.jsonl").read_text().splitlines()]
    assert [(row["kind"], row["id"], row["evaluation"]["id"]) for row in listed] == [
        ("document", "d1", "e1"),
        ("example", "odd.jsonl:0", "e1"),
    ]
    assert listed[0]["ngram"] == " ".join(words[5:11])
    assert "left out, for sharing a 6-gram with evaluation texts: 1" in told
    assert "target odd: a 6-gram of evaluation texts is in 1 of 2 examples" in told
    assert "evaluation texts of fewer than 6 words, against which nothing is checked: 1 of 2" in told


REFUSED = {
    "no column 'nope' in the index; its columns are id, file, row, tokens, label": ("--quality-column", "nope"),
    "column 'label' holds text, such as 'even', not numbers; name another": (
        "--quality-column",
        "label",
    ),
    "the columns of docs are id, file, row, tokens, label": ("--where", "nope = 1"),
    "cap nope: no such column in the index": ("--cap", "nope=0.5"),
    "layers '2': the index has layers 0 to 1": ("--layers", "2"),
    "the index keeps the": ("--top-k", "64"),
    "target-weight nope: no such target; the targets are odd": ("--target-weight", "nope=0.5"),
    "nope.jsonl: no such file or folder": ("--scores", "nope.jsonl"),
    "odd.jsonl: no column id or docid or doc_id; its columns are text, task": ("--exclude", "odd.jsonl"),
    "nameless.jsonl: a row has a value and no id": ("--scores", "nameless.jsonl"),
    "latin.txt, row 1: not UTF-8": ("--exclude", "latin.txt"),
    "odd.jsonl: no column 'nope' (": (
        "--decontaminate",
        "odd.jsonl",
        "--evaluation-column",
        "nope",
    ),
    "x.html: no known suffix; name a file that ends in .parquet, .jsonl, .csv or .txt (the last three also with .gz or .zst), "
    "or give --format": ("-o", "x.html"),
    "x.parquet.gz: Parquet is compressed inside; name a file that ends in .parquet": ("-o", "x.parquet.gz"),
    "--score-curve prints to stdout and selects nothing; leave -o out, or redirect it": (
        "--score-curve",
        "-o",
        "x.jsonl",
    ),
    "twice.jsonl: the id 'd1' has two values": ("--scores", "twice.jsonl"),
    "word.jsonl: the value 'good' of the id 'd1' is no number": ("--scores", "word.jsonl"),
    "the value of document 'd1' is not a finite number": ("--scores", "nan.jsonl"),
    "no document is left to select from": ("--where", "tokens > 1000"),
    "empty.jsonl: no evaluation text": ("--decontaminate", "empty.jsonl"),
    "no document can be selected: the constraints leave none": ("--cap", "label=0.1"),
    "--dropped lists what --decontaminate finds": ("--dropped", "x.jsonl"),
    "--cap: a name is given twice": ("--cap", "label=0.5", "--cap", "label=0.6"),
    "weights 'idf': write frequency, log-ratio, log-ratio:M": ("--weights", "idf"),
    "weights log-odds:40 go with score mean": ("--weights", "log-odds", "--score", "max"),
    "--contrast A is --weights contrast:A; give one of the two": ("--weights", "frequency", "--contrast", "0.5"),
    "background candidates: weights frequency are not compared with any": ("--background", "candidates"),
}


@pytest.mark.parametrize(("message", "asked"), REFUSED.items(), ids=REFUSED)
def test_every_misuse_has_its_line(ready: Shell, message: str, asked: tuple[str, ...]) -> None:
    ready.write("empty.jsonl", "")
    ready.write("nameless.jsonl", jsonl([{"id": None, "value": 1}, {"id": "d1", "value": 1}]))
    ready.write("latin.txt", b"d1\ncaf\xe9\n")
    ready.write("twice.jsonl", jsonl([{"id": "d1", "value": 1}, {"id": "d1", "value": 2}]))
    ready.write("word.jsonl", jsonl([{"id": "d1", "value": "good"}]))
    ready.write("nan.jsonl", '{"id": "d1", "value": NaN}\n{"id": "d2", "value": 1}\n')
    assert message in refused(ready, message, "odd.jsonl", "-n", "2", "-o", "a.parquet", *asked)
    assert not Path("a.parquet").exists()
