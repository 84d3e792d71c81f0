"""Calibrations that are given: taken from an index or a file, for the layers that an index has, and refused where they do not fit."""

import numpy as np
import pytest

from nagindex import build, builder, calibrate
from nagindex.backbone.load import load_backbone
from nagindex.builder import estimate_build
from nagindex.errors import BadInputError, SettingsMismatchError
from nagindex.ingest import calibrate as calibrations
from nagindex.ingest.calibrate import load_calibration, save_calibration
from nagindex.storage.calibration import read_calibration
from nagindex.storage.manifest import read_latest


@pytest.fixture
def using(made, tmp_path, tiny_backbone, monkeypatch):
    """Return f(calibration, **options): an index that is built with a given calibration, for which none is drawn."""

    def drawn(*args, **options):
        raise AssertionError("a calibration was drawn")

    monkeypatch.setattr(calibrations, "draw_calibration", drawn)

    def make(calibration, *, name="made", **options):
        given = {"backbone": tiny_backbone, "impact": "relative", "calibration": calibration}
        return build(made / "c.jsonl", tmp_path / name, **given | options)[0]

    return make


def means_of(index):
    return read_calibration(index, read_latest(index).fingerprint)


def test_a_file_holds_what_an_index_of_the_corpus_has(made):
    """The same documents, means, and encoding; it can be written anew over itself, and says how many documents it is of."""
    found, index = load_calibration(made / "c.npz"), load_calibration(made / "i")
    np.testing.assert_array_equal(found.means, means_of(made / "i"))
    assert found.fingerprint == index.fingerprint == read_latest(made / "i").fingerprint
    assert found.documents == index.documents == 16
    before = (made / "c.npz").read_bytes()
    save_calibration(made / "c.npz", found)
    assert (made / "c.npz").read_bytes() == before
    assert load_calibration(str(made / "c.npz")).fingerprint == found.fingerprint


@pytest.mark.parametrize("name", ["i", "c.npz"])
def test_a_given_calibration_is_the_new_indexs(made, using, name):
    """Same means, hash and codes as in the index of the sample; the same command again, and an append, need nothing else."""
    index, first = using(made / name), read_latest(made / "i")
    assert index.manifest.fingerprint == first.fingerprint
    assert index.manifest.settings.calibrate is None
    assert [codes.tobytes() for codes in index.codes] == [
        np.load(p).tobytes() for p in made.glob("i/segments/*/nags.npy")
    ]
    assert using(made / name).append(made / "c.jsonl").documents == 0


@pytest.mark.parametrize("name", ["i", "c.npz"])
@pytest.mark.parametrize("layers", ["0-1", "first-third", "1,3", "last", 2])
def test_means_of_all_layers_serve_an_index_of_fewer(made, using, name, layers):
    """It gets the rows of its layers, and the codes that the index of all layers has there."""
    index = using(made / name, layers=layers)
    numbers = index.manifest.fingerprint.spec.layer_numbers
    np.testing.assert_array_equal(means_of(index.path), means_of(made / "i")[list(numbers)])
    [whole] = [np.load(path) for path in made.glob("i/segments/*/nags.npy")]
    np.testing.assert_array_equal(np.concatenate(index.codes), whole[:, list(numbers)])
    assert index.query(index.codes[0][3:4], n=1).ids[0] == index.docs.order("_position").fetchall()[3][0]


def test_an_index_of_few_layers_serves_another_of_some_of_them(made, using):
    """In the backbone's numbers; layers that it lacks are refused."""
    few = using(made / "i", name="few", layers="1,3")
    index = using(few.path, layers="3")
    np.testing.assert_array_equal(means_of(index.path), means_of(made / "i")[[3]])
    with pytest.raises(
        SettingsMismatchError, match=r"few: calibrates another encoding: `layers` is '1,3' there and '2-3' here"
    ):
        using(few.path, name="other", layers="2-3")


