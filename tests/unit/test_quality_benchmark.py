"""What benchmarks/quality.py measures with: metrics against their definitions, resamples, weights and means."""

import itertools
import json
import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from nagindex.nag import NagSpec
from nagindex.search.weights import log_ratio, rounded_logs

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
try:
    from quality_arms import NearestArm, ProfileArm, neuron_counts, views_of
    from quality_codes import Texts, limit, read_cases
    from quality_metrics import bootstrap, figures, interval, random_figures, resamples
finally:
    sys.path.remove(str(BENCHMARKS))


def naive_figures(scores, relevant):
    """Average precision and precision at R, rank by rank, ties to the lower position."""
    order = sorted(range(len(scores)), key=lambda position: (-scores[position], position))
    found, precisions = 0, []
    for rank, position in enumerate(order, start=1):
        if relevant[position]:
            found += 1
            precisions.append(found / rank)
    count = sum(relevant)
    return sum(precisions) / count, sum(bool(relevant[position]) for position in order[:count]) / count


@pytest.mark.parametrize("seed", range(20))
def test_figures_are_those_of_a_walk_down_the_ranking_ties_included(seed):
    random = np.random.default_rng(seed)
    scores, relevant = random.integers(0, 6, 40), random.random(40) < 0.3
    relevant[seed] = True
    assert figures(scores, relevant) == pytest.approx(naive_figures(scores, relevant), abs=1e-12)


def test_equal_scores_go_to_the_lower_position():
    assert figures(np.zeros(4), np.array([True, False, False, False])) == (1.0, 1.0)
    assert figures(np.zeros(4), np.array([False, False, False, True])) == (0.25, 0.0)


@pytest.mark.parametrize(("documents", "count"), [(6, 1), (6, 2), (6, 3), (5, 5), (1, 1)])
def test_random_figures_are_the_mean_over_all_orders(documents, count):
    orders = itertools.combinations(range(documents), count)
    found = []
    for places in orders:
        relevant = np.zeros(documents, bool)
        relevant[list(places)] = True
        found.append(figures(np.zeros(documents), relevant))
    relevant = np.arange(documents) < count
    assert random_figures(relevant) == pytest.approx(np.mean(found, axis=0), abs=1e-12)


def test_resamples_repeat_and_draw_as_many_examples_as_there_are():
    times = resamples(17, 30)
    np.testing.assert_array_equal(times, resamples(17, 30))
    assert (times.sum(axis=1) == 17).all()
    assert (times != resamples(17, 30, seed=1)).any()
    relevant = np.arange(17) % 3 == 0
    found = bootstrap(lambda own: own, relevant, times)
    assert [tuple(row) for row in found] == [figures(own, relevant) for own in times]


def test_an_interval_lies_around_the_figure_of_all_examples():
    assert interval(0.5, np.array([0.1, 0.3])) == pytest.approx(
        (0.5 - 1.96 * math.sqrt(0.02), 0.5 + 1.96 * math.sqrt(0.02))
    )


def codes(count, seed, width=30, k=6):
    random = np.random.default_rng(seed)
    return np.stack([[random.permutation(width)[:k] for _ in range(3)] for _ in range(count)]).astype(np.uint16)


def test_profiles_of_resampled_examples_are_those_of_the_examples_repeated():
    pool, examples, spec = codes(50, 0), codes(8, 1), NagSpec("up", (30,) * 3, 6)
    times = resamples(8, 1)[0]
    repeated = np.repeat(examples, times, axis=0)
    for name, view in views_of(spec, top_k=(6, 2)):
        background = neuron_counts(view(pool), view.spec)
        for own in (None, background):
            arm, other = ProfileArm(pool, examples, view, own), ProfileArm(pool, repeated, view, own)
            np.testing.assert_array_equal(arm.scores(times), other.scores(np.ones(8, np.int64)), err_msg=name)


def test_log_ratio_weights_order_documents_as_their_real_sums_do():
    pool, examples, spec = codes(50, 2), codes(8, 3), NagSpec("up", (30,) * 3, 6)
    (_, view), *_ = views_of(spec, top_k=(4,))
    background = neuron_counts(view(pool), view.spec)
    expected = []
    for document in view(pool):
        total = 0.0
        for layer, neurons in enumerate(document):
            for neuron in neurons:
                holding = sum(neuron in example[layer] for example in view(examples))
                share = (sum(neuron in other[layer] for other in view(pool)) + 0.5) / 51
                total += math.log((holding + 40 * share) / (48 * share))
        expected.append(total)
    scores = ProfileArm(pool, examples, view, background).scores(np.ones(8, np.int64))
    np.testing.assert_array_equal(np.argsort(-scores, kind="stable"), np.argsort(-np.array(expected), kind="stable"))


def test_a_neuron_as_frequent_among_the_examples_as_in_the_pool_weighs_nothing():
    """Its share in the pool is that of (documents with it + 1/2) / (documents + 1): 5 of 10 examples, 4 of 8 documents."""
    fewer, same, more = rounded_logs(log_ratio, np.array([4, 5, 6]), np.array([4, 4, 4]), 10, 8, Fraction(40))
    assert fewer < same == 0 < more


def test_neuron_counts_count_texts():
    spec = NagSpec("up", (4, 4), 2)
    own = np.array([[[0, 1], [2, 3]], [[1, 2], [3, 0]]], np.uint16)
    np.testing.assert_array_equal(neuron_counts(own, spec), [[1, 2, 1, 0], [1, 0, 1, 2]])
    np.testing.assert_array_equal(neuron_counts(own, spec, np.array([3, 1])), [[3, 4, 1, 0], [1, 0, 3, 4]])


def test_the_nearest_examples_of_a_resample_are_those_of_the_examples_repeated():
    similarities = np.random.default_rng(0).random((20, 40)).astype(np.float32)
    for times in resamples(40, 5):
        repeated = np.sort(np.repeat(similarities, times, axis=1), axis=1)[:, -10:].mean(axis=1)
        np.testing.assert_allclose(NearestArm.of(similarities).scores(times), repeated, rtol=1e-6)


def test_targets_are_read_by_their_mapping(tmp_path):
    rows = [{"id": f"{part}-{n}", "text": f"{part} {n}"} for part in ("anatomy", "law") for n in range(4)]
    (tmp_path / "mmlu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mapping = {
        "anatomy": {"file": "mmlu.jsonl", "ids": ["anatomy"], "labels": ["textbook"]},
        "all": {"file": "mmlu.jsonl", "labels": ["web"], "loose": True},
        "missing": {"file": "other.jsonl", "labels": ["web"]},
    }
    cases = read_cases(mapping, [tmp_path], None)
    assert list(cases) == ["anatomy", "all"]
    assert cases["anatomy"].examples.ids == [f"anatomy-{n}" for n in range(4)]
    assert (cases["all"].loose, cases["anatomy"].loose) == (True, False)
    assert len(read_cases(mapping, [tmp_path], 3)["all"].examples.ids) == 3
    with pytest.raises(SystemExit, match=r"mmlu\.jsonl is a target"):
        read_cases({"missing": mapping["missing"]}, [tmp_path], None)


def test_a_limit_keeps_some_of_each_label_in_order():
    texts = Texts([f"{n:02}" for n in range(20)], [""] * 20, ["a"] * 15 + ["b"] * 5)
    kept = limit(texts, 6)
    assert (kept.labels.count("a"), kept.labels.count("b")) == (6, 5)
    assert kept.ids == sorted(kept.ids)
    assert limit(texts, 6) == kept
