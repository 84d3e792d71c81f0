"""Indexes of relative impact: their codes, presets, flags, damage and drift."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from families import FAMILIES, random_model

import nagindex
from nagindex import BuildOptions, build, builder
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
        SettingsMismatchError, match='`preset="paper"`: absolute in the preset and relative in the index'
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


class Stopped(Exception):
    """A build that ends before its first document is encoded."""


@pytest.fixture
def begin(tmp_path, tiny_backbone, monkeypatch):
    """Return f(corpus, **options): the index that a build creates and is stopped in before it encodes a document."""

    def stop(*args, **options):
        raise Stopped

    def make(corpus, **options):
        with monkeypatch.context() as patch:
            patch.setattr(builder, "run_job", stop)
            with pytest.raises(Stopped):
                build(corpus, tmp_path / "begun", impact="relative", backbone=tiny_backbone, **options)
        return nagindex.open(tmp_path / "begun")

    return make


@pytest.mark.parametrize("change", ["max_length", "corpus", "neuron_type", "layers"])
def test_a_build_that_was_stopped_at_once_leaves_no_means_to_another(corpus, begin, tmp_path, tiny_backbone, change):
    """Means belong to their encoding and their sample, though the sample's size is the same."""
    first = begin(corpus)
    options = {
        "max_length": {"max_length": 3},
        "corpus": {},
        "neuron_type": {"neuron_type": "gate"},
        "layers": {"layers": "0-1"},
    }
    other = write(tmp_path / "other.jsonl", ["quick lazy"] * 9) if change == "corpus" else corpus
    given = {"impact": "relative", "backbone": tiny_backbone} | options[change]
    index, _ = build(other, tmp_path / "begun", **given)
    alone, _ = build(other, tmp_path / "alone", **given)
    assert index.manifest.fingerprint == alone.manifest.fingerprint != first.manifest.fingerprint
    assert all(np.array_equal(a, b) for a, b in zip(index.codes, alone.codes, strict=True))


def test_the_same_build_keeps_the_means_that_it_was_stopped_with(corpus, begin, tmp_path, tiny_backbone):
    first = begin(corpus)
    index, _ = build(corpus, tmp_path / "begun", impact="relative", backbone=tiny_backbone)
    assert index.manifest.fingerprint == first.manifest.fingerprint
    assert index.manifest.version == 2


def test_settings_of_an_index_that_another_writer_has_just_made_do_not_change(corpus, begin, tiny_backbone):
    """A writer that saw none is refused, and so loses nothing of the other's work."""
    first = begin(corpus)
    other = dataclasses.replace(first.manifest.fingerprint, dtype="bfloat16")
    with pytest.raises(SettingsMismatchError, match="'float32' in the index and 'bfloat16' here"):
        nagindex.Index.create(first.path, other, first.manifest.settings, seen=0)
    assert nagindex.Index.create(first.path, other, first.manifest.settings, seen=1).manifest.version == 2


def test_drift_after_a_compaction_is_from_what_was_merged(made, corpus):
    made.append(write(corpus / "c.jsonl", ["the fox of the river"] * 9))
    made.delete(ids=["c-0000"])
    made.compact()
    assert "drift" not in made.info()
    for name, count in (("d", 40), ("e", 20)):
        made.append(write(corpus / f"{name}.jsonl", ["zzz qqq " * 9] * count))
    assert made.info()["drift"]["appended"] == 60


@pytest.mark.parametrize(
    ("options", "preset", "said"),
    [
        (
            {"preset": "fast"},
            "calibrated",
            "all layers in the preset and some layers in the index; 120 tokens in the preset and 32",
        ),
        (
            {"preset": "calibrated"},
            "fast",
            "some layers in the preset and all layers in the index; 32 tokens in the preset and 120",
        ),
        ({"layers": "0-1"}, "paper", "all layers in the preset and some layers in the index"),
    ],
)
def test_a_preset_of_a_query_is_that_of_the_build(corpus, tmp_path, tiny_backbone, options, preset, said):
    index, _ = build(corpus, tmp_path / "p", backbone=tiny_backbone, top_k=3, **{"preset": "paper"} | options)
    with pytest.raises(SettingsMismatchError, match=said):
        index.query([TEXTS[0]], n=1, preset=preset)
    assert len(index.query([TEXTS[0]], n=1, preset=options.get("preset"))) == 1


def test_layers_that_cannot_be_read_are_told_before_a_model_is_loaded(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("nagindex.ingest.prepare.load_model", None)
    for layers, said in (("foo", "write last, first, all"), ("9-3", "the range 9-3 is descending")):
        with pytest.raises(nagindex.BadInputError, match=said):
            build(corpus, tmp_path / "l", layers=layers)


def test_a_damaged_source_stops_a_build_of_relative_impact_where_it_comes_to_it(corpus, tmp_path, tiny_backbone):
    """What precedes it is kept, as with absolute impact."""
    write(corpus / "m.jsonl", TEXTS * 20)
    (corpus / "z.jsonl").write_text('{"text": "three"}\n{"text": \n')
    with pytest.raises(nagindex.BadInputError, match=r"z\.jsonl"):
        build(corpus, tmp_path / "z", impact="relative", backbone=tiny_backbone)
    assert len(nagindex.open(tmp_path / "z")) == 512, "two windows"
