"""A selection's report: its figures are those of the selection, and no text becomes markup."""

import json
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from nagindex import Decontamination, Quality, QueryOptions
from nagindex.errors import BadInputError, InputNotFoundError
from nagindex.query import exhibits
from nagindex.query.record_text import command_of
from nagindex.query.reports import report_of
from nagindex.select.recorded import recorded_options

LABELS = ("law", "biology", None)
HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>&amp;'
LAYERS, K, WIDTH = 3, 4, 12
TEXTS = [f"text {n} of a document about the river and the {n} foxes that it has" for n in range(90)]


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 90 documents in two segments with a label and a number each, some of them deleted."""
    rng = np.random.default_rng(3)
    codes = random_codes(rng, 90, LAYERS, K, WIDTH)
    kept = [(LABELS[n % 3], float(n)) for n in range(90)]
    made = write_index(
        *(tmp_path / "i", codes, [f"d{n:02d}" for n in range(90)], np.arange(90) + 5),
        width=WIDTH,
        cuts=(40,),
        kept=kept,
        keep=("label", "number"),
        texts=TEXTS,
    )
    made.delete(ids=["d00", "d41"])
    return made


@pytest.fixture
def targets(random_codes):
    """Two targets of codes, which are not alike."""
    return {name: random_codes(np.random.default_rng(seed), 6, LAYERS, K, WIDTH) for name, seed in (("s", 5), ("t", 6))}


def figures(selection, **options):
    """Return the figures of a selection's report."""
    return report_of(selection._selected(), **options)


def exhibits_of(target, title):
    """Return the documents of one group."""
    return next(group.exhibits for group in target.groups if group.title == title)


def test_columns_files_and_sizes_are_counted_as_the_selection_has_them(index, targets):
    selection = index.query(targets, n=31)
    report = figures(selection)
    rows = list(selection)
    pool = index.sql("SELECT label, file, tokens FROM docs").fetchall()
    assert (report.pool.documents, report.pool.tokens) == (88, sum(own[2] for own in pool))
    assert (report.selected.documents, report.selected.tokens) == (31, sum(own["tokens"] for own in rows))
    assert [own.column for own in report.columns] == ["label", "number", "file"]
    for found, place in ((report.columns[0], 0), (report.columns[2], 1)):
        expected = Counter(own[found.column] for own in rows)
        assert {own.value: own.selected for own in found.rows} == {
            value: expected[value] for value in {own[place] for own in pool}
        }
        assert {own.value: own.pool for own in found.rows} == Counter(own[place] for own in pool)
        for own in found.rows:
            assert list(own.by_target) == [
                sum(row[found.column] == own.value and row["target"] == name for row in rows) for name in ("s", "t")
            ]
    numbers = [own["number"] for own in rows]
    assert report.columns[1].selected == pytest.approx(np.quantile(numbers, [0.1, 0.25, 0.5, 0.75, 0.9]))
    lengths = report.lengths
    assert (lengths.pool.sum(), lengths.selected.sum()) == (88, 31)


def test_values_beyond_those_listed_are_added_up(tmp_path, write_index, random_codes):
    kept = [(f"v{n % 30}",) for n in range(60)]
    codes = random_codes(np.random.default_rng(0), 60, 2, 3, 9)
    index = write_index(tmp_path / "i", codes, range(60), np.zeros(60), width=9, kept=kept, keep=("c",))
    report = figures(index.query(codes[:4], n=10))
    column = report.columns[0]
    assert (len(column.rows), column.others) == (12, 18)
    assert sum(own.selected for own in column.rows) + column.rest.selected == 10
    assert sum(own.pool for own in column.rows) + column.rest.pool == 60
    assert report.lengths is None


@pytest.mark.parametrize("weights", ["frequency", "log-ratio:3", "contrast:1"])
def test_layers_and_neurons_add_up_to_the_mean_scores(index, targets, weights):
    selection = index.query(targets, n=30, weights=weights)
    for target in figures(selection).targets:
        own = np.array([row["score"] for row in selection if row["target"] == target.name])
        whole = index.query({target.name: targets[target.name]}, fraction=1.0, weights=weights).scores
        assert target.parts.selected == pytest.approx(own.mean())
        assert target.parts.pool == pytest.approx(whole.mean())
        assert sum(layer.selected for layer in target.parts.layers) == pytest.approx(own.mean())
        assert sum(layer.pool for layer in target.parts.layers) == pytest.approx(whole.mean())
        ids = [row["id"] for row in selection if row["target"] == target.name]
        explained = [e for e in selection.explain(ids) if e.target == target.name]
        for neuron in target.parts.neurons:
            held = [e.neurons[neuron.layer].tolist() for e in explained]
            assert neuron.selected == pytest.approx(np.mean([neuron.neuron in own for own in held]))
            parts = [
                e.sums[neuron.layer][own.index(neuron.neuron)] / e.scale if neuron.neuron in own else 0
                for e, own in zip(explained, held, strict=True)
            ]
            assert neuron.part > 0
            if any(parts):  # no document in which to see its weight, otherwise
                weight = max(parts, key=abs)
                assert neuron.part == pytest.approx(weight * (neuron.selected - neuron.pool))
            for passage in neuron.passages:
                place = held[ids.index(passage.id)].index(neuron.neuron) + 1
                assert (passage.place, passage.text) == (place, TEXTS[int(passage.id[1:])])


