"""What bad input gets (section 7 of the design): a one-line error that names the file, the row and the remedy, or a listed skip."""

from __future__ import annotations

from pathlib import Path

import pytest
from parquet_files import parquet
from shell import Shell, jsonl

GOOD = jsonl([{"id": "a", "text": "river garden"}, {"id": "b", "text": "violin"}])


@pytest.mark.parametrize("path", ["nowhere", "nowhere.jsonl", "no/*.parquet"])
def test_a_missing_path_is_named_and_no_index_appears(shell: Shell, path: str) -> None:
    shell.write("good.jsonl", GOOD)
    assert shell.build_error("good.jsonl", path).startswith(f"{path}: no such file or folder")
    assert not (shell.folder / "index.nagindex").exists()


@pytest.mark.parametrize("command", ["append", "query", "encode"])
def test_a_missing_path_is_named_by_every_command(pool: Shell, command: str) -> None:
    before = pool.state()
    options = {"append": [], "query": ["-n", "1"], "encode": ["-o", "t.parquet"]}[command]
    assert pool.error(command, "nowhere.jsonl", *options).startswith("nowhere.jsonl: no such file or folder")
    assert pool.state() == before


@pytest.mark.parametrize("name", ["notes.pdf", "notes", "table.parquet.gz", "notes.txt.bz2"])
def test_a_file_of_an_unknown_kind_is_refused_naming_the_kinds_that_are_read(pool: Shell, name: str) -> None:
    before = pool.state()
    pool.write(name, GOOD)
    reason = pool.error("append", name)
    assert name in reason
    assert all(
        suffix in reason for suffix in (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".gz", ".zst")
    )
    assert pool.state() == before


def test_files_of_other_kinds_in_a_folder_are_passed_over_with_a_word(shell: Shell) -> None:
    shell.write("corpus/good.jsonl", GOOD)
    shell.write("corpus/picture.png", "x")
    done = shell.build("corpus")
    assert "Passing over 1 file of other kinds, such as" in done.stderr
    assert "picture.png" in done.stderr
    assert shell.docs("id") == ["a", "b"]


@pytest.mark.parametrize("names", [[], ["picture.png"], [".hidden.jsonl", ".git/x.jsonl", "old.nagindex/x.jsonl"]])
def test_a_folder_without_a_file_to_read_is_refused(pool: Shell, names: list[str]) -> None:
    before = pool.state()
    (pool.folder / "bare").mkdir()
    for name in names:
        pool.write(f"bare/{name}", GOOD)
    reason = pool.error("append", "bare")
    assert reason.startswith("bare: no file to read; looked for .parquet, .jsonl")
    assert pool.state() == before


TABLES = {
    "x.jsonl": '{"name":"n","words":"w"}\n',
    "x.json": '[{"name":"n","words":"w"}]',
    "x.csv": "name,words\nn,w\n",
    "x.tsv": "name\twords\nn\tw\n",
}


OPTIONS = ["--text-column", "--id-column", "--token-column", "--keep-column"]


@pytest.mark.parametrize(
    ("name", "option"), [*((name, OPTIONS[0]) for name in TABLES), *(("x.parquet", option) for option in OPTIONS)]
)
def test_a_wrong_column_gets_the_available_columns_listed(shell: Shell, name: str, option: str) -> None:
    path = _table(shell, name)
    others = () if option == "--text-column" else ("--text-column", "words")
    reason = shell.build_error(name, *others, option, "wrong")
    assert reason == f"{path}: no column 'wrong' ({option}); available columns are name, words"


@pytest.mark.parametrize("name", [*TABLES, "x.parquet"])
def test_no_text_column_gets_the_available_columns_and_the_option_named(shell: Shell, name: str) -> None:
    path = _table(shell, name)
    reason = shell.build_error(name)
    assert reason.startswith(f"{path}: no text column found")
    assert "available columns are name, words" in reason
    assert "--text-column" in reason


def _table(shell: Shell, name: str) -> Path:
    if name.endswith(".parquet"):
        return parquet(shell.folder / name, "SELECT 'n' AS name, 'w' AS words")
    return shell.write(name, TABLES[name])


