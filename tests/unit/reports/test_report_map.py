"""The map of a report: its points are those of the selection, its figures what counting gives, and a page says so where there is none."""

import importlib.util
import json
import re

import numpy as np
import pytest
from reported import LAYERS, TEXTS, WIDTH, K, figures

from nagindex.errors import BadInputError, MissingDependencyError
from nagindex.nag import dice
from nagindex.query import report_map
from nagindex.report.point_map import HEIGHT, map_chart
from nagindex.report.point_map import WIDTH as CHART_WIDTH
from nagindex.search import tsne

pytest.importorskip("sklearn", reason="the extra [map] is not installed")


def names_of(page):
    """Return what the script of a page shows of points; None without a map."""
    found = re.search(r'<script type="application/json" id="names">(.*?)</script>', page, re.DOTALL)
    return found and json.loads(found[1])


def test_points_are_the_selected_documents_the_examples_and_candidates_that_were_not_selected(index, targets):
    selection = index.query(targets, n=20, where="number < 70")
    found = figures(selection, pool_points=30).map
    assert [(own.kind, own.target) for own in found.groups] == [
        ("pool", None), ("selected", 0), ("selected", 1), ("examples", 0), ("examples", 1),
    ]  # fmt: skip
    candidates = {one for (one,) in index.sql("SELECT id FROM docs WHERE number < 70").fetchall()}
    rows = list(selection)
    pool, first, second, *examples = found.groups
    assert len(pool.ids) == len(pool.places) == 30
    assert pool.total == len(candidates - {row["id"] for row in rows})
    assert {*pool.ids} <= candidates - {row["id"] for row in rows}
    of_first = {row["id"] for row in rows if row["target"] == "s"}
    of_second = {row["id"] for row in rows if row["target"] == "t"}
    assert {*first.ids} == of_first
    assert {*second.ids} == of_second - of_first, "a document of both is drawn once"
    assert [(own.name, len(own.places), own.total) for own in examples] == [
        ("examples of s", 6, 6), ("examples of t", 6, 6),
    ]  # fmt: skip
    stored = dict(index.sql("SELECT id, label FROM docs").fetchall())
    assert found.column == "label"
    for own in (pool, first, second):
        shown = [None if label is None else found.values[label] for label in own.labels]
        assert shown == [stored[one] for one in own.ids]


def test_neighbors_are_counted_by_overlap(index, targets):
    """By hand, for each point: the ten that overlap most with it. Ties are left to the order of the points."""
    selection = index.query(targets, n=20)
    found = figures(selection, pool_points=40).map
    stored = np.concatenate(index.codes)
    kinds, codes = [], []
    for own in found.groups:
        for place, one in enumerate(own.ids):
            name = own.name.removeprefix("examples of ")
            codes.append(targets[name][int(place)] if own.kind == "examples" else stored[int(one[1:])])
            kinds.append(own.kind)
    overlaps = np.array([[dice(a, b) if a is not b else 2 for b in codes] for a in codes])
    nearest = np.argsort(-overlaps, axis=1, kind="stable")[:, 1 : found.nearest + 1]
    begin = 0
    for own in found.groups:
        around = np.array(kinds)[nearest[begin : begin + len(own.ids)]]
        assert own.near == {kind: pytest.approx((around == kind).mean()) for kind in ("pool", "selected", "examples")}
        begin += len(own.ids)
    assert found.nearest == 10


def test_the_same_selection_has_the_same_map(index, targets):
    selection = index.query(targets, n=20)
    one, other = (figures(selection).map for _ in range(2))
    for a, b in zip(one.groups, other.groups, strict=True):
        np.testing.assert_array_equal(a.places, b.places)
        assert a.ids == b.ids


def test_places_fill_the_drawing_with_one_scale(index, targets):
    found = figures(index.query(targets, n=20)).map
    paths = map_chart(found).paths
    drawn = np.array([[int(x), int(y)] for path in paths for x, y in re.findall(r"M(\d+) (\d+)h0", path)])
    places = np.concatenate([own.places for own in found.groups])
    assert len(drawn) == len(places) == found.points
    assert ((drawn >= 0) & (drawn <= (CHART_WIDTH, HEIGHT))).all()
    spans, room = np.ptp(drawn, axis=0), np.array([CHART_WIDTH, HEIGHT])
    np.testing.assert_allclose(
        spans, sorted(np.ptp(places, axis=0) * spans.max() / np.ptp(places, axis=0).max())[::-1], atol=2
    )
    assert (spans / room).max() > 0.9


