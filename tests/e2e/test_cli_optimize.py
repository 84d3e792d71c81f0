"""What a user sees of sketches, graphs and neighbors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Shell

from nagindex.query.export import settings_of


@pytest.fixture
def ready(pool: Shell, words: list[str]) -> Shell:
    """The pool of six documents d0 to d5, sketched, and a file of one example."""
    pool.write("t.jsonl", json.dumps({"text": " ".join(words[5:11])}) + "\n")
    assert "Sketched 6 documents; index.nagindex holds 6 documents" in pool.run("optimize").stderr
    return pool


def test_info_tells_of_sketches(ready: Shell) -> None:
    assert "128 dims in i8" in ready.run("info").stdout
    found = json.loads(ready.run("info", "--json").stdout)["sketches"]
    assert (found["dims"], found["documents"], found["fitted_to"]) == (128, 6, 6)


def test_engines_give_the_same_selection_and_say_who_they_are(ready: Shell) -> None:
    lines = {}
    for mode in ("scan", "sketch"):
        told = ready.run(
            "query", "t.jsonl", "-n", "3", "--mode", mode, "--explain-plan", "-o", f"{mode}.parquet"
        ).stderr
        assert f"engine     {mode}: requested" in told
        assert "expected   codes of" in told
        assert "actual     codes of" in told
        assert settings_of(Path(f"{mode}.parquet"))["plan"]["engine"] == mode
        lines[mode] = ready.run("query", "t.jsonl", "-n", "3", "--mode", mode, "--format", "jsonl").stdout
    assert lines["scan"] == lines["sketch"]
    assert lines["scan"].count("\n") == 3


def test_the_plan_is_in_the_summary_for_machines(ready: Shell) -> None:
    told = ready.run("query", "t.jsonl", "-n", "2", "-o", "o.parquet", "--json", "--explain-plan").stdout
    plan = json.loads(told)["plan"]
    assert plan["engine"] in ("scan", "sketch")
    assert plan["actual"]["seconds"] >= 0
    assert set(plan["predicted_seconds"]) >= {"scan"}


def test_a_refit_says_why(ready: Shell) -> None:
    told = ready.run("optimize", "--dims", "64").stderr
    assert "Fitted 64 dims in i8" in told
    assert "the current one has 128 dims in i8" in told


def test_an_approximate_answer_tells_its_recall(ready: Shell) -> None:
    assert "nagindex optimize --graph" in ready.error("query", "t.jsonl", "-n", "2", "--approx")
    assert "connected 6" in ready.run("optimize", "--graph").stderr
    told = ready.run("query", "t.jsonl", "-n", "2", "--approx", "-o", "a.parquet").stderr
    assert "Warning: approximate: it holds " in told
    assert settings_of(Path("a.parquet"))["plan"]["actual"]["recall"][0]["recall"] == 1.0
    assert "leave --approx out" in ready.error("query", "t.jsonl", "--tokens", "20", "--approx")
    assert "--mode scan was given" in ready.error("query", "t.jsonl", "-n", "2", "--approx", "--mode", "scan", status=2)


def test_neighbors_of_an_id_and_of_a_file(ready: Shell) -> None:
    told = ready.run("neighbors", "d1", "-k", "2").stdout.splitlines()
    assert told[0].split() == ["of", "rank", "id", "score", "tokens", "file", "row"]
    assert [line.split()[:2] for line in told[2:]] == [["d1", "1"], ["d1", "2"]]
    found = json.loads(ready.run("neighbors", "t.jsonl", "d0", "-k", "1", "--json").stdout)
    assert [row["of"] for row in found["neighbors"]] == ["t.jsonl:0", "d0"]
    assert found["neighbors"][1]["id"] != "d0"
    assert "no file, and no id" in ready.error("neighbors", "nowhere")


def test_wrong_usage(ready: Shell) -> None:
    assert "'100' is not one of" in ready.error("optimize", "--dims", "100", status=2)
    assert "no index here" in ready.error("optimize", "-i", "elsewhere")
    reason = ready.error("query", "t.jsonl", "-n", "2", "--mode", "sketch", "--score", "max")
    assert "sketches bound mean overlaps" in reason


def test_sketch_mode_without_sketches_names_the_remedy(pool: Shell, words: list[str]) -> None:
    pool.write("t.jsonl", json.dumps({"text": " ".join(words[5:11])}) + "\n")
    reason = pool.error("query", "t.jsonl", "-n", "2", "--mode", "sketch")
    assert "there are no sketches; nagindex optimize makes them" in reason


def test_large_builds_end_with_sketches_unless_told_otherwise(
    pool: Shell, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr("nagindex.builder.FROM_DOCUMENTS", 2)
    pool.write("c.jsonl", "".join(json.dumps({"id": str(i), "text": words[i]}) + "\n" for i in range(4)))
    pool.build("c.jsonl", "-i", "plain.nagindex", "--no-optimize")
    assert "none (nagindex optimize makes them)" in pool.run("info", "-i", "plain.nagindex").stdout
    pool.build("c.jsonl", "-i", "quick.nagindex")
    assert "all documents" in pool.run("info", "-i", "quick.nagindex").stdout
    pool.write("d.jsonl", json.dumps({"id": "later", "text": words[9]}) + "\n")
    pool.run("append", "d.jsonl", "-i", "quick.nagindex")
    found = json.loads(pool.run("info", "--json", "-i", "quick.nagindex").stdout)
    assert (found["documents"], found["sketches"]["documents"]) == (5, 5)
