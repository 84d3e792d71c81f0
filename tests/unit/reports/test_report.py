"""A selection's report: its figures are those of the selection."""

import json
from collections import Counter

import numpy as np
import pytest
from reported import LAYERS, TEXTS, WIDTH, K, figures

from nagindex import Decontamination


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
        selection.report(tmp_path / "r.html", map=0)
        return {own.id: own.why for own in exhibits_of(target, "Near misses")}, target.passed_over

    found, over = reasons(dedup=0.99)
    assert found["d01"] == "overlaps d00 by 1.000, the limit is 0.99"
    assert over.reasons["near-duplicate"] == 4
    listed = {own.id: own.why for own in over.examined if own.kind == "near-duplicate"}
    assert listed == {one: found[one] for one in ("d01", "d02", "d03", "d04")}
    section = (tmp_path / "r.html").read_text().split('<section id="dropped">')[1].split("</section>")[0]
    for one in listed:
        assert f'<th scope="row" class="id">{one}</th>' in section
    assert section.count("<td>near-duplicate</td>") == 4
    assert "named with the document that each is too near to" in section
    selection = index.query({"s": codes[10:11]}, n=1, dedup=0.99)
    assert selection.ids == ["d10"]
    selection.report(tmp_path / "none.html", map=0)
    assert "Near-duplicates were left out from an overlap of 0.99 on." in (tmp_path / "none.html").read_text()
    found, over = reasons(decontamination=Decontamination(tmp_path / "e.jsonl", ngram=5))
    assert found["d00"].startswith("shares an n-gram with evaluation texts: word00 word10")
    assert over.reasons["contaminated"] == 1
    found, over = reasons(cap={"label": 0.5})
    assert found["d02"] == "label a has 50.0% of the selection, its cap is 50.0%"
    assert over.reasons == {"cap": over.documents}
    found, over = reasons()
    assert (found["d04"], over.reasons) == ("the same score as the last selected document; ties go by id", {"tie": 1})
    assert all(why.endswith("below the cut") for one, why in found.items() if one != "d04")
