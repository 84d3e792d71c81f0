"""`nagindex deactivate` and `deactivate-eval`: what they write and print, and errors as a user sees them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from shell import Shell, jsonl

import nagindex
from nagindex.analysis import NeuronChoice


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with the model that indexes are built with, and a random language-model head."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("decoder")
    body = transformers.AutoModel.from_pretrained(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = transformers.AutoModelForCausalLM.from_config(body.config)
    whole.model.load_state_dict(body.state_dict())
    whole.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


def test_a_choice_is_the_library_s_and_names_its_origin(ready: Shell) -> None:
    done = ready.run(
        "deactivate", "odd.jsonl", "--count", "3", "--by", "log-odds", "--layers", "last", "-o", "keys.json"
    )
    assert "Chose 3 neurons in 1 layer by log-odds:40 to keys.json" in done.stderr
    assert done.stdout == ""
    own = nagindex.open("index.nagindex").choose_neurons(Path("odd.jsonl"), count=3, by="log-odds", layers="last")
    assert NeuronChoice.read("keys.json") == own
    assert (own.target, own.backbone, list(own.neurons)) == ("odd", str(ready.model), [1])
    printed = ready.run("deactivate", "--text", "river kettle", "--by", "random", "--seed", "4", "-q").stdout
    assert len(json.loads(printed)["layers"]["0"]) == 20


def test_few_examples_are_a_warning(ready: Shell) -> None:
    done = ready.run("deactivate", "--text", "river kettle", "--count", "40")
    assert "Warning: layers 0-1: fewer than 40 neurons" in done.stderr
    assert "a smaller --count" in done.stderr


def test_losses_are_the_library_s_as_a_table_and_as_json(ready: Shell, decoder: Path) -> None:
    ready.run("deactivate", "odd.jsonl", "--count", "5", "-o", "keys.json")
    asked = (
        "deactivate-eval",
        "keys.json",
        "--texts",
        "both.jsonl",
        "--random",
        "2",
        "--model",
        decoder,
        "--dtype",
        "fp32",
    )
    found = json.loads(ready.run(*asked, "--json").stdout)
    assert [row["name"] for row in found["rows"]] == ["untouched", "keys"]
    assert found["texts"] == 4
    assert (found["rows"][1]["neurons"], len(found["rows"][1]["random"])) == (10, 2)
    shown = ready.run(*asked)
    assert "Bits per byte of 4 texts" in shown.stderr
    headings, _, untouched, keys = shown.stdout.splitlines()
    assert headings.split("  ")[0] == "switched off"
    assert untouched.split()[:2] == ["untouched", "0"]
    assert keys.split()[3] == f"{found['rows'][1]['bits_per_byte']:.4f}"


def test_mistakes_of_deactivate_are_named(ready: Shell) -> None:
    assert "Missing argument 'TARGETS...'" in ready.error("deactivate", status=2)
    assert "and 2 are given; give one" in ready.error("deactivate", "odd.jsonl", "even.jsonl", status=2)
    several = ready.error("deactivate", "both.jsonl", "--target-column", "task")
    assert "one target at a time, and odd, even are several" in several
    assert "no file, folder or glob" in ready.error("deactivate", "none.jsonl") or "none.jsonl" in ready.error(
        "deactivate", "none.jsonl"
    )
    assert "--by 'size': one of frequency" in ready.error("deactivate", "odd.jsonl", "--by", "size")
    assert "--count 65: a layer has 64 neurons" in ready.error("deactivate", "odd.jsonl", "--count", "65")
    assert "the index has layers 0 to 1" in ready.error("deactivate", "odd.jsonl", "--layers", "7")
    assert "is an input" in ready.error("deactivate", "odd.jsonl", "-o", "odd.jsonl")
    assert "its folder does not exist" in ready.error("deactivate", "odd.jsonl", "-o", "no/keys.json")
    assert "none.nagindex" in ready.error("deactivate", "odd.jsonl", "-i", "none.nagindex")


def test_mistakes_of_deactivate_eval_are_named(ready: Shell, decoder: Path) -> None:
    ready.run("deactivate", "odd.jsonl", "--count", "5", "-o", "keys.json")
    ready.write("empty.jsonl", "")
    ready.write("bare.json", '{"0": [1]}')
    ready.write("large.json", '{"0": [64]}')
    good = ("--texts", "odd.jsonl", "--model", decoder)
    assert "Missing argument 'KEYS...'" in ready.error("deactivate-eval", *good, status=2)
    assert "give --texts or --task" in ready.error("deactivate-eval", "keys.json", status=2)
    assert "give --texts or --task" in ready.error("deactivate-eval", "keys.json", *good, "--task", "x", status=2)
    assert "--limit and --include-path are about tasks" in ready.error(
        "deactivate-eval", "keys.json", *good, "--limit", "3", status=2
    )
    assert "lacks lm_head.weight, so it is no language model" in ready.error(
        "deactivate-eval", "keys.json", "--texts", "odd.jsonl"
    )
    assert "name the model with --model" in ready.error("deactivate-eval", "bare.json", "--texts", "odd.jsonl")
    assert "none.json: no such file" in ready.error("deactivate-eval", "none.json", *good)
    assert "odd.jsonl: not JSON" in ready.error("deactivate-eval", "odd.jsonl", *good)
    assert "no neuron 64" in ready.error("deactivate-eval", "large.json", *good)
    assert "empty.jsonl" in ready.error("deactivate-eval", "keys.json", "--texts", "empty.jsonl", "--model", decoder)
    assert "none.jsonl" in ready.error("deactivate-eval", "keys.json", "--texts", "none.jsonl", "--model", decoder)
    wrong = ready.error("deactivate-eval", "keys.json", *good, "--text-column", "body")
    assert "body" in wrong
    assert "nowhere/model" in ready.error(
        "deactivate-eval", "keys.json", "--texts", "odd.jsonl", "--model", "./nowhere/model"
    )


@pytest.mark.slow
def test_scores_in_tasks_are_a_table_with_the_random_draws(
    ready: Shell, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("accelerate", reason="lm_eval runs models with accelerate")
    import lm_eval.tasks

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", partial(lm_eval.tasks.TaskManager, include_defaults=False))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", ready.folder / "datasets")
    rows = [{"q": f"river {n}", "opts": ["kettle", "violin"], "label": n % 2} for n in range(4)]
    path = ready.write("tasks/rows.jsonl", jsonl(rows))
    task = {
        "task": "mine", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}}, "test_split": "test",
        "output_type": "multiple_choice", "doc_to_text": "{{q}}?", "doc_to_choice": "opts", "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "higher_is_better": True}],
    }  # fmt: skip
    ready.write("tasks/mine.yaml", json.dumps(task))
    ready.run("deactivate", "odd.jsonl", "--count", "5", "-o", "keys.json")
    asked = (
        "deactivate-eval",
        "keys.json",
        "--model",
        decoder,
        "--dtype",
        "fp32",
        "--include-path",
        "tasks",
        "--random",
        "2",
    )
    shown = ready.run(*asked, "--task", "mine", "--limit", "3").stdout.splitlines()
    assert [line.split("  ")[0] for line in shown if line[0] != "-"] == [
        "switched off",
        "untouched",
        "keys",
        "random, as keys",
    ]
    assert shown[0].endswith("mine acc")
    assert "±" in shown[-1]
    assert "no task, group or tag 'other'" in ready.error(*asked, "--task", "other")
    assert "--text-column is about texts" in ready.error(*asked, "--task", "mine", "--text-column", "x", status=2)
