"""`nagindex curve`: its plot, its tables, its image, its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Shell

import nagindex


def test_plot_scores_and_shares(ready: Shell) -> None:
    done = ready.run("curve", "odd.jsonl", "even.jsonl", "-o", "c.svg")
    plot, scores, *shares = done.stdout.split("\n\n")
    found = nagindex.open("index.nagindex").score_curve(
        [Path("odd.jsonl"), Path("even.jsonl")], columns=None, fine=True
    )
    everything = [score for own in found.scores.values() for score in own]
    assert plot.splitlines()[0].startswith(f" {max(everything):.4f} |")
    assert plot.splitlines()[11].startswith(f" {min(everything):.4f} |")
    assert plot.splitlines()[-1] == "* odd o even"
    assert max(map(len, plot.splitlines())) <= 80
    assert [line.split()[0] for line in scores.splitlines()[2:]] == ["1", "2", "5", "6"]
    assert [own.splitlines()[0] for own in shares] == ["odd", "even"]
    assert shares[0].splitlines()[1].split() == ["label", "best", "1", "6", "pool"]
    assert {row.split()[-1] for own in shares for row in own.strip().splitlines()[3:]} == {"50.0%"}
    assert Path("c.svg").read_text() == found.to_svg()
    assert json.loads(ready.run("curve", "odd.jsonl", "even.jsonl", "--json").stdout) == found.to_json()


def test_options_are_those_of_a_query(ready: Shell) -> None:
    asked = ("odd.jsonl", "--weights", "log-ratio", "--top-k", "1", "--where", "label = 'odd'")
    found = json.loads(ready.run("curve", *asked, "--column", "file", "--json").stdout)
    best = ready.selected(*asked, "-n", "3")
    assert found["documents"] == 3
    assert found["scores"]["odd"] == pytest.approx([best[rank - 1]["score"] for rank in found["ranks"]], abs=1e-5)
    assert set(found["columns"]) == {"file"}


def test_what_is_wrong_is_named(ready: Shell) -> None:
    assert "no column 'nix'" in ready.error("curve", "odd.jsonl", "--column", "nix")
    assert "ends in .svg" in ready.error("curve", "odd.jsonl", "-o", "c.png", status=2)
    assert "none.jsonl" in ready.error("curve", "none.jsonl", "-o", "c.svg")
    assert not Path("c.svg").exists()
    assert "Missing argument" in ready.error("curve", status=2)
    assert "lies inside the index" in ready.error("curve", "odd.jsonl", "-o", "index.nagindex/c.svg")