def test_distribution_cut_and_other_cuts_are_those_of_the_ranking(index, targets):
    selection = index.query({"s": targets["s"]}, n=20)
    everything = index.query({"s": targets["s"]}, fraction=1.0)
    [target] = figures(selection).targets
    assert (target.scores.pool.sum(), target.scores.selected.sum()) == (88, 20)
    assert target.cut == selection.scores.min()
    assert [row.documents for row in target.cuts.rows] == [5, 10, 20, 40, 80]
    assert target.cuts.rows[target.cuts.own].documents == 20
    assert target.cuts.column == "label"
    for row in target.cuts.rows:
        assert row.score == everything.scores[row.documents - 1]
        assert sum(row.shares) == pytest.approx(1)
    assert target.passed_over.documents == int((everything.scores >= target.cut).sum()) - 20


def test_documents_shown_are_the_best_those_at_the_cut_and_the_next(index, targets):
    selection = index.query({"s": targets["s"]}, n=30)
    everything = index.query({"s": targets["s"]}, fraction=1.0)
    [target] = figures(selection).targets
    ids, scores = selection.ids.tolist(), dict(zip(everything.ids, everything.scores, strict=True))
    assert [own.id for own in exhibits_of(target, "Best")] == ids[:20]
    assert [own.id for own in exhibits_of(target, "At the cut")] == ids[-20:]
    random = [own.id for own in exhibits_of(target, "Random")]
    assert len(set(random)) == 20
    assert random == [own for own in ids if own in random]
    missed = exhibits_of(target, "Near misses")
    rest = [own for own in everything.ids if own not in ids]
    assert [own.score for own in missed] == [scores[own] for own in rest[:20]]
    assert not {own.id for own in missed} & set(ids)
    for group in target.groups:
        for own in group.exhibits:
            assert own.score == scores[own.id]
            assert own.text == TEXTS[int(own.id[1:])]
            assert own.rank == (ids.index(own.id) + 1 if own.id in ids else None)
            assert sum(layer["sum"] for layer in own.explanation["layers"]) == own.explanation["sum"]
            assert bool(own.why) == (own.rank is None)


def test_the_pool_is_what_the_options_left(index, targets):
    selection = index.query(targets, n=10, where="label = 'law'", weights="log-ratio:3", background="candidates")
    report = figures(selection)
    assert (report.stored, report.pool.documents) == (88, len(index.sql("FROM docs WHERE label = 'law'").fetchall()))
    assert {own.value: own.pool for own in report.columns[0].rows} == {"law": report.pool.documents}
    for target in report.targets:
        assert {own.labels["label"] for group in target.groups for own in group.exhibits} == {"law"}
        assert target.scores.pool.sum() == report.pool.documents
    assert report.query["Where"] == "label = 'law'"


def test_why_documents_above_the_cut_were_left_out(tmp_path, write_index, random_codes):
    """A copy of the best document, one with words of an evaluation text, those of a capped label, and one that ties."""
    codes = random_codes(np.random.default_rng(1), 40, LAYERS, K, WIDTH)
    codes[1:5] = codes[0]
    words = [f"word{n}" for n in range(40)]
    texts = [" ".join(f"{word}{n}" for word in words[:8]) for n in range(40)]
    kept = [("a" if n < 20 else "b",) for n in range(40)]
    ids = [f"d{n:02d}" for n in range(40)]
    index = write_index(tmp_path / "i", codes, ids, np.ones(40), width=WIDTH, kept=kept, keep=("label",), texts=texts)
    (tmp_path / "e.jsonl").write_text(json.dumps({"text": texts[0]}) + "\n")

    def reasons(**options):
        selection = index.query({"s": codes[:1]}, n=4, **options)
        [target] = figures(selection).targets
        return {own.id: own.why for own in exhibits_of(target, "Near misses")}, target.passed_over

    found, over = reasons(dedup=0.99)
    assert found["d01"] == "overlaps d00 by 1.000, the limit is 0.99"
    assert over.reasons["near-duplicate"] == 4
    found, over = reasons(decontamination=Decontamination(tmp_path / "e.jsonl", ngram=5))
    assert found["d00"].startswith("shares an n-gram with evaluation texts: word00 word10")
    assert over.reasons["contaminated"] == 1
    found, over = reasons(cap={"label": 0.5})
    assert found["d02"] == "label a has 50.0% of the selection, its cap is 50.0%"
    assert over.reasons == {"cap": over.documents}
    found, over = reasons()
    assert (found["d04"], over.reasons) == ("the same score as the last selected document; ties go by id", {"tie": 1})
    assert all(why.endswith("below the cut") for one, why in found.items() if one != "d04")


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
    assert tags.found["script"] == 2
    assert not {"img", "iframe", "object", "embed", "link", "base", "form", "b"} & set(tags.found)
    data = json.loads(tags.scripts[0])
    assert data["rows"][0][1].startswith(HOSTILE)
    assert "alert" not in tags.scripts[1]
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