def test_a_build_that_failed_over_a_wrong_column_can_be_run_again_with_the_right_one(shell: Shell) -> None:
    """A mistake must not pin its settings to an index that holds nothing yet."""
    shell.write("x.jsonl", '{"words":"river garden"}\n')
    shell.build_error("x.jsonl")
    shell.build_error("x.jsonl", "--text-column", "word")
    shell.build("x.jsonl", "--text-column", "words")
    assert shell.docs("id") == ["x.jsonl:0"]


def test_a_numeric_text_column_is_refused_naming_file_and_remedy(shell: Shell) -> None:
    path = parquet(shell.folder / "x.parquet", "SELECT 1 AS text")
    reason = shell.build_error("x.parquet")
    assert reason.startswith(f"{path}: column 'text' is INTEGER, not text")
    assert "--text-column" in reason


@pytest.mark.parametrize("blocked", ["a file", "a folder with a file"])
def test_a_place_that_is_taken_and_no_index_is_left_alone(shell: Shell, blocked: str) -> None:
    shell.write("good.jsonl", GOOD)
    kept = shell.write("taken" if blocked == "a file" else "taken/thesis.tex", "precious")
    assert shell.build_error("good.jsonl", "-i", "taken").startswith("taken: exists and is not an index")
    assert kept.read_text() == "precious"
    assert [p.name for p in kept.parent.iterdir() if p.name != "good.jsonl"] == [kept.name]


INDEX_COMMANDS = [
    ["query", "good.jsonl", "-n", "1"],
    ["append", "good.jsonl"],
    ["encode", "good.jsonl", "-o", "t.parquet"],
    ["info"],
    ["verify"],
    ["compact"],
    ["vacuum"],
    ["sql", "SELECT 1"],
    ["delete", "--where", "true"],
]


@pytest.mark.parametrize("command", INDEX_COMMANDS, ids=lambda command: command[0])
def test_a_command_without_an_index_says_how_to_make_one_and_makes_none(shell: Shell, command: list[str]) -> None:
    shell.write("good.jsonl", GOOD)
    reason = shell.error(*command)
    assert reason == "index.nagindex: no index here; make one with: nagindex build CORPUS -i index.nagindex"
    assert not (shell.folder / "index.nagindex").exists()


@pytest.mark.parametrize("content", ["", '{"text":""}\n{"text":null}\n'])
def test_targets_without_an_example_are_refused_naming_the_file(pool: Shell, content: str) -> None:
    pool.write("targets.jsonl", content)
    for command in (["query", "-n", "1"], ["encode"]):
        reason = pool.error(*command, "targets.jsonl", "-o", "out.parquet")
        assert "targets.jsonl" in reason
        assert "empty" in reason or "no example" in reason
        assert not (pool.folder / "out.parquet").exists()


def test_target_rows_that_are_no_example_are_told_and_the_others_used(pool: Shell) -> None:
    path = pool.write("targets.jsonl", '{"text":"river"}\n{"text":null}\n{"text":""}\n')
    done = pool.run("query", "targets.jsonl", "-n", "1", "-o", "out.parquet")
    assert f"{path}, row 1: null text" in done.stderr
    assert f"{path}, row 2: no tokens" in done.stderr


@pytest.mark.parametrize("name", ["no/such/folder", "empty-folder"])
def test_a_model_that_cannot_be_loaded_is_named_with_the_remedy_and_no_index_appears(shell: Shell, name: str) -> None:
    shell.write("good.jsonl", GOOD)
    (shell.folder / "empty-folder").mkdir()
    reason = shell.error("build", "good.jsonl", "--model", shell.folder / name)
    assert name in reason
    assert "--model" in reason
    assert "Repo id" not in reason
    assert not reason.count(": )")
    assert not (shell.folder / "index.nagindex").exists()


def test_an_unknown_device_is_refused_in_one_line(shell: Shell) -> None:
    shell.write("good.jsonl", GOOD)
    reason = shell.build_error("good.jsonl", "--device", "abacus")
    assert "abacus" in reason
    assert "--device" in reason


def test_a_max_length_beyond_the_models_positions_is_refused(shell: Shell) -> None:
    shell.write("good.jsonl", GOOD)
    reason = shell.build_error("good.jsonl", "--max-length", "513")
    assert "reads 1 to 512 tokens" in reason
    assert "--max-length" in reason
