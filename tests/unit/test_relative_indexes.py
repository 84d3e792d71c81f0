"""Indexes of relative impact: their codes, presets, flags, damage and drift."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from families import FAMILIES, random_model

import nagindex
from nagindex import BuildOptions, build
from nagindex.encode.calibrate import mean_impacts
from nagindex.encode.encoder import Encoder
from nagindex.errors import DamagedIndexError, SettingsMismatchError
from nagindex.nag import impact_divisors
from nagindex.storage.manifest import read_latest

BY_ID = "SELECT id, _segment, _position FROM docs ORDER BY id"
TEXTS = [f"the {word} of the {other} is in the sea number {n}" for n, (word, other) in enumerate(
    (a, b) for a in ("fox", "river", "sand", "graph", "neuron", "index") for b in ("brown", "quick", "lazy", "sea", "fox")
)]  # fmt: skip


def write(path, texts, **more):
    lines = [json.dumps({"id": f"{path.stem}-{n:04}", "text": text} | more) for n, text in enumerate(texts)]
    path.write_text("".join(line + "\n" for line in lines))
    return path


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    write(folder / "a.jsonl", TEXTS[:18])
    write(folder / "b.jsonl", TEXTS[18:])
    return folder


@pytest.fixture
def made(corpus, tmp_path, tiny_backbone):
    """An index of relative impact."""
    return build(corpus, tmp_path / "i", impact="relative", top_k=6, backbone=tiny_backbone)[0]


@pytest.mark.parametrize("family", ["Qwen3", "Llama", "SmolLM3"])
def test_relative_codes_are_those_of_divided_impacts(family):
    """Bit by bit: the encoder's codes are a stable sort of the impacts divided in float32."""
    from nagindex.backbone.load import wrap_model

    class Tokenizer:
        pad_token_id = 0

        def get_vocab(self):
            return {}

    backbone = wrap_model(family, random_model(FAMILIES[family]), Tokenizer())
    rng = np.random.default_rng(0)
    ids = [rng.integers(1, 60, rng.integers(1, 9)).tolist() for _ in range(20)]
    [means] = mean_impacts([backbone], ids, batch_tokens=16)
    view = backbone.calibrated(means)
    spec = view.fingerprint(top_k=7, max_length=9).spec
    [codes] = Encoder([view], [spec], 1).encode(ids)
    divisors = impact_divisors(means, backbone.widths)
    for row, own in zip(ids, codes, strict=True):
        layers = backbone.impacts(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.int64))
        relative = [layer[0].numpy() / divisor for layer, divisor in zip(layers, divisors, strict=True)]
        assert np.array_equal(own, [np.argsort(-layer, kind="stable")[:7] for layer in relative])


def test_presets_and_what_is_named_in_place_of_them():
    fast = BuildOptions(preset="fast").encoding
    assert (fast.impact, fast.layers, fast.top_k, fast.max_length) == ("relative", "first-third", 5, 32)
    assert BuildOptions(preset="fast", max_length=64, layers=[0, 1]).encoding == dataclasses.replace(
        fast, max_length=64, layers="0,1"
    )
    assert BuildOptions(preset="calibrated").sample == 512
    assert BuildOptions().sample is None


def test_a_query_may_name_the_preset_that_the_index_was_built_as(made):
    assert made.query([TEXTS[0]], n=1, preset="calibrated").ids.tolist() == ["a-0000"]
    with pytest.raises(
        SettingsMismatchError, match='`preset="paper"` is of absolute impact, and the index of relative'
    ):
        made.query([TEXTS[0]], n=1, preset="paper")


def test_earlier_versions_refuse_what_they_cannot_read(corpus, tmp_path, tiny_backbone, monkeypatch):
    relative, _ = build(corpus, tmp_path / "i", impact="relative", layers="0,2", backbone=tiny_backbone)
    monkeypatch.setattr("nagindex.storage.manifest.FLAGS", frozenset({"columns"}))
    with pytest.raises(nagindex.UnknownFormatError, match="calibration, layers"):
        nagindex.open(relative.path)


@pytest.mark.parametrize("fault", ["removed", "cut", "bit"])
def test_a_damaged_calibration_is_told_and_never_used(made, corpus, fault, tiny_backbone):
    """Opening tells a missing or short file; a changed one is told by `verify`, and by whatever would encode with it."""
    [path] = (made.path / "calibration").iterdir()
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.unlink()
    if fault != "removed":
        path.write_bytes(bytes(content) if fault == "bit" else bytes(content[:-1]))
    assert any(str(path) in str(error) for error in nagindex.open(made.path, check=False).verify())
    if fault != "bit":
        with pytest.raises(DamagedIndexError, match="calibration"):
            nagindex.open(made.path)
    index = nagindex.Index(made.path, read_latest(made.path), backbone=tiny_backbone)
    for encode in (lambda: index.encode(["new"]), lambda: index.append(write(corpus / "c.jsonl", ["new"]))):
        with pytest.raises(DamagedIndexError, match="calibration"):
            encode()
    assert len(index.query(index.codes[0][:2], n=3)) == 3  # needs no means


def test_saved_targets_of_another_calibration_are_refused(made, corpus, tmp_path, tiny_backbone):
    made.save_targets(made.encode([TEXTS[0]]), tmp_path / "t.parquet")
    other, _ = build(corpus, tmp_path / "o", impact="relative", top_k=6, calibrate=5, backbone=tiny_backbone)
    with pytest.raises(SettingsMismatchError, match="`calibration` is"):
        other.query(tmp_path / "t.parquet", n=1)


def test_drift_is_told_where_appended_documents_are_unlike_the_first(made, corpus):
    """And by how much chance alone would move them."""
    assert "drift" not in made.info()
    made.append(write(corpus / "c.jsonl", ["zzz qqq " * 9] * 60))
    told = made.info()["drift"]
    assert told["appended"] == 60
    assert 0 < told["by_chance"] < told["moved"] <= 1