def test_k_and_library_versions_may_differ(made, using, monkeypatch):
    """Means depend on neither K nor, but for rounding, on the libraries."""
    index = using(made / "c.npz", top_k=7)
    np.testing.assert_array_equal(means_of(index.path), means_of(made / "i"))
    assert index.manifest.fingerprint.spec.top_k == 7
    from nagindex.backbone import load

    monkeypatch.setattr(load, "installed_libraries", lambda: {"torch": "9", "transformers": "9", "tokenizers": "9"})
    assert len(using(made / "c.npz", name="later")) == len((made / "c.jsonl").read_text().splitlines())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"neuron_type": "q"}, r"`neuron_type` is 'up' there and 'q' here"),
        ({"max_length": 32}, r"`max_length` is 120 there and 32 here"),
        ({"preset": "fast"}, r"`max_length` is 120 there and 32 here"),
        ({"other": {"dtype": "bf16"}}, r"`dtype` is 'float32' there and 'bfloat16' here"),
        ({"other": {"attention": "eager"}}, r"`attention` is 'sdpa' there and 'eager' here"),
        ({"other": {"name": "llama"}}, r"weights is '[0-9a-f]+' there and '[0-9a-f]+' here"),
    ],
)
@pytest.mark.parametrize("name", ["i", "c.npz"])
def test_a_calibration_of_another_encoding_is_refused(made, golden, using, tmp_path, name, changes, said):
    """Naming what it was read from and both values; no index is left."""
    changes = dict(changes)
    if other := changes.pop("other", None):
        folder = str(golden / "models" / other.get("name", "qwen3"))
        options = {"dtype": "fp32", "attention": "sdpa"} | {k: v for k, v in other.items() if k != "name"}
        changes["backbone"] = load_backbone(folder, device="cpu", **options)
    with pytest.raises(
        SettingsMismatchError, match=f"{name}: calibrates another encoding: .*{said}.*draw one with `calibrate\\(\\)`"
    ):
        using(made / name, **changes)
    assert not (tmp_path / "made").exists()


def test_an_index_of_one_calibration_refuses_another(made, using, tmp_path, tiny_backbone, monkeypatch):
    """Both hashes are named; and a given calibration is no sample of a size."""
    monkeypatch.undo()
    calibrate(
        made / "c.jsonl", tmp_path / "other.npz", model=str(tiny_backbone.name), device="cpu", dtype="fp32", calibrate=5
    )
    using(made / "c.npz")
    hashes = [load_calibration(path).fingerprint.calibration[:12] for path in (made / "c.npz", tmp_path / "other.npz")]
    with pytest.raises(
        SettingsMismatchError, match=f"`calibration` is '{hashes[0]}' in the index and '{hashes[1]}' here"
    ):
        using(tmp_path / "other.npz")
    with pytest.raises(SettingsMismatchError, match="`calibrate` is not given in the index and 512 here"):
        using(None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"calibrate": 0}, "calibrate 0: a sample has at least one document"),
        ({"calibrate": 8, "calibration": "x.npz"}, "`calibrate` draws a sample, and `calibration` names one"),
        ({"impact": "absolute", "calibrate": 8}, "`calibrate` is for relative impact"),
        ({"impact": None, "preset": "paper", "calibration": "x"}, "`calibration` is for relative impact"),
        ({"impact": "loud"}, "impact 'loud': one of absolute, relative"),
        ({"preset": "best"}, "preset 'best': one of paper, calibrated, fast"),
        ({"layers": "7"}, "has layers 0 to 3"),
        ({"layers": "first-fifth"}, "write last, first, all, 0-13"),
        ({"layers": []}, "layers"),
    ],
)
def test_options_that_contradict_each_other_are_refused(made, tmp_path, tiny_backbone, options, said):
    with pytest.raises(BadInputError, match=said):
        build(made / "c.jsonl", tmp_path / "i", backbone=tiny_backbone, **{"impact": "relative"} | options)
    assert not (tmp_path / "i").exists()


def test_an_estimate_draws_nothing_and_names_what_is_cheaper(made, model, monkeypatch):
    """Of relative impact too; every plan is of the layers, K and tokens that its option gives."""

    def drawn(*args, **options):
        raise AssertionError("a calibration was drawn")

    monkeypatch.setattr(calibrations, "draw_calibration", drawn)
    seen = []
    real = builder.estimate
    monkeypatch.setattr(
        builder, "estimate", lambda sources, plans, *a, **k: seen.append(plans) or real(sources, plans, *a, **k)
    )
    for options in ({}, {"impact": "relative", "calibrate": 8}, {"impact": "relative", "calibration": made / "c.npz"}):
        estimate_build(made / "c.jsonl", model=model, device="cpu", dtype="fp32", **options)
        shapes = [(plan.option, plan.specs[0].shape, plan.max_length) for plan in seen.pop()]
        top_k = 5 if options else 10
        assert shapes == [
            ("", (4, top_k), 120),
            ('`layers="first-half"`', (2, top_k), 120),
            ('`preset="fast"`', (2, 5), 32),
        ]
