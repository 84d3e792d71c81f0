"""Random pools for the property tests: few distinct NAGs over few neurons, so that ties are the rule."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from nagindex.nag import CODE_DTYPE, NagSpec

ODD_IDS = [
    "007",
    "07",
    "7",
    "1e3",
    "1000",
    "1000.0",
    "2024-01-01",
    "Z",
    "a",
    "A",
    "é",
    "é",
    "ü",
    "文",
    "\U0001f600",
    "\uffff",
    " a",
    "a ",
    "a\x00",
    "a'b",
    '"',
]
SHAPES = [(1, 1, 2), (1, 2, 3), (2, 1, 4), (2, 2, 3), (3, 2, 5), (4, 5, 8)]


@dataclass(frozen=True)
class Pool:
    """A pool and a target set, as arrays for nagindex and (through tolist) as plain lists for the oracle."""

    codes: np.ndarray
    ids: list
    tokens: list
    alive: list
    cuts: list
    width: int

    @property
    def spec(self):
        return NagSpec("up", (self.width,) * self.codes.shape[1], self.codes.shape[2])


def frozen(codes):
    """Return codes as read-only memory, as mapped files are."""
    codes = np.ascontiguousarray(codes, CODE_DTYPE)
    codes.flags.writeable = False
    return codes


@st.composite
def nags(draw, shape, size):
    """Draw `size` valid NAGs, uint16 [size, L, K]."""
    layers, k, width = shape
    seed = draw(st.integers(0, 2**16))
    order = np.random.default_rng(seed).random((size, layers, width)).argsort(axis=-1)[..., :k]
    return frozen(order)


@st.composite
def pools(draw, *, most=40, shapes=tuple(SHAPES)):
    """Draw a pool of 1 to `most` documents that are copies of a few NAGs."""
    shape = draw(st.sampled_from(shapes))
    kinds = draw(nags(shape, draw(st.integers(1, 6))))
    n = draw(st.integers(1, most))
    which = draw(st.lists(st.integers(0, len(kinds) - 1), min_size=n, max_size=n))
    ids = draw(
        st.lists(
            st.one_of(
                st.sampled_from(ODD_IDS), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)
            ),
            min_size=n,
            max_size=n,
            unique=True,
        )
    )
    tokens = draw(st.lists(st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 1000)), min_size=n, max_size=n))
    alive = draw(st.one_of(st.just([True] * n), st.lists(st.booleans(), min_size=n, max_size=n)))
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=3)))
    return Pool(frozen(kinds[which]), ids, tokens, alive, cuts, shape[2]), shape
