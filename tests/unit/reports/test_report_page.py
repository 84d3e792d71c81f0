"""The page of a report: no text becomes markup, every query has one, and it stays small."""

import json
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from reported import LAYERS, WIDTH, K, figures

from nagindex import Quality
from nagindex.query import exhibits

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>&amp;'


class Tags(HTMLParser):
    """Collects the elements of a page, the attributes that could load or run something, and its scripts."""

    def __init__(self):
        super().__init__()
        self.found, self.loads, self.scripts, self.inside = Counter(), [], [], False

    def handle_starttag(self, tag, attributes):
        self.found[tag] += 1
        self.loads += [
            (tag, name, value)
            for name, value in attributes
            if name in ("src", "srcset", "action", "data") or name.startswith("on") or (tag == "link")
        ]
        self.loads += [(tag, n, v) for n, v in attributes if n == "href" and not v.startswith("#")]
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data

    def handle_endtag(self, tag):
        self.inside = False


def test_no_text_id_name_or_label_becomes_markup(tmp_path, write_index, random_codes):
    codes = random_codes(np.random.default_rng(2), 12, LAYERS, K, WIDTH)
    ids = [f"{HOSTILE}{n}" for n in range(12)]
    index = write_index(
        *(tmp_path / "i", codes, ids, np.ones(12)),
        width=WIDTH,
        kept=[(HOSTILE,)] * 12,
        keep=("<b>label",),
        texts=[f"{HOSTILE} {n}" for n in range(12)],
    )
    selection = index.query({f"{HOSTILE}": codes[:2], "other": codes[2:4]}, n=6, where=f"id <> '{HOSTILE}'")
    selection.report(tmp_path / "r.html", title=HOSTILE)
    page = (tmp_path / "r.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.loads == []
    assert tags.found["script"] == 3
    assert not {"img", "iframe", "object", "embed", "link", "base", "form", "b"} & set(tags.found)
    data = json.loads(tags.scripts[0])
    assert data["rows"][0][1].startswith(HOSTILE)
    assert json.loads(tags.scripts[1])["values"][0].startswith(HOSTILE[:50])
    assert "alert" not in tags.scripts[2]
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_without_texts_there_are_none(index, targets, tmp_path):
    selection = index.query(targets, n=10)
    selection.report(tmp_path / "r.html", with_text=False)
    page = (tmp_path / "r.html").read_text()
    assert "foxes" not in page
    assert "d10" in page


def test_texts_that_cannot_be_read_are_left_out_with_a_note(index, targets, tmp_path):
    selection = index.query(targets, n=10)
    for source in (index.path / "sources").iterdir():
        source.unlink()
    report = figures(selection)
    assert any(note.startswith("shown without texts") for note in report.notes)
    assert "text" not in report.table.columns


def test_scores_of_single_examples_have_no_weights_and_the_page_says_so(index, targets, tmp_path):
    selection = index.query(targets, n=10, score="max")
    assert [own.parts for own in figures(selection).targets] == [None, None]
    selection.report(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "neurons and layers have no weight of their own" in page
    assert 'id="neurons"' not in page
    assert '"#neurons"' not in page


@pytest.mark.parametrize("mix", ["union", "merge", "distinct", "max"])
def test_every_mix_has_a_page(index, targets, mix, tmp_path):
    selection = index.query(targets, n=20, mix=mix)
    report = figures(selection)
    assert sum(own.selected.documents for own in report.targets) == len(selection)
    assert report.distinct == len(set(selection.ids))
    assert [(own.a, own.b) for own in report.overlaps] == [("s", "t"), ("t", "s")]
    assert report.overlaps[0].examples == pytest.approx(report.overlaps[1].examples)
    assert len(report.table.rows) == len(selection)
    selection.report(tmp_path / "r.html")


def test_quality_and_tokens_have_a_page(index, targets, tmp_path):
    selection = index.query(targets, tokens=900, quality=Quality("number"), cap={"label": 0.6}, dedup=0.9)
    report = figures(selection)
    assert "combined" in report.table.columns
    assert report.query["Budget"] == "900 tokens"
    assert "near misses above" not in report.query
    selection.report(tmp_path / "r.html")


@pytest.mark.parametrize(
    "text",
    [
        "word " * 400,
        pytest.param("<&'\"> " * 400, marks=pytest.mark.slow),
        pytest.param("文字が多い " * 400, marks=pytest.mark.slow),
    ],
    ids=["words", "markup", "wide"],
)
def test_a_page_of_many_documents_stays_below_3_mb(tmp_path, write_index, random_codes, text):
    """20,000 selected documents with texts, whatever these are made of."""
    codes = random_codes(np.random.default_rng(7), 21_000, 2, 4, 64)
    ids = [f"a-document-with-a-long-name-{n:06d}" for n in range(21_000)]
    kept = [(f"label-{n % 7}", n / 7) for n in range(21_000)]
    index = write_index(
        *(tmp_path / "i", codes, ids, np.arange(21_000) % 900),
        width=64,
        kept=kept,
        keep=("label", "number"),
        texts=[f"{n} {text}" for n in range(21_000)],
    )
    selection = index.query({"s": codes[:9], "t": codes[9:20]}, n=20_000)
    selection.report(tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size < 3_000_000
    report = figures(selection)
    assert 2_500 < len(report.table.rows) < 20_000
    shown = f"The first {len(report.table.rows):,} of 20,000 documents"
    assert shown in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("targets", [2, 8, 30])
def test_a_page_of_many_layers_and_targets_stays_below_3_mb(tmp_path, write_index, random_codes, targets):
    """A model of 30 layers, long texts."""
    codes = random_codes(np.random.default_rng(2), 900, 30, 20, 64)
    index = write_index(
        *(tmp_path / "i", codes, [f"document-{n}" for n in range(900)], np.arange(900) + 1),
        width=64,
        kept=[(f"label {n % 20}",) for n in range(900)],
        keep=("label",),
        texts=["word " * 400] * 900,
    )
    selection = index.query({f"target {n}": codes[20 * n : 20 * n + 20] for n in range(targets)}, n=600)
    selection.report(tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size < 3_000_000


def test_long_records_many_warnings_and_long_labels_do_not_fill_a_page(tmp_path, write_index, random_codes):
    codes = random_codes(np.random.default_rng(2), 30, LAYERS, K, WIDTH)
    kept = [(f"{n}" + "long " * 4000,) for n in range(30)]
    index = write_index(*(tmp_path / "i", codes, range(30), np.ones(30)), width=WIDTH, kept=kept, keep=("label",))
    selection = index.query({"s": codes[:3]}, n=10)
    selection.settings["query"]["text"] = ["an example of a task " * 20] * 10_000
    selection.warnings += [f"not an example: row {n} of a file" for n in range(50_000)]
    report = figures(selection, with_texts=False)
    assert report.command == ""
    assert report.record.endswith("cut here; the selection's file has all of it")
    selection.report(tmp_path / "r.html", with_text=False)
    page = (tmp_path / "r.html").read_text()
    assert len(page.encode()) < 1_000_000
    assert "and 49,970 more" in page


def test_a_text_is_cut_by_its_size_once_escaped():
    assert exhibits._fitted("word", 100) == "word"
    assert 0 < len(exhibits._fitted("<" * 5000, 600)) <= 100
    assert len(exhibits._fitted("文" * 5000, 600).encode()) <= 600
