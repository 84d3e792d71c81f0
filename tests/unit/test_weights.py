"""Logarithms of frequencies as integers: correctly rounded, the same everywhere, fine enough to keep the order of real sums."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nagindex.nag import NagSpec
from nagindex.search import weights
from nagindex.search.weights import RESOLUTION, Weighting, log_odds, log_ratio, rounded_log, rounded_logs

QUOTIENTS = {"log-ratio": log_ratio, "log-odds": log_odds}


def real(kind, count, held, examples, documents, m):
    """Return a weight in nats to 80 digits, from its definition."""
    p = Fraction(2 * held + 1, 2 * (documents + 1))
    q = (count + m * p) / (examples + m)
    quotient = q / p if kind == "log-ratio" else q / (1 - q) / (p / (1 - p))
    with localcontext(prec=80):
        return (Decimal(quotient.numerator) / quotient.denominator).ln()


def nearest(value):
    """Return the integer nearest to a real weight in units."""
    with localcontext(prec=80):
        return int((value * RESOLUTION).to_integral_value())


@st.composite
def neurons(draw):
    """Draw counts of examples and documents of any size, and a prior."""
    examples, documents = draw(st.integers(1, 10**5)), draw(st.integers(1, 10**9))
    pairs = draw(st.lists(st.tuples(st.integers(0, examples), st.integers(0, documents)), min_size=1, max_size=9))
    m = Fraction(str(draw(st.floats(1e-9, 1e9))))
    return examples, documents, m, np.array(pairs, np.int64).T


@pytest.mark.parametrize("kind", QUOTIENTS)
@given(drawn=neurons())
def test_weights_are_the_integers_nearest_to_the_logarithms(kind, drawn):
    """Whatever the counts; in the middle of the range, at its ends, and with a prior that outweighs everything or nothing."""
    examples, documents, m, (counts, held) = drawn
    found = rounded_logs(QUOTIENTS[kind], counts, held, examples, documents, m)
    pairs = zip(counts.tolist(), held.tolist(), strict=True)
    assert found.tolist() == [nearest(real(kind, c, p, examples, documents, m)) for c, p in pairs]


@pytest.mark.parametrize("kind", QUOTIENTS)
@pytest.mark.parametrize("error", [-1.0, 1.0])
def test_the_last_bits_of_a_logarithm_move_no_weight(monkeypatch, kind, error):
    """A processor whose logarithms are wrong by a thousand units in the last place gives the same weights."""
    rng = np.random.default_rng(3)
    held = rng.integers(0, 10**6, 200_000)
    counts = rng.binomial(300, 0.1, held.size)
    usual = rounded_logs(QUOTIENTS[kind], counts, held, 300, 10**6, Fraction(40))
    exact = np.log
    monkeypatch.setattr(weights.np, "log", lambda x: (y := exact(x)) + 1000 * error * np.spacing(y))
    np.testing.assert_array_equal(rounded_logs(QUOTIENTS[kind], counts, held, 300, 10**6, Fraction(40)), usual)


@pytest.mark.parametrize("unit", [1, -3, 12_345_678, -40_000_001])
@pytest.mark.parametrize("digits", [10, 18, 40, 90])
def test_quotients_next_to_halfway_between_two_integers_are_rounded_right(unit, digits):
    """Fractions just below and just above e^((unit + 1/2) / RESOLUTION), nearer to it than a float64 can tell."""
    with localcontext(prec=digits + 40):
        halfway = ((unit + Decimal("0.5")) / RESOLUTION).exp()
        below = Fraction(int(halfway.scaleb(digits)), 10**digits)
    assert rounded_log(below) == unit
    assert rounded_log(below + Fraction(1, 10**digits)) == unit + 1


def test_what_floats_cannot_decide_is_decided_exactly(monkeypatch):
    """Where a logarithm's float64 lies next to halfway, the fraction decides, and each fraction once."""
    halfway = Fraction(Decimal(2.5 / RESOLUTION).exp())

    def quotient(count, pool, examples, documents, m):
        exact = [halfway - Fraction(1, 10**22), halfway + Fraction(1, 10**22)]
        return (exact[count], 1) if isinstance(count, int) else (np.array([float(exact[int(c)]) for c in count]), 1.0)

    asked = []
    monkeypatch.setattr(weights, "rounded_log", lambda exact: asked.append(exact) or rounded_log(exact))
    counts = np.array([0, 1, 1, 0])
    assert rounded_logs(quotient, counts, counts * 0, 1, 1, Fraction(1)).tolist() == [2, 3, 3, 2]
    assert len(asked) == 2


def test_equal_frequencies_weigh_nothing_and_rare_neurons_more_than_common_ones():
    """A neuron as frequent in the pool as among the examples has a weight of next to 0; log-odds is steeper than log-ratio."""
    counts, held = np.array([50, 50, 50, 0]), np.array([500, 5, 900, 500])
    for kind, quotient in QUOTIENTS.items():
        same, rare, common, absent = rounded_logs(quotient, counts, held, 100, 1000, Fraction(40)) / RESOLUTION
        assert abs(same) < 1e-3, kind
        assert rare > 0 > max(common, absent), kind
    assert rounded_log(Fraction(1)) == 0


@given(st.integers(0, 10**6))
def test_the_order_of_real_sums_is_kept_to_a_millionth(seed):
    """Of two documents whose real scores differ by a millionth, of 0.06 nats or more, the better one has the larger sum."""
    rng = np.random.default_rng(seed)
    spec = NagSpec("up", (50,) * 4, 5)
    codes = rng.random((12, 4, 50)).argsort(axis=-1)[..., :5].astype(np.uint16)
    pool = rng.integers(0, 1000, (4, 50))
    profile = Weighting.parse("log-ratio").profile_of(codes[:6], pool, 1000, spec)
    held = np.stack([np.bincount(codes[:6, layer].ravel(), minlength=50) for layer in range(4)])
    scores, sums = [], []
    for nag in codes:
        neurons = [(layer, k) for layer in range(4) for k in nag[layer]]
        m = Fraction(40)
        scores.append(sum(real("log-ratio", int(held[i]), int(pool[i]), 6, 1000, m) for i in neurons) / len(neurons))
        sums.append(int(sum(profile.weights[i] for i in neurons)))
        assert abs(Decimal(sums[-1]) / profile.scale - scores[-1]) <= Decimal(2) ** -25
    for a, x in zip(scores, sums, strict=True):
        for b, y in zip(scores, sums, strict=True):
            if a - b > Decimal("1e-6") * max(abs(a), abs(b), Decimal("0.06")):
                assert x > y


def test_layers_of_different_widths_have_no_weight_beyond_their_own():
    """Where a layer is narrower than others, what it does not have weighs nothing."""
    spec = NagSpec("up", (3, 8), 2)
    codes = np.array([[[0, 1], [6, 7]]], np.uint16)
    profile = Weighting.parse("log-odds").profile_of(codes, np.full((2, 8), 3), 9, spec)
    assert not profile.weights[0, 3:].any()
    assert profile.weights[:, :3].all()
    assert profile.scale == 4 * RESOLUTION
