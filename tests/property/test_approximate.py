"""Approximate answers: exact scores, segments without a graph included, and a recall inside its interval."""

from types import SimpleNamespace

import numpy as np
import pytest
from pools import frozen

from nagindex.errors import BadInputError
from nagindex.nag import NagSpec
from nagindex.search import graph_search, hnsw
from nagindex.search.profile import Nearest, profile_of
from nagindex.search.scorers import score
from nagindex.search.view import View
from nagindex.search.weights import Weighting
from nagindex.sketches.graphs import current_graphs
from nagindex.sketches.popularity import popularity_of

LAYERS, TOP_K, WIDTH, TOPICS = 4, 5, 60, 9
DOCUMENTS, CUTS = 3000, (1200, 2000, 2900)
SPEC = NagSpec("up", (WIDTH,) * LAYERS, TOP_K)


def topical(rng, n, topics):
    """Return NAGs, each mostly of its topic's neurons, uint16 [n, LAYERS, TOP_K]."""
    appeal = rng.random((n, LAYERS, WIDTH))
    worlds = np.random.default_rng(99).random((TOPICS, LAYERS, WIDTH)) < 0.15
    appeal[worlds[topics]] += 0.8
    return frozen(np.argsort(-appeal, axis=-1)[..., :TOP_K])


@pytest.fixture(scope="module")
def world(tmp_path_factory, write_index):
    """An index of 3,000 documents in four segments, of which the last came after the graphs; some deleted."""
    rng = np.random.default_rng(3)
    codes = topical(rng, DOCUMENTS, rng.integers(0, TOPICS, DOCUMENTS))
    path = tmp_path_factory.mktemp("world") / "i"
    ids, tokens = [f"{i:04d}" for i in range(DOCUMENTS)], [10] * DOCUMENTS
    index = write_index(path, codes, ids, tokens, width=WIDTH, cuts=CUTS)
    *older, last = index.segments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hnsw, "GROUP_DOCUMENTS", 2100)  # two graphs: of the first two segments, and of the third
        patch.setattr("nagindex.sketches.build.Snapshot", lambda path, manifest: SimpleNamespace(segments=older))
        index.optimize()
    index.refresh()
    assert index.segments[-1].entry.id == last.entry.id
    index.delete(ids=ids[5:3000:9])
    return index, codes


def exact(index, codes, target, n):
    """Return ids and sums of the n best living documents."""
    alive = np.ones(DOCUMENTS, bool)
    alive[5:3000:9] = False
    sums = score(codes, target)
    order = np.lexsort((np.arange(DOCUMENTS), -sums))
    order = order[alive[order]][:n]
    return [f"{i:04d}" for i in order], sums[order]


def examples(topic, n=30, seed=0):
    return topical(np.random.default_rng(seed + 1000 * topic), n, np.full(n, topic))


@pytest.mark.parametrize("topic", range(TOPICS))
@pytest.mark.parametrize("options", [{}, {"score": "max"}, {"score": "top:3"}, {"weights": "log-ratio"}], ids=str)
def test_returned_scores_are_exact_and_the_true_recall_is_in_the_interval(world, topic, options):
    index, codes = world
    own = examples(topic)
    target = profile_of(own, SPEC) if not options else Nearest(own, 1 if options.get("score") == "max" else 3, SPEC)
    if "weights" in options:
        pool, documents = popularity_of(index.segments, View.of(SPEC))
        target = Weighting.parse(options["weights"]).profile_of(own, pool, documents, SPEC)
    found = index.query(own, n=60, approx=True, **options)
    ids, _ = exact(index, codes, target, 60)
    by_id = {f"{i:04d}": value for i, value in enumerate(score(codes, target) / target.scale)}
    assert found.scores.tolist() == [by_id[i] for i in found.ids]
    assert list(zip(-found.scores, found.ids, strict=True)) == sorted(zip(-found.scores, found.ids, strict=True))
    [recall] = found.plan.actual["recall"]
    all_ids, all_sums = exact(index, codes, target, DOCUMENTS)
    missed = ~np.isin(all_ids, found.ids)
    reached = 1 - missed[np.lexsort((missed, -all_sums))[:60]].mean()  # equals count as found
    assert recall["low"] <= round(reached, 4) <= recall["high"]
    assert reached >= (0.95 if not options else 0.8)
    assert any("approximate: it holds about" in warning for warning in found.warnings)
    assert len(set(ids) & set(found.ids)) >= 0.75 * 60


