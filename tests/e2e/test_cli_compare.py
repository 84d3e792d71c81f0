"""`nagindex compare`: its tables, its JSON, its warning."""

from __future__ import annotations

import json

from shell import Shell

import nagindex


def test_tables_and_json(ready: Shell) -> None:
    ready.run("query", "odd.jsonl", "-n", "3", "-o", "a.parquet")
    ready.run("query", "even.jsonl", "-n", "4", "-o", "b.csv")
    found = json.loads(ready.run("compare", "a.parquet", "b.csv", "--json").stdout)
    assert found == nagindex.open("index.nagindex").compare("a.parquet", "b.csv").to_json()
    shown = ready.run("compare", "a.parquet", "b.csv", "--column", "label").stdout
    sizes, label, examples = shown.split("\n\n")
    assert sizes.startswith("A  3 documents, ")
    assert f"{found['documents']['both']} document" in sizes.splitlines()[2]
    assert label.splitlines()[0].split() == ["label", "pool", "A", "B", "only", "A", "only", "B"]
    assert {row.split()[0]: row.split()[1] for row in label.splitlines()[2:]} == {"odd": "50.0%", "even": "50.0%"}
    assert [row.split("  ")[0] for row in examples.splitlines()[2:]] == ["in both", "only in A", "only in B"]


def test_the_index_is_the_one_that_a_selection_names(ready: Shell) -> None:
    ready.run("query", "odd.jsonl", "-n", "3", "-o", "a.parquet")
    ready.run("query", "even.jsonl", "-n", "4", "-o", "b.csv")
    here = ready.run("compare", "a.parquet", "b.csv", "--json").stdout
    (ready.folder / "index.nagindex").rename(ready.folder / "moved.nagindex")
    ready.run("query", "odd.jsonl", "-n", "3", "-o", "a.parquet", "-i", "moved.nagindex")
    assert json.loads(ready.run("compare", "b.csv", "a.parquet", "--json").stdout)["documents"]["a"] == 4
    assert ready.run("compare", "a.parquet", "b.csv", "--json").stdout == here
    assert "index.nagindex: no index here" in ready.error("compare", "b.csv", "b.csv")


def test_ids_that_are_not_in_the_index_are_told(ready: Shell) -> None:
    ready.write("ids.txt", "d1\nd99\n")
    done = ready.run("compare", "ids.txt", "ids.txt")
    assert "1 id in no document of index.nagindex" in done.stderr
    assert "1 document in both: Jaccard index 1.000" in done.stdout
    assert "none.parquet: no such file" in ready.error("compare", "none.parquet", "ids.txt")
