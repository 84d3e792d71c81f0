"""Maps: neighbors and agreement are what counting by hand gives, samples are of living documents, files hold the points."""

import re

import duckdb
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra [map] is not installed")
pytest.importorskip("matplotlib", reason="the extra [map] is not installed")

from nagindex.analysis import agreement, drawing
from nagindex.analysis.points import sample_points
from nagindex.errors import BadInputError, MissingDependencyError
from nagindex.nag import NagSpec, dice
from nagindex.search import tsne

LAYERS, TOP_K, WIDTH, DOCUMENTS = 3, 4, 30, 80
SPEC = NagSpec("up", (WIDTH,) * LAYERS, TOP_K)


def grouped_codes(rng, n, groups):
    """Return NAGs of n documents, uint16 [n, L, K], each group of which has neurons of its own."""
    width = WIDTH // groups
    order = rng.random((n, LAYERS, width)).argsort(axis=-1)[..., :TOP_K]
    return (order + (np.arange(n) % groups * width)[:, None, None]).astype(np.uint16)


@pytest.fixture
def pool(tmp_path, write_index):
    """An index of 80 documents of four groups in three segments, with texts; two are deleted, and one has no group."""
    codes = grouped_codes(np.random.default_rng(1), DOCUMENTS, 4)
    kept = [(None if n == 7 else f"group ${n % 4}$ & <b>",) for n in range(DOCUMENTS)]
    index = write_index(
        tmp_path / "i", codes, [f"d{n}" for n in range(DOCUMENTS)], np.ones(DOCUMENTS), width=WIDTH, cuts=(20, 21),
        kept=kept, keep=("group",), texts=[f"text {n} " + "x" * 400 for n in range(DOCUMENTS)],
    )  # fmt: skip
    index.delete(ids=["d0", "d40"])
    return index


@pytest.fixture
def examples():
    """Two targets of the first and second group."""
    codes = grouped_codes(np.random.default_rng(2), 24, 4)
    return {"one": codes[::4], "two": codes[1::4]}


def test_neighbors_and_distances_are_those_of_all_pairs(random_codes, monkeypatch):
    """A point is its own first neighbor, also among equals; the others follow by 1 - Dice overlap."""
    monkeypatch.setattr(tsne, "ROWS", 7)
    codes = random_codes(np.random.default_rng(3), 25, LAYERS, TOP_K, WIDTH)
    codes[4] = codes[11]
    graph = tsne.neighbor_graph(tsne.as_matrix(codes, SPEC), 6, LAYERS * TOP_K)
    for n in range(25):
        row = slice(graph.indptr[n], graph.indptr[n + 1])
        found, distances = graph.indices[row], graph.data[row]
        assert found[0] == n
        assert len(set(found.tolist())) == 7
        expected = [1 - dice(codes[n], codes[other]) for other in found]
        np.testing.assert_allclose(distances, expected, atol=1e-6)
        left = [1 - dice(codes[n], codes[other]) for other in range(25) if other not in found]
        assert min(left) >= max(expected) - 1e-6


def test_a_sample_is_of_living_documents_with_their_labels(pool):
    points = sample_points(pool.snapshot, [], 30, "group", seed=4)
    stored = dict(pool.sql('SELECT id, "group" FROM docs').fetchall())
    assert len(set(points.ids)) == 30
    assert {*points.ids} <= {*stored}
    assert points.labels == [stored[one] for one in points.ids]
    codes = np.concatenate(pool.codes)
    assert all((own == codes[int(one[1:])]).all() for one, own in zip(points.ids, points.codes, strict=True))
    everything = sample_points(pool.snapshot, [], 1000, None, seed=4)
    assert {*everything.ids} == {*stored}
    assert {*everything.labels} == {"pool"}
    assert sample_points(pool.snapshot, [], 30, "group", seed=5).ids != points.ids
    seen = {one for seed in range(40) for one in sample_points(pool.snapshot, [], 30, None, seed=seed).ids}
    assert seen == {*stored}


def test_a_map_puts_groups_apart_and_is_that_of_its_seed(pool, examples):
    """Nearly every point's nearest other is of its own group."""
    found = pool.map(examples, label="group", seed=3, perplexity=8)
    assert found.places.shape == (78 + 12, 2)
    assert (found.examples, found.labels[:12]) == (12, ["one"] * 6 + ["two"] * 6)
    groups = np.array([0] * 6 + [1] * 6 + [int(one[1:]) % 4 for one in found.ids[12:]])
    distances = np.linalg.norm(found.places[:, None] - found.places, axis=2) + 1e9 * np.eye(90)
    assert (groups[distances.argmin(axis=1)] == groups).mean() > 0.95
    np.testing.assert_array_equal(found.places, pool.map(examples, label="group", seed=3, perplexity=8).places)