def test_a_page_has_the_points_their_names_and_the_neighbors_in_numbers(index, targets, tmp_path):
    selection = index.query(targets, n=20)
    selection.report(tmp_path / "r.html", map=25)
    page = (tmp_path / "r.html").read_text()
    found = figures(selection, pool_points=25).map
    assert 'href="#map"' in page
    assert names_of(page) == json.loads(json.dumps(found.names))
    for path in map_chart(found).paths:
        assert f'd="{path}"' in page
    assert 'role="img" aria-label="Map of ' in page
    section = page.split('<section id="map">')[1].split("</section>")[0]
    assert "25</span>" in section.replace(" of 68", "")
    for own in found.groups:
        assert f'<td class="n">{own.near["pool"]:.1%}</td>' in section
    assert not any(text in section for text in TEXTS)


def test_without_scikit_learn_the_page_says_so_and_a_map_that_is_asked_for_is_an_error(
    index, targets, tmp_path, monkeypatch
):
    selection = index.query(targets, n=20)
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *own: None if name == "sklearn" else real(name, *own))
    selection.report(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    sentence = (
        "There is no map: maps need scikit-learn, which is not installed; run: pip install &#39;nagindex[map]&#39;."
    )
    assert sentence in page
    assert names_of(page) is None
    with pytest.raises(MissingDependencyError, match=r"pip install 'nagindex\[map\]'"):
        selection.report(tmp_path / "other.html", map=25)
    assert not (tmp_path / "other.html").exists()


def test_points_that_are_too_few_or_alike_make_no_map(tmp_path, write_index, random_codes):
    codes = random_codes(np.random.default_rng(2), 5, LAYERS, K, WIDTH)
    index = write_index(tmp_path / "i", np.repeat(codes, 4, axis=0), range(20), np.ones(20), width=WIDTH)
    selection = index.query({"s": codes[:3]}, n=6)
    selection.report(tmp_path / "r.html")
    sentence = "A map needs 10 points that are not alike, and there are 5."
    assert sentence in (tmp_path / "r.html").read_text()
    with pytest.raises(BadInputError, match=f"`map` 100: {sentence}"):
        selection.report(tmp_path / "r.html", map=100)
    with pytest.raises(BadInputError, match="`map` -1"):
        selection.report(tmp_path / "r.html", map=-1)


def test_no_map_was_asked_for(index, targets, tmp_path):
    selection = index.query(targets, n=20)
    selection.report(tmp_path / "r.html", map=0)
    page = (tmp_path / "r.html").read_text()
    assert 'href="#map"' not in page
    assert 'id="map"' not in page


def test_large_selections_and_targets_are_sampled_in_equal_parts(index, targets, monkeypatch):
    monkeypatch.setattr(report_map, "OTHERS", 8)
    found = figures(index.query(targets, n=30), pool_points=10).map
    assert [len(own.places) for own in found.groups] == [10, 4, 4, 4, 4]
    assert [own.total for own in found.groups[1:]] == [15, 15, 6, 6]


@pytest.mark.slow
def test_a_page_with_a_map_of_20_000_documents_stays_below_3_mb(tmp_path, write_index, random_codes, monkeypatch):
    """With the longest table, texts of 400 words, long ids. The layout itself is left out: only its size counts here."""
    monkeypatch.setattr(
        tsne, "lay_out", lambda matrix, graph, **_: np.random.default_rng(0).random((matrix.shape[0], 2))
    )
    documents = 41_000
    codes = random_codes(np.random.default_rng(7), documents, 2, 4, 64)
    ids = [f"a-document-with-quite-a-long-name-{n:06d}" for n in range(documents)]
    index = write_index(
        *(tmp_path / "i", codes, ids, np.arange(documents) % 900 + 1),
        width=64,
        kept=[(f"label-{n % 7000}",) for n in range(documents)],
        keep=("label",),
        texts=[f"{n} {'word ' * 400}" for n in range(documents)],
    )
    selection = index.query({"s": codes[:1000], "t": codes[1000:2000]}, n=20_000)
    selection.report(tmp_path / "r.html", map=20_000)
    page = (tmp_path / "r.html").read_text()
    assert len(page.encode()) < 3_000_000
    assert page.count("h0") >= 20_000 + 500 + 500
    pool, *others = names_of(page)["groups"]
    assert 8_000 < len(pool["ids"]) < 20_000
    assert sum(len(own["ids"]) for own in others) >= 900
