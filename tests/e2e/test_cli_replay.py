"""A selection made again says what is not as it was: the index, its targets, and every other file that it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import INDEX, Shell, jsonl

import nagindex

FILES = {
    "t.jsonl": jsonl([{"text": "river mountain"}]),
    "seen.txt": "d0\n",
    "evaluation.jsonl": jsonl([{"text": "no such words"}]),
    "scores.jsonl": jsonl([{"id": f"d{i}", "score": i} for i in range(6)]),
}
CHANGED = {
    "t.jsonl": jsonl([{"text": "violin kettle"}]),
    "seen.txt": "d2\n",
    "evaluation.jsonl": jsonl([{"text": "other words"}]),
    "scores.jsonl": jsonl([{"id": f"d{i}", "score": -i} for i in range(6)]),
}
QUERY = (
    *("query", "t.jsonl", "-n", "2", "--exclude", "seen.txt", "--scores", "scores.jsonl"),
    *("--decontaminate", "evaluation.jsonl", "-o", "old.parquet", "--corpus-root", "pool"),
)
AGAIN = ("query", "--config", "old.parquet", "-o", "new.parquet")


@pytest.fixture
def made(pool: Shell) -> Shell:
    """A working folder with a selection, old.parquet, and all files that it was made of."""
    for name, content in FILES.items():
        pool.write(name, content)
    pool.run(*QUERY)
    return pool


def warnings_of(stderr: str) -> list[str]:
    return [line.removeprefix("Warning: ") for line in stderr.splitlines() if line.startswith("Warning: ")]


def test_nothing_is_said_where_nothing_has_changed(made: Shell) -> None:
    assert "when the selection was made" not in made.run(*AGAIN, "--config-strict").stderr
    assert nagindex.open(INDEX).changes_since(nagindex.settings_of("old.parquet")) == []


def test_each_difference_is_one_warning_and_an_error_if_it_is_to_be_strict(made: Shell) -> None:
    for name, content in CHANGED.items():
        made.write(name, content)
    made.run("delete", "--ids", "-", stdin="d1\n")
    expected = [
        "the index was at version 3, it is at 4 now: 1 document less",
        *(f"{name} has other content than when the selection was made" for name in FILES),
    ]
    assert sorted(nagindex.open(INDEX).changes_since(nagindex.settings_of("old.parquet"))) == sorted(expected)
    reason = made.error(*AGAIN, "--config-strict")
    assert all(sentence in reason for sentence in expected)
    assert not Path("new.parquet").exists()
    assert set(expected) <= set(warnings_of(made.run(*AGAIN).stderr))


def test_what_the_command_line_overrides_is_no_change(made: Shell) -> None:
    made.write("t.jsonl", FILES["t.jsonl"] * 2)
    made.write("other.jsonl", FILES["t.jsonl"])
    made.run(*AGAIN, "--config-strict", "other.jsonl")
    assert "t.jsonl has other content" in made.error(*AGAIN, "--config-strict")


def test_files_that_came_and_went_are_named(made: Shell) -> None:
    record = nagindex.settings_of("old.parquet")
    made.write("folder/a.jsonl", FILES["t.jsonl"])
    record["query"]["targets"] = [str(made.folder / "folder")]
    assert nagindex.open(INDEX).changes_since(record) == [
        "t.jsonl was read when the selection was made, and is not there any more",
        "a.jsonl was not there, or held no text, when the selection was made",
    ]


def test_another_index_of_the_same_version_is_seen(made: Shell) -> None:
    record = nagindex.settings_of("old.parquet")
    record["index"]["segments"] = "0" * 64
    record["fingerprint"]["max_length"] = 7
    assert nagindex.open(INDEX).changes_since(record) == [
        "the index has another encoding than when the selection was made: `max_length` is 7 in the record and 120 now",
        "the index is another one than when the selection was made, though its version has the same number",
    ]


def test_records_of_earlier_versions_and_records_of_nonsense_are_read(made: Shell) -> None:
    record = nagindex.settings_of("old.parquet")
    for name in ("exclude", "scores"):
        del record[name]
    del record["index"]["segments"]
    made.write("seen.txt", "d1\n")
    made.write("old.yaml", json.dumps(record))
    made.run("query", "--config", "old.yaml", "--config-strict", "-o", "new.parquet")
    for wrong in ({"index": 5}, {"targets": [7]}, {"fingerprint": {"a": 1}}, {"evaluation": ["x"]}):
        assert isinstance(nagindex.open(INDEX).changes_since({**record, **wrong}), list)


def test_strictness_needs_a_record(made: Shell) -> None:
    made.write("query.yaml", "n: 1\n")
    for config in ((), ("--config", "query.yaml")):
        reason = made.error("query", "t.jsonl", "-n", "1", *config, "--config-strict", "-o", "x.parquet", status=2)
        assert reason == "--config-strict compares with a selection's record; name a selection with --config"
