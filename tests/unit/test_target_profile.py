"""Profiles of targets: weights are those of a query, and a saved profile selects what the examples do."""

import json

import numpy as np
import pytest

from nagindex.errors import BadInputError, SettingsMismatchError

WEIGHTS = ("log-odds", "log-ratio:5", "frequency", "contrast:0.5")


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 60 documents in two segments, one of them deleted."""
    codes = random_codes(np.random.default_rng(3), 60, 3, 4, 9)
    index = write_index(tmp_path / "i", codes, [f"d{n}" for n in range(60)], np.arange(60), width=9, cuts=(25,))
    index.delete(ids=["d3"])
    return index


@pytest.fixture
def examples(random_codes):
    rng = np.random.default_rng(4)
    return {"a": random_codes(rng, 7, 3, 4, 9), "b\u00e9": random_codes(rng, 5, 3, 4, 9)}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layers", [None, "0,2"])
def test_weights_are_those_that_a_query_counts(index, examples, weights, layers):
    """The mean weight of a document's neurons is its score."""
    profiles = index.profile(examples, weights=weights, layers=layers)
    for own in profiles:
        numbers = own.layers.tolist()
        assert numbers == ([0, 1, 2] if layers is None else [0, 2])
        for row in index.query({"t": examples[own.target]}, n=5, weights=weights, layers=layers):
            nag = np.concatenate(index.codes)[int(row["id"][1:])]
            total = sum(own.weights[place, nag[layer]].sum() for place, layer in enumerate(numbers))
            assert total / (4 * len(numbers)) == pytest.approx(row["score"], abs=1e-9)
        held = [np.mean([3 in nag[layer] for nag in examples[own.target]]) for layer in numbers]
        assert own.of_examples[:, 3] == pytest.approx(held)


def test_the_listed_neurons_are_the_most_distinctive_of_each_layer(index, examples):
    own = index.profile(examples)[0]
    documents = [np.concatenate(index.codes)[n] for n in range(60) if n != 3]
    for layer, neuron in ((0, 2), (2, 7)):
        c, p = (sum(neuron in nag[layer] for nag in nags) for nags in (examples["a"], documents))
        share = (p + 0.5) / 60
        inside, outside = c + 40 * share, 7 - c + 40 * (1 - share)
        ratio = np.log(inside / outside / (share / (1 - share)))
        spread = np.sqrt(1 / inside + 1 / outside + 1 / (p + 0.5) + 1 / (59.5 - p))
        assert own.z[layer, neuron] == pytest.approx(ratio / spread)
        assert own.weights[layer, neuron] == pytest.approx(ratio, abs=1e-7)
    told = json.loads(json.dumps(own.to_json(neurons=2)))
    assert (told["target"], told["examples"], told["weights"]) == ("a", 7, "log-odds:40")
    for layer in range(3):
        rows = [row for row in told["neurons"] if row["layer"] == layer]
        held = np.flatnonzero(own.of_examples[layer])
        assert [row["z"] for row in rows] == sorted(own.z[layer, held], reverse=True)[:2]
        assert all(row["weight"] == own.weights[layer, row["neuron"]] for row in rows)


def test_a_saved_profile_stands_for_its_targets(index, examples, tmp_path, write_index):
    path = tmp_path / "p.json"
    index.save_profiles(index.profile(examples), path, neurons=1)
    assert len(json.loads(path.read_text())["profiles"][1]["neurons"]) == 3
    for options in ({}, {"score": "max"}, {"weights": "log-odds", "mix": "max"}):
        assert list(index.query(path, n=20, **options)) == list(index.query(examples, n=20, **options))
    [renamed] = index.encode({"both": path})
    assert (renamed.name, len(renamed.codes)) == ("both", 12)
    other = write_index(tmp_path / "o", np.zeros((1, 2, 1), np.uint16), ["x"], np.ones(1), width=9)
    with pytest.raises(SettingsMismatchError):
        other.query(path, n=1)


def test_a_profile_that_was_changed_is_refused(index, examples, tmp_path):
    path = tmp_path / "p.json"
    index.save_profiles(index.profile(examples), path)
    record = json.loads(path.read_text())
    nag = record["nags"][0][2]
    for wrong in (
        record | {"nags": [["a", "0", nag[::-1]], *record["nags"][1:]]},
        record | {"nags": [["a", "0", nag[1:]]]},
        record | {"nags": [["a", "0", [70000, *nag[1:]]]]},
        record | {"nags": [["a", None, nag]]},
        record | {"nags": [["a", nag]]},
        record | {"nags": [["a", "0", ["x"] * len(nag)]]},
        record | {"nagindex_nags": "{}"},
        {"nagindex_nags": record["nagindex_nags"]},
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(BadInputError, match="not NAGs saved by nagindex encode"):
            index.query(path, n=1)
    path.write_text(json.dumps(record)[:-40])
    with pytest.raises(BadInputError, match="not NAGs saved by nagindex encode"):
        index.query(path, n=1)
    with pytest.raises(BadInputError, match=r"ends in \.json"):
        index.save_profiles([], tmp_path / "p.parquet")
