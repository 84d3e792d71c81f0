"""Evaluation of settings: its order is that of a query, its figures are their definitions, its settings and errors are as documented."""

import itertools
import re

import numpy as np
import pytest

from nagindex.errors import BadInputError
from nagindex.nag import NagSpec
from nagindex.query.settings import settings_of
from nagindex.search.metrics import average_precision, precision_at, random_figures, ranks_of, shares_above

SUBJECTS = ("law", "biology", "sports")


@pytest.fixture
def pool(tmp_path, write_index, random_codes):
    """An index of 90 documents in three segments, of few neurons, so that ties are the rule; some are deleted."""
    rng = np.random.default_rng(5)
    codes = random_codes(rng, 90, 3, 4, 9)
    subjects = [SUBJECTS[n] for n in rng.integers(0, 3, 90)]
    kept = [(subject, int(number)) for subject, number in zip(subjects, rng.integers(0, 4, 90), strict=True)]
    ids = [f"d{n}" for n in rng.permutation(200)[:90]]
    index = write_index(
        tmp_path / "i", codes, ids, np.ones(90), width=9, cuts=(20, 61), kept=kept, keep=("subject", "grade")
    )
    index.delete(ids=ids[::7])
    return index


@pytest.fixture
def examples(random_codes):
    """Two targets."""
    rng = np.random.default_rng(8)
    return {"a": random_codes(rng, 12, 3, 4, 9), "b": random_codes(rng, 7, 3, 4, 9)}


def keywords_of(row):
    return {name: row[name] for name in ("weights", "score", "top_k", "layers")}


def naive(relevant):
    """Average precision, precision at R and at 5 % of a list of whether the documents are relevant, best first."""
    found = list(itertools.accumulate(relevant))
    precisions = [found[n] / (n + 1) for n, own in enumerate(relevant) if own]
    few = max(1, round(0.05 * len(relevant)))
    return sum(precisions) / found[-1], found[found[-1] - 1] / found[-1], found[few - 1] / few


@pytest.mark.parametrize("where", [None, "grade > 0"])
def test_the_order_of_each_setting_is_that_of_a_query_with_the_same_options(pool, examples, where):
    """Ties included: average precision and precisions are those of the query's list of all candidates."""
    relevant = {"a": {"subject": "biology"}, "*": {"subject": ["law", "sports"], "grade": 3}}
    found = pool.evaluate(examples, relevant=relevant, where=where, resamples=0)
    assert len(found.rows) == len(
        settings_of(pool.manifest.fingerprint.spec, weights=[], score=[], top_k=[], layers=[])
    )
    is_relevant = {
        "a": lambda subject, grade: subject == "biology",
        "b": lambda subject, grade: subject in ("law", "sports") or grade == 3,
    }
    for row in found.rows:
        for name, codes in examples.items():
            selection = pool.query(codes, n=found.documents, where=where, **keywords_of(row))
            labels = [is_relevant[name](own["subject"], own["grade"]) for own in selection]
            assert len(labels) == found.documents
            own = row["targets"][name]
            measured = (own["average_precision"], own["precision_at_r"], own["precision_at_5%"])
            assert measured == pytest.approx(naive(labels), abs=1e-12)
            assert found.targets[name]["relevant"] == sum(labels)
        mean = np.mean([own["average_precision"] for own in row["targets"].values()])
        assert row["average_precision"] == pytest.approx(mean)


def test_rows_are_sorted_and_the_best_one_is_given_as_keywords_of_a_query(pool, examples):
    found = pool.evaluate(examples, relevant={"subject": "law"}, resamples=4)
    values = [row["average_precision"] for row in found.rows]
    assert values == sorted(values, reverse=True)
    best = found.rows[0]
    defaults = {"weights": "frequency", "score": "mean", "top_k": 4, "layers": "all"}
    assert defaults | found.best == keywords_of(best)
    assert not defaults.items() & found.best.items()
    assert best["close"] is True
    pool.query(examples, n=3, **found.best)


