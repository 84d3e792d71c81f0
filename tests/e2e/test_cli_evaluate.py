"""`nagindex evaluate`: tables, JSON, and errors as a user sees them; what is best can be pasted behind `nagindex query`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Shell

import nagindex

LABELED = ("evaluate", "odd.jsonl", "even.jsonl", "--relevant", "odd:label=odd", "--relevant", "even:label=even")


def test_json_is_what_the_library_returns(ready: Shell) -> None:
    found = json.loads(ready.run(*LABELED, "--resamples", "3", "--json").stdout)
    opened = nagindex.open("index.nagindex")
    relevant = {"odd": {"label": "odd"}, "even": {"label": ["even"]}}
    assert opened.evaluate([Path("odd.jsonl"), Path("even.jsonl")], relevant=relevant, resamples=3).to_json() == found
    assert found["targets"]["odd"] | {"random": 0} == {"examples": 2, "relevant": 3, "random": 0}


def test_the_table_is_sorted_and_its_last_line_is_a_query(ready: Shell) -> None:
    done = ready.run(
        *LABELED, "--weights", "frequency,log-ratio", "--top-k", "1", "--layers", "first", "--layers", "all"
    )
    means, by_target = done.stdout.split("\n\n")
    heading, _, *rows = means.splitlines()
    assert heading.split() == ["weights", "score", "K", "layers", "AP", "±", "≈", "P@R", "P@1%", "P@5%", "P@10%"]
    values = [float(row.split()[4]) for row in rows]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    assert by_target.splitlines()[1].split()[4:] == ["odd", "even"]
    best = done.stdout.splitlines()[-1]
    assert best.startswith("Best: nagindex query --")
    assert "--top-k 1" in best
    ready.run("query", "odd.jsonl", "-n", "1", *best.split()[3:])
    assert (
        "Compared 4 settings on 6 documents by labels: odd, 2 examples, 3 relevant (AP of a random order 0."
        in done.stderr
    )


def test_without_labels_examples_are_held_out(ready: Shell) -> None:
    done = ready.run("evaluate", "both.jsonl", "--weights", "frequency")
    assert done.stdout.splitlines()[0].split()[4:6] == ["median", "above"]
    assert done.stdout.splitlines()[-1] == "Best: nagindex query without options of the score"
    assert "by held-out halves of the examples: both, 4 examples" in done.stderr
    split = ready.run("evaluate", "both.jsonl", "--target-column", "task", "--weights", "frequency", "--json").stdout
    assert [*json.loads(split)["targets"]] == ["odd", "even"]


def test_ids_of_a_file_are_relevant(ready: Shell) -> None:
    ready.write("ids.txt", "d1\nd3\nd5\n")
    asked = ("evaluate", "odd.jsonl", "--resamples", "0", "--json")
    by_ids = ready.run(*asked, "--relevant-ids", "ids.txt").stdout
    assert by_ids == ready.run(*asked, "--relevant", "label=odd").stdout
    assert by_ids == ready.run(*asked, "--relevant-ids", "odd=ids.txt").stdout


def test_the_help_says_what_held_out_examples_prefer(ready: Shell) -> None:
    plain = " ".join(ready.run("evaluate", "--help").stdout.split())
    assert "prefers settings which recognize the form of the examples" in plain
    assert "labels tell more" in plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--relevant", "lable=odd"), "--relevant lable: no such column in the index (did you mean label?); its columns are id, file, row, "
         "tokens, label; others are kept by a new build with --keep-column"),
        (("--relevant", "label=odds"), "--relevant label: no document has the value 'odds'; the nearest values are odd, even"),
        (("--relevant", "label=odd,even"), "all 6 candidates are relevant: every order is as good; name fewer with --relevant"),
        (("--relevant", "label=odd", "--where", "label = 'even'"), "no candidate is relevant; loosen --where, or name"),
        (("--text", "river"), "target text has 1 example: halves need at least 2; give more examples, or labels with --relevant"),
        (("--resamples", "1"), "--resamples 1: intervals need at least 2; 0 computes none"),
        (("--relevant-ids", "gone.txt"), "gone.txt"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(ready: Shell, options: tuple[str, ...], message: str) -> None:
    assert message in ready.error("evaluate", "odd.jsonl", *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--relevant", "label"), "--relevant label: write COLUMN=VALUE,... or TARGET:COLUMN=VALUE,..."),
        (("--relevant", "label="), "--relevant label=: write COLUMN=VALUE,"),
        (("--top-k", "5,x"), "--top-k x: a number of neurons"),
    ],
)
def test_wrong_usage(ready: Shell, options: tuple[str, ...], message: str) -> None:
    assert message in ready.error("evaluate", "odd.jsonl", *options, status=2)


def test_the_columns_of_the_documents_are_named_before_a_model_is_loaded(ready: Shell) -> None:
    """A wrong column is told although the model is gone."""
    assert "no such column" in ready.error("evaluate", "odd.jsonl", "--model", "gone", "--relevant", "x=1")
