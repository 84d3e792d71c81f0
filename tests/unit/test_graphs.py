"""Graphs on disk: which count, which are made again, what is refused, and what becomes of former sketches."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nagindex.errors import BadInputError
from nagindex.nag import NagSpec
from nagindex.search.basis import Basis
from nagindex.sketches import graphs as module
from nagindex.sketches.graphs import current_graphs

LAYERS, TOP_K, WIDTH = 3, 4, 40
SPEC = NagSpec("up", (WIDTH,) * LAYERS, TOP_K)


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 300 documents in three segments."""
    codes = random_codes(np.random.default_rng(0), 300, LAYERS, TOP_K, WIDTH)
    ids = [f"{i:03d}" for i in range(300)]
    return write_index(tmp_path / "i", codes, ids, [1] * 300, width=WIDTH, cuts=(100, 180))


def answers(index, n=20, **options):
    """Return ids and scores of a query, and its warnings."""
    found = index.query(index.codes[0][:5], n=n, **options)
    return list(zip(found.ids, found.scores, strict=True)), found.warnings


def files(index, pattern):
    return sorted((index.path / "derived").glob(f"graph-*/{pattern}"))


def test_what_is_written_is_read_back(index):
    done = index.optimize()
    assert (done.documents, done.why) == (300, "there was none")
    found = current_graphs(index.path, SPEC)
    assert (found.sample, found.documents) == (300, 300)
    assert found == done.graphs
    [graph] = found.graphs([segment.entry for segment in index.segments])
    assert graph.segments == tuple(segment.entry.id for segment in index.segments)
    vectors = found.basis.vectors
    assert vectors.shape == (LAYERS * WIDTH, found.dims)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(found.dims), atol=1e-5)


def test_coordinates_and_coefficients_are_inner_products_with_the_basis(random_codes):
    rng = np.random.default_rng(1)
    basis = Basis(rng.normal(size=(LAYERS * WIDTH, 9)).astype(np.float32), SPEC)
    codes = random_codes(rng, 50, LAYERS, TOP_K, WIDTH)
    dense = np.zeros((50, LAYERS, WIDTH))
    np.put_along_axis(dense, codes.astype(np.int64), 1, axis=2)
    np.testing.assert_allclose(basis.coordinates(codes), dense.reshape(50, -1) @ basis.vectors, atol=1e-4)
    weights = rng.integers(-9, 9, (LAYERS, WIDTH))
    np.testing.assert_allclose(basis.coefficients(weights), weights.reshape(-1) @ basis.vectors.astype(np.float64))


def test_a_second_optimize_makes_only_what_is_missing(index, monkeypatch):
    monkeypatch.setattr("nagindex.search.hnsw.GROUP_DOCUMENTS", 100)
    index.optimize()
    kept = files(index, "*.usearch")
    kept[0].with_suffix(".json").unlink()  # as if killed before it was published
    again = index.optimize()
    assert (again.documents in (80, 100, 120), again.why) == (True, "")
    assert set(files(index, "*.usearch")) > set(kept)
    assert index.optimize().documents == 0


def test_a_basis_that_was_not_published_does_not_count(index):
    index.optimize()
    (index.path / "derived" / "graph-000007").mkdir()
    assert current_graphs(index.path, SPEC).name == "graph-000001"
    assert index.optimize(refit=True).graphs.name == "graph-000008"


@pytest.mark.parametrize(("asked", "why"), [({"refit": True}, "requested"), ({}, "")])
def test_when_a_new_basis_is_fitted(index, asked, why):
    index.optimize()
    done = index.optimize(**asked)
    assert done.why == why
    assert done.documents == (300 if why else 0)
    assert answers(index, n=3, approx=True)[0] == answers(index, n=3)[0]


def test_a_new_basis_is_fitted_where_the_pool_has_doubled(index, monkeypatch):
    index.optimize()
    monkeypatch.setattr("nagindex.sketches.build.GROWTH", 0.9)
    assert "has grown from 300 to 300" in index.optimize().why


def test_an_empty_index_has_nothing_to_connect(index):
    index.delete(where="true")
    with pytest.raises(BadInputError, match="no document to connect"):
        index.optimize()