def test_segments_without_a_graph_are_always_among_the_answer(world):
    index, codes = world
    graphs = current_graphs(index.path, SPEC).graphs([segment.entry for segment in index.segments])
    connected = {segment for graph in graphs for segment in graph.segments}
    assert [segment.entry.id in connected for segment in index.segments] == [True, True, True, False]
    found = index.query(codes[2950:2951], n=1, approx=True)  # lies in the last segment
    assert found.ids.tolist() == ["2950"]
    assert found.scores.tolist() == [1.0]


def test_deleted_documents_and_those_that_a_condition_rules_out_are_not_returned(world):
    index, codes = world
    found = index.query(examples(2), n=200, approx=True, where="id < '0700'")
    ids, _ = exact(index, codes, profile_of(examples(2), SPEC), DOCUMENTS)
    assert found.ids.tolist() == [i for i in ids if i < "0700"][:200]
    assert not set(found.ids) & {f"{i:04d}" for i in range(5, 3000, 9)}


def test_all_of_the_pool_can_be_asked_for(world):
    index, codes = world
    found = index.query(examples(1), n=DOCUMENTS, approx=True)
    ids, _ = exact(index, codes, profile_of(examples(1), SPEC), DOCUMENTS)
    assert found.ids.tolist() == ids


def test_several_targets_and_layers(world):
    index, _ = world
    two = {"a": examples(0), "b": examples(5)}
    found = index.query(two, n=80, approx=True, layers="1-2", mix="merge")
    whole = index.query(two, n=80, layers="1-2", mix="merge")
    for name in two:
        own, true = (s.scores[s.column("target") == name] for s in (found, whole))
        assert len(own) == 40
        assert np.mean(own >= true.min()) >= 0.9, found.plan.actual


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"tokens": 500}, "a budget of tokens"),
        ({"n": 5, "top_k": 2}, "all 5 neurons"),
        ({"n": 5, "mix": "max"}, "need the scores of all documents"),
    ],
)
def test_what_graphs_cannot_answer_is_refused(world, asked, reason):
    with pytest.raises(BadInputError, match=reason):
        world[0].query(examples(0), approx=True, **asked)


def test_without_graphs_the_remedy_is_named(tmp_path, write_index, random_codes):
    codes = random_codes(np.random.default_rng(0), 5, LAYERS, TOP_K, WIDTH)
    index = write_index(tmp_path / "i", codes, list("abcde"), [1] * 5, width=WIDTH)
    with pytest.raises(BadInputError, match=r"`optimize\(\)`"):
        index.query(codes[:1], n=1, approx=True)
    index.optimize()
    assert index.query(codes[:1], n=1, approx=True).ids.tolist() == ["a"]


def test_a_cut_graph_is_not_used_and_verify_names_it(tmp_path, write_index, random_codes):
    codes = random_codes(np.random.default_rng(1), 50, LAYERS, TOP_K, WIDTH)
    index = write_index(tmp_path / "i", codes, [f"{i:02d}" for i in range(50)], [1] * 50, width=WIDTH)
    index.optimize()
    [file] = (tmp_path / "i" / "derived").glob("graph-*/graph-*.usearch")
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(BadInputError, match="there are no graphs"):
        index.query(codes[:1], n=1, approx=True)
    assert [str(file) in str(problem) for problem in index.verify()] == [True]


def test_neighbors_are_the_nearest_and_never_the_document_itself(world):
    index, codes = world
    for document in (0, 1500, 2950):
        overlap = score(codes, profile_of(codes[document : document + 1], SPEC))
        alive = [i for i in range(DOCUMENTS) if i % 9 != 5 and i != document]
        best = sorted(alive, key=lambda i: (-overlap[i], i))[:4]
        found = index.neighbors(f"{document:04d}", k=4, exact=True)
        assert [row["id"] for row in found.rows] == [f"{i:04d}" for i in best]
        assert [row["score"] for row in found.rows] == [overlap[i] / (LAYERS * TOP_K) for i in best]
        near = index.neighbors(f"{document:04d}", k=4)
        assert near.plan["engine"] == "graph"
        assert [row["rank"] for row in near.rows] == [1, 2, 3, 4]
        assert near.rows[0]["score"] == found.rows[0]["score"]


