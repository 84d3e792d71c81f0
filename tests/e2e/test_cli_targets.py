"""`nagindex targets`: sets of examples from benchmarks and from records, and what a mistake gets."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from shell import Shell, jsonl

QUESTIONS = [{"id": f"q{i}", "question": f"river {i}", "answer": ["salmon", "engine"][i % 2]} for i in range(30)]
TASK = {
    "task": "rivers",
    "dataset_path": "json",
    "output_type": "generate_until",
    "training_split": "train",
    "test_split": "test",
    "doc_to_text": "{{question}}:",
    "doc_to_target": "{{answer}}",
}


@pytest.fixture
def questions(shell: Shell) -> str:
    """A file of thirty questions in the working folder."""
    shell.write("questions.jsonl", jsonl(QUESTIONS))
    return "questions.jsonl"


@pytest.fixture
def rivers(shell: Shell, questions: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that name a folder of tasks: rivers; arc_challenge, as the preset calls it; and one out of reach."""
    import lm_eval.tasks

    # lm_eval takes ten seconds and more to list its own 14,000 tasks.
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", partial(lm_eval.tasks.TaskManager, include_defaults=False))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", shell.folder / "cache")
    data = {"data_files": dict.fromkeys(("train", "test"), str(shell.folder / questions))}
    for name in ("rivers", "arc_challenge"):
        shell.write(f"tasks/{name}.yaml", json.dumps(TASK | {"task": name, "dataset_kwargs": data}))
    shell.write("tasks/away.yaml", json.dumps(TASK | {"task": "away", "dataset_path": "nobody/nothing"}))
    return ["targets", "lm-eval", "--include-path", "tasks"]


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_benchmark_becomes_a_file_of_its_examples(shell: Shell, rivers: list[str]) -> None:
    shell.write("out.jsonl", "what was there before")
    done = shell.run(*rivers, "--task", "rivers", "-o", "out.jsonl")
    assert done.stdout == ""
    assert done.stderr == "Wrote 30 examples of rivers (train) to out.jsonl\n"
    first = {"id": "rivers:train:0", "text": "river 0: salmon", "dataset": "rivers"}
    found = records(shell.folder / "out.jsonl")
    assert (found[0], len(found)) == (first, 30)


def test_several_tasks_are_told_apart_by_dataset_and_drawn_each(shell: Shell, rivers: list[str]) -> None:
    arguments = [*rivers, "--task", "rivers", "--task", "arc_challenge", "--split", "test", "--limit", "5", "-o"]
    done = shell.run(*arguments, "out.jsonl")
    sets = "5 of rivers (test), 5 of arc_challenge (test)"
    assert done.stderr == f"Wrote 10 examples to out.jsonl: {sets}\n"
    found = records(shell.folder / "out.jsonl")
    assert [record["dataset"] for record in found] == ["rivers"] * 5 + ["arc_challenge"] * 5
    assert shell.run(*arguments, "-").stdout == (shell.folder / "out.jsonl").read_text()
    shell.run(*arguments, "other.jsonl", "--seed", "1")
    assert records(shell.folder / "other.jsonl") != found


def test_a_preset_of_another_size_than_the_papers_is_written_with_a_warning(shell: Shell, rivers: list[str]) -> None:
    done = shell.run(*rivers, "--preset", "arc_challenge", "-o", "out.jsonl")
    assert "Warning: arc_challenge has 30 examples here, 1,119 in the paper\n" in done.stderr
    assert done.stderr.endswith("Wrote 30 examples of arc_challenge (train) to out.jsonl\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--task", "river"], "no task, group or tag 'river' in lm_eval or --include-path; close names are rivers"),
        (["--task", "rivers", "--split", "dev"], "task rivers: no split 'dev'; its splits are train, test"),
        (
            ["--task", "away"],
            "task away cannot be loaded (ConnectionError: Couldn't reach 'nobody/nothing' on the Hub (",
        ),
        (["--preset", "all"], "no task, group or tag 'hellaswag' in lm_eval"),
    ],
    ids=["unknown task", "missing split", "no network", "unknown task of a preset"],
)
def test_a_task_that_cannot_be_had_is_one_line_and_leaves_the_output_alone(
    shell: Shell, rivers: list[str], arguments: list[str], reason: str
) -> None:
    before = shell.write("out.jsonl", "what was there before")
    assert shell.error(*rivers, *arguments, "-o", "out.jsonl").startswith(reason)
    assert before.read_text() == "what was there before"
    assert not list(shell.folder.glob(".out*"))


WRONG = {
    ("lm-eval", "-o", "x"): "give --task or --preset",
    ("lm-eval", "--task", "a", "--preset", "all", "-o", "x"): "give --task or --preset",
    ("lm-eval", "--preset", "mmlu", "--limit", "3", "-o", "x"): "a preset has its own --split and --limit",
    ("lm-eval", "--preset", "mmlu", "--split", "test", "-o", "x"): "a preset has its own --split and --limit",
    ("lm-eval", "--preset", "gsm8k", "-o", "x"): "'gsm8k' is not one of 'arc_challenge', 'hellaswag'",
    ("lm-eval", "--task", "a"): "Missing option '-o'",
    ("lm-eval", "--task", "a", "--include-path", "nowhere", "-o", "x"): "Directory 'nowhere' does not exist",
    ("lm-eval", "--task", "a", "--limit", "0", "-o", "x"): "'0' is not a whole number of at least 1",
    ("template", "questions.jsonl", "-o", "x"): "give --template or --template-file",
    (
        *("template", "questions.jsonl", "--template", "{{a}}", "--template-file", "questions.jsonl", "-o", "x"),
    ): "give --template or --template-file",
    ("template", "--template", "{{a}}", "-o", "x"): "Missing argument 'FILES...'",
    ("template", "questions.jsonl", "--template", "{{a}}"): "Missing option '-o'",
}


