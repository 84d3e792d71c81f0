"""Fixtures of several files: a calibration in a file and in an index, and a cache of .gguf files of its own."""

import json

import pytest

from nagindex import build, calibrate
from nagindex.backbone import gguf

TEXTS = [f"the {word} number {i} of the {word}" for i in range(12) for word in ("river", "fox", "graph")]


@pytest.fixture(scope="module")
def model(golden):
    return str(golden / "models" / "qwen3")


@pytest.fixture(scope="module")
def made(tmp_path_factory, model):
    """A folder with a corpus, its calibration in a file, and an index that was built with it."""
    folder = tmp_path_factory.mktemp("made")
    lines = [json.dumps({"id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(TEXTS)]
    (folder / "c.jsonl").write_text("".join(lines))
    options = {"model": model, "device": "cpu", "dtype": "fp32", "calibrate": 16}
    assert calibrate(folder / "c.jsonl", folder / "c.npz", **options) == 16
    build(folder / "c.jsonl", folder / "i", impact="relative", **options)
    return folder


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The folder of a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf.metadata, "version", lambda name: f"{name}1")
    return tmp_path / "cache" / "nagindex"
