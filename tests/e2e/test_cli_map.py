"""`nagindex map`: the files it writes, the sweep it prints, and errors as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from shell import Shell, jsonl

import nagindex

pytest.importorskip("sklearn", reason="the extra [map] is not installed")
pytest.importorskip("matplotlib", reason="the extra [map] is not installed")


@pytest.fixture
def many(ready: Shell, words: list[str]) -> Shell:
    """The pool, and two targets of eight examples each."""
    for name, first in (("few", 0), ("last", 20)):
        texts = [{"text": " ".join(words[first + n : first + n + 6])} for n in range(8)]
        ready.write(f"{name}.jsonl", jsonl(texts))
    return ready


def test_files_hold_targets_and_pool(many: Shell) -> None:
    done = many.run(
        "map", "few.jsonl", "last.jsonl", "--label", "label", "-o", "m.parquet", "-o", "m.svg", "-o", "m.png"
    )
    assert "Drew 22 points of 4 labels to m.parquet, m.svg, m.png" in done.stderr
    rows = duckdb.read_parquet("m.parquet").fetchall()
    assert [row[2] for row in rows[:16]] == ["few"] * 8 + ["last"] * 8
    assert {(row[3], row[2]) for row in rows[16:]} == {(f"d{n}", "odd" if n % 2 else "even") for n in range(6)}
    assert all(row[4] for row in rows)
    own = nagindex.open("index.nagindex").map((Path("few.jsonl"), Path("last.jsonl")), label="label")
    assert [row[:2] for row in rows] == [tuple(place) for place in own.places.tolist()]
    found = json.loads(
        many.run(
            "map", "few.jsonl", "--targets-only", "--text", "river", "--text", "proof", "-o", "t.svg", "--json"
        ).stdout
    )
    assert (found["points"], found["labels"]) == (10, {"few": 8, "text": 2})


def test_a_sweep_is_the_library_s(many: Shell) -> None:
    asked = (
        "map",
        "few.jsonl",
        "last.jsonl",
        "--sweep",
        "--top-k",
        "10",
        "--top-k",
        "3",
        "--layers",
        "all",
        "--layers",
        "last",
    )
    found = json.loads(many.run(*asked, "--json").stdout)
    assert (found["points"], len(found["rows"])) == (16, 4)
    shown = many.run(*asked).stdout.splitlines()
    assert shown[0].split() == ["layers", "K", "purity", "NMI", "ARI"]
    assert [line.split()[:2] for line in shown[2:]] == [["all", "10"], ["all", "3"], ["last", "10"], ["last", "3"]]


def test_mistakes_are_named(many: Shell) -> None:
    assert "name a .svg, .png or .parquet file, or give --sweep" in many.error("map", "few.jsonl", status=2)
    assert "--sweep draws no map" in many.error("map", "few.jsonl", "--sweep", "-o", "m.svg", status=2)
    assert "give --sweep to compare" in many.error("map", "-o", "m.svg", "--top-k", "3", "--top-k", "2", status=2)
    assert "--targets-only leaves out the pool" in many.error(
        "map", "--targets-only", "--pool", "9", "-o", "m.svg", status=2
    )
    assert "m.gif: maps are written as .svg, .png, .parquet" in many.error("map", "few.jsonl", "-o", "m.gif")
    assert "no such column in index.nagindex; it keeps label" in many.error("map", "--label", "x", "-o", "m.svg")
    assert "6 points: a map needs 10; give more targets, or a larger --pool" in many.error("map", "-o", "m.svg")
    assert "none.jsonl" in many.error("map", "none.jsonl", "-o", "m.svg")
    assert "its folder does not exist" in many.error("map", "few.jsonl", "-o", "no/m.svg")
    assert "agreement needs two or more" in many.error("map", "few.jsonl", "--sweep")
    assert "the index has layers 0 to 1" in many.error("map", "few.jsonl", "--layers", "9", "-o", "m.svg")
    assert "--perplexity 0: a number above 1" in many.error("map", "few.jsonl", "--perplexity", "0", "-o", "m.svg")
