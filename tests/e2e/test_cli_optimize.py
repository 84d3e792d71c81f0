"""What a user sees of graphs, plans and neighbors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Shell

from nagindex.query.export import settings_of


@pytest.fixture
def ready(pool: Shell, words: list[str]) -> Shell:
    """The pool of six documents d0 to d5, with a graph, and a file of one example."""
    pool.write("t.jsonl", json.dumps({"text": " ".join(words[5:11])}) + "\n")
    assert "Connected 6 documents; index.nagindex holds 6 documents" in pool.run("optimize").stderr
    return pool


def test_info_tells_of_graphs(ready: Shell) -> None:
    assert "graphs      all documents, by directions that keep 100.0% of the variance" in ready.run("info").stdout
    found = json.loads(ready.run("info", "--json").stdout)["graphs"]
    assert (found["documents"], found["fitted_to"], found["fitted_at"]) == (6, 6, 6)


def test_engines_say_who_they_are_and_what_they_read(ready: Shell) -> None:
    lines = {}
    for engine, flags in (("scan", ()), ("graph", ("--approx",))):
        told = ready.run("query", "t.jsonl", "-n", "3", *flags, "--explain-plan", "-o", f"{engine}.parquet").stderr
        assert f"engine  {engine}, " in told
        assert "read    codes of" in told
        assert settings_of(Path(f"{engine}.parquet"))["plan"]["engine"] == engine
        lines[engine] = ready.run("query", "t.jsonl", "-n", "3", *flags, "--format", "jsonl").stdout
    assert lines["scan"] == lines["graph"]
    assert lines["scan"].count("\n") == 3


def test_the_plan_is_in_the_summary_for_machines(ready: Shell) -> None:
    told = ready.run("query", "t.jsonl", "-n", "2", "-o", "o.parquet", "--json", "--explain-plan").stdout
    plan = json.loads(told)["plan"]
    assert plan["engine"] == "scan"
    assert plan["actual"]["documents"] == 6
    assert plan["actual"]["seconds"] >= 0


def test_a_refit_says_why(ready: Shell) -> None:
    told = ready.run("optimize", "--refit").stderr
    assert "which keep 100.0% of the variance of 6 documents (requested)" in told
    assert "Connected 6 documents" in told
    assert "Connected 0 documents" in ready.run("optimize").stderr


def test_an_approximate_answer_tells_its_recall(pool: Shell) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n')
    assert "nagindex optimize" in pool.error("query", "t.jsonl", "-n", "2", "--approx")
    pool.run("optimize")
    told = pool.run("query", "t.jsonl", "-n", "2", "--approx", "-o", "a.parquet", "--explain-plan").stderr
    assert "Warning: approximate: it holds about 100% of the exact answer" in told
    assert "4 of them to estimate the recall" in told
    assert settings_of(Path("a.parquet"))["plan"]["actual"]["recall"][0]["recall"] == 1.0
    assert "leave --approx out" in pool.error("query", "t.jsonl", "--tokens", "20", "--approx")


def test_an_approximate_selection_is_repeated_as_one_and_so_are_records_with_the_former_option(ready: Shell) -> None:
    ready.run("query", "t.jsonl", "-n", "2", "--approx", "-o", "a.parquet")
    ready.run("query", "--config", "a.parquet", "-o", "b.parquet")
    for mode, engine in (("graph", "graph"), ("auto", "scan"), ("scan", "scan"), ("sketch", "scan")):
        ready.write("c.yaml", f"targets: t.jsonl\nn: 2\nmode: {mode}\n")
        ready.run("query", "--config", "c.yaml", "-o", f"{mode}.parquet")
        assert settings_of(Path(f"{mode}.parquet"))["plan"]["engine"] == engine
    assert settings_of(Path("b.parquet"))["plan"]["engine"] == "graph"
    ready.write("c.yaml", "targets: t.jsonl\nn: 2\nmode: fast\n")
    assert "no option 'mode'" in ready.error("query", "--config", "c.yaml", "-o", "c.parquet", status=2)


def test_neighbors_of_an_id_and_of_a_file(ready: Shell) -> None:
    told = ready.run("neighbors", "d1", "-k", "2").stdout.splitlines()
    assert told[0].split() == ["of", "rank", "id", "score", "tokens", "file", "row"]
    assert [line.split()[:2] for line in told[2:]] == [["d1", "1"], ["d1", "2"]]
    found = json.loads(ready.run("neighbors", "t.jsonl", "d0", "-k", "1", "--json").stdout)
    assert [row["of"] for row in found["neighbors"]] == ["t.jsonl:0", "d0"]
    assert found["neighbors"][1]["id"] != "d0"
    assert "no file, and no id" in ready.error("neighbors", "nowhere")


def test_wrong_usage(ready: Shell) -> None:
    assert "no index here" in ready.error("optimize", "-i", "elsewhere")