def test_vacuum_keeps_what_is_current(index):
    index.optimize()
    index.delete(ids=["000", "150", "299"])
    index.compact()
    assert current_graphs(index.path, SPEC).graphs([segment.entry for segment in index.segments]) == []
    index.optimize(refit=True)
    index.vacuum(grace=0)
    names = {path.name for path in files(index, "*")}
    assert {path.parent.name for path in files(index, "*")} == {"graph-000002"}
    assert {name.split("-")[0].split(".")[0] for name in names} == {"basis", "graph"}
    assert len(names) == 4
    assert list(index.verify()) == []
    assert answers(index, n=3, approx=True)[0] == answers(index, n=3)[0]


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "other content": lambda path: path.write_bytes(b"?" * 200),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("which", ["basis.npy", "graph-*.usearch"])
def test_damaged_graphs_are_refused_by_name_and_no_exact_answer_needs_them(index, which, damage):
    expected = answers(index)[0]
    index.optimize()
    [path] = files(index, which)
    damage(path)
    assert answers(index) == (expected, [])
    with pytest.raises(BadInputError, match="there are no graphs") as refused:
        answers(index, approx=True)
    assert str(path) in str(refused.value)
    assert any(str(path) in str(problem) for problem in index.verify())
    index.optimize()
    assert list(index.verify()) == []
    assert answers(index, n=3, approx=True)[0] == expected[:3]


@pytest.mark.parametrize("which", ["basis.json", "graph-*.json"])
def test_an_altered_description_is_noticed(index, which):
    index.optimize()
    [path] = files(index, which)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bytes": 0}))
    with pytest.raises(BadInputError, match="there are no graphs") as refused:
        answers(index, approx=True)
    assert str(path) in str(refused.value)
    assert any(str(path) in str(problem) for problem in index.verify())
    assert "damage" in index.info()["graphs"]


@pytest.mark.parametrize("which", ["basis.npy", "graph-*.usearch"])
def test_a_flipped_bit_is_found_by_verify(index, which):
    index.optimize()
    [path] = files(index, which)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert [str(path) in str(problem) for problem in index.verify()] == [True]


def test_the_same_index_gets_the_same_basis(index, tmp_path):
    shutil.copytree(index.path, tmp_path / "copy")
    copy = type(index).open(tmp_path / "copy")
    for own in (index, copy):
        own.optimize()
    first, second = ([path.read_bytes() for path in files(own, "basis.npy")] for own in (index, copy))
    assert first == second


def test_a_minimum_score_gives_the_same_documents_by_both_engines(index):
    index.optimize()
    target = index.codes[0][:5]
    scores = index.query(target, n=300).scores
    least = float(scores[20])
    wanted = index.query(target, n=300, min_score=least)
    assert wanted.scores.min() == least
    assert len(wanted) == int((scores >= least).sum())
    for approx in (False, True):
        for budget in ({}, {"n": 15}, {"n": 200}):
            found = index.query(target, approx=approx, min_score=least, **budget)
            assert found.ids.tolist() == wanted.ids[: budget.get("n", 300)].tolist()


@pytest.mark.parametrize("documents", [1, 2, 3, 8])
def test_documents_that_are_all_equal_have_a_basis(tmp_path, write_index, random_codes, documents):
    """Of one direction, which keeps all there is; such a pool is searched as any other."""
    codes = np.repeat(random_codes(np.random.default_rng(0), 1, 2, 3, 8), documents, axis=0)
    index = write_index(tmp_path / "equal", codes, list("abcdefgh")[:documents], range(documents), width=8)
    assert index.optimize().graphs.kept == 1.0
    assert index.query(codes[:1], n=documents, approx=True).ids.tolist() == list("abcdefgh")[:documents]


GOLDEN = Path(__file__).parent.parent / "golden" / "indexes" / "1" / "index" / "derived" / "sketch-000001"


def test_sketches_of_earlier_versions_are_not_read_and_are_vacuumed(index):
    """Neither by a query nor by `verify`; what links out of the index is left alone."""
    expected, derived = answers(index)[0], index.path / "derived"
    derived.mkdir(exist_ok=True)
    shutil.copytree(GOLDEN, derived / "sketch-000001")
    (derived / "sketch-000002").symlink_to(GOLDEN)
    before = len(list(GOLDEN.iterdir()))
    assert answers(index) == (expected, [])
    assert index.info()["graphs"] is None
    assert list(index.verify()) == []
    with pytest.raises(BadInputError, match="there are no graphs"):
        answers(index, approx=True)
    assert index.optimize().graphs.name == "graph-000001"
    assert index.vacuum(grace=0).files == before
    assert not (derived / "sketch-000001").exists()
    assert len(list(GOLDEN.iterdir())) == before
    assert answers(index, n=3, approx=True)[0] == expected[:3]


def test_an_interrupted_write_leaves_no_graph(index, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "create_exclusively", full)
    with pytest.raises(OSError, match="No space"):
        index.optimize()
    assert files(index, "*.json") == []
    assert answers(index)[1] == []
