"""The options that decide how and where documents are encoded, as a user gives them."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from shell import Shell, jsonl

from nagindex.encode import encoder

LAUNCHERS = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT",
    "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP",
)  # fmt: skip
RECORDS = [{"id": f"d{i}", "text": f"river {i} garden {i % 7} mountain"} for i in range(70)]


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher of the machine that runs the tests counts as a test's own; windows are small, dealt out one by one."""
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(encoder.WINDOW, "cpu", 4)
    monkeypatch.setattr("nagindex.ingest.sharding.WINDOWS_PER_CHUNK", 1)


@pytest.fixture
def corpus(shell: Shell) -> Shell:
    """A working folder with a corpus of seventy documents and a target."""
    shell.write("corpus/a.jsonl", jsonl(RECORDS[:40]))
    shell.write("corpus/b.jsonl", jsonl(RECORDS[40:]))
    shell.write("t.jsonl", jsonl(RECORDS[3:4]))
    return shell


def fingerprint(shell: Shell, index: str = "index.nagindex") -> dict[str, object]:
    found: dict[str, object] = json.loads(shell.run("info", "--json", "-i", index).stdout)["fingerprint"]
    return found


def by_id(shell: Shell, index: str) -> list[object]:
    return sorted((row[0][0], row[0], row[1]) for row in shell.state(index=index))


# Neuron types -------------------------------------------------------------------------------------------------------


def test_several_types_make_an_index_each_from_one_command(corpus: Shell) -> None:
    """Each has its type in its name, knows its type and width, answers queries, and is what a build of its own gives."""
    command = ("corpus", "-i", "x.nagindex", "--neuron-type", "up,q,k", "--repeat-kv")
    done = corpus.build(*command)
    assert sorted(path.name for path in corpus.folder.glob("*.nagindex")) == [
        "x.k.nagindex", "x.q.nagindex", "x.up.nagindex"
    ]  # fmt: skip
    for kind, stated, width in (("up", "up", 64), ("q", "q", 32), ("k", "k_repeated", 32)):
        index = f"x.{kind}.nagindex"
        assert f"Added 70 documents (690 tokens) from 2 sources to {index}, now" in done.stderr
        assert f"{stated}, 2 layers of {width}, top 10" in corpus.run("info", "-i", index).stdout
        assert fingerprint(corpus, index)["spec"] == {"neuron_type": stated, "widths": [width, width], "top_k": 10}
        best = corpus.selected("t.jsonl", "-n", "3", "-i", index)[0]
        assert (best["id"], best["score"]) == ("d3", 1.0)
        alone = ("--repeat-kv",) if kind == "k" else ()
        corpus.build("corpus", "-i", "alone.nagindex", "--neuron-type", kind, *alone)
        assert corpus.state(index=index) == corpus.state(index="alone.nagindex")
        shutil.rmtree("alone.nagindex")
    again = corpus.build(*command).stderr
    assert again.count("Added 0 documents (0 tokens)") == 3
    assert again.count("2 sources already in the index, passed over") == 3


def test_a_type_that_one_index_lacks_is_made_from_the_same_corpus(corpus: Shell) -> None:
    """Types added later, or of which a part is there, end with all documents; the others stay as they are."""
    corpus.build("corpus", "-i", "x.up.nagindex", "--shard", "0/2")
    before = len(corpus.docs("id", index="x.up.nagindex"))
    done = corpus.run("build", "corpus", "-i", "x.nagindex", "--neuron-type", "up,v", "--json", "--model", corpus.model)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["index"], row["documents"]) for row in told] == [("x.up.nagindex", 70 - before), ("x.v.nagindex", 70)]
    assert 0 < before < 70
    assert sorted(corpus.docs("id", index="x.up.nagindex")) == sorted(corpus.docs("id", index="x.v.nagindex"))


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("--neuron-type", "up,sideways"), 2, "--neuron-type sideways: known are up, down, gate, q, k, v, o"),
        (("--neuron-type", ""), 2, "--neuron-type : known are"),
        (("--repeat-kv",), 2, "--repeat-kv is about k and v"),
        (("--shard", "3/3"), 2, "--shard 3/3: write I/N with I from 0 to N - 1"),
        (("--shard", "x"), 2, "--shard x: write I/N"),
        (("--shard", "-1/2"), 2, "--shard -1/2: write I/N"),
        (("--workers", "2"), 2, "--workers"),
        (("--attention", "fast"), 2, "--attention"),
        (("--device", "cpu,nowhere"), 1, "device 'nowhere' cannot be used"),
        (("--device", "cpu,"), 1, "device '' cannot be used"),
        (("--neuron-type", "gate", "--model", "minilm"), 1, "no gate projection, as the model's MLP has none"),
        (("--neuron-type", "up,gate", "--model", "minilm"), 1, "use another neuron type"),
        (("--dry-run", "--neuron-type", "up,gate", "--model", "minilm"), 1, "use another neuron type"),
        (("--dry-run", "--shard", "0/2"), 2, "--dry-run looks at the whole corpus and not at --shard 0/2"),
    ],
)
def test_what_cannot_be_is_one_line(corpus: Shell, arguments: tuple[str, ...], status: int, reason: str) -> None:
    """Usage errors have status 2, others 1; what is wrong from the start leaves no index behind."""
    model = () if "--model" in arguments else ("--model", corpus.model)
    assert reason in corpus.error("build", "corpus", *model, *arguments, status=status)
    assert "--device" in arguments or not list(corpus.folder.glob("*.nagindex"))