@pytest.mark.parametrize(("arguments", "reason"), WRONG.items(), ids=map(" ".join, WRONG))
def test_a_missing_or_impossible_argument_is_wrong_usage(
    shell: Shell, questions: str, arguments: tuple[str, ...], reason: str
) -> None:
    assert reason in shell.error("targets", *arguments, status=2)
    assert not (shell.folder / "x").exists()


def test_without_lm_eval_the_install_command_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "lm_eval.tasks", raising=False)
    reason = shell.error("targets", "lm-eval", "--task", "mmlu", "-o", "x.jsonl")
    assert reason.endswith("run: pip install 'nagindex[lm-eval]'")


FILLED = ["--template", "{{question}}: {{answer}}"]


def test_a_template_makes_a_file_of_examples(shell: Shell, questions: str) -> None:
    done = shell.run("targets", "template", questions, *FILLED, "-o", "out.jsonl")
    assert done.stderr == "Wrote 30 examples of questions to out.jsonl\n"
    assert records(shell.folder / "out.jsonl")[1] == {"id": "q1", "text": "river 1: engine", "dataset": "questions"}
    shell.write("prompt.jinja", "{{question}}: {{answer}}\n")
    other = ["--template-file", "prompt.jinja", "-o", "-", "--limit", "4", "--name", "mine"]
    drawn = [json.loads(line) for line in shell.run("targets", "template", questions, *other).stdout.splitlines()]
    assert [record["dataset"] for record in drawn] == ["mine"] * 4
    assert {record["text"] for record in drawn} < {record["text"] for record in records(shell.folder / "out.jsonl")}


def test_blank_texts_are_skipped_with_file_and_row_and_counted_where_they_are_many(shell: Shell) -> None:
    path = shell.write("x.csv", "q\nriver\n" + '" "\n' * 30)
    done = shell.run("targets", "template", "x.csv", "--template", "{{q}}", "-o", "out.jsonl")
    lines = done.stderr.splitlines()
    assert lines[0] == f"Warning: not an example: {path}, row 1: blank text"
    assert len(lines) == 12
    assert lines[-2:] == ["Warning: x: 30 rows in all are no examples", "Wrote 1 example of x to out.jsonl"]


MISTAKES = {
    "wrong column": (
        ["questions.jsonl", "--template", "{{qestion}}"],
        "{folder}/questions.jsonl, row 0: the template cannot be filled in: 'qestion' is undefined; "
        "the record's columns are id, question, answer",
    ),
    "wrong id column": (
        ["questions.jsonl", *FILLED, "--id-column", "key"],
        "{folder}/questions.jsonl: no column 'key' (--id-column); available columns are id, question, answer",
    ),
    "syntax": (
        ["questions.jsonl", "--template", "{{question}}\n{% if answer }"],
        "--template, line 2: unexpected '}}'; mend the template",
    ),
    "single braces": (
        ["questions.jsonl", "--template", "{question}"],
        "--template: names no column, so that all texts would be the same; name one as {{{{column}}}}",
    ),
    "empty file": (
        ["empty.jsonl", *FILLED],
        "{folder}/empty.jsonl: holds no example (nothing is in it); give at least one text",
    ),
    "broken line": (
        ["broken.jsonl", *FILLED],
        "{folder}/broken.jsonl, line 1: not a JSON record (Expecting value at character 1); mend or remove the line",
    ),
    "missing file": (["nowhere.jsonl", *FILLED], "nowhere.jsonl: no such file or folder"),
    "template file": (
        ["questions.jsonl", "--template-file", "latin.jinja"],
        "latin.jinja: not UTF-8; save the template as UTF-8",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_its_place_and_leaves_no_file(shell: Shell, questions: str, mistake: str) -> None:
    shell.write("empty.jsonl", "")
    shell.write("broken.jsonl", "river\n")
    shell.write("latin.jinja", "é {{question}}".encode("latin-1"))
    arguments, reason = MISTAKES[mistake]
    expected = reason.format(folder=shell.folder)
    assert shell.error("targets", "template", *arguments, "-o", "out.jsonl") == expected
    assert not list(shell.folder.glob("*out.jsonl*"))


def test_an_output_without_a_folder_is_one_line(shell: Shell, questions: str) -> None:
    reason = shell.error("targets", "template", questions, *FILLED, "-o", "no/out.jsonl")
    assert reason == "no/out.jsonl: its folder does not exist; name a file in a folder that exists"


def test_a_set_of_several_tasks_is_split_by_a_query(pool: Shell) -> None:
    pool.write("a.jsonl", jsonl([{"q": "river mountain"}, {"q": "solver"}]))
    pool.write("b.jsonl", jsonl([{"q": "violin salmon"}]))
    pool.run("targets", "template", "a.jsonl", "b.jsonl", "--template", "{{q}}", "-o", "both.jsonl")
    found = pool.selected("both.jsonl", "--target-column", "dataset", "-n", "2")
    assert {record["target"] for record in found} == {"a", "b"}