@pytest.mark.parametrize("exact", [False, True])
def test_neighbors_of_several_are_those_of_each_alone(world, exact):
    """Also documents that are neighbors of two of them."""
    index, _ = world
    names = ["0003", "0003", "0040"]
    together = index.neighbors(names, k=3, exact=exact).rows
    alone = [row for name in names for row in index.neighbors(name, k=3, exact=exact).rows]
    assert together == alone


def test_neighbors_of_several_and_of_codes(world):
    index, codes = world
    found = index.neighbors(["0003", "0004"], k=2, exact=True)
    assert [(row["of"], row["rank"]) for row in found.rows] == [("0003", 1), ("0003", 2), ("0004", 1), ("0004", 2)]
    of_codes = index.neighbors(codes[3:4], k=3, exact=True)
    assert [row["id"] for row in of_codes.rows] == ["0003", *(row["id"] for row in found.rows[:2])]
    with pytest.raises(BadInputError, match="9999"):
        index.neighbors("9999")


def test_one_graph_may_hold_the_whole_answer(tmp_path, write_index, monkeypatch):
    """As where a corpus lies source by source: each graph is asked for more while the answer still eats all it gives."""
    topics = np.repeat(np.arange(TOPICS), 400)
    codes = topical(np.random.default_rng(8), len(topics), topics)
    ids = [f"{i:04d}" for i in range(len(codes))]
    index = write_index(tmp_path / "i", codes, ids, [1] * len(ids), width=WIDTH, cuts=tuple(range(400, 3600, 400)))
    monkeypatch.setattr(hnsw, "GROUP_DOCUMENTS", 1200)
    monkeypatch.setattr(graph_search, "EXTRA_CANDIDATES", 4)
    index.optimize()
    found = index.query(examples(4), n=250, approx=True)
    whole = index.query(examples(4), n=250)
    assert np.mean([400 * 3 <= int(i) < 400 * 6 for i in whole.ids]) > 0.9
    assert len(set(found.ids) & set(whole.ids)) >= 245


@pytest.mark.parametrize("sample", [50, 400])
def test_the_recall_is_estimated_from_so_many_documents_and_they_are_counted(world, monkeypatch, sample):
    """However large the pool is; documents that were returned, and that may not be, are no misses."""
    index, codes = world
    monkeypatch.setattr(graph_search, "SAMPLE", sample)
    graphs = current_graphs(index.path, SPEC).graphs([segment.entry for segment in index.segments])
    read, rescored = [], graph_search.rescore
    monkeypatch.setattr(
        graph_search,
        "rescore",
        lambda parts, at, *rest, **named: read.append(at) or rescored(parts, at, *rest, **named),
    )
    found = index.query(examples(3), n=100, approx=True)
    [recall] = found.plan.actual["recall"]
    assert recall["sampled"] == len(read[-1]) == sample
    assert len(np.unique(read[-1])) == sample
    assert {f"{i:04d}" for i in read[-1]}.isdisjoint(found.ids)
    assert max(read[-1]) < CUTS[-1]
    assert len(graphs) == 2
    scanned = DOCUMENTS - CUTS[-1]
    assert found.plan.actual["documents"] == sum(map(len, read)) + scanned
    ids, _ = exact(index, codes, profile_of(examples(3), SPEC), 100)
    assert recall["low"] <= len(set(ids) & set(found.ids)) / 100 <= recall["high"]


def test_all_documents_are_sampled_where_there_are_few(world):
    found = world[0].query(examples(3), n=100, approx=True)
    [recall] = found.plan.actual["recall"]
    assert recall["low"] == recall["recall"] == recall["high"]
    assert recall["sampled"] == CUTS[-1] - sum(int(i) < CUTS[-1] for i in found.ids)