def test_intervals_come_from_the_seed_and_only_where_examples_were_resampled(pool, examples):
    """The best setting's difference to itself lies within its interval; one without spread and with a difference does not."""
    asked = {"relevant": {"subject": "law"}, "weights": ["frequency", "log-ratio"], "top_k": [4, 1]}
    once, again = (pool.evaluate(examples, **asked, resamples=6, seed=2) for _ in range(2))
    assert once.to_json() == again.to_json()
    other, none = pool.evaluate(examples, **asked, resamples=6, seed=3), pool.evaluate(examples, **asked, resamples=0)
    assert [row["low"] for row in other.rows] != [row["low"] for row in once.rows]
    for row, plain in zip(once.rows, none.rows, strict=True):
        assert row["low"] <= row["average_precision"] <= row["high"]
        assert {**row, "low": None, "high": None, "close": None} == plain


def test_resamples_are_scored_as_targets_in_which_examples_are_repeated(pool, examples):
    """The interval is 1.96 standard deviations of the average precision of queries with the resampled examples."""
    from nagindex.search.metrics import resamples

    codes = examples["a"]
    found = pool.evaluate(codes, relevant={"subject": "law"}, weights="log-odds:3", resamples=5, seed=4)
    again = []
    for times in resamples(len(codes), 5, 4):
        selection = pool.query(np.repeat(codes, times, axis=0), n=len(pool), weights="log-odds:3")
        again.append(naive([own["subject"] == "law" for own in selection])[0])
    [row] = found.rows
    half = 1.96 * np.std(again, ddof=1)
    assert (row["low"], row["high"]) == pytest.approx(
        (row["average_precision"] - half, row["average_precision"] + half)
    )


def test_without_labels_each_half_is_ranked_among_the_pool_by_the_other(pool, examples):
    """Compared with queries by one half that rank an index of the pool and one held-out example."""
    codes = examples["a"]
    found = pool.evaluate(codes, weights=["frequency", "contrast:0.5"], score=["mean", "max"], top_k=3, seed=9)
    assert (found.measure, len(found.rows)) == ("held-out", 3)
    mixed = np.random.default_rng(9).permutation(len(codes))
    halves = np.sort(mixed[:6]), np.sort(mixed[6:])
    for row in found.rows:
        above = []
        for by, held_out in (halves, halves[::-1]):
            selection = pool.query(codes[by], n=len(pool), **keywords_of(row))
            for example in codes[held_out]:
                own = score_of(pool, example, codes[by], row)
                above.append(
                    ((selection.scores > own + 1e-9).sum() + (abs(selection.scores - own) < 1e-9).sum() / 2) / len(pool)
                )
        assert row["median_share_above"] == pytest.approx(np.median(above))
        assert row["within_10%"] == pytest.approx(np.mean(np.array(above) <= 0.1))


def score_of(pool, example, by, row):
    """Return an example's score from its definition."""
    k = row["top_k"]
    overlaps = [
        sum(len({*a[:k]} & {*b[:k]}) for a, b in zip(example.tolist(), own.tolist(), strict=True)) for own in by
    ]
    share = (max(overlaps) if row["score"] == "max" else np.mean(overlaps)) / (3 * k)
    if row["weights"] == "frequency":
        return share
    alive = np.concatenate([segment.codes()[segment.alive()] for segment in pool.segments])
    held = [np.mean((alive[:, layer, :k] == neuron).any(axis=1)) for layer in range(3) for neuron in example[layer, :k]]
    return share - 0.5 * sum(held) / (3 * k)


def test_many_example_sets_are_scored_in_several_passes_with_the_same_figures(pool, examples, monkeypatch):
    asked = {"relevant": {"subject": "law"}, "resamples": 9}
    expected = pool.evaluate(examples, **asked)
    monkeypatch.setattr("nagindex.query.evaluate.SETS_AT_ONCE", 4)
    assert pool.evaluate(examples, **asked).to_json() == expected.to_json()


def test_a_ranking_that_ids_decide_is_warned_about(pool, examples):
    """With one neuron of one layer there are few different scores."""
    found = pool.evaluate(examples, relevant={"subject": "law"}, top_k=1, layers="first", resamples=0)
    [warning] = found.warnings
    assert re.search(r"1 of 1 settings gives .* the opposite order changes average precision by up to 0\.\d\d", warning)


