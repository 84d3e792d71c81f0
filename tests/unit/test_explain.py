"""Explanations: their parts add up to the score of a query, to the last integer, for every scoring."""

import json

import numpy as np
import pytest

from nagindex.errors import BadInputError

LAYERS, TOP_K, WIDTH, DOCUMENTS = 3, 4, 9, 60
SCORINGS = [
    {},
    {"weights": "log-ratio"},
    {"weights": "log-odds:2.5"},
    {"weights": "contrast:0.25"},
    {"weights": "log-ratio:7", "background": "candidates", "where": "grade > 0"},
    {"score": "max"},
    {"score": "top:3"},
    {"score": "top:99"},
]
VIEWS = [{}, {"layers": "1-last"}, {"top_k": 2}]


@pytest.fixture
def pool(tmp_path, write_index, random_codes):
    """An index of 60 documents in three segments, of few neurons, some of them deleted."""
    codes = random_codes(np.random.default_rng(5), DOCUMENTS, LAYERS, TOP_K, WIDTH)
    kept = [(n % 3,) for n in range(DOCUMENTS)]
    index = write_index(
        tmp_path / "i",
        codes,
        [f"d{n}" for n in range(DOCUMENTS)],
        np.ones(DOCUMENTS),
        width=WIDTH,
        cuts=(20, 41),
        kept=kept,
        keep=("grade",),
    )
    index.delete(ids=["d0", "d30"])
    return index


@pytest.fixture
def examples(random_codes):
    """Two targets."""
    rng = np.random.default_rng(8)
    return {name: random_codes(rng, n, LAYERS, TOP_K, WIDTH) for name, n in (("a", 12), ("b", 5))}


@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("scoring", SCORINGS, ids=str)
def test_parts_add_up_to_the_score_of_a_query(pool, examples, scoring, view):
    selection = pool.query(examples, n=30, **scoring, **view)
    rows = {(row["target"], row["id"]): row["score"] for row in selection}
    assert len(rows) == 30
    ids = sorted({name for _, name in rows})
    found = pool.explain(ids, examples, **scoring, **view)
    assert [(own.id, own.target) for own in found] == [(name, target) for name in ids for target in "ab"]
    for own in found:
        if (own.target, own.id) in rows:
            assert own.score == rows[own.target, own.id]
        assert own.sums.sum() == own.sum
        if own.example_sums is not None:
            assert own.example_sums.sum() == own.sum
        told = own.to_json(neurons=10**6, examples=10**6)
        assert [sum(part["sum"] for part in told[kind]) for kind in ("layers", "neurons")] == [own.sum] * 2
        json.dumps(told)
    assert all((own.example_sums is None) == ("weights" in scoring) for own in found)


def test_shares_overlaps_and_places_are_what_sets_say(pool, examples):
    """Counted from sets of neurons: the document's, the examples', and those of the living documents."""
    [own] = pool.explain("d7", {"a": examples["a"]}, layers="0,2")
    docs = pool.docs.order("_segment, _position").fetchall()
    stored = {row[0]: np.concatenate(pool.codes)[int(row[0][1:])] for row in docs}
    document, theirs = stored["d7"], examples["a"]
    assert own.layers.tolist() == [0, 2]
    for place, layer in enumerate((0, 2)):
        assert own.neurons[place].tolist() == document[layer].tolist()
        for rank, neuron in enumerate(document[layer]):
            held = sum(neuron in example[layer] for example in theirs)
            assert own.sums[place, rank] == held
            assert own.of_examples[place, rank] == held / len(theirs)
            assert own.of_pool[place, rank] == sum(neuron in nag[layer] for nag in stored.values()) / len(stored)
    shared = [sum(len(set(document[layer]) & set(example[layer])) for layer in (0, 2)) for example in theirs]
    assert own.overlaps.tolist() == [count / (2 * TOP_K) for count in shared]
    told = own.to_json(neurons=3, examples=2)
    assert len(told["neurons"]) == 3
    assert [row["overlap"] for row in told["examples"]] == sorted(own.overlaps.tolist(), reverse=True)[:2]
    largest = told["neurons"][0]
    assert largest["sum"] == own.sums.max()
    assert document[largest["layer"]][largest["place"] - 1] == largest["neuron"]


def test_a_document_that_is_not_there_is_named(pool, examples):
    for name in ("nobody", "d30"):
        with pytest.raises(BadInputError, match=f"{name}: no document of .* has this id"):
            pool.explain(["d7", name], examples)
