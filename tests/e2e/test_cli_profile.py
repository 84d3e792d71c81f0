"""`nagindex profile`: its tables, its JSON, and its file as targets."""

from __future__ import annotations

import json
from pathlib import Path

from shell import Shell

import nagindex


def test_a_profile_is_shown_saved_and_queried_with(ready: Shell) -> None:
    done = ready.run("profile", "odd.jsonl", "even.jsonl", "-o", "p.json", "--neurons", "2")
    own = nagindex.open("index.nagindex").profile([Path("odd.jsonl"), Path("even.jsonl")])
    told = {"profiles": [one.to_json(neurons=2) for one in own]}
    assert json.loads(ready.run("profile", "p.json", "--neurons", "2", "--json").stdout) == told
    assert json.loads(Path("p.json").read_text())["profiles"] == told["profiles"]
    first, rows, second, _ = done.stdout.split("\n\n")
    assert (first, second) == ("odd: 2 examples", "even: 2 examples")
    assert rows.splitlines()[0].split() == ["layer", "neuron", "of", "examples", "of", "pool", "log-odds:40", "z"]
    assert [row.split()[1] for row in rows.splitlines()[2:]] == [
        str(r["neuron"]) for r in told["profiles"][0]["neurons"]
    ]
    assert ready.selected("p.json", "-n", "4") == ready.selected("odd.jsonl", "even.jsonl", "-n", "4")
    assert ready.run("explain", "d1", "--targets", "p.json").stdout.startswith("d1, for odd: score")


def test_what_is_wrong_is_named(ready: Shell) -> None:
    assert "ends in .json" in ready.error("profile", "odd.jsonl", "-o", "p.parquet", status=2)
    assert "none.jsonl" in ready.error("profile", "none.jsonl")
    assert "weights 'x'" in ready.error("profile", "odd.jsonl", "--weights", "x")
    ready.run("profile", "odd.jsonl", "-o", "p.json")
    Path("p.json").write_text(Path("p.json").read_text()[:-9])
    assert "p.json: not NAGs saved by nagindex encode" in ready.error("query", "p.json", "-n", "1")
