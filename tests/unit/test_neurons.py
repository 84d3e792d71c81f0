"""Neurons: counts, places, shares and lifts are what sets of neurons say."""

import json

import numpy as np
import pytest

from nagindex.errors import BadInputError

LABELS = ("law", "biology", None)


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 90 documents with a subject in two segments, three of them deleted."""
    codes = random_codes(np.random.default_rng(3), 90, 3, 4, 9)
    kept = [(LABELS[n % 3],) for n in range(90)]
    ids = [f"d{n}" for n in range(90)]
    index = write_index(tmp_path / "i", codes, ids, np.arange(90), width=9, cuts=(25,), kept=kept, keep=("subject",))
    index.delete(ids=["d0", "d31", "d2"])
    return index


@pytest.fixture
def living(index):
    """NAGs of the documents by id, in the index's order."""
    return {
        row[0]: np.concatenate(index.codes)[int(row[0][1:])]
        for row in index.docs.order("_segment, _position").fetchall()
    }


@pytest.mark.parametrize(("layer", "neuron"), [(0, 0), (2, 5)])
def test_a_neuron_is_what_sets_say(index, living, layer, neuron):
    found = index.neuron(layer, neuron, n=1000)
    has = {one: nag for one, nag in living.items() if neuron in nag[layer]}
    assert (found.documents, found.pool) == (len(has), 87)
    places = {one: nag[layer].tolist().index(neuron) + 1 for one, nag in has.items()}
    assert [(row["id"], row["place"]) for row in found.strongest] == sorted(places.items(), key=lambda item: item[1])
    assert len(found.columns["subject"]) == 3
    for row in found.columns["subject"]:
        of_value = {one for one in living if LABELS[int(one[1:]) % 3] == row["value"]}
        assert (row["documents"], row["held"]) == (len(of_value), len(of_value & has.keys()))
        assert row["lift"] == pytest.approx(len(of_value & has.keys()) / len(of_value) / (len(has) / 87))
    for row in found.together:
        holders = {one for one, nag in living.items() if row["neuron"] in nag[row["layer"]]}
        both = holders & has.keys()
        assert row["documents"] == len(both) >= 5
        assert row["share"] == pytest.approx(len(both) / len(has))
        assert row["lift"] == pytest.approx(len(both) / len(has) / (len(holders) / 87))
        assert (row["layer"], row["neuron"]) != (layer, neuron)
    lifts = [row["lift"] for row in found.together]
    assert lifts == sorted(lifts, reverse=True)
    assert len(lifts) > 15
    few = index.neuron(layer, neuron, n=2)
    assert (list(few.strongest), list(few.together)) == (found.strongest[:2], found.together[:2])
    json.dumps(found.to_json())


def test_the_most_frequent_neurons(index, living):
    rows = index.neurons(1, n=3)
    held = [sum(neuron in nag[1] for nag in living.values()) for neuron in range(9)]
    assert [row["documents"] for row in rows] == sorted(held, reverse=True)[:3]
    for row in rows:
        assert (row["layer"], row["documents"]) == (1, held[row["neuron"]])
        assert row["share"] == held[row["neuron"]] / 87
    assert [row["layer"] for row in index.neurons(n=2)] == [0, 0, 1, 1, 2, 2]
    assert index.neurons(n=3)[3:6] == rows


def test_a_neuron_that_no_document_holds(tmp_path, write_index):
    codes = np.tile(np.arange(4, dtype=np.uint16), (6, 2, 1))
    index = write_index(tmp_path / "i", codes, list("abcdef"), np.ones(6), width=9)
    found = index.neuron(0, 8)
    assert (found.documents, found.strongest, found.together) == (0, [], [])
    assert index.texts([]) == {}, "as the command asks for them"


def test_what_there_is_not_is_named(index):
    for problem, asked in {
        "layers '3': the index has layers 0 to 2": lambda: index.neurons(3),
        "neuron 9: layer 1 has neurons 0 to 8": lambda: index.neuron(1, 9),
        "no column 'nix'": lambda: index.neuron(1, 1, columns=["nix"]),
    }.items():
        with pytest.raises(BadInputError, match=problem):
            asked()
