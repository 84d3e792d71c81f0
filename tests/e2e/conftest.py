"""A tiny backbone made on the spot, and a folder to run commands in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mixed_files import TEXTS, write_corpus
from shell import Shell, jsonl

VOCABULARY = (
    "river mountain solver kettle proof garden theorem violin salmon planet engine harvest window market letter "
    "oxygen carbon winter summer painter captain harbour lantern puzzle fraction triangle number story dragon forest "
    "python function loop array string compile return value class object green yellow crimson silver copper"
)
WORDS = VOCABULARY.split()


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """Nothing here may reach the network, and no setting of the developer's shell may reach a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("NAGINDEX", raising=False)
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Qwen3 in safetensors and a byte-level BPE tokenizer trained on `WORDS`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("backbone")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS[i::7]) for i in range(7)], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=512,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Qwen3Model(config).save_pretrained(folder)
    return folder


@pytest.fixture
def shell(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """An empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Shell(folder, model)


@pytest.fixture(scope="session")
def pool_template(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """What `pool` is a copy of."""
    folder = tmp_path_factory.mktemp("pool")
    records = [
        {"id": f"d{i}", "text": " ".join(WORDS[5 * i : 5 * i + 5 + i]), "label": "odd" if i % 2 else "even"}
        for i in range(6)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shell = Shell(folder, model)
        shell.write("pool/a.jsonl", jsonl(records[:4]))
        shell.build("pool", "--keep-column", "label")
        shell.write("pool/b.jsonl", jsonl(records[4:]))
        shell.run("append", "pool")
    return folder


@pytest.fixture
def pool(shell: Shell, pool_template: Path) -> Shell:
    """A working folder with an index of six documents with a label, built from pool/a.jsonl and then pool/b.jsonl."""
    shutil.copytree(pool_template, shell.folder, dirs_exist_ok=True)
    return shell


@pytest.fixture
def words() -> list[str]:
    """The words that the tokenizer knows."""
    return list(WORDS)


@pytest.fixture(scope="session")
def mixed_template(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with an index over the corpus in every format, targets and nothing else."""
    folder = tmp_path_factory.mktemp("mixed")
    write_corpus(folder / "corpus")
    (folder / "targets.jsonl").write_text(jsonl({"text": TEXTS[k][0]} for k in "lgz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Shell(folder, model).build("corpus", "--max-length", "16")
    return folder


@pytest.fixture
def mixed(shell: Shell, mixed_template: Path) -> Shell:
    """A working folder with a corpus in every format and its index; the sources' recorded root is the template's."""
    shutil.copytree(mixed_template, shell.folder, dirs_exist_ok=True)
    return shell


@pytest.fixture
def ready(pool: Shell, words: list[str]) -> Shell:
    """The pool of six documents d0 to d5 with a label, and two files of targets."""
    pool.write("odd.jsonl", jsonl({"text": " ".join(words[5 * i : 5 * i + 5 + i]), "task": "odd"} for i in (1, 3)))
    pool.write("even.jsonl", jsonl({"text": " ".join(words[5 * i : 5 * i + 5 + i]), "task": "even"} for i in (0, 2)))
    pool.write("both.jsonl", Path("odd.jsonl").read_text() + Path("even.jsonl").read_text())
    return pool
