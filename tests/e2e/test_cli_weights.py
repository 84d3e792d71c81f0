"""What a user sees of the weights of a query: their spellings, records, scores and curves."""

import json

import pytest
from parquet_files import rows
from shell import Shell

import nagindex


def test_weights_are_recorded_in_one_spelling_and_replayed(ready: Shell) -> None:
    """`--contrast` is an alias; a record says `weights`; either on the command line overrides either of a file."""
    asked = ("query", "odd.jsonl", "-n", "4", "-o")
    spellings = {
        "log-ratio": ("--weights", "log-ratio"),
        "alias": ("--contrast", "0.5"),
        "contrast": ("--weights", "contrast:0.50"),
        "candidates": ("--weights", "log-odds:3", "--background", "candidates", "--where", "label = 'odd'"),
        "plain": (),
    }
    for name, options in spellings.items():
        ready.run(*asked, f"{name}.parquet", *options)
        ready.run("query", "--config", f"{name}.parquet", "-o", "again.parquet")
        assert rows("again.parquet") == rows(f"{name}.parquet")
    recorded = {name: nagindex.settings_of(f"{name}.parquet")["query"] for name in spellings}
    assert {name: own["weights"] for name, own in recorded.items()} == {
        "log-ratio": "log-ratio:40", "alias": "contrast:0.5", "contrast": "contrast:0.5", "candidates": "log-odds:3", "plain": "frequency",
    }  # fmt: skip
    assert all("contrast" not in own for own in recorded.values())
    assert recorded["candidates"]["background"] == "candidates"
    assert rows("alias.parquet") == rows("contrast.parquet")
    for record, options, same in (
        ("log-ratio", ("--contrast", "0.5"), "alias"),
        ("alias", ("--weights", "log-ratio"), "log-ratio"),
        ("log-ratio", ("--weights", "frequency"), "plain"),
    ):
        ready.run("query", "--config", f"{record}.parquet", *options, "-o", "again.parquet")
        assert rows("again.parquet") == rows(f"{same}.parquet")


def test_a_record_of_a_contrast_from_before_there_were_weights_is_replayed(ready: Shell) -> None:
    """With the contrast that it holds, or with what the command line says instead."""
    for name, options in {"half": ("--contrast", "0.5"), "ratio": ("--weights", "log-ratio"), "plain": ()}.items():
        ready.run("query", "odd.jsonl", "-n", "4", *options, "-o", f"{name}.parquet")
    for contrast, name in ((0.5, "half"), (0.0, "plain")):
        record = nagindex.settings_of(f"{name}.parquet")
        for later in ("weights", "background"):
            del record["query"][later]
        record["query"]["contrast"] = contrast
        ready.write("old.yaml", json.dumps(record))
        ready.run("query", "--config", "old.yaml", "--config-strict", "-o", "again.parquet")
        assert rows("again.parquet") == rows(f"{name}.parquet")
        ready.run("query", "--config", "old.yaml", "--weights", "log-ratio", "-o", "again.parquet")
        assert rows("again.parquet") == rows("ratio.parquet")


def test_scores_of_weights_can_be_negative_and_have_a_curve_and_a_minimum(ready: Shell) -> None:
    """In nats; what the curve says at a rank is what the document there has."""
    ready.run("query", "odd.jsonl", "-n", "6", "--weights", "log-ratio", "-o", "all.parquet")
    scores = [row["score"] for row in rows("all.parquet")]
    assert scores[0] > 0 > scores[-1]
    curve = json.loads(ready.run("query", "odd.jsonl", "--weights", "log-ratio", "--score-curve", "--json").stdout)
    assert [curve["scores"]["odd"][i] for i in (0, -1)] == pytest.approx([scores[0], scores[-1]], abs=1e-5)
    ready.run("query", "odd.jsonl", "--weights", "log-ratio", f"--min-score={scores[-2]!r}", "-o", "some.parquet")
    assert [row["score"] for row in rows("some.parquet")] == scores[:-1]
