"""Calibrations: one stored calibration for every writer of an index, refused where it is another's, in files that say what they are."""

import json

import numpy as np
import pytest
from corpora import texts_of

from nagindex import build
from nagindex import open as open_index
from nagindex.builder import build_types
from nagindex.errors import SettingsMismatchError
from nagindex.ingest import calibrate as calibrations
from nagindex.ingest.calibrate import Drawn
from nagindex.ingest.options import Shard
from nagindex.storage.calibration import calibration_hash, read_calibration, write_calibration
from nagindex.storage.create import create_index
from nagindex.storage.manifest import manifest_path, read_latest, versions
from nagindex.targets.saved import write_nags

N = 40


def lines(texts, mark="d"):
    return "".join(json.dumps({"id": f"{mark}{i}", "text": text}) + "\n" for i, text in enumerate(texts))


@pytest.fixture
def corpus(tmp_path):
    """A folder of two files with forty documents."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.jsonl").write_text(lines(texts_of(0, 25), "d"))
    (folder / "b.jsonl").write_text(lines(texts_of(1, 15), "e"))
    return folder


@pytest.fixture
def relative(tiny_backbone):
    """Return f(corpus, index, **options): an index of relative impact, calibrated on 16 documents unless told otherwise."""

    def make(corpus, index, **options):
        sampled = {} if {"calibrate", "calibration"} & options.keys() else {"calibrate": 16}
        return build(corpus, index, **{"backbone": tiny_backbone, "impact": "relative"} | sampled | options)[0]

    return make


@pytest.fixture
def no_draw(monkeypatch):
    """Return f(): no calibration is drawn from then on."""

    def drawn(*args, **options):
        raise AssertionError("a calibration was drawn")

    return lambda: monkeypatch.setattr(calibrations, "draw_calibration", drawn)


@pytest.fixture
def no_model(monkeypatch):
    """No model is loaded."""

    def loaded(*args, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("nagindex.ingest.prepare.load_model", loaded)


def codes_of(index):
    """Return {id: NAG's bytes} of an index without damage."""
    assert list(index.verify()) == []
    codes = index.codes
    rows = index.docs.project("id, _segment, _position").fetchall()
    return {i: codes[segment][place].tobytes() for i, segment, place in rows}


def files_of(index):
    return sorted(path.name for path in (index / "calibration").iterdir())


def means_of(index):
    found = read_latest(index).fingerprint
    return read_calibration(index, found)


def test_every_shard_and_device_draws_the_same(corpus, tmp_path, relative):
    """Whichever of three shards comes first, on one device or two: the same means and the same codes."""
    whole = relative(corpus, tmp_path / "whole")
    for first in range(3):
        place = tmp_path / f"{first}"
        for number in (first, (first + 1) % 3, (first + 2) % 3):
            index = relative(corpus, place, shard=Shard(number, 3))
            assert files_of(place) == files_of(whole.path)
        assert codes_of(index) == codes_of(whole)


def test_a_process_for_each_device_takes_the_stored_means(corpus, golden, tmp_path, relative):
    """`cpu,cpu` gives the calibration and the codes of one process."""
    model = str(golden / "models" / "qwen3")
    index, _ = build(
        corpus, tmp_path / "two", model=model, device="cpu,cpu", dtype="fp32", impact="relative", calibrate=16
    )
    whole = relative(corpus, tmp_path / "whole")
    assert files_of(index.path) == files_of(whole.path)
    assert codes_of(index) == codes_of(whole)


def test_the_stored_file_is_what_the_fingerprint_names(corpus, tmp_path, relative):
    """Float32 [L, d] under the SHA-256 of its bytes; the manifest says how many documents were drawn."""
    index = relative(corpus, tmp_path / "i")
    fingerprint = index.manifest.fingerprint
    means = np.load(tmp_path / "i" / "calibration" / f"{fingerprint.calibration}.npy")
    assert (means.shape, means.dtype) == ((4, 256), np.float32)
    assert calibration_hash(means) == fingerprint.calibration
    assert (fingerprint.impact, fingerprint.spec.top_k, index.manifest.settings.calibrate) == ("relative", 5, 16)
    content = json.loads(manifest_path(index.path, index.manifest.version).read_text())
    assert content["flags"] == ["calibration"]
    assert content["fingerprint"]["calibration"] == fingerprint.calibration


def test_racing_shards_adopt_the_calibration_of_the_first(corpus, tmp_path, relative, monkeypatch):
    """Two machines whose last bits differ: the second one's means are given up, and it encodes with the first one's."""
    real, place = calibrations.draw_calibration, tmp_path / "i"
    whole = codes_of(relative(corpus, tmp_path / "whole"))

    def overtaken(*args, **options):
        monkeypatch.setattr(calibrations, "draw_calibration", real)
        relative(corpus, place, shard=Shard(1, 2))
        drawn = real(*args, **options)
        return Drawn([means[:, ::-1].copy() for means in drawn.means], drawn.documents, drawn.sample)

    monkeypatch.setattr(calibrations, "draw_calibration", overtaken)
    index = relative(corpus, place, shard=Shard(0, 2))
    assert len(index) == N
    assert codes_of(index) == whole
    assert files_of(place) == [f"{index.manifest.fingerprint.calibration}.npy"]
    assert relative(corpus, place).append(corpus).documents == 0


def test_writers_that_create_at_the_same_moment_agree(tmp_path, tiny_backbone):
    """Both wrote a calibration, one published first: the other takes its manifest's."""
    from nagindex.storage.settings import Settings

    means = [np.full((4, 256), value, np.float32) for value in (1, 2)]
    prints = [tiny_backbone.calibrated(own).fingerprint() for own in means]
    settings = Settings(calibrate=16, sample="0" * 64)
    made = [create_index(tmp_path / "i", own, settings, means=m) for own, m in zip(prints, means, strict=True)]
    assert made[0] == made[1] == read_latest(tmp_path / "i")
    write_calibration(tmp_path / "i", means[0])  # is there, which is no fault
    np.testing.assert_array_equal(means_of(tmp_path / "i"), means[0])


def test_the_same_command_draws_nothing_again(corpus, tmp_path, relative, no_draw):
    """Nor do an append, a query, or documents that were added to the corpus."""
    index = relative(corpus, tmp_path / "i")
    before = means_of(index.path)
    no_draw()
    (corpus / "c.jsonl").write_text(lines(texts_of(5, 10), "f"))
    again = relative(corpus, tmp_path / "i")
    assert len(again) == N + 10
    (tmp_path / "more.jsonl").write_text(lines(texts_of(6, 5), "g"))
    assert again.append(tmp_path / "more.jsonl").documents == 5
    np.testing.assert_array_equal(means_of(index.path), before)


def test_a_build_that_has_encoded_nothing_can_still_change_its_calibration(corpus, tmp_path, relative, tiny_backbone):
    """Without documents neither the sample's size nor the kind of impact binds; a vacuum removes what is named no more."""
    empty = tmp_path / "empty.jsonl"
    empty.write_text(lines(texts_of(0, 3)))
    place = tmp_path / "i"
    means = np.ones((4, 256), np.float32)
    from nagindex.storage.settings import Settings

    create_index(place, tiny_backbone.calibrated(means).fingerprint(), Settings(calibrate=9), means=means)
    index = relative(corpus, place)
    assert codes_of(index) == codes_of(relative(corpus, tmp_path / "whole"))
    assert len(files_of(place)) == 2
    index.vacuum(grace=0)
    assert files_of(place) == [f"{index.manifest.fingerprint.calibration}.npy"]
    assert list(open_index(place).verify()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calibrate": 17}, r"`calibrate` is 16 in the index and 17 here"),
        ({"impact": "absolute", "calibrate": None}, r"`impact` is 'relative' in the index and 'absolute' here"),
        (
            {"preset": "paper", "impact": None, "calibrate": None},
            r"`impact` is 'relative' in the index and 'absolute' here",
        ),
    ],
)
def test_another_calibration_is_refused_before_the_model_loads(corpus, tmp_path, relative, no_model, changes, said):
    """Naming both values; the index stays as it is."""
    index = relative(corpus, tmp_path / "i")
    with pytest.raises(SettingsMismatchError, match=said):
        relative(corpus, tmp_path / "i", **{"backbone": None} | changes)
    assert versions(index.path)[-1] == index.manifest.version