def test_a_selection_read_from_its_file_has_the_same_figures(index, targets, tmp_path):
    selection = index.query(targets, n=20, quality=Quality("number", weight=0.3))
    selection.to_parquet(tmp_path / "s.parquet")
    again = index.selection(tmp_path / "s.parquet", targets=targets)
    assert list(again) == list(selection)
    for title, rows in (("made", selection), ("read", again)):
        rows.report(tmp_path / f"{title}.html", title="same")
    made, read = (
        [line for line in (tmp_path / f"{name}.html").read_text().splitlines() if "Made by" not in line]
        for name in ("made", "read")
    )
    assert made == read
    explained = [own.to_json() for own in selection.explain("d07")]
    assert explained == [own.to_json() for own in again.explain(["d07"])]
    assert [own["target"] for own in explained] == ["s", "t"]


def test_documents_that_are_gone_are_told(index, targets, tmp_path):
    selection = index.query(targets, n=20)
    selection.to_parquet(tmp_path / "s.parquet")
    index.delete(ids=selection.ids[:3].tolist())
    again = index.selection(tmp_path / "s.parquet", targets=targets)
    assert len(again) == 17
    assert again.warnings == ["no longer in the index: 3 documents of the selection"]
    assert any("the index was at version" in note for note in figures(again).notes)
    index.delete(ids=selection.ids.tolist())
    with pytest.raises(BadInputError, match="none of its documents is in"):
        index.selection(tmp_path / "s.parquet", targets=targets)


def test_what_is_no_selection_or_no_page_is_refused(index, targets, tmp_path):
    selection = index.query(targets, n=5)
    selection.to_parquet(tmp_path / "s.parquet")
    with pytest.raises(BadInputError, match=r"ends in \.html"):
        selection.report(tmp_path / "r.pdf")
    with pytest.raises(InputNotFoundError, match="no such file"):
        index.selection(tmp_path / "none.parquet")
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(BadInputError, match="not a selection"):
        index.selection(tmp_path / "x.parquet")
    with pytest.raises(BadInputError, match="record names no files of its targets; name them with `targets`"):
        index.selection(tmp_path / "s.parquet").explain()
    with pytest.raises(BadInputError, match="was made for s, t, and s were given"):
        index.selection(tmp_path / "s.parquet", targets={"s": targets["s"]}).explain()
    source = next((index.path / "sources").iterdir())
    with pytest.raises(BadInputError, match=r"s\.parquet|source|index"):
        selection.report(index.path / "r.html")
    assert source.exists()


@pytest.mark.parametrize(
    "options",
    [
        QueryOptions(),
        QueryOptions(
            layers=[0, 2],
            top_k=3,
            score="top:2",
            mix="max",
            where="a = 1",
            cap={"label": 0.25},
            min_score=0.1,
            dedup=0.9,
        ),
        QueryOptions(
            weights="log-odds:7",
            background="candidates",
            target_weights={"s": 0.5},
            exclude=["/a.txt", "/b c.txt"],
            quality=Quality("edu", scores="/s.csv", weight=0.5, lower_is_better=True, normalize="rank"),
            decontamination=Decontamination(["/e.jsonl"], "question", 8),
        ),
    ],
)
def test_options_are_read_back_from_a_record(options):
    recorded = json.loads(json.dumps({"index": "i", "n": 5, **options.to_json()}))
    assert recorded_options(recorded) == options


def test_the_command_quotes_what_a_shell_would_take_apart():
    query = {"index": "/my index", "targets": ["/a b.jsonl"], "n": 5, "where": "x = 'y'", "cap": {"c d": 0.5}}
    command = command_of(query | {"lower-is-better": True, "score": "mean"})
    assert command.splitlines()[0] == "nagindex query '/a b.jsonl' \\"
    assert "-i '/my index'" in command
    assert "--where 'x = '\"'\"'y'\"'\"''" in command
    assert "--cap 'c d=0.5'" in command
    assert "--lower-is-better" in command
    assert "--score" not in command
    assert command_of({"index": "i", "targets": []}) == ""


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