# Shards -------------------------------------------------------------------------------------------------------------

RANKS = [{"RANK": str(n), "WORLD_SIZE": "2"} for n in range(2)]
TASKS = [
    {"SLURM_ARRAY_TASK_ID": str(10 + 5 * n), "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "10",
     "SLURM_ARRAY_TASK_STEP": "5"} for n in range(2)
]  # fmt: skip
PLAIN_TASKS = [{"SLURM_ARRAY_TASK_ID": str(n), "SLURM_ARRAY_TASK_COUNT": "2"} for n in range(2)]
BOTH = [task | rank for task in TASKS for rank in RANKS]


@pytest.mark.parametrize("launched", [RANKS, TASKS, PLAIN_TASKS, BOTH], ids=["ranks", "array", "from 0", "both"])
def test_processes_of_a_launcher_share_the_corpus(
    corpus: Shell, monkeypatch: pytest.MonkeyPatch, launched: list[dict[str, str]]
) -> None:
    """Ranks, tasks of a Slurm array, and ranks inside tasks: each takes its own part and says so; together it is the whole."""
    corpus.build("corpus", "-i", "whole.nagindex")
    parts = []
    for environment in launched:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        done = corpus.build("corpus")
        parts.append(re.findall(r"^Shard (\d+)/(\d+) \(", done.stderr, re.MULTILINE))
        assert re.search(r"Added [1-9]\d* documents", done.stderr)
    assert sorted(parts) == [[(str(n), str(len(launched)))] for n in range(len(launched))]
    assert by_id(corpus, "index.nagindex") == by_id(corpus, "whole.nagindex")