def test_relative_impact_is_refused_for_an_index_of_absolute_impact(
    corpus, tmp_path, tiny_backbone, relative, no_draw, no_model
):
    """Before a model is loaded or anything drawn."""
    build(corpus, tmp_path / "i", backbone=tiny_backbone)
    no_draw()
    with pytest.raises(SettingsMismatchError, match=r"`impact` is 'absolute' in the index and 'relative' here"):
        relative(corpus, tmp_path / "i", backbone=None)
    assert not (tmp_path / "i" / "calibration").exists()


def test_other_layers_k_and_length_are_refused(corpus, tmp_path, relative, no_draw):
    """Each names the index's value and the given one, and nothing is drawn for it."""
    relative(corpus, tmp_path / "i", layers="0-1")
    no_draw()
    for changes, said in (
        ({}, r"`layers` is '0-1' in the index and 4 here"),
        ({"layers": "0,2"}, r"`layers` is '0-1' in the index and '0,2' here"),
        ({"layers": "0-1", "top_k": 7}, r"`top_k` is 5 in the index and 7 here"),
        ({"layers": "0-1", "max_length": 7}, r"`max_length` is 120 in the index and 7 here"),
    ):
        with pytest.raises(SettingsMismatchError, match=said):
            relative(corpus, tmp_path / "i", **changes)


