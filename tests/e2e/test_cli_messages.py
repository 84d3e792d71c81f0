"""What commands say: one and many, none found, what was left and why, which version is lost, whose value is wrong."""

from __future__ import annotations

import json
import shutil

import pytest
from shell import INDEX, Shell, jsonl

import nagindex


@pytest.fixture
def asked(pool: Shell) -> Shell:
    """A working folder with an index and a target whose codes are in the cache."""
    pool.write("t.jsonl", jsonl([{"text": "river mountain solver"}]))
    return pool


def test_one_is_said_in_the_singular_and_none_is_said(asked: Shell) -> None:
    asked.run("delete", "--ids", "-", stdin="d1\n")
    assert "(1 deleted row still stored)" in asked.run("info").stdout
    assert "0 rows found" in asked.run("sql", "SELECT * FROM docs WHERE id = 'nope'").stderr
    assert "no document is left" in asked.error("query", "t.jsonl", "-n", "1", "--where", "id = 'nope'")
    asked.write("evaluation.jsonl", jsonl([{"text": "words that no document of the pool holds in such an order " * 2}]))
    done = asked.run(
        "query", "t.jsonl", "-n", "1", "-o", "x.parquet", "--decontaminate", "evaluation.jsonl", "--corpus-root", "pool"
    )
    assert done.stderr.endswith("to x.parquet; left out as contaminated: 0\n")
    asked.write("one.jsonl", jsonl([{"id": "only", "text": "river"}]))
    asked.build("one.jsonl", "-i", "one.nagindex")
    assert "0 neighbors found" in asked.run("neighbors", "only", "-i", "one.nagindex").stderr


def test_a_first_build_explains_its_version(shell: Shell) -> None:
    shell.write("one.jsonl", jsonl([{"id": "only", "text": "river"}]))
    assert "now version 2 (version 1 is the empty index)" in shell.build("one.jsonl").stderr
    shell.write("two.jsonl", jsonl([{"id": "other", "text": "garden"}]))
    assert shell.run("append", "two.jsonl").stderr.endswith("now version 3\n")


def test_compact_and_vacuum_say_what_they_left_and_why(asked: Shell) -> None:
    asked.run("compact")
    assert asked.run("compact").stderr == "Nothing to compact: 1 segment without deleted rows\n"
    left = asked.run("vacuum").stderr
    assert left.startswith("Removed 0 versions and 0 files, 0 bytes; ")
    assert "of the last 60 minutes stay, and --grace 0 removes that" in left
    cleared = asked.run("vacuum", "--grace", "0").stderr
    assert cleared.startswith("Removed 3 versions and ")
    assert "minutes" not in cleared


def test_a_lost_newest_version_is_a_warning_of_a_query_and_stops_whoever_would_write_over_it(asked: Shell) -> None:
    """Until the manifest is back, or the user says to go on without it."""
    lost = asked.folder / INDEX / "manifests" / "000000000003.json"
    content = lost.read_bytes()
    lost.unlink()
    done = asked.run("query", "t.jsonl", "-n", "1", "-o", "x.parquet")
    assert f"Warning: version 3 was published, but its manifest {INDEX}/manifests/{lost.name} is missing" in done.stderr
    asked.write("more.jsonl", jsonl([{"id": "new", "text": "garden", "label": "x"}]))
    for command in (("append", "more.jsonl"), ("delete", "--ids", "-"), ("compact",), ("vacuum",)):
        reason = asked.error(*command, stdin="d1\n")
        assert "000000000003.json: missing, though version 3 was published; put it back, or remove" in reason
        assert "latest.json to go on from version 2" in reason
    assert "missing, though version 3 was published" in asked.build_error("pool", "--keep-column", "label")
    lost.write_bytes(content)
    assert "version 4" in asked.run("append", "more.jsonl").stderr
    (lost.parent / "000000000004.json").unlink()
    (lost.parent / "latest.json").unlink()
    assert "version 4" in asked.run("append", "more.jsonl").stderr


def test_an_index_without_any_version_is_called_what_it_is(asked: Shell) -> None:
    for manifest in (asked.folder / INDEX / "manifests").glob("0*.json"):
        manifest.unlink()
    for command in (("query", "t.jsonl", "-n", "1"), ("append", "pool"), ("info",)):
        assert "no version of the index is left, though its other files are" in asked.error(*command)


