"""`nagindex show`: what it prints and for whom, its JSON, and errors as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nagindex.cli.tables import wrapped
from shell import Shell, jsonl

import nagindex


@pytest.fixture
def chosen(ready: Shell) -> Shell:
    """Selections of one and of two targets in the formats that have ranks."""
    for name in ("a.parquet", "a.jsonl", "a.csv"):
        ready.run("query", "odd.jsonl", "-n", "3", "-o", name)
    ready.run("query", "odd.jsonl", "even.jsonl", "-n", "4", "-o", "two.parquet")
    return ready


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.csv"])
def test_ranks_scores_labels_and_texts(chosen: Shell, name: str) -> None:
    rows = chosen.selected("odd.jsonl", "-n", "3", "--with-text")
    assert json.loads(chosen.run("show", name, "--json").stdout) == {"selection": name, "of": 3, "documents": rows}
    entries = chosen.run("show", name).stdout.rstrip().split("\n\n")
    assert [entry.splitlines()[0] for entry in entries] == [f"{r['rank']}  {r['score']:.4f}  {r['id']}" for r in rows]
    for entry, row in zip(entries, rows, strict=True):
        labels, *text = (line.strip() for line in entry.splitlines()[1:])
        assert labels == f"tokens {row['tokens']}, label {row['label']}"
        assert " ".join(text) == row["text"]
    assert len(chosen.run("show", name, "--rank", "2").stdout.split("\n\n")) == 1
    assert "label" not in chosen.run("show", name, "--lines", "0").stdout.splitlines()[0]


def test_texts_in_the_file_need_no_index(chosen: Shell) -> None:
    shown = chosen.run("show", "a.parquet").stdout
    chosen.run("query", "odd.jsonl", "-n", "3", "--with-text", "-o", "t.csv")
    Path("index.nagindex").rename("elsewhere")
    assert chosen.run("show", "t.csv").stdout == shown
    done = chosen.run("show", "a.parquet")
    assert "shown without texts: index.nagindex" in done.stderr
    assert chosen.run("show", "a.parquet", "-i", "elsewhere").stdout == shown


def test_documents_that_are_gone_are_shown_without_text(chosen: Shell) -> None:
    [first, *_] = chosen.selected("odd.jsonl", "-n", "3")
    nagindex.open("index.nagindex").delete(ids=[first["id"]])
    done = chosen.run("show", "a.parquet", "--json")
    assert [("text" in row) for row in json.loads(done.stdout)["documents"]] == [False, True, True]
    assert f"1 document that is not in index.nagindex, such as {first['id']}" in done.stderr.replace(
        str(chosen.folder) + "/", ""
    )


def test_around_the_cut_stand_the_chosen_and_the_next(chosen: Shell) -> None:
    ranking = [row["id"] for row in chosen.selected("odd.jsonl", "-n", "6")]
    rows = json.loads(chosen.run("show", "a.parquet", "--around-cut", "2", "--json").stdout)["documents"]
    assert [(row["id"], row["rank"], row["chosen"]) for row in rows] == [
        (ranking[n], n + 1, n < 3) for n in (1, 2, 3, 4)
    ]
    shown = chosen.run("show", "two.parquet", "--around-cut", "1").stdout
    headings = [line for line in shown.splitlines() if line.endswith("chosen")]
    assert headings == ["odd: chosen", "odd: not chosen", "even: chosen", "even: not chosen"]
    assert "no record of the query" in chosen.error("show", "a.csv", "--around-cut")
    chosen.write("odd.jsonl", jsonl([{"text": "another text"}]))
    assert "odd.jsonl has other content" in chosen.run("show", "a.parquet", "--around-cut").stderr


def test_what_is_wrong_is_named(chosen: Shell) -> None:
    assert chosen.error("show", "none.parquet").startswith("none.parquet: no such file")
    assert "no target 'x'; there are odd, even" in chosen.error("show", "two.parquet", "--target", "x")
    assert "'5-2': write a rank" in chosen.error("show", "a.csv", "--rank", "5-2", status=2)
    assert "give one of them" in chosen.error("show", "a.csv", "--rank", "1", "--random", "1", status=2)
    assert "--seed belongs to --random" in chosen.error("show", "a.csv", "--seed", "1", status=2)
    assert "--model belongs to --around-cut" in chosen.error("show", "a.csv", "--model", "m", status=2)
    assert "leave one of the two out" in chosen.error("show", "a.csv", "--full", "--lines", "2", status=2)
    assert "No document of these ranks" in chosen.run("show", "a.csv", "--rank", "7-9").stderr


def test_texts_wrap_to_the_width_whatever_they_hold() -> None:
    assert wrapped("a bb ccc dddd", 4) == ["a bb", "ccc", "dddd"]
    assert wrapped("\x1b[31mred\x07\u202e", 10, 1) == ["[31mred"]
    assert wrapped("汉" * 9, 6, 9) == ["汉汉汉"] * 3
    assert wrapped("word " * 9, 10, 2) == ["word word", "word wo..."]
    assert wrapped("x" * 10**6, 10, 2) == ["x" * 10, "x" * 7 + "..."]
    assert wrapped("one\n\ntwo", 10) == ["one", "", "two"]
    assert wrapped("", 10, 2) == wrapped(" \n", 10, 2) == []
