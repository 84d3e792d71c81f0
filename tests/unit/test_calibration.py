"""Calibration of relative impact: drawn alike everywhere, stored once, and never mixed with another."""

import dataclasses
import gzip
import json
import os

import duckdb
import numpy as np
import pytest
import torch
from families import FAMILIES, random_model

import nagindex
from nagindex import BuildOptions, Columns, Shard, build, builder, calibrate
from nagindex.corpus.sources import find_sources
from nagindex.encode.calibrate import mean_impacts
from nagindex.encode.encoder import Encoder
from nagindex.errors import BadInputError, DamagedIndexError, InputNotFoundError, SettingsMismatchError
from nagindex.ingest import sample
from nagindex.ingest.calibrate import load_calibration
from nagindex.ingest.sample import sample_texts
from nagindex.nag import impact_divisors
from nagindex.storage.calibration import read_calibration
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


# The sample -----------------------------------------------------------------------------------------------------------


def test_a_small_corpus_is_drawn_from_evenly_and_by_the_seed(corpus):
    sources = find_sources(corpus).sources
    first, again, other = (sample_texts(sources, Columns(), count=10, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == 10
    assert sorted(sample_texts(sources, Columns(), count=10**6)) == sorted(TEXTS)


def test_a_large_corpus_gives_documents_in_proportion_to_bytes(tmp_path, monkeypatch):
    """Each source by its size, rows of no text are passed over, and formats and compression make no difference."""
    monkeypatch.setattr(sample, "SMALL_CORPUS", 1000)
    monkeypatch.setattr(sample, "BYTES_COUNTED", 2000)
    long, short = [f"text {n:06} of many" for n in range(3000)], [f"other {n:06}" for n in range(300)]
    write(tmp_path / "long.jsonl", long)
    write(tmp_path / "short.jsonl", short)
    duckdb.sql(
        f"COPY (SELECT 'p' || i AS id, 'parquet ' || i AS text FROM range(20000) t(i)) TO '{tmp_path}/p.parquet' (FORMAT parquet)"
    )
    with gzip.open(tmp_path / "z.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": f"packed {n}"}) + "\n" for n in range(4000))
    sources = find_sources(tmp_path).sources
    drawn = sample_texts(sources, Columns(), count=200)
    assert drawn == sample_texts(sources, Columns(), count=200)
    total = sum(source.size for source in sources)
    for prefix, name in (
        ("text", "long.jsonl"),
        ("other", "short.jsonl"),
        ("parquet", "p.parquet"),
        ("packed", "z.jsonl.gz"),
    ):
        size = next(source.size for source in sources if source.name == name)
        assert abs(sum(text.startswith(prefix) for text in drawn) - 200 * size / total) <= 3
    rows = sorted(int(text.split()[1]) for text in drawn if text.startswith("text"))
    assert rows[0] < 1000 < 2000 < rows[-1], "from all of the source"


def test_only_the_first_bytes_of_a_large_source_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "SMALL_CORPUS", 10_000)
    monkeypatch.setattr(sample, "BYTES_READ", 10_000)
    monkeypatch.setattr(sample, "BYTES_COUNTED", 1000)
    write(tmp_path / "a.jsonl", [f"text {n:06}" for n in range(5000)])
    drawn = sample_texts(find_sources(tmp_path).sources, Columns(), count=20)
    assert max(int(text.split()[1]) for text in drawn) < 5000 * 1.1 * 10_000 / (tmp_path / "a.jsonl").stat().st_size


def test_rows_without_text_and_unreadable_files_are_passed_over(tmp_path):
    write(tmp_path / "a.jsonl", ["one", "two"])
    (tmp_path / "n.jsonl").write_text('{"text": null}\n{"text": ""}\n')
    (tmp_path / "broken.jsonl").write_text('{"text": "three"}\n{"text": \n')
    sources = find_sources(tmp_path).sources
    assert sorted(sample_texts(sources, Columns(), count=9, on_error="skip")) == ["one", "three", "two"]
    with pytest.raises(BadInputError, match=r"broken\.jsonl"):
        sample_texts(sources, Columns(), count=9)
    with pytest.raises(BadInputError, match="no document to calibrate on"):
        sample_texts(find_sources(tmp_path / "n.jsonl").sources, Columns(), count=9)


def test_a_pipe_is_not_read_for_a_sample(tmp_path):
    """It gives its content once."""
    os.mkfifo(tmp_path / "p.jsonl")
    with pytest.raises(BadInputError, match="or are no regular files"):
        sample_texts(find_sources(tmp_path / "p.jsonl").sources, Columns(), count=9)


