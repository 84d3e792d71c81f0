"""Choices of neurons: by each way they are what counting by hand gives, and what cannot be chosen is refused."""

import re

import numpy as np
import pytest

from nagindex.analysis.choice import choose_neurons
from nagindex.errors import BadInputError
from nagindex.nag import NagSpec
from nagindex.search.weights import Weighting

LAYERS, TOP_K, WIDTH, DOCUMENTS = 3, 4, 12, 50
SPEC = NagSpec("up", (WIDTH,) * LAYERS, TOP_K, (2, 5, 7))


@pytest.fixture
def codes(random_codes):
    """Nine examples."""
    return random_codes(np.random.default_rng(3), 9, LAYERS, TOP_K, WIDTH)


@pytest.fixture
def pool(tmp_path, write_index, random_codes):
    """An index of 50 documents in two segments, one of them deleted."""
    codes = random_codes(np.random.default_rng(4), DOCUMENTS, LAYERS, TOP_K, WIDTH)
    ids = [f"d{n}" for n in range(DOCUMENTS)]
    index = write_index(tmp_path / "i", codes, ids, np.ones(DOCUMENTS), width=WIDTH, cuts=(17,))
    index.delete(ids=["d3"])
    return index


def by_hand(codes, layer, value, count):
    """Return the neurons of a layer with the largest f(neuron), of those that an example holds, ties to the lower one."""
    held = sorted(set(codes[:, layer].ravel().tolist()))
    return sorted(held, key=lambda neuron: (-value(neuron), neuron))[:count]


@pytest.mark.parametrize("count", [1, 3, WIDTH])
def test_by_frequency_and_by_impact(codes, count):
    frequency, impact = choose_neurons(codes, SPEC, count), choose_neurons(codes, SPEC, count, "impact")
    assert list(frequency) == list(impact) == [2, 5, 7]
    for layer, number in enumerate((2, 5, 7)):
        rows = codes[:, layer].tolist()
        assert frequency[number] == by_hand(codes, layer, lambda k, rows=rows: sum(k in row for row in rows), count)
        points = lambda k, rows=rows: sum(TOP_K - row.index(k) for row in rows if k in row)  # noqa: E731
        assert impact[number] == by_hand(codes, layer, points, count)


@pytest.mark.parametrize("by", ["contrast", "contrast:0.25", "log-odds", "log-odds:3", "log-ratio"])
def test_by_weights_they_are_the_neurons_of_the_largest_weights_of_a_query(pool, codes, by):
    """Of the living documents; a neuron's weight is that which the query with these weights gives it."""
    found = pool.choose_neurons(codes, count=5, by=by)
    weighting = Weighting.parse("contrast:1" if by == "contrast" else by)
    assert found.by == str(weighting)
    living = np.concatenate([own[segment.alive()] for own, segment in zip(pool.codes, pool.segments, strict=True)])
    counts = np.stack([np.bincount(living[:, layer].ravel(), minlength=WIDTH) for layer in range(LAYERS)])
    weights = weighting.profile_of(codes, counts, len(living), pool.manifest.fingerprint.spec).weights
    for layer in range(LAYERS):
        assert found.neurons[layer] == by_hand(codes, layer, lambda k, layer=layer: int(weights[layer, k]), 5)


def test_random_neurons_are_of_the_seed_and_of_all_neurons(pool, codes):
    one, again = (pool.choose_neurons(codes, count=8, by="random", seed=5) for _ in range(2))
    assert one == again
    assert one.by == "random, seed 5"
    assert one != pool.choose_neurons(codes, count=8, by="random", seed=6)
    for neurons in one.neurons.values():
        assert len(set(neurons)) == 8
    drawn = {
        k for seed in range(40) for k in pool.choose_neurons(codes[:1], count=8, by="random", seed=seed).neurons[0]
    }
    assert drawn == set(range(WIDTH))


def test_layers_are_those_asked_for(pool, codes):
    found = pool.choose_neurons(codes, count=2, layers="1-last", by="contrast")
    assert found.neurons == {k: v for k, v in pool.choose_neurons(codes, count=2, by="contrast").neurons.items() if k}


def test_few_examples_hold_few_neurons_and_that_is_said(pool, codes):
    found = pool.choose_neurons(codes[:1], count=5)
    assert [sorted(own) for own in found.neurons.values()] == [sorted(layer) for layer in codes[0].tolist()]
    [warning] = found.warnings
    assert warning.startswith("layers 0-2: fewer than 5 neurons are in the examples' NAGs")
    assert not pool.choose_neurons(codes[:1], count=TOP_K).warnings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "size"}, "`by` 'size': one of frequency, contrast"),
        ({"by": "random:3"}, "`by` 'random:3': one of frequency"),
        ({"by": "contrast:x"}, "A is a number"),
        ({"by": "log-odds:0"}, "m is a number"),
        ({"count": 0}, f"`count` 0: a layer has {WIDTH} neurons"),
        ({"count": WIDTH + 1}, f"a layer has {WIDTH} neurons; choose 1 to that many"),
        ({"layers": "9"}, "the index has layers 0 to 2"),
    ],
)
def test_what_cannot_be_chosen_is_refused(pool, codes, options, message):
    with pytest.raises(BadInputError, match=re.escape(message)):
        pool.choose_neurons(codes, **options)


def test_several_targets_are_refused(pool, codes, tmp_path):
    sets = [*pool.encode({"a": codes, "b": codes[:2]})]
    pool.save_targets(sets, tmp_path / "two.parquet")
    with pytest.raises(BadInputError, match="one target at a time, and a, b are several"):
        pool.choose_neurons(tmp_path / "two.parquet", count=2)