def test_several_types_are_calibrated_each_for_itself(corpus, tmp_path, relative, tiny_backbone):
    """From one pass; a type that is added later, with no calibration yet, gets what it has in a build of its own."""
    options = {"backbone": tiny_backbone, "impact": "relative", "calibrate": 16}
    places = {kind: tmp_path / kind for kind in ("up", "q", "k")}
    [(first, _)] = build_types(corpus, {"up": places["up"]}, **options)
    together = [index for index, _ in build_types(corpus, places, **options)]
    for kind, index in zip(places, together, strict=True):
        alone = relative(corpus, tmp_path / f"{kind} alone", neuron_type=kind)
        assert files_of(index.path) == files_of(alone.path)
        assert codes_of(index) == codes_of(alone)
    assert together[0].manifest.fingerprint == first.manifest.fingerprint


def test_an_index_of_absolute_impact_and_all_layers_is_written_as_before(corpus, tmp_path, tiny_backbone, relative):
    """No new key and no flag, so that earlier versions of nagindex read it; each feature that is used has its flag."""
    build(corpus, tmp_path / "i", backbone=tiny_backbone, layers="all")
    content = json.loads(manifest_path(tmp_path / "i", 1).read_text())
    assert content["flags"] == []
    assert set(content["fingerprint"]) == {
        "backbone", "weights", "tokenizer", "spec", "max_length", "dtype", "attention", "libraries"
    }  # fmt: skip
    assert set(content["fingerprint"]["spec"]) == {"neuron_type", "widths", "top_k"}
    assert set(content["settings"]) == {
        "text_column", "id_column", "token_column", "keep_columns", "window", "batch_tokens", "count_tokens"
    }  # fmt: skip
    assert not (tmp_path / "i" / "calibration").exists()
    for name, options, flags in (
        ("layers", {"impact": "absolute", "calibrate": None, "layers": "0-1"}, ["layers"]),
        ("both", {"layers": [0, 3]}, ["calibration", "layers"]),
    ):
        relative(corpus, tmp_path / name, **options)
        assert json.loads(manifest_path(tmp_path / name, 1).read_text())["flags"] == flags


def test_what_comes_later_uses_the_stored_means(corpus, tmp_path, relative, golden):
    """Encoding again, on other devices too, gives the same codes, and saved NAGs are known by their calibration."""
    model = str(golden / "models" / "qwen3")
    options = {"backbone": None, "model": model, "device": "cpu", "dtype": "fp32"}
    index = relative(corpus, tmp_path / "i", **options)
    assert (index.recheck().documents, index.recheck().differing_codes) == (N, 0)
    (tmp_path / "again.jsonl").write_text(lines(texts_of(0, 25), "f"))
    assert index.append(tmp_path / "again.jsonl", device="cpu,cpu").documents == 25
    codes = codes_of(index)
    assert all(codes[f"f{i}"] == codes[f"d{i}"] for i in range(25))
    write_nags(tmp_path / "t.parquet", index.encode(tmp_path / "again.jsonl"), index.manifest.fingerprint)
    assert (
        index.query(tmp_path / "t.parquet", n=2).ids.tolist() == index.query(tmp_path / "again.jsonl", n=2).ids.tolist()
    )
    other = relative(corpus, tmp_path / "other", **options, calibrate=5)
    with pytest.raises(
        SettingsMismatchError, match=r"t.parquet: `calibration` is '[0-9a-f]{12}' in the index and '[0-9a-f]{12}' here"
    ):
        other.query(tmp_path / "t.parquet", n=2)
