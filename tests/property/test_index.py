"""Queries of indexes on disk, against the oracle: several segments, deletions, odd ids, every budget."""

import tempfile
from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import frozen, nags, pools


@st.composite
def questions(draw):
    pool, shape = draw(pools(most=25))
    return pool, draw(nags(shape, draw(st.integers(1, 4))))


@given(questions(), st.integers(1, 40), st.integers(1, 2000), st.sampled_from([1e-6, 0.1, 0.2, 0.29, 0.5, 0.999, 1.0]))
@settings(max_examples=15)
def test_every_budget_selects_what_the_oracle_selects(write_index, question, n, tokens, fraction):
    """ids, order, scores and tokens of -n, --tokens and --fraction are the oracle's, over several segments with deletions."""
    pool, targets = question
    sums = oracle.scores(pool.codes.tolist(), targets.tolist())
    with tempfile.TemporaryDirectory() as folder:
        index = write_index(Path(folder, "i"), pool.codes, pool.ids, pool.tokens, width=pool.width, cuts=pool.cuts)
        gone = [i for i, alive in zip(pool.ids, pool.alive, strict=True) if not alive]
        assert index.delete(ids=gone) == len(gone)
        assert len(index) == sum(pool.alive)
        if not any(pool.alive):
            return
        total = sum(t for t, alive in zip(pool.tokens, pool.alive, strict=True) if alive)
        assert index.manifest.tokens == total
        scale = targets.shape[0] * targets.shape[1] * targets.shape[2]
        for budget, expected in [
            ({"n": n}, oracle.select(sums, pool.ids, n=n, alive=pool.alive)),
            *(
                (given, oracle.select(sums, pool.ids, tokens=pool.tokens, budget=amount, alive=pool.alive))
                for given, amount in [({"tokens": tokens}, tokens), ({"fraction": fraction}, int(total * fraction))]
            ),
        ]:
            selection = index.query(targets, **budget)
            assert selection.ids.tolist() == [pool.ids[i] for i in expected]
            assert selection.scores.tolist() == [sums[i] / scale for i in expected]
            assert selection.tokens.tolist() == [pool.tokens[i] for i in expected]
            assert selection.column("rank").tolist() == list(range(1, len(expected) + 1))


@pytest.fixture
def three(write_index, tmp_path):
    """Three documents, one a segment, in falling similarity to the target [[0, 1]]: ids c, b, a."""
    codes = frozen([[[0, 1]], [[1, 2]], [[2, 3]]])
    return write_index(tmp_path / "i", codes, ["c", "b", "a"], [10, 20, 30], width=4, cuts=(1, 2))


TARGET = frozen([[[0, 1]]])


def test_n_above_the_pool_gives_the_pool_and_a_warning(three):
    """Asking for more than there is selects everything and says so."""
    selection = three.query(TARGET, n=4)
    assert selection.ids.tolist() == ["c", "b", "a"]
    assert any("4" in warning and "3" in warning for warning in selection.warnings)
    assert not three.query(TARGET, n=3).warnings


def test_a_token_budget_below_the_first_document_selects_it(three):
    """At least one row comes out of any budget."""
    assert three.query(TARGET, tokens=1).ids.tolist() == ["c"]
    assert three.query(TARGET, fraction=1e-9).ids.tolist() == ["c"]


def test_documents_without_tokens_cost_nothing(write_index, tmp_path):
    """Documents of zero tokens fit any budget in their place in the order, and none after the first that does not fit."""
    codes = frozen([[[0, 1]]] * 5)
    index = write_index(tmp_path / "i", codes, list("abcde"), [5, 0, 0, 9, 0], width=4, cuts=(2,))
    assert index.query(TARGET, tokens=5).ids.tolist() == ["a", "b", "c"]
    assert index.query(TARGET, tokens=13).ids.tolist() == ["a", "b", "c"]
    assert index.query(TARGET, tokens=14).ids.tolist() == ["a", "b", "c", "d", "e"]


def test_deleted_documents_are_never_selected(three):
    """A deleted document is gone from the selection, from the pool's size and from its tokens."""
    three.delete(ids=["c"])
    assert three.query(TARGET, n=3).ids.tolist() == ["b", "a"]
    assert three.query(TARGET, fraction=0.4).ids.tolist() == ["b"]
    assert (len(three), three.manifest.tokens) == (2, 50)


def test_an_index_whose_documents_are_all_deleted_answers_with_a_reason(three):
    """There is nothing to select from: one clear error, no traceback."""
    three.delete(where="true")
    with pytest.raises(ValueError, match="no document"):
        three.query(TARGET, n=1)


def test_a_segment_without_documents_is_no_obstacle(write_index, tmp_path):
    """A source all of whose rows were skipped leaves a segment of no rows; queries pass over it."""
    codes = frozen([[[0, 1]], [[1, 2]]])
    index = write_index(tmp_path / "i", codes, ["b", "a"], [1, 2], width=4, cuts=(0, 1, 1))
    assert [len(part) for part in index.codes] == [0, 1, 0, 1]
    assert index.query(TARGET, n=2).ids.tolist() == ["b", "a"]
    assert index.query(TARGET, tokens=2).ids.tolist() == ["b"]


def test_an_open_index_answers_as_of_its_version(three, write_index):
    """A reader pins one version: deletions by another writer change nothing until it refreshes."""
    from nagindex.index import Index

    other = Index.open(three.path)
    other.delete(ids=["c"])
    assert three.query(TARGET, n=3).ids.tolist() == ["c", "b", "a"]
    three.refresh()
    assert three.query(TARGET, n=3).ids.tolist() == ["b", "a"]


def test_asking_twice_gives_the_same_answer(three):
    """The order is deterministic, ties and all."""
    codes = np.repeat(TARGET, 2, axis=0)
    first, second = (three.query(codes, n=3) for _ in range(2))
    assert first.ids.tolist() == second.ids.tolist()
    assert first.scores.tolist() == second.scores.tolist()