# One calibration an index ---------------------------------------------------------------------------------------------


def test_every_shard_and_rerun_uses_the_stored_means(corpus, tmp_path, tiny_backbone, monkeypatch):
    """Three shards give what one process gives, and a command that goes on draws nothing."""
    whole, _ = build(corpus, tmp_path / "whole", impact="relative", backbone=tiny_backbone)
    for number in range(3):
        shared, _ = build(
            corpus, tmp_path / "shared", impact="relative", backbone=tiny_backbone, shard=Shard(number, 3)
        )
        monkeypatch.setattr(builder, "draw_calibration", None)
    assert shared.manifest.fingerprint == whole.manifest.fingerprint
    rows = "SELECT id FROM docs ORDER BY id"
    assert shared.sql(rows).fetchall() == whole.sql(rows).fetchall()
    found, expected = (
        {i: index.codes[s][p].tobytes() for i, s, p in index.sql(BY_ID).fetchall()} for index in (shared, whole)
    )
    assert found == expected
    assert build(corpus, tmp_path / "whole", impact="relative", backbone=tiny_backbone)[1].documents == 0


def test_of_two_writers_that_draw_at_once_the_second_takes_the_firsts(corpus, tmp_path, tiny_backbone, monkeypatch):
    """Their means may differ in the last bits; all documents are of one calibration, and both writers go on."""
    draw = builder.draw_calibration

    def late(*given, **options):
        drawn = draw(*given, **options)
        monkeypatch.setattr(builder, "draw_calibration", draw)
        build(corpus, tmp_path / "i", impact="relative", backbone=tiny_backbone, shard=Shard(0, 2))
        return dataclasses.replace(drawn, means=[means * np.float32(1.001) for means in drawn.means])

    monkeypatch.setattr(builder, "draw_calibration", late)
    index, report = build(corpus, tmp_path / "i", impact="relative", backbone=tiny_backbone, shard=Shard(1, 2))
    assert len(index) == len(TEXTS) >= report.documents
    whole, _ = build(corpus, tmp_path / "w", impact="relative", backbone=tiny_backbone)
    assert index.manifest.fingerprint == whole.manifest.fingerprint
    for (_, s, p), (_, t, q) in zip(index.sql(BY_ID).fetchall(), whole.sql(BY_ID).fetchall(), strict=True):
        assert np.array_equal(index.codes[s][p], whole.codes[t][q])


def test_other_settings_than_the_indexs_are_refused(made, corpus, tiny_backbone, tmp_path, monkeypatch):
    other = calibrate(corpus, tmp_path / "c.npz", calibrate=3, backbone=tiny_backbone) and tmp_path / "c.npz"
    for options, said in (
        ({"impact": "relative", "calibrate": 7}, "`calibrate` is 512 in the index and 7 here"),
        ({"impact": "relative", "calibration": other}, "`calibration` is"),
        ({"impact": "relative", "layers": "0-1"}, "`layers` is 4 in the index and '0-1' here"),
        ({"impact": "relative", "max_length": 7}, "`max_length` is 120 in the index and 7 here"),
        ({}, "`impact` is 'relative' in the index and 'absolute' here"),
    ):
        with pytest.raises(SettingsMismatchError, match=said.replace("(", r"\(")):
            build(corpus, made.path, top_k=6, backbone=tiny_backbone, **options)
    monkeypatch.setattr(builder, "_load", None)  # the kind of impact is told before a model is loaded
    with pytest.raises(SettingsMismatchError, match="`impact`"):
        build(corpus, made.path, top_k=6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"calibrate": 5}, "`calibrate` is for relative impact"),
        ({"calibration": "x"}, "`calibration` is for relative impact"),
        ({"impact": "relative", "calibrate": 5, "calibration": "x"}, "give one of the two"),
        ({"impact": "relative", "calibrate": 0}, "at least one document"),
        ({"impact": "most"}, "one of absolute, relative"),
        ({"preset": "best"}, "one of paper, calibrated, fast"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, said):
    with pytest.raises(BadInputError, match=said):
        BuildOptions.of(**options)


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