def test_the_loser_of_two_builds_hears_what_the_winner_made_in_flags(asked: Shell) -> None:
    reason = asked.build_error("pool", "--keep-column", "label", "--max-length", "64", "--top-k", "3")
    assert reason.startswith(f"{INDEX} (version 3, 6 documents): ")
    assert "--top-k is 10 in the index and 3 here" in reason
    assert "--max-length is 120 in the index and 64 here" in reason
    reason = asked.build_error("pool", "--text-column", "text", "--no-count-tokens")
    assert "--text-column is not given in the index and text here" in reason
    assert "--keep-column is label in the index and not given here" in reason
    assert "the index was built without --no-count-tokens" in reason


def test_a_name_is_given_to_saved_targets_too(asked: Shell) -> None:
    asked.write("two.jsonl", jsonl([{"text": "river", "task": "a"}, {"text": "garden", "task": "b"}]))
    asked.run("encode", "two.jsonl", "--target-column", "task", "-o", "two.parquet")
    asked.run("query", "mine=two.parquet", "-n", "1", "-o", "x.parquet")
    [target] = nagindex.settings_of("x.parquet")["targets"]
    assert (target["name"], target["examples"]) == ("mine", 2)


def test_a_plan_says_what_was_read(asked: Shell) -> None:
    done = asked.run("query", "t.jsonl", "-n", "2", "-o", "x.parquet", "--explain-plan", "--json")
    plan = json.loads(done.stdout)["plan"]
    assert plan["actual"].keys() == {"documents", "bytes", "seconds"}
    assert "read    codes of 6 documents (240 bytes); 0." in done.stderr
    assert plan["why"] == nagindex.settings_of("x.parquet")["plan"]["why"]


def test_options_that_would_be_ignored_are_refused(asked: Shell) -> None:
    for option in (("--ngram", "5"), ("--evaluation-column", "text")):
        reason = asked.error("query", "t.jsonl", "-n", "1", *option, status=2)
        assert reason == f"{option[0]} is about evaluation texts; name some with --decontaminate, or leave it out"
    for command in (("backbones", asked.model), ("build", "pool", "--model", asked.model, "-i", "new.nagindex")):
        assert "only models of the hub have revisions; leave --revision out" in asked.error(
            *command, "--revision", "main"
        )


def test_an_option_that_took_the_targets_says_so(asked: Shell) -> None:
    reason = asked.error("query", "-n", "1", "--decontaminate", "e.jsonl", "t.jsonl", status=2)
    assert reason.endswith("; --decontaminate took e.jsonl t.jsonl: end its files with --")
    asked.write("e.jsonl", jsonl([{"text": "no such words"}]))
    asked.run(
        "query", "-n", "1", "-o", "x.parquet", "--corpus-root", "pool", "--decontaminate", "e.jsonl", "--", "t.jsonl"
    )


@pytest.mark.parametrize(("key", "value"), [("n", "many"), ("top-k", "none"), ("mix", "both"), ("fraction", "2")])
def test_a_bad_value_of_a_file_is_told_with_the_file_and_its_key(asked: Shell, key: str, value: str) -> None:
    asked.write("query.yaml", f"{key}: {value}\n")
    reason = asked.error("query", "t.jsonl", "--config", "query.yaml", status=2)
    assert reason.startswith(f"query.yaml: {key}: ")
    assert value in reason


def test_indexes_of_several_types_are_found_and_named_apart(asked: Shell) -> None:
    for kind in ("up", "down"):
        shutil.copytree(asked.folder / INDEX, asked.folder / f"pool.{kind}.nagindex")
    reason = asked.error("query", "t.jsonl", "-n", "1", "-i", "pool.nagindex")
    assert reason == "pool.nagindex: no index here; there are pool.down.nagindex, pool.up.nagindex"
    refused = asked.error("build", "pool", "-i", "pool.down.nagindex", "--neuron-type", "up,down", status=2)
    assert refused.endswith("names the index of one type, and each of up,down gets one: give -i pool.nagindex")


def test_a_description_of_a_model_does_not_end_like_a_failure(asked: Shell) -> None:
    last = asked.run("backbones", asked.model).stdout.splitlines()[-1]
    assert "no " not in last
