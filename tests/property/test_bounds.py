"""No document's exact sum ever exceeds the bound that its sketch gives, whatever the basis, the weights and the rounding."""

import numpy as np
import pytest
from pools import frozen

from nagindex.nag import NagSpec
from nagindex.search.basis import Basis, fit
from nagindex.search.sketch import ProjectedQuery, Sketch

WIDTHS = (9, 30, 5, 17)
UNEVEN = NagSpec("up", WIDTHS, 4)
NNZ, NEURONS = UNEVEN.layers * UNEVEN.top_k, int(UNEVEN.offsets[-1])
LARGEST = (1 << 60) // NNZ


def orthonormal(rng, size):
    """Return random orthonormal vectors, [NEURONS, size]."""
    return np.linalg.qr(rng.normal(size=(NEURONS, size)))[0]


BASES = {
    "fitted": lambda rng, codes: fit(codes, UNEVEN, 8, seed=0)[0],
    "complete": lambda rng, codes: orthonormal(rng, NEURONS),
    "neurons": lambda rng, codes: np.eye(NEURONS)[:, :40],
    "short": lambda rng, codes: 0.95 * orthonormal(rng, 20),
    "long": lambda rng, codes: 1.05 * orthonormal(rng, NEURONS),
    "too long": lambda rng, codes: 3 * orthonormal(rng, 9),
    "twice": lambda rng, codes: np.tile(orthonormal(rng, 9), 2),
    "crooked": lambda rng, codes: rng.normal(size=(NEURONS, 12)) / 4,
    "documents": lambda rng, codes: vectors_of(codes[:5]).T / np.sqrt(NNZ),
    "nothing": lambda rng, codes: np.zeros((NEURONS, 2)),
}
each_sketch = pytest.mark.parametrize("kind", ["i8", "f16"])


def uneven(rng, n):
    """Return random NAGs of layers of different widths, uint16 [n, 4, 4]."""
    return frozen(np.stack([rng.random((n, width)).argsort(axis=-1)[:, : UNEVEN.top_k] for width in WIDTHS], axis=1))


def vectors_of(codes):
    """Return NAGs as vectors of zeros and ones, float64 [n, NEURONS]."""
    found = np.zeros((len(codes), NEURONS))
    np.put_along_axis(found, (codes + UNEVEN.offsets[:-1, None]).reshape(len(codes), -1), 1.0, axis=1)
    return found


def weights_of(values):
    """Return one integer for each neuron, [NEURONS], as weights [layers, widest layer]."""
    found = np.zeros((UNEVEN.layers, max(WIDTHS)), np.int64)
    for layer, start in enumerate(UNEVEN.offsets[:-1]):
        found[layer, : WIDTHS[layer]] = values[start : start + WIDTHS[layer]]
    return found


def assert_bounded(basis, sketch, vectors, values):
    """No document's sum of these neurons' weights exceeds its bound, nor is the document missed by its own sum."""
    scorer = ProjectedQuery.of(basis, weights_of(values)).upper_bound(sketch)
    sums = [sum(int(values[k]) for k in np.flatnonzero(x)) for x in vectors]
    assert all(s <= bound for s, bound in zip(sums, scorer.scores(sketch.values).tolist(), strict=True))
    assert all(row in scorer.reaching(sketch.values, s) for row, s in enumerate(sums))


@pytest.mark.parametrize("name", BASES)
@each_sketch
def test_no_sum_exceeds_its_bound(kind, name):
    """Profiles of one to thousands of examples and contrasts of up to 2^60, with every basis, fitted or not."""
    rng = np.random.default_rng(len(name))
    codes = uneven(rng, 60)
    basis, vectors = Basis.of(BASES[name](rng, codes).astype(np.float32), UNEVEN), vectors_of(codes)
    sketch = Sketch.of(basis, basis.coordinates(codes), kind)
    for values in [
        vectors[0],
        vectors_of(uneven(rng, 4000)).sum(axis=0),
        vectors.sum(axis=0) * 10**6 - rng.integers(0, 10**8, NEURONS),
        *(rng.integers(-LARGEST, LARGEST, NEURONS) for _ in range(5)),
        LARGEST * (np.arange(NEURONS) == codes[3, 0, 0]),
        -LARGEST * vectors[1],
        rng.integers(-3, 4, NEURONS) * (vectors.sum(axis=0) == 0),
        np.zeros(NEURONS),
    ]:
        assert_bounded(basis, sketch, vectors, np.asarray(values).astype(np.int64))


@pytest.mark.parametrize("name", BASES)
@each_sketch
def test_weights_made_to_break_a_bound_do_not(kind, name):
    """Weights along a document, along its component outside the basis, and along the rounding error of its sketch."""
    rng = np.random.default_rng(len(name))
    codes = uneven(rng, 25)
    basis, vectors = Basis.of(BASES[name](rng, codes).astype(np.float32), UNEVEN), vectors_of(codes)
    sketch, wide = Sketch.of(basis, basis.coordinates(codes), kind), basis.vectors.astype(np.float64)
    decoded = (sketch.values * sketch.steps + sketch.offsets)[:, :-1]
    for x, own in zip(vectors, decoded, strict=True):
        outside, error = x - wide @ (wide.T @ x), x @ wide - own
        for along in (x, -x, outside, -outside, wide @ np.sign(error), wide @ (error > 0.4 * sketch.errors[:-1])):
            assert_bounded(
                basis, sketch, vectors, np.rint(along / max(np.abs(along).max(), 1) * LARGEST).astype(np.int64)
            )


@each_sketch
def test_bounds_hold_where_coordinates_are_as_wrong_as_they_may_be(kind):
    """A basis states the largest error of coordinates: sketches of coordinates with that error still bound the sums."""
    rng = np.random.default_rng(0)
    codes, vectors = uneven(rng, 40), orthonormal(rng, 15).astype(np.float32)
    basis = Basis(vectors, Basis.of(vectors, UNEVEN).skew, np.full(15, 0.3), UNEVEN)
    wrong = basis.coordinates(codes) + rng.choice([-0.299, 0.299], (40, 15)).astype(np.float32)
    sketch = Sketch.of(basis, wrong, kind)
    for own in wrong - vectors_of(codes) @ vectors:
        weights = np.rint(vectors.astype(np.float64) @ -own * LARGEST / NNZ).astype(np.int64)
        assert_bounded(basis, sketch, vectors_of(codes), weights)


def test_a_bound_holds_where_every_rounding_goes_against_it():
    """One coordinate half a step too low, and 127 weights that are all rounded to nothing."""
    spec = NagSpec("up", (300,), 130)
    vectors = np.zeros((300, 128), np.float32)
    vectors[:4, 0] = 0.5  # the neurons 0 to 3 together; of each of the next 127 a coordinate of its own
    vectors[np.arange(4, 131), np.arange(1, 128)] = 1
    most, none, all_four = [0, 1, 2, *range(4, 131)], range(131, 261), [*range(4), *range(131, 257)]
    codes = frozen([[most], [none], [all_four]])
    sketch = Sketch.of(basis := Basis.of(vectors, spec), Basis.of(vectors, spec).coordinates(codes), "i8")
    weights = np.zeros((1, 300), np.int64)
    weights[0, :4] = 1 << 40
    weights[0, 4:131] = int(0.49 * 4 * (1 << 40) / 32767)
    scorer = ProjectedQuery.of(basis, weights).upper_bound(sketch)
    assert (scorer.weights[1:-1] == 0).all()
    assert weights[0, codes[:, 0]].sum(axis=1).tolist() <= scorer.scores(sketch.values).tolist()
