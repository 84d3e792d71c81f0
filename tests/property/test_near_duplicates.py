"""Near duplicates among made-up NAGs, against sets of Python tuples compared with all that were chosen."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import frozen, nags

from nagindex.errors import BadInputError
from nagindex.nag import NagSpec
from nagindex.select import near_duplicates as module
from nagindex.select.near_duplicates import NearDuplicates

SHAPES = [(1, 1, 2), (1, 2, 3), (1, 10, 14), (2, 5, 7), (3, 2, 5), (4, 5, 8), (6, 10, 24), (5, 20, 40)]
# 0.3 of 10, 0.07 of 100 and 0.95 of 60 are whole numbers, though not all in binary; 0.31, 0.6999 and 0.951 are just beside them.
LEASTS = [0.01, 0.07, 0.2, 0.3, 0.31, 0.5, 0.6999, 0.7, 0.8, 0.9, 0.95, 0.951, 0.99, 1.0, 1]


def _members(nag):
    return {(layer, neuron) for layer, row in enumerate(nag) for neuron in row}


class Oracle:
    """What `NearDuplicates` must answer, from the definition."""

    def __init__(self, least):
        self.part, self.whole = Fraction(str(least)).as_integer_ratio()
        self.chosen = []

    def overlaps(self, nag):
        new = _members(nag)
        return any(len(new & old) * self.whole >= self.part * len(new) for old in self.chosen)

    def add(self, nag):
        self.chosen.append(_members(nag))

    def admit(self, pool):
        admitted = []
        for nag in pool:
            admitted.append(not self.overlaps(nag))
            if admitted[-1]:
                self.add(nag)
        return admitted


@st.composite
def near_duplicates(draw, *, most=60):
    """Draw the shape and the NAGs, uint16 [n, L, K], of copies of a few, with some codes replaced and each layer shuffled."""
    shape = layers, k, width = draw(st.sampled_from(SHAPES))
    kinds = draw(nags(shape, draw(st.integers(1, 6))))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    pool = kinds[random.integers(0, len(kinds), draw(st.integers(1, most)))].copy()
    changed = draw(st.integers(0, layers * k))
    for nag in pool:
        for layer, place in zip(
            *divmod(random.integers(0, layers * k, random.integers(0, changed + 1)), k), strict=True
        ):
            nag[layer, place] = random.choice(np.setdiff1d(np.arange(width), np.delete(nag[layer], place)))
    return shape, frozen(random.permuted(pool, axis=-1))


def _chosen(shape, least, pool=None):
    layers, k, width = shape
    return NearDuplicates(NagSpec("up", (width,) * layers, k), least, sample=pool)


@given(near_duplicates(), st.sampled_from(LEASTS), st.booleans(), st.integers(1, 70))
@settings(max_examples=200)
def test_near_duplicates_equal_the_oracle(drawn, least, sampled, together):
    """`admit` chooses what the definition does, however many come together, and whether rare neurons are known or not."""
    shape, pool = drawn
    chosen = _chosen(shape, least, pool[::3] if sampled else None)
    found = [chosen.admit(pool[first : first + together]) for first in range(0, len(pool), together)]
    assert np.concatenate(found).tolist() == Oracle(least).admit(pool.tolist())


@given(near_duplicates(), st.sampled_from(LEASTS), st.data())
@settings(max_examples=150)
def test_one_by_one_equals_the_oracle(drawn, least, data):
    """`overlaps` and `add` in any order answer as the definition does; what overlaps may be added all the same."""
    shape, pool = drawn
    chosen, oracle = _chosen(shape, least, pool), Oracle(least)
    for nag, step in zip(
        pool, data.draw(st.lists(st.sampled_from("oaob"), min_size=len(pool), max_size=len(pool))), strict=True
    ):
        if step == "o":
            assert chosen.overlaps(nag) == oracle.overlaps(nag.tolist())
        elif step == "a":
            chosen.add(nag)
            oracle.add(nag.tolist())
        else:
            assert chosen.admit(nag[None]).tolist() == oracle.admit([nag.tolist()])


@given(near_duplicates(), st.sampled_from(LEASTS))
@settings(max_examples=100)
def test_all_at_once_equals_one_by_one(drawn, least):
    """`admit` is `overlaps`, and `add` where the answer is no."""
    shape, pool = drawn
    together, single = _chosen(shape, least, pool), _chosen(shape, least)
    expected = []
    for nag in pool:
        expected.append(not single.overlaps(nag))
        if expected[-1]:
            single.add(nag)
    assert together.admit(pool).tolist() == expected


def test_nobody_is_lost_in_a_long_list():
    """Each of many NAGs that share a neuron is found, though it is met just as often as it must be."""
    chosen = _chosen((1, 3, 9000), 0.6, frozen([[[1, 2, 3]]]))
    for i in range(1, 2100):
        chosen.add(np.array([[0, 2 * i, 2 * i + 1]], np.uint16))
    assert all(chosen.overlaps(np.array([[0, 8999, 2 * i]], np.uint16)) for i in range(1, 2100))
    assert not any(chosen.overlaps(np.array([[0, 8999, i]], np.uint16)) for i in (1, *range(4200, 8999)))


@pytest.mark.parametrize("least", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_many_documents_in_long_lists(least):
    """Lists of many blocks, and room made again and again, lose nobody."""
    random = np.random.default_rng(7)
    width, layers, k = 40, 2, 10
    order = random.random((500, layers, width)) * np.arange(1, width + 1)
    pool = np.concatenate([order.argsort(axis=-1)[..., :k].astype(np.uint16)] * 2)
    chosen = _chosen((layers, k, width), least, pool[:50])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS_PER_PASS", 64)
        admitted = chosen.admit(pool)
    assert admitted.tolist() == Oracle(least).admit(pool.tolist())
    assert not admitted[500:].any(), "a copy is admitted"


@pytest.mark.parametrize(
    ("least", "needed"),
    [
        (0.3, 3),
        (0.31, 4),
        (0.7, 7),
        (0.7000001, 8),
        (0.01, 1),
        (1e-9, 1),
        (0.9, 9),
        (0.91, 10),
        (1, 10),
        (np.float64(0.7), 7),
    ],
)
def test_shared_neurons_are_counted_exactly(least, needed):
    """A share of the neurons is the decimal number that was asked for, not the binary one next to it."""
    assert _chosen((1, 10, 20), least).needed == needed
    nag = np.arange(10, dtype=np.uint16)[None]
    for shared, expected in ((needed, True), (needed - 1, False)):
        chosen = _chosen((1, 10, 20), least)
        chosen.add(nag)
        assert chosen.overlaps((nag + 10 - shared).astype(np.uint16)) is expected


def test_layers_of_different_widths_and_large_ones_are_told_apart():
    """The same code in two layers is two neurons, up to the last of the largest layer."""
    chosen = NearDuplicates(NagSpec("up", (3, 65_536, 5), 2), 0.5)
    chosen.add(np.array([[1, 2], [65_535, 0], [3, 4]], np.uint16))
    assert not chosen.overlaps(np.array([[0, 1], [2, 1], [4, 0]], np.uint16))
    assert chosen.overlaps(np.array([[0, 1], [65_535, 1], [4, 0]], np.uint16))


def test_very_many_neurons_are_listed_and_met():
    """A NAG that must be met more often than a byte counts is found."""
    width, k = 30_000, 12_000
    chosen = NearDuplicates(NagSpec("up", (width,), k), 0.9)
    chosen.add(np.arange(k, dtype=np.uint16)[None])
    assert chosen.overlaps(np.arange(1200, k + 1200, dtype=np.uint16)[None])
    assert not chosen.overlaps(np.arange(1201, k + 1201, dtype=np.uint16)[None])


def test_mapped_codes_are_taken_as_they_are(tmp_path):
    """Parts of a mapped file that lie apart, which nobody may write to, need no copy from the caller."""
    np.save(tmp_path / "codes.npy", np.arange(24, dtype=np.uint16).reshape(2, 3, 4))
    codes = np.load(tmp_path / "codes.npy", mmap_mode="r")[:, ::2, ::-1]
    for least in (0.5, 1.0):
        chosen = NearDuplicates(NagSpec("up", (24, 24), 4), least, sample=codes)
        assert chosen.admit(codes).tolist() == [True, True]
        assert chosen.overlaps(codes[0])


def test_damaged_codes_reach_no_other_memory():
    """Codes that no layer has are compared like any others."""
    chosen = NearDuplicates(NagSpec("up", (4, 4), 2), 0.75, sample=np.full((1, 2, 2), 65_535, np.uint16))
    assert chosen.admit(
        np.array([[[65_535, 65_534]] * 2, [[0, 1]] * 2, [[65_535, 65_534]] * 2], np.uint16)
    ).tolist() == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("least", [0, -0.1, 1.0001, float("nan")])
def test_a_share_out_of_range_is_refused(least):
    """An overlap that cannot be asked for is named."""
    with pytest.raises(BadInputError, match="above 0 and at most 1"):
        _chosen((1, 10, 20), least)


def test_nags_of_another_shape_are_refused():
    """NAGs of another index do not pass for this one's, even with as many neurons."""
    with pytest.raises(ValueError, match=r"shape \(2, 5\)"):
        _chosen((2, 5, 7), 0.9).admit(np.zeros((1, 5, 2), np.uint16))
    assert _chosen((2, 5, 7), 0.9).admit(np.zeros((0, 2, 5), np.uint16)).tolist() == []