def test_a_shard_on_the_command_line_comes_before_the_launchers(corpus: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--shard 0/2` and `1/2` make the whole; 0/1 is all of it, whatever the environment says; append shares work too."""
    corpus.build("corpus", "-i", "whole.nagindex", "--shard", "0/1")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "7")
    for shard in ("0/2", "1/2"):
        assert "Shard" not in corpus.build("corpus", "--shard", shard).stderr
    assert by_id(corpus, "index.nagindex") == by_id(corpus, "whole.nagindex")
    corpus.write("more.jsonl", jsonl({"id": f"m{i}", "text": f"violin {i}"} for i in range(20)))
    added = [corpus.run("append", "more.jsonl", "--shard", shard).stderr for shard in ("1/2", "0/2")]
    assert [re.search(r"Added (\d+) documents", text)[1] for text in added] == ["8", "12"]  # type: ignore[index]


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "", "WORLD_SIZE": ""},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "one", "WORLD_SIZE": "2"},
        {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"},
        {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_STEP": "0"},
        {"RANK": "3", "WORLD_SIZE": "2", "SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "9"},
    ],
)
def test_a_launcher_that_makes_no_sense_is_one_line(
    corpus: Shell, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    """Rather than encode a part that nobody meant, the build names the variables and the remedy."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    reason = corpus.error("build", "corpus", "--model", corpus.model, status=2)
    assert next(iter(environment)) in reason
    assert "give --shard I/N" in reason
    corpus.build("corpus", "--shard", "0/1")


# What is counted, and how it is computed ----------------------------------------------------------------------------


def test_tokens_that_were_not_counted_are_no_budget(corpus: Shell) -> None:
    """Documents without a stated count have 0 tokens; a budget of tokens is refused, one of documents works."""
    assert "Added 70 documents (0 tokens)" in corpus.build("corpus", "--no-count-tokens").stderr
    for budget in (("--tokens", "100"), ("--fraction", "0.5")):
        reason = corpus.error("query", "t.jsonl", *budget)
        assert "its tokens were not counted; ask for documents with -n" in reason
    assert [row["tokens"] for row in corpus.selected("t.jsonl", "-n", "2")] == [0, 0]
    assert "the index was built with --no-count-tokens" in corpus.build_error("corpus")
    stated = [record | {"n_tokens": 5} for record in RECORDS[:8]]
    corpus.write("stated.jsonl", jsonl(stated))
    corpus.build("stated.jsonl", "-i", "stated.nagindex", "--no-count-tokens")
    assert len(corpus.selected("t.jsonl", "--tokens", "20", "-i", "stated.nagindex")) == 4


def test_dtype_and_attention_are_the_models_and_the_indexes(corpus: Shell) -> None:
    """What was asked for is what encodes, stands in info, and binds the next build."""
    corpus.build("corpus/a.jsonl", "--dtype", "bf16", "--attention", "eager")
    assert "in bfloat16, eager attention" in corpus.run("info").stdout
    assert {name: fingerprint(corpus)[name] for name in ("dtype", "attention")} == {
        "dtype": "bfloat16", "attention": "eager"
    }  # fmt: skip
    reason = corpus.build_error("corpus/a.jsonl", "--dtype", "fp32")
    assert "--dtype is 'bfloat16' in the index and 'float32' here" in reason
    assert "--attention is 'eager' in the index and 'sdpa' here" in reason
    assert corpus.selected("t.jsonl", "-n", "1")[0]["id"] == "d3"
    assert "Added 30 documents" in corpus.run("append", "corpus/b.jsonl").stderr


# backbones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["qwen3", "llama", "smollm3"])
def test_backbones_says_what_would_be_tapped(shell: Shell, golden: Path, name: str) -> None:
    """Every type with its layers, width, K and bytes, from the configuration alone: no weights need be there."""
    folder = shell.folder / name
    folder.mkdir()
    shutil.copy(golden / "models" / name / "config.json", folder)
    out = shell.run("backbones", name).stdout
    assert re.search(r"^up +4 +256 +10 +80  layers\.0\.mlp\.up_proj$", out, re.MULTILINE)
    found = json.loads(shell.run("backbones", name, "--json").stdout)
    assert [kind["neuron_type"] for kind in found["types"]] == ["up", "down", "gate", "q", "k", "v", "o"]
    assert found["missing"] == {}
    [up] = [kind for kind in found["types"] if kind["neuron_type"] == "up"]
    assert (up["widths"], up["top_k"], up["bytes_per_document"]) == ([256] * 4, 10, 80)


def test_backbones_says_what_a_model_lacks_and_why(shell: Shell) -> None:
    """MiniLM has no gate; the other types are listed."""
    out = shell.run("backbones", "minilm").stdout
    assert re.search(r"^up +6 +1,536 +10 +120  encoder\.layer\.0\.intermediate\.dense$", out, re.MULTILINE)
    reason = "BertModel.encoder.layer.0: no gate projection, as the model's MLP has none; use another neuron type"
    assert out.splitlines()[-1] == f"Not in this model: gate ({reason})"
    found = json.loads(shell.run("backbones", "minilm", "--json").stdout)
    assert found["missing"] == {"gate": reason}


def test_backbones_refuses_what_is_no_dense_model(shell: Shell) -> None:
    """A folder that is not there, one without a model, and a mixture of experts are one line each."""
    assert "./nowhere: no such folder" in shell.error("backbones", "./nowhere")
    shell.write("empty/readme", "")
    assert "holds no config.json" in shell.error("backbones", "empty")
    shell.write("broken/config.json", "{")
    assert "the model cannot be loaded" in shell.error("backbones", "broken")
    experts = {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "vocab_size": 50, "hidden_size": 16,
        "intermediate_size": 32, "moe_intermediate_size": 8, "num_experts": 4, "num_experts_per_tok": 2,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    }  # fmt: skip
    shell.write("experts/config.json", json.dumps(experts))
    assert "a mixture of experts has no single up projection" in shell.error("backbones", "experts")


# Several devices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
def test_an_interrupt_while_two_devices_work_keeps_a_good_index(
    corpus: Shell, kind: signal.Signals, workers: int
) -> None:
    """Each process commits its complete windows, the message tells how many documents, and the same command ends it."""
    pipe = corpus.folder / "corpus" / "c.jsonl"
    os.mkfifo(pipe)
    first = ("corpus/a.jsonl", "--corpus-root", "corpus", "--shard", "0/10")
    assert "Added 4 documents" in corpus.build(*first).stderr  # the windows of the processes below are as small
    arguments = ("corpus", "--device", "cpu,cpu", "--workers", workers)
    process = corpus.start("build", *arguments, "--model", corpus.model)
    try:
        held = _held(pipe, process)
        process.send_signal(kind)
        out, err = process.communicate(timeout=240)
        os.close(held)
    finally:
        process.kill()
    assert (process.returncode, out) == (128 + kind, b"")
    told = re.fullmatch(rb"(?: *\d+%.*\n)*Error: interrupted; (\d+) documents are committed in .* to go on\n", err)
    assert told, err
    committed = corpus.docs("id")
    assert len(committed) == len(set(committed)) == int(told[1]) >= 4
    corpus.run("verify")
    pipe.unlink()
    corpus.write("corpus/c.jsonl", jsonl([{"id": "last", "text": "violin"}]))
    corpus.build(*arguments)
    corpus.build("corpus", "-i", "whole.nagindex")
    assert by_id(corpus, "index.nagindex") == by_id(corpus, "whole.nagindex")


def _held(pipe: Path, process: object) -> int:
    """Wait until a process reads a pipe; return the descriptor that keeps it waiting there."""
    until = time.monotonic() + 240
    while time.monotonic() < until and process.poll() is None:  # type: ignore[attr-defined]
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            time.sleep(0.02)
    raise AssertionError("the program never came to the pipe")
