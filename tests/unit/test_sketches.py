"""Sketches on disk: which count, which are made again, what is refused, and how the plan uses them."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from nagindex.errors import BadInputError
from nagindex.nag import NagSpec
from nagindex.search import plan, sketch_search
from nagindex.sketches.build import residual_drift
from nagindex.sketches.store import SketchSet, current_sketches

LAYERS, TOP_K, WIDTH = 3, 4, 40
SPEC = NagSpec("up", (WIDTH,) * LAYERS, TOP_K)


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 300 documents in three segments."""
    codes = random_codes(np.random.default_rng(0), 300, LAYERS, TOP_K, WIDTH)
    ids = [f"{i:03d}" for i in range(300)]
    return write_index(tmp_path / "i", codes, ids, [1] * 300, width=WIDTH, cuts=(100, 180))


def answers(index, mode="sketch", n=20):
    """Return ids and scores of a query, and its warnings."""
    found = index.query(index.codes[0][:5], n=n, mode=mode)
    return list(zip(found.ids, found.scores, strict=True)), found.warnings


@pytest.fixture
def sketches_pay(monkeypatch):
    """Let the planner take sketches for worthwhile on small pools, too."""
    monkeypatch.setattr(plan, "OVERHEAD", -1.0)


def files(index, pattern):
    return sorted((index.path / "derived").glob(f"sketch-*/{pattern}"))


def test_what_is_written_is_read_back(index):
    done = index.optimize()
    assert (done.documents, done.why) == (300, "there was none")
    found = current_sketches(index.path, SPEC)
    assert (found.dims, found.dtype, found.sample, found.documents) == (128, "i8", 300, 300)
    sketch = found.read(index.segments[1].entry)
    own = found.basis.coordinates(index.segments[1].codes())
    decoded = sketch.offsets + sketch.steps * sketch.values[:]
    assert np.all(np.abs(decoded[:, :-1] - own) <= sketch.errors[:-1])
    assert np.all(decoded[:, -1] >= found.basis.residuals(own) - sketch.errors[-1])


def test_a_second_optimize_makes_only_what_is_missing(index):
    index.optimize()
    kept = files(index, "*.npy")
    entry = index.segments[2].entry
    (kept[0].parent / f"{entry.id}.json").unlink()  # as if killed before it was published
    again = index.optimize()
    assert (again.documents, again.why) == (120, "")
    assert set(files(index, "*.npy")) > set(kept)
    assert answers(index)[0] == answers(index, "scan")[0]


def test_a_basis_that_was_not_published_does_not_count(index):
    index.optimize()
    (index.path / "derived" / "sketch-000007").mkdir()
    assert current_sketches(index.path, SPEC).name == "sketch-000001"
    assert index.optimize(refit=True).sketches.name == "sketch-000008"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"dims": 64}, "the current one has 128 dims in i8"),
        ({"dtype": "f16"}, "the current one has 128 dims in i8"),
        ({"refit": True}, "requested"),
        ({}, ""),
        ({"dims": 128, "dtype": "i8"}, ""),
    ],
)
def test_when_a_new_basis_is_fitted(index, asked, why):
    index.optimize()
    done = index.optimize(**asked)
    assert done.why == why
    assert done.documents == (300 if why else 0)
    assert answers(index)[0] == answers(index, "scan")[0]


def test_a_new_basis_is_fitted_where_the_pool_has_doubled(index, monkeypatch):
    index.optimize()
    monkeypatch.setattr("nagindex.sketches.build.GROWTH", 0.9)
    assert "has grown from 300 to 300" in index.optimize().why


@pytest.mark.parametrize(("asked", "reason"), [({"dims": 100}, "64 or 128"), ({"dtype": "f32"}, "i8, f16")])
def test_what_there_is_not_is_refused(index, asked, reason):
    with pytest.raises(BadInputError, match=reason):
        index.optimize(**asked)


def test_an_empty_index_has_nothing_to_sketch(index):
    index.delete(where="true")
    with pytest.raises(BadInputError, match="no document to sketch"):
        index.optimize()


