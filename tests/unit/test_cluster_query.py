"""A query by tasks on a cluster answers as a local one, byte for byte; tasks are run here, with what they get and give pickled."""

import numpy as np
import pytest
from cluster_tasks import LAYERS, TOP_K, WIDTH, Here, many_segments, run_here

import nagindex
from nagindex.query import remote
from nagindex.search import scan, top_n
from nagindex.storage.manifest import read_latest

QUESTIONS = {
    **{f"n={n}": {"n": n} for n in (1, 25, 399, 1000)},
    **{f"tokens={tokens}": {"tokens": tokens} for tokens in (1, 700, 10**6)},
    "fraction": {"fraction": 0.3},
    "min score": {"min_score": 0.2},
    "where": {"n": 25, "where": "tokens < 30"},
    "exclude": {"tokens": 500, "exclude": "seen.txt"},
    "layers": {"n": 25, "layers": "0,2"},
    "top-k": {"n": 25, "top_k": 2},
    "nearest": {"n": 25, "score": "top:2"},
    "contrast": {"n": 25, "contrast": 0.5},
    "log-ratio": {"tokens": 700, "weights": "log-ratio"},
    "background": {"n": 25, "weights": "log-odds", "where": "tokens < 30", "background": "candidates"},
    "quality": {"n": 25, "quality": nagindex.Quality("worth")},
    "quality by rank": {"tokens": 700, "quality": nagindex.Quality("worth", normalize="rank")},
    "cap": {"n": 25, "cap": {"tongue": 0.5}},
    "dedup": {"n": 25, "dedup": 0.9},
    **{f"several, {mix}": {"n": 60, "mix": mix} for mix in ("union", "merge", "distinct", "max")},
    "several, tokens": {"tokens": 900, "mix": "merge", "target_weights": {"a": 0.7}},
    "several, contrast and quality": {"n": 60, "contrast": 0.3, "quality": nagindex.Quality("worth")},
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory, write_index, random_codes):
    """An index of eight segments, one of them empty, with deleted documents; and a file of ids."""
    folder = tmp_path_factory.mktemp("pool")
    index, targets, ids = many_segments(folder, write_index, random_codes)
    (folder / "seen.txt").write_text("".join(f"{own}\n" for own in ids[60:100]))
    return folder, index, targets


@pytest.fixture
def cluster(monkeypatch):
    """`ray=` has tasks run in this process, on a cluster with room for two at a time."""

    run_here(monkeypatch, remote)


def answer(folder, index, targets, question, **where):
    """Return the file that a query writes, and its warnings."""
    selection = index.query(targets, **question, **where)
    selection.to_parquet(folder / "answer.parquet")
    return (folder / "answer.parquet").read_bytes(), selection.warnings


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_the_answer_is_the_local_one(pool, cluster, monkeypatch, question):
    folder, index, targets = pool
    monkeypatch.chdir(folder)
    asked = targets if "mix" in question or "several" in question else {"a": targets["a"]}
    here, there = (answer(folder, index, asked, question, **where) for where in ({}, {"ray": "local"}))
    assert there == here
    assert len(Here.started) >= 4


def test_ties_beyond_the_room_of_a_task_are_cut_by_id(pool, cluster, monkeypatch):
    monkeypatch.setattr(top_n, "CAPACITY", 8)
    monkeypatch.setattr(top_n, "ROWS_PER_THRESHOLD", 4)
    folder, index, targets = pool
    for question in ({"n": 5}, {"tokens": 90}):
        here, there = (answer(folder, index, targets["a"], question, **where) for where in ({}, {"ray": "local"}))
        assert there == here


def test_only_documents_that_reach_the_threshold_are_sent(pool, cluster, monkeypatch):
    _, index, targets = pool
    sent = []
    whole = remote.reaching_hits
    monkeypatch.setattr(remote, "reaching_hits", lambda *given: sent.append(whole(*given)) or sent[-1])
    index.query(targets["a"], n=25, ray="local")
    assert len(sent) == 4
    assert 25 <= sum(len(hits.positions) for [hits], _ in sent) < 100


def test_ids_are_not_read_by_tasks_whose_hits_are_cut_later(pool, cluster, monkeypatch):
    """A budget of documents is cut where the rows are looked up, one of tokens by the tasks as well."""
    monkeypatch.setattr(top_n, "CAPACITY", 8)
    monkeypatch.setattr(top_n, "ROWS_PER_THRESHOLD", 4)
    monkeypatch.setattr(scan, "ROWS_PER_TASK", 4)
    folder, index, targets = pool
    read = []
    whole = remote.ids_at
    monkeypatch.setattr(remote, "ids_at", lambda *given: read.append(given) or whole(*given))
    for question, reads in ({"n": 60}, False), ({"tokens": 1200}, True):
        read.clear()
        here, there = (answer(folder, index, targets["a"], question, **where) for where in ({}, {"ray": "local"}))
        assert there == here
        assert bool(read) is reads


def test_scores_of_all_documents_are_taken_from_an_index_whose_last_segment_is_empty(
    cluster, tmp_path, write_index, random_codes
):
    codes = random_codes(np.random.default_rng(3), 40, LAYERS, TOP_K, WIDTH)
    ids = [f"{number:02d}" for number in range(40)]
    index = write_index(tmp_path / "i", codes, ids, [1] * 40, width=WIDTH, cuts=(15, 15, 40))
    here, there = (answer(tmp_path, index, codes[:3], {"n": 9, "dedup": 0.9}, **ray) for ray in ({}, {"ray": "local"}))
    assert there == here


def test_tasks_read_the_version_that_was_opened(pool, cluster, tmp_path, write_index, random_codes):
    rng = np.random.default_rng(1)
    index = write_index(
        tmp_path / "i", random_codes(rng, 9, LAYERS, TOP_K, WIDTH), [*"abcdefghi"], [1] * 9, width=WIDTH
    )
    pinned = nagindex.open(index.path)
    index.delete(ids=["a", "b"])
    assert read_latest(index.path).version > pinned.manifest.version
    assert len(pinned.query(pool[2]["a"], n=9, ray="local")) == 9
    assert len(index.query(pool[2]["a"], n=9, ray="local")) == 7


@pytest.mark.parametrize("question", [{"approx": True}, {"threads": 2}], ids=str)
def test_what_does_not_work_on_a_cluster_is_refused_by_name(pool, cluster, question):
    _, index, targets = pool
    with pytest.raises(nagindex.BadInputError, match=f"`{next(iter(question))}"):
        index.query(targets["a"], n=5, ray="local", **question)


def test_a_fault_of_a_task_is_raised_as_it_is_here(pool, cluster, tmp_path, write_index, random_codes):
    codes = random_codes(np.random.default_rng(2), 9, LAYERS, TOP_K, WIDTH)
    index = write_index(tmp_path / "i", codes, [*"abcdefghi"], [1] * 9, width=WIDTH)
    path = index.path / "segments" / index.manifest.segments[0].id / "nags.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(nagindex.DamagedIndexError, match=r"nags\.npy"):
        index.query(pool[2]["a"], n=5, ray="local")