def test_absolute_indexes_are_as_before(corpus, tmp_path, tiny_backbone):
    """Their manifests have no entry or flag of relative impact or of layers, and there is no such folder."""
    index, _ = build(corpus, tmp_path / "i", backbone=tiny_backbone)
    content = json.loads(sorted((index.path / "manifests").glob("0*.json"))[-1].read_text())
    assert content["flags"] == []
    assert not {"impact", "calibration"} & content["fingerprint"].keys()
    assert content["fingerprint"]["spec"].keys() == {"neuron_type", "widths", "top_k"}
    assert "calibrate" not in content["settings"]
    assert not (index.path / "calibration").exists()


def test_earlier_versions_refuse_what_they_cannot_read(corpus, tmp_path, tiny_backbone, monkeypatch):
    relative, _ = build(corpus, tmp_path / "i", impact="relative", layers="0,2", backbone=tiny_backbone)
    monkeypatch.setattr("nagindex.storage.manifest.FLAGS", frozenset({"columns"}))
    with pytest.raises(nagindex.UnknownFormatError, match="calibration, layers"):
        nagindex.open(relative.path)


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_calibration_can_be_made_and_given(made, corpus, tmp_path, tiny_backbone):
    """A file, the index that it equals, and an index built by either have the same means."""
    file = tmp_path / "c.npz"
    assert calibrate(corpus, file, backbone=tiny_backbone) == len(TEXTS)
    stored = read_calibration(made.path, made.manifest.fingerprint)
    assert np.array_equal(load_calibration(file).means, stored)
    assert np.array_equal(load_calibration(made.path).means, stored)
    for number, given in enumerate((file, made.path)):
        built, _ = build(
            corpus / "b.jsonl",
            tmp_path / f"n{number}",
            calibration=given,
            impact="relative",
            top_k=6,
            backbone=tiny_backbone,
        )
        assert built.manifest.fingerprint.calibration == made.manifest.fingerprint.calibration


def test_a_calibration_of_another_encoding_is_refused(made, corpus, tmp_path, tiny_backbone):
    for options, said in (
        ({"max_length": 32}, "`max_length` is 120 there and 32 here"),
        ({"neuron_type": "gate"}, "`neuron_type` is 'up' there and 'gate' here"),
    ):
        with pytest.raises(SettingsMismatchError, match=said):
            build(corpus, tmp_path / "n", calibration=made.path, impact="relative", backbone=tiny_backbone, **options)
    some, _ = build(corpus, tmp_path / "s", layers="0-1", impact="relative", backbone=tiny_backbone)
    with pytest.raises(SettingsMismatchError, match="calibrates another encoding"):
        build(corpus, tmp_path / "n", calibration=some.path, impact="relative", backbone=tiny_backbone)


def test_what_is_no_calibration_is_refused(corpus, tmp_path, tiny_backbone):
    calibrate(corpus, tmp_path / "c.npz", backbone=tiny_backbone)
    content = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("means")
    np.savez(tmp_path / "other.npz", means=np.ones((2, 2), np.float32))
    np.save(tmp_path / "array.npy", np.ones((2, 2), np.float32))
    with np.load(tmp_path / "c.npz") as stored:
        np.savez(
            tmp_path / "changed.npz",
            **{name: stored[name] for name in ("fingerprint", "documents")},
            means=stored["means"] * 2,
        )
    for name in ("cut.npz", "empty.npz", "text.npz", "other.npz", "array.npy", "changed.npz"):
        with pytest.raises(BadInputError, match=f"{name}: not a calibration, or a damaged one"):
            load_calibration(tmp_path / name)
    with pytest.raises(InputNotFoundError, match="no such index or file"):
        load_calibration(tmp_path / "gone.npz")
    absolute, _ = build(corpus, tmp_path / "i", backbone=tiny_backbone)
    with pytest.raises(BadInputError, match="absolute impact has no calibration"):
        load_calibration(absolute.path)


def test_a_calibration_is_written_over_no_source_and_into_no_index(made, corpus, tiny_backbone):
    with pytest.raises(BadInputError, match=r"ends in \.npz"):
        calibrate(corpus, corpus / "a.jsonl", backbone=tiny_backbone)
    with pytest.raises(BadInputError, match="inside the index"):
        calibrate(corpus, made.path / "c.npz", backbone=tiny_backbone)


# Damage ---------------------------------------------------------------------------------------------------------------


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


def test_vacuum_keeps_the_calibration_that_a_version_names_and_removes_others(made):
    stray = made.path / "calibration" / f"{'0' * 64}.npy"
    stray.write_bytes(b"x")
    made.vacuum(grace=0)
    assert [path.stem for path in (made.path / "calibration").iterdir()] == [made.manifest.fingerprint.calibration]
    assert nagindex.open(made.path).verify() == []


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
