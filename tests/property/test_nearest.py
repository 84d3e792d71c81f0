"""Sums of the largest overlaps with examples, against sets: any shape, any number of examples, layers and K of a larger index."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import frozen

from nagindex.nag import NagSpec
from nagindex.search import nearest as room

BLOCK = 64 * room.WORDS


@dataclass(frozen=True)
class Question:
    """Documents of an index, uint16 [n, L * K'], and examples of some of its layers with a K that may be smaller."""

    documents: np.ndarray
    examples: np.ndarray
    columns: np.ndarray
    spec: NagSpec

    def held(self, document):
        """Return the (layer, neuron) of a row of the index that the question looks at."""
        return {
            (layer, code)
            for layer, column in enumerate(self.columns.tolist())
            for code in document[column : column + self.spec.top_k].tolist()
        }

    def expected(self, nearest):
        """Return the sums that the definition gives."""
        examples = [{(layer, code) for layer, row in enumerate(nag) for code in row} for nag in self.examples.tolist()]
        documents = [self.held(document) for document in self.documents]
        return [sum(sorted((len(held & e) for e in examples), reverse=True)[:nearest]) for held in documents]

    def found(self, nearest):
        """Return the sums that nagindex gives, over what was in their memory before."""
        sums = np.full(len(self.documents), -1)
        room.nearest_scorer(self.examples, self.spec, self.columns, nearest)(self.documents, sums)
        return sums.tolist()


def _nags(rng, n, widths, top_k):
    return np.stack([rng.random((n, width)).argsort(axis=1)[:, :top_k] for width in widths], axis=1)


def _question(rng, *, widths, held_k, layers, top_k, documents, examples, kinds):
    """Make documents and examples, the latter copies of a few kinds of NAG, so that ties are the rule."""
    pool = _nags(rng, documents, widths, held_k)
    chosen = _nags(rng, kinds, widths, held_k)[:, layers, :top_k]
    return Question(
        frozen(pool.reshape(documents, -1)),
        frozen(chosen[rng.integers(0, kinds, examples)]),
        np.array(layers) * held_k,
        NagSpec("up", tuple(widths[layer] for layer in layers), top_k),
    )


@st.composite
def questions(draw, *, examples=None, most_layers=5):
    widths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=most_layers))
    held_k = draw(st.integers(1, min(widths)))
    layers = draw(st.lists(st.integers(0, len(widths) - 1), min_size=1, unique=True))
    size = draw(st.integers(1, 20)) if examples is None else examples
    return _question(
        np.random.default_rng(draw(st.integers(0, 2**16))),
        widths=widths,
        held_k=held_k,
        layers=layers,
        top_k=draw(st.integers(1, held_k)),
        documents=draw(st.integers(1, 12)),
        examples=size,
        kinds=draw(st.sampled_from([1, 3, size])),
    )


@given(questions(), st.sampled_from([1, 2, 3, 1000]))
@settings(max_examples=200)
def test_sums_equal_the_definition(question, nearest):
    """Whatever layers of an index, K and number of examples, also fewer examples than are summed."""
    assert question.found(nearest) == question.expected(nearest)


@pytest.mark.parametrize("vectors", [1, 2, 4])
@pytest.mark.parametrize("examples", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5, 4 * BLOCK, 4 * BLOCK + 1])
@given(data=st.data())
@settings(max_examples=8)
def test_examples_fill_any_number_of_blocks(vectors, examples, data):
    """Examples that end just before, at and behind the end of a vector or block, in blocks of one vector or more."""
    question = data.draw(questions(examples=examples, most_layers=2))
    nearest = data.draw(st.sampled_from([1, 2, 10, examples, examples + 1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "VECTORS", vectors)
        assert question.found(nearest) == question.expected(nearest)


@given(questions(examples=300), st.sampled_from([1, 3]))
@settings(max_examples=40)
def test_documents_come_in_any_number(question, nearest):
    """Documents taken a few at a time get the same sums, and none is no obstacle."""
    expected = question.expected(nearest)
    with pytest.MonkeyPatch.context() as patch:
        for together, bytes_allowed in [(1, room.OVERLAP_BYTES), (5, room.OVERLAP_BYTES), (512, 1)]:
            patch.setattr(room, "DOCUMENTS", together)
            patch.setattr(room, "OVERLAP_BYTES", bytes_allowed)
            assert question.found(nearest) == expected
    scorer = room.nearest_scorer(question.examples, question.spec, question.columns, nearest)
    scorer(question.documents[:0], np.empty(0, np.int64))


@pytest.mark.parametrize("nearest", [1, 2, 10])
def test_nags_of_real_size(nearest):
    """28 layers of 20 neurons, of which two NAGs share from none to all 560; the widest layer that there may be."""
    rng = np.random.default_rng(3)
    widths = [65_536 if layer == 7 else 60 for layer in range(28)]
    question = _question(
        rng, widths=widths, held_k=20, layers=list(range(28)), top_k=20, documents=4, examples=270, kinds=270
    )
    nags = question.documents.copy()
    nags[0] = question.examples[123].reshape(-1)
    nags[1] = np.arange(40, 60).tolist() * 28
    examples = question.examples.copy()
    examples[200:] = rng.random((28, 40)).argsort(axis=1)[:, :20]
    question = Question(nags, examples, question.columns, question.spec)
    assert question.found(nearest) == question.expected(nearest)
    assert nearest > 1 or question.found(1)[0] == 560


@given(questions(), st.data(), st.sampled_from([1, 2]))
@settings(max_examples=60)
def test_damaged_codes_are_held_by_none(question, data, nearest):
    """A code that its layer does not have counts for nothing, in documents as in examples, and leaves others alone."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    damage = rng.random(question.documents.shape) < 0.3
    documents = np.where(damage, rng.integers(9, 65_536, damage.shape), question.documents).astype(np.uint16)
    examples = question.examples.copy()
    examples[0] = 65_535
    damaged = Question(documents, examples, question.columns, question.spec)
    valid = Question(documents, examples[1:], question.columns, question.spec)
    assert damaged.found(nearest) == (valid.expected(nearest) if len(examples) > 1 else [0] * len(documents))


def test_rows_of_garbage_are_no_obstacle():
    """Rows that hold any bytes at all, a neuron twenty times among them, give a sum that a NAG could have."""
    rng = np.random.default_rng(1)
    documents = np.concatenate([rng.integers(0, 65_536, (50, 60)), np.zeros((1, 60))]).astype(np.uint16)
    examples = frozen(_nags(rng, 30, [40] * 3, 20))
    columns = np.array([40, 0, 20])
    sums = np.empty(len(documents), np.int64)
    room.nearest_scorer(examples, NagSpec("up", (40,) * 3, 20), columns, 2)(documents, sums)
    assert sums.min() >= 0
    assert sums.max() <= 2 * 60


@pytest.mark.parametrize("nearest", [1, 7])
def test_threads_change_nothing(nearest):
    """Two threads that share one scorer give what one gives."""
    question = _question(
        np.random.default_rng(9),
        widths=[50] * 6,
        held_k=10,
        layers=[5, 1, 2],
        top_k=8,
        documents=4000,
        examples=700,
        kinds=700,
    )
    scorer = room.nearest_scorer(question.examples, question.spec, question.columns, nearest)
    alone, together = np.empty(4000, np.int64), np.empty(4000, np.int64)
    scorer(question.documents, alone)
    with ThreadPoolExecutor(2) as pool:
        blocks = [slice(first, first + 170) for first in range(0, 4000, 170)]
        list(pool.map(lambda rows: scorer(question.documents[rows], together[rows]), blocks))
    assert together.tolist() == alone.tolist()