def test_ids_in_a_file_are_labels_too_and_unknown_ones_are_counted(pool, examples, tmp_path):
    with_label = [row[0] for row in pool.sql("SELECT id FROM docs WHERE subject = 'law'").fetchall()]
    (tmp_path / "ids.txt").write_text("".join(f"{own}\n" for own in [*with_label, "nobody"]))
    by_ids = pool.evaluate(examples, relevant_ids=tmp_path / "ids.txt", top_k=4, resamples=0)
    assert by_ids.rows == pool.evaluate(examples, relevant={"subject": "law"}, top_k=4, resamples=0).rows
    assert f"relevant ids that are not in the index: 1 of {len(with_label) + 1}" in by_ids.warnings
    some = pool.evaluate(examples, relevant_ids={"a": tmp_path / "ids.txt"}, relevant={"*": {"grade": 1}}, resamples=0)
    assert some.targets["a"]["relevant"] == len(with_label) != some.targets["b"]["relevant"]


def test_settings_compared_by_default_and_by_lists():
    spec = NagSpec("up", (64,) * 9, 10)
    lists = {"weights": [], "score": [], "top_k": [], "layers": []}
    found = [tuple(own.record.values()) for own in settings_of(spec, **lists)]
    assert found == [
        *((w, "mean", k, "all") for w in ("frequency", "log-ratio:40", "log-odds:40", "contrast:1") for k in (10, 5, 2)),
        *(("frequency", s, 10, "all") for s in ("max", "top:10")),
        *(("frequency", "mean", 10, own) for own in ("0-5", "first-half", "first-third")),
    ]  # fmt: skip
    assert (
        len(settings_of(NagSpec("up", (8,), 1), **lists)) == 6
    )  # one layer, one neuron: no part of either is another setting
    combined = settings_of(
        spec, **lists | {"weights": ["log-odds", "frequency"], "score": ["mean", "max"], "layers": ["last"]}
    )
    assert [tuple(own.record.values()) for own in combined] == [
        ("log-odds:40", "mean", 10, "last"), ("frequency", "mean", 10, "last"), ("frequency", "max", 10, "last"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"relevant": {"topic": "law"}}, "`relevant` topic: no such column .* its columns are id, .* `keep_columns`"),
        ({"relevant": {"Subject": "law"}}, r"did you mean subject\?"),
        ({"relevant": {"subject": "biologie"}}, "no document has the value 'biologie'; the nearest values are biology, "),
        ({"relevant": {"subject": list(SUBJECTS)}}, "all 77 candidates are relevant: every order is as good; .* `relevant`"),
        ({"relevant": {"subject": "law"}, "where": "subject <> 'law'"}, "no candidate is relevant; loosen `where`"),
        ({"relevant": {"a": {"subject": "law"}}}, "target b: no relevant documents are named for it, only for a"),
        ({"relevant": {"c": {"subject": "law"}, "*": {"grade": 1}}}, "`relevant` c: no such target; there are a, b"),
        ({"relevant": {"a": {"subject": "law"}, "grade": 1}}, "`relevant`: values for some targets and for all; write"),
        ({"relevant": {"subject": []}}, "`relevant` subject: no value"),
        ({"resamples": 1}, "`resamples` 1: intervals need at least 2"),
        ({"seed": -1}, "`seed` -1: a number from 0 up"),
        ({"top_k": 5}, "top-k 5: the index keeps the 4 strongest"),
        ({"weights": "tf-idf"}, "weights 'tf-idf': write frequency"),
        ({"layers": "7"}, "layers '7': the index has layers 0 to 2"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_that_names_the_remedy(pool, examples, asked, message):
    with pytest.raises(BadInputError, match=message) as error:
        pool.evaluate(examples, **asked)
    assert "\n" not in str(error.value)


def test_halves_need_two_examples(pool, examples):
    with pytest.raises(BadInputError, match=r"target one has 1 example: halves need at least 2; .* `relevant`"):
        pool.evaluate({"one": examples["a"][:1]})
    pool.evaluate({"two": examples["a"][:2]}, weights="frequency")


def test_metrics_of_a_ranking():
    scores, relevant = np.array([3, 1, 3, 2]), np.array([False, False, True, True])
    ranks = ranks_of(scores, relevant)
    assert ranks.tolist() == [2, 3]
    assert average_precision(ranks) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert [precision_at(ranks, n) for n in (1, 2, 4)] == [0, 0.5, 0.5]
    assert random_figures(relevant)[1] == 0.5
    assert shares_above(scores, np.array([4, 3, 2, 0])).tolist() == [0, 0.25, 0.625, 1]
