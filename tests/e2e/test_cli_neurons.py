"""`nagindex neurons`: its tables, its JSON, and errors as a user sees them."""

from __future__ import annotations

import json

from shell import Shell

import nagindex


def test_the_most_frequent_neurons(ready: Shell) -> None:
    index = nagindex.open("index.nagindex")
    assert json.loads(ready.run("neurons", "--json").stdout) == {"documents": 6, "neurons": index.neurons(n=3)}
    rows = [line.split() for line in ready.run("neurons", "--layer", "1", "--top", "4").stdout.splitlines()[2:]]
    assert rows == [
        [str(row["layer"]), str(row["neuron"]), str(row["documents"]), f"{row['share']:.1%}"]
        for row in index.neurons(1, n=4)
    ]


def test_one_neuron(ready: Shell) -> None:
    index = nagindex.open("index.nagindex")
    number = index.neurons(1, n=1)[0]["neuron"]
    asked = ("neurons", "--layer", "1", "--neuron", number, "--top", "2")
    own = index.neuron(1, number, n=2)
    texts = index.texts([row["id"] for row in own.strongest])
    found = json.loads(ready.run(*asked, "--json").stdout)
    assert found == own.to_json() | {"strongest": [row | {"text": texts[row["id"]]} for row in own.strongest]}
    heading, label, strongest, *_ = ready.run(*asked).stdout.split("\n\n")
    assert heading.startswith(f"layer 1, neuron {number}: in {own.documents} of 6 documents (")
    assert {row.split()[0]: row.split()[1] for row in label.splitlines()[2:]} == {
        row["value"]: str(row["held"]) for row in own.columns["label"]
    }
    assert [row.split()[:2] for row in strongest.splitlines()[2:]] == [
        [str(r["place"]), r["id"]] for r in own.strongest
    ]
    assert "shown without texts" in ready.run(*asked, "--corpus-root", "elsewhere").stderr


def test_what_is_wrong_is_named(ready: Shell) -> None:
    assert "the index has layers 0 to 1" in ready.error("neurons", "--layer", "7")
    assert "neurons 0 to 63" in ready.error("neurons", "--layer", "1", "--neuron", "64")
    assert "no column 'nix'" in ready.error("neurons", "--layer", "1", "--neuron", "6", "--column", "nix")
    assert "with --layer" in ready.error("neurons", "--neuron", "6", status=2)
    assert "--values belongs to --neuron" in ready.error("neurons", "--values", "3", status=2)
    assert "--column is about one neuron" in ready.error("neurons", "--column", "label", status=2)
