"""The definitions: top-k, Dice, validity and profiles, against the oracle."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import SHAPES, nags

from nagindex.encode.batch import top_k_of
from nagindex.nag import CODE_DTYPE, NagSpec, clip_top_k, default_top_k, dice, invalid_rows, top_k
from nagindex.search.profile import profile_of


@st.composite
def impacts(draw):
    """Draw float32 impacts with many ties, zeros and infinitesimals, and a K."""
    width, rows = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    values = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.floats(0, 3, width=32))
    drawn = draw(st.lists(values, min_size=width * rows, max_size=width * rows))
    return np.array(drawn, np.float32).reshape(rows, width), draw(st.integers(1, width))


def on_device(values, k):
    """Return `batch.top_k_of` of one layer, as lists."""
    top = top_k_of([torch.tensor(values)], k)
    assert bool(top.finite)
    return top.codes[:, 0].numpy().view(np.uint16).tolist()


@given(impacts())
@settings(max_examples=200)
def test_top_k_is_by_falling_impact_with_ties_to_the_lower_index(case):
    """numpy's and torch's top-k are both the definition's."""
    values, k = case
    expected = [oracle.top_k(row, k) for row in values.tolist()]
    assert top_k(values, k).tolist() == expected
    assert on_device(values, k) == expected


def test_torch_top_k_of_a_wide_layer_with_ties_everywhere():
    """At a real layer's width, where torch.topk picks among equals as it likes, the lower index still wins."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 30, (16, 3072)).astype(np.float32)
    assert on_device(values, 20) == top_k(values, 20).tolist()
    assert top_k(values[:1], 20).tolist() == [oracle.top_k(values[0].tolist(), 20)]


@given(st.sampled_from(SHAPES).flatmap(lambda shape: nags(shape, 2)))
@settings(max_examples=100)
def test_dice_is_the_mean_overlap_of_the_layers(pair):
    """Dice of two NAGs is symmetric, 1 with itself, and the oracle's."""
    a, b = pair
    assert abs(dice(a, b) - oracle.dice(a.tolist(), b.tolist())) < 1e-12
    assert dice(a, b) == dice(b, a)
    assert dice(a, a) == 1.0


@given(st.sampled_from(SHAPES).flatmap(lambda shape: st.tuples(nags(shape, 1), nags(shape, 6), st.just(shape))))
@settings(max_examples=60)
def test_the_similarity_is_the_mean_dice_overlap_with_the_examples(case):
    """S(c) by the profile's weights equals the mean of Dice over the target set."""
    [document], targets, (_, k, width) = case
    profile = profile_of(targets, NagSpec("up", (width,) * len(document), k))
    weights = profile.weights / len(targets)
    similarity = np.mean([weights[layer, row].sum() / k for layer, row in enumerate(document)])
    assert abs(similarity - np.mean([dice(document, target) for target in targets])) < 1e-12


@given(
    st.integers(1, 4),
    st.lists(st.integers(2, 9), min_size=1, max_size=3),
    st.integers(0, 2**16),
)
@settings(max_examples=200)
def test_invalid_rows_are_those_with_a_repeat_or_a_neuron_the_layer_lacks(k, widths, seed):
    """Every row that holds a neuron twice, or one at or above its own layer's width, is found, and no other."""
    spec = NagSpec("up", tuple(widths), min(k, *widths))
    codes = np.random.default_rng(seed).integers(0, max(widths) + 1, (30, *spec.shape)).astype(CODE_DTYPE)
    expected = [
        row
        for row, nag in enumerate(codes.tolist())
        if any(len(set(r)) < len(r) or max(r) >= w for r, w in zip(nag, widths, strict=True))
    ]
    assert invalid_rows(codes, spec).tolist() == expected


def test_layers_of_different_widths_keep_their_places():
    """Layers are ranked together by width; each layer's neurons come back in its own place, up to the widest code."""
    rng = np.random.default_rng(1)
    layers = [rng.random((3, width), np.float32) for width in (50, 65_536, 50, 40)]
    found = top_k_of([torch.tensor(layer) for layer in layers], 7).codes.numpy().view(np.uint16)
    assert found.shape == (3, 4, 7)
    for number, layer in enumerate(layers):
        assert np.array_equal(found[:, number], top_k(layer, 7))
    assert found[:, 1].max() > 32_767


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_impacts_that_are_not_finite_are_noticed(bad):
    """One such value anywhere is enough, inside the top K or not."""
    values = np.ones((2, 30), np.float32)
    values[1, 17] = bad
    assert not bool(top_k_of([torch.ones(2, 5), torch.tensor(values)], 3).finite)


@given(st.integers(1, 100), st.lists(st.integers(1, 60), min_size=1, max_size=4))
@settings(max_examples=200)
def test_k_is_clipped_to_the_narrowest_layer(k, widths):
    """The clipped K is the largest one up to the requested K that every layer can keep; a default K is never clipped."""
    clipped = clip_top_k(k, widths)
    assert NagSpec("up", tuple(widths), clipped).top_k == clipped == max(j for j in range(1, k + 1) if j <= min(widths))
    assert clip_top_k(default_top_k(min(widths)), widths) == default_top_k(min(widths))


@pytest.mark.parametrize(
    ("k", "widths", "expected"), [(20, [3072], 20), (20, [10, 30], 10), (20, (30, 10), 10), (10, [10], 10), (1, [1], 1)]
)
def test_examples_of_a_clipped_k(k, widths, expected):
    """Only a K above the narrowest width changes."""
    assert clip_top_k(k, widths) == expected
