"""`nagindex explain`: its page, its JSON, and errors as a user sees them."""

from __future__ import annotations

import json

from shell import Shell

import nagindex


def test_json_is_what_the_library_returns_with_the_text(ready: Shell) -> None:
    asked = ("explain", "d1", "d2", "--targets", "odd.jsonl", "--weights", "log-ratio", "--top-k", "1")
    found = json.loads(ready.run(*asked, "--neurons", "4", "--examples", "1", "--json").stdout)["explanations"]
    opened = nagindex.open("index.nagindex")
    own = opened.explain(["d1", "d2"], "odd.jsonl", weights="log-ratio", top_k=1)
    texts = opened.texts(["d1", "d2"])
    assert found == [one.to_json(neurons=4, examples=1) | {"text": texts[one.id]} for one in own]
    assert all(texts.values())


def test_the_page_has_score_layers_neurons_and_examples(ready: Shell) -> None:
    done = ready.run("explain", "d1", "--targets", "odd.jsonl", "--targets", "even.jsonl", "--neurons", "2")
    score = json.loads(ready.run("query", "odd.jsonl", "-n", "1", "--where", "id = 'd1'").stdout)["score"]
    first, *parts = done.stdout.split("\n\n")
    assert first.splitlines()[0] == f"d1, for odd: score {score:.4f} (mean, frequency)"
    headings = [part.split(maxsplit=1)[0] for part in parts]
    assert headings == ["layer", "layer", "overlap", "d1,", "layer", "layer", "overlap"]
    assert parts[3].startswith("d1, for even: score ")
    layers = [float(row.split()[1]) for row in parts[0].splitlines()[2:]]
    assert abs(sum(layers) - score) < 1e-4 * len(layers)
    assert len(parts[1].splitlines()) == 4


def test_texts_that_are_gone_are_left_out_with_a_warning(ready: Shell) -> None:
    shown = ready.run("explain", "d1", "--targets", "odd.jsonl").stdout
    done = ready.run("explain", "d1", "--targets", "odd.jsonl", "--corpus-root", "elsewhere")
    assert "shown without texts" in done.stderr
    assert done.stdout.splitlines()[0] == shown.splitlines()[0]
    assert len(done.stdout.splitlines()) == len(shown.splitlines()) - 1


def test_what_is_missing_is_named(ready: Shell) -> None:
    assert "d99: no document of index.nagindex has this id" in ready.error("explain", "d99", "--targets", "odd.jsonl")
    assert "Missing option '--targets'" in ready.error("explain", "d1", status=2)