def test_compaction_is_sketched_at_once_and_vacuum_keeps_what_is_current(index):
    index.optimize()
    index.delete(ids=["000", "150", "299"])
    index.compact()
    assert all(current_sketches(index.path, SPEC).has(segment.entry) for segment in index.segments)
    index.optimize(refit=True, graph=True)
    index.vacuum(grace=0)
    [segment] = index.segments
    names = {path.name for path in files(index, "*")}
    assert {path.parent.name for path in files(index, "*")} == {"sketch-000002"}
    assert {name.split("-")[0].split(".")[0] for name in names} == {"basis", "graph", segment.entry.id}
    assert list(index.verify()) == []
    assert answers(index)[0] == answers(index, "scan")[0]
    assert answers(index, "graph", n=3)[0] == answers(index, "scan", n=3)[0]


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "other shape": lambda path: np.save(path, np.zeros((7, 3), np.int8)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("which", ["basis.npy", "segment"])
def test_damaged_sketches_are_left_aside_with_a_warning_and_verify_names_them(index, sketches_pay, which, damage):
    index.optimize()
    entry = index.segments[0].entry
    [path] = files(index, which if which == "basis.npy" else f"{entry.id}-*.npy")
    damage(path)
    found, warnings = answers(index, "auto")
    assert found == answers(index, "scan")[0]
    assert any(str(path) in warning for warning in warnings)
    assert any(str(path) in str(problem) for problem in index.verify())


@pytest.mark.parametrize("which", ["basis.json", "segment"])
def test_an_altered_description_is_noticed(index, sketches_pay, which):
    index.optimize()
    [path] = files(index, which if which == "basis.json" else f"{index.segments[0].entry.id}.json")
    content = json.loads(path.read_text())
    content["residual"] = 0.0
    path.write_text(json.dumps(content))
    found, warnings = answers(index, "auto")
    assert found == answers(index, "scan")[0]
    assert any(str(path) in warning for warning in warnings)
    assert any(str(path) in str(problem) for problem in index.verify())
    assert index.info()["sketches"] is not None


def test_a_flipped_bit_is_found_by_verify(index):
    index.optimize()
    path = files(index, f"{index.segments[0].entry.id}-*.npy")[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert [str(path) in str(problem) for problem in index.verify()] == [True]


def test_drift_tells_documents_unlike_those_that_were_fitted(write_index, random_codes, tmp_path):
    low, like, unlike = (random_codes(np.random.default_rng(i), 200, LAYERS, TOP_K, 30) for i in range(3))
    codes, ids = np.concatenate([low, like, unlike + 30]), [str(i) for i in range(600)]
    index = write_index(tmp_path / "i", codes, ids, [1] * 600, width=60, cuts=(200, 400))
    everything = index.segments
    first = SimpleNamespace(segments=everything[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nagindex.sketches.build.Snapshot", lambda path, manifest: first)
        sketches = index.optimize(dims=64).sketches
    index.refresh()
    index.optimize()
    alike, other = (residual_drift(sketches, [segment]) for segment in everything[1:])
    assert (alike[0], other[0]) == (200, 200)
    assert abs(residual_drift(sketches, everything[:1])[1]) < 0.01
    assert other[1] > alike[1] + 0.5


def test_the_same_index_gets_the_same_sketches(index, tmp_path):
    shutil.copytree(index.path, tmp_path / "copy")
    copy = type(index).open(tmp_path / "copy")
    for own in (index, copy):
        own.optimize()
    first, second = ([path.read_bytes() for path in files(own, "*.npy")] for own in (index, copy))
    assert sorted(first) == sorted(second)


WORKLOAD = plan.Workload(10**7, 10**7, 1, 560, 1120, 128, 2, 0.015)


@pytest.mark.parametrize(
    ("changes", "mode", "obstacles", "engine", "why"),
    [
        ({}, "auto", [], "sketch", "sketch bounds admit 1.50%"),
        ({}, "scan", [], "scan", "requested"),
        ({"admitted": 0.5}, "auto", [], "scan", "more than 25%"),
        ({"admitted": 0.5}, "sketch", [], "sketch", "requested"),
        ({"documents": 1000, "sketched": 1000}, "auto", [], "scan", "the scan is no slower"),
        ({"targets": 6, "admitted": 0.2}, "auto", [], "scan", "the scan is no slower"),
        ({}, "auto", ["because"], "scan", "because"),
        ({"sketched": 0, "admitted": 0.0}, "auto", [], "scan", "no candidate has a sketch"),
        ({"sketched": 0, "admitted": 0.0}, "sketch", [], "sketch", "requested"),
    ],
)
def test_the_plan(changes, mode, obstacles, engine, why):
    from dataclasses import replace

    found = plan.choose(replace(WORKLOAD, **changes), mode, obstacles)
    assert found.engine == engine
    assert why in found.why
    assert found.to_json(timed=True)["expected"]["documents"] > 0


@pytest.mark.parametrize("mode", ["auto", "sketch"])
def test_sketches_published_while_a_query_is_planned_do_not_change_the_answer(index, sketches_pay, monkeypatch, mode):
    """Another process may rebuild the sketches while a query counts those that it can read."""
    expected, _ = answers(index, "scan")
    index.optimize()
    read, calls = SketchSet.read, iter(range(10**6))
    monkeypatch.setattr(SketchSet, "read", lambda self, entry: read(self, entry) if next(calls) >= 3 else None)
    monkeypatch.setattr("nagindex.search.sketch_search.admitted_share", lambda *of, **named: 0.01)
    assert answers(index, mode)[0] == expected


def test_a_forced_engine_that_cannot_answer_is_refused():
    with pytest.raises(BadInputError, match="mode sketch: because"):
        plan.choose(WORKLOAD, "sketch", ["because"])


def test_a_search_that_reads_too_much_is_given_up_for_the_scan(index, sketches_pay, monkeypatch):
    index.optimize()
    monkeypatch.setattr(
        "nagindex.search.sketch_search.admitted_share", lambda *of, **named: 0.01
    )  # a sample can mislead
    monkeypatch.setattr(plan, "LIMIT", 0.02)
    found = index.query(index.codes[0][:5], n=5)
    assert found.plan.engine == "scan"
    assert "admitted more than 2%" in found.plan.fell_back
    assert list(zip(found.ids, found.scores, strict=True)) == answers(index, "scan", n=5)[0]


def test_no_sketch_is_opened_where_it_could_not_pay(index, monkeypatch):
    """The prediction costs nothing where the scan is the better choice whatever the bounds admit, as on a small pool."""
    index.optimize()
    monkeypatch.setattr(SketchSet, "read", None)
    monkeypatch.setattr("nagindex.search.basis.Basis.project", None)
    found = index.query(index.codes[0][:5], n=20)
    assert found.plan.engine == "scan"
    assert "could not beat the scan" in found.plan.why


@pytest.mark.parametrize(
    ("changes", "answer", "pays"),
    [
        ({}, 0.001, True),
        ({}, 0.2, False),  # so many candidates take longer to read at random than all in order
        ({"documents": 1000, "sketched": 1000}, 0.001, False),
        ({"nnz": 50, "bytes_per_document": 100}, 0.001, False),
    ],
)
def test_sketches_may_pay_for_small_answers_from_large_pools_of_long_codes(changes, answer, pays):
    from dataclasses import replace

    assert plan.may_pay(replace(WORKLOAD, **changes), answer) is pays


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_a_small_sample_of_sketches_is_enough_where_bounds_admit_much(monkeypatch, share):
    sizes = []
    monkeypatch.setattr(sketch_search, "_admitted_share", lambda *given: sizes.append(given[-1]) or share)
    assert sketch_search.admitted_share([], lambda part: None, [], limit=0.25) == share
    assert sizes == [sketch_search.SMALL_SAMPLE, sketch_search.SAMPLE][: 1 if share == 1.0 else 2]


@pytest.mark.parametrize("mode", ["auto", "sketch", "graph"])
def test_a_minimum_score_gives_the_same_documents_by_every_engine(index, mode):
    index.optimize(graph=True)
    target = index.codes[0][:5]
    scores = index.query(target, n=300, mode="scan").scores
    least = float(scores[20])
    wanted = index.query(target, n=300, mode="scan", min_score=least)
    assert wanted.scores.min() == least
    assert len(wanted) == int((scores >= least).sum())
    for budget in ({}, {"n": 15}, {"n": 200}):
        found = index.query(target, mode=mode, min_score=least, **budget)
        expected = wanted.ids[: budget.get("n", 300)]
        assert found.ids.tolist() == expected.tolist()


@pytest.mark.parametrize("documents", [1, 2, 3, 8])
def test_documents_that_are_all_equal_have_a_basis(tmp_path, write_index, random_codes, documents):
    """Of one direction, which keeps all there is; such a pool is searched as any other."""
    codes = np.repeat(random_codes(np.random.default_rng(0), 1, 2, 3, 8), documents, axis=0)
    index = write_index(tmp_path / "equal", codes, list("abcdefgh")[:documents], range(documents), width=8)
    assert index.optimize().sketches.kept == 1.0
    assert index.query(codes[:1], n=documents, mode="sketch").ids.tolist() == list("abcdefgh")[:documents]