def test_a_table_has_a_row_for_each_point_with_the_beginning_of_its_text(pool, examples, tmp_path):
    found = pool.map(examples, label="group", with_text=True, perplexity=5)
    found.write(tmp_path / "map.parquet")
    rows = duckdb.read_parquet(str(tmp_path / "map.parquet")).fetchall()
    assert len(rows) == 90
    for n, (x, y, label, one, text, example) in enumerate(rows):
        assert (x, y, label, one) == (*found.places[n].tolist(), found.labels[n], found.ids[n])
        assert example == (n < 12)
        assert text is None if example else text.startswith(f"text {one[1:]} x")
        assert example or len(text) == 300


def test_texts_that_are_gone_are_a_warning(pool):
    found = pool.map(with_text=True, corpus_root="/nowhere", perplexity=5)
    assert found.warnings[0].startswith("without texts of the pool: /nowhere/")
    assert {*found.texts} == {None}


def test_pictures_have_each_label_as_it_is_written(pool, examples, tmp_path):
    """Dollars, markup and ampersands are text, not formulas or tags; the same map is the same file."""
    found = pool.map(examples, label="group", perplexity=5)
    for name in ("a.svg", "b.svg", "c.png"):
        found.write(tmp_path / name)
    svg = (tmp_path / "a.svg").read_text()
    assert svg == (tmp_path / "b.svg").read_text()
    for group in range(4):
        assert svg.count(f"group ${group}$ &amp; &lt;b&gt;") >= 2, "in the legend and on the map"
    assert "others (1)" in svg
    assert "one (6)" in svg
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_many_labels_share_the_last_color():
    labels = [f"label {n}" for n in range(30) for _ in range(n + 1)]
    names, colors = drawing._colors(labels, np.random.default_rng(0).random((20, 4)))
    assert names[:2] == ["others", "label 29"]
    assert len(names) == 1 + 20
    assert "label 9" not in colors


def test_agreement_is_one_for_groups_and_what_counting_gives_otherwise(pool, examples):
    found = pool.map_sweep(label="group", top_k=[4, 2], layers=["all", "1"])
    assert [(row["layers"], row["top_k"]) for row in found.rows] == [("all", 4), ("all", 2), ("1", 4), ("1", 2)]
    assert sum(found.labels.values()) == 77
    assert found.rows[0] == {"top_k": 4, "layers": "all", "purity": 1, "nmi": pytest.approx(1), "ari": 1}
    assert found.warnings == ["documents without a value of 'group', which are left out: 1"]
    assert pool.map_sweep(examples).labels == {"one": 6, "two": 6}
    truth, clusters = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0, 0])
    assert agreement.scores(truth, clusters)["purity"] == (2 + 2) / 6


def test_a_sweep_compares_prefixes_of_the_codes(pool):
    """A smaller K is that of an index built with it."""
    points = sample_points(pool.snapshot, [], 50, "group", seed=0)
    [(_, view)] = agreement.sweep_views(SPEC, [2], ["0-1"])
    np.testing.assert_array_equal(view(points.codes), points.codes[:, :2, :2])
    assert [(name, own.top_k) for name, own in agreement.sweep_views(SPEC, [], [])][:4] == [
        ("all", 4), ("all", 2), ("all", 1), ("first-half", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda index, path: index.map(label="colour"), "`label` 'colour': no such column in .*; it keeps group"),
        (lambda index, path: index.map(pool=-1), "`pool` -1"),
        (lambda index, path: index.map(pool=5), "5 points: a map needs 10"),
        (lambda index, path: index.map(perplexity=1), "`perplexity` 1: a number above 1"),
        (lambda index, path: index.map(top_k=9), "top-k 9: the index keeps the 4"),
        (lambda index, path: index.map(layers="7"), "the index has layers 0 to 2"),
        (lambda index, path: index.map_sweep(), "0 labels: agreement needs two or more; give several targets"),
        (lambda index, path: index.map_sweep(top_k=9), "top-k 9"),
        (
            lambda index, path: index.map(perplexity=5).write(path / "map.gif"),
            re.escape("map.gif: maps are written as .svg"),
        ),
        (lambda index, path: index.map(perplexity=5).write(path / "no" / "map.png"), "its folder does not exist"),
    ],
)
def test_what_cannot_be_drawn_is_refused(pool, tmp_path, call, message):
    with pytest.raises(BadInputError, match=message):
        call(pool, tmp_path)


def test_without_the_extra_the_command_that_installs_it_is_named(pool, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        MissingDependencyError, match=r"scikit-learn, which is not installed; run: pip install 'nagindex\[map\]'"
    ):
        pool.map()


def test_an_index_without_documents_has_no_points(pool):
    pool.delete(where="true")
    with pytest.raises(BadInputError, match="0 points: a map needs 10"):
        pool.map()
