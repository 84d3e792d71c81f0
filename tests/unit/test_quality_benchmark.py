"""What benchmarks/quality measures with: metrics against their definitions, resamples, weights and means."""

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import sparse

from benchmarks.pareto import Encoding, Point, best_by_cost, layer_counts, paper_of, with_front
from benchmarks.quality.arms import MeanArm, NearestArm, ProfileArm, SumArm, neuron_counts, overlaps
from benchmarks.quality.codes import coded
from benchmarks.quality.impacts import REDUCTIONS, batch_impacts, supported
from benchmarks.quality.metrics import BUDGETS, METRICS, bootstrap, figures, random_figures
from benchmarks.quality.peers import ImportanceArm
from benchmarks.quality.plots import plot_arms, plot_front
from benchmarks.quality.texts import Case, Texts, limit, read_cases
from nagindex.encode.encoder import encode_ids
from nagindex.nag import NagSpec, dice
from nagindex.search.metrics import interval, resamples
from nagindex.search.view import View
from nagindex.search.weights import Weighting, log_ratio, rounded_logs


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
    assert figures(scores, relevant)[:2] == pytest.approx(naive_figures(scores, relevant), abs=1e-12)


def test_budgets_are_shares_of_the_pool():
    scores, relevant = np.arange(200)[::-1], np.zeros(200, bool)
    relevant[[0, 1, 3, 15, 30]] = True
    expected = [2 / 2, 3 / 10, 4 / 20, 5 / 40]  # of the best 1, 5, 10 and 20 %
    assert dict(zip(METRICS, figures(scores, relevant), strict=True)) == pytest.approx(
        {"average precision": np.mean([1, 1, 3 / 4, 4 / 16, 5 / 31]), "precision at R": 3 / 5}
        | {f"precision at {budget:.0%}": value for budget, value in zip(BUDGETS, expected, strict=True)}
    )


def test_equal_scores_go_to_the_lower_position():
    assert figures(np.zeros(4), np.array([True, False, False, False]))[:2].tolist() == [1.0, 1.0]
    assert figures(np.zeros(4), np.array([False, False, False, True]))[:2].tolist() == [0.25, 0.0]


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
    np.testing.assert_array_equal(found, [figures(own, relevant) for own in times])


def test_an_interval_lies_around_the_figure_of_all_examples():
    assert interval(0.5, np.array([0.1, 0.3])) == pytest.approx(
        (0.5 - 1.96 * math.sqrt(0.02), 0.5 + 1.96 * math.sqrt(0.02))
    )


def codes(count, seed, width=30, k=6):
    random = np.random.default_rng(seed)
    return np.stack([[random.permutation(width)[:k] for _ in range(3)] for _ in range(count)]).astype(np.uint16)


@pytest.mark.parametrize("written", ["frequency", "log-ratio:40", "log-odds:5", "contrast:0.5"])
def test_profiles_of_resampled_examples_are_those_of_the_examples_repeated(written):
    pool, examples, spec = codes(50, 0), codes(8, 1), NagSpec("up", (30,) * 3, 6)
    times = resamples(8, 1)[0]
    repeated = np.repeat(examples, times, axis=0)
    for view in (View.of(spec), View.of(spec, "last", 2)):
        background = neuron_counts(view(pool), view.spec)
        arms = [ProfileArm(pool, own, view, background, Weighting.parse(written)) for own in (examples, repeated)]
        np.testing.assert_array_equal(arms[0].scores(times), arms[1].scores(np.ones(8, np.int64)))


def test_log_ratio_weights_order_documents_as_their_real_sums_do():
    pool, examples, spec = codes(50, 2), codes(8, 3), NagSpec("up", (30,) * 3, 6)
    view = View.of(spec, top_k=4)
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
    scores = ProfileArm(pool, examples, view, background, Weighting.parse("log-ratio")).scores(np.ones(8, np.int64))
    np.testing.assert_array_equal(np.argsort(-scores, kind="stable"), np.argsort(-np.array(expected), kind="stable"))


def test_overlaps_are_those_of_pairs():
    pool, examples, spec = codes(9, 0), codes(4, 1), NagSpec("up", (30,) * 3, 6)
    expected = [[dice(a, b) for b in examples] for a in pool]
    np.testing.assert_allclose(overlaps(pool, examples, spec), expected, rtol=1e-6)


def test_a_neuron_as_frequent_among_the_examples_as_in_the_pool_weighs_nothing():
    """Its share in the pool is that of (documents with it + 1/2) / (documents + 1): 5 of 10 examples, 4 of 8 documents."""
    fewer, same, more = rounded_logs(log_ratio, np.array([4, 5, 6]), np.array([4, 4, 4]), 10, 8, Fraction(40))
    assert fewer < same == 0 < more


def test_neuron_counts_count_texts():
    spec = NagSpec("up", (4, 4), 2)
    own = np.array([[[0, 1], [2, 3]], [[1, 2], [3, 0]]], np.uint16)
    np.testing.assert_array_equal(neuron_counts(own, spec), [[1, 2, 1, 0], [1, 0, 1, 2]])


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


def test_the_paper_s_impact_is_what_nagindex_encodes(tiny_backbone):
    rows = [list(range(3, 3 + n)) for n in (1, 5, 9, 30)]
    spec = tiny_backbone.fingerprint(top_k=4).spec
    divisors = {"up": [torch.ones(width) for width in spec.widths]}
    np.testing.assert_array_equal(
        coded([tiny_backbone], rows, divisors, 4)["up, absolute"],
        encode_ids(tiny_backbone, rows, spec, batch_tokens=2048),
    )


def test_impacts_are_those_of_each_text_s_own_tokens(tiny_backbone):
    """Each way to measure impact against its definition, text by text and without padding."""
    views = [tiny_backbone, tiny_backbone.of_type("gate")]
    rows = [list(range(3, 3 + n)) for n in (1, 4, 25)]
    names = supported(tiny_backbone, list(REDUCTIONS))
    assert names == list(REDUCTIONS)
    batched, states = batch_impacts(views, names, rows)
    for number, row in enumerate(rows):
        alone, own_states = batch_impacts(views, names, [row])
        for name in names:
            for a, b in zip(batched[name], alone[name], strict=True):
                torch.testing.assert_close(a[number], b[0], rtol=1e-3, atol=1e-4)
        for depth, state in states.items():
            torch.testing.assert_close(state[number], own_states[depth][0], rtol=1e-4, atol=1e-5)
    prefix, _ = batch_impacts(views[:1], ["up"], [rows[2][:16]])
    torch.testing.assert_close(batched["up, 16 tokens"][0][2], prefix["up"][0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(batched["up, 32 tokens"][0][2], batched["up"][0][2], rtol=1e-4, atol=1e-5)


def test_half_of_the_examples_is_held_out():
    case = Case(Texts([f"{n}" for n in range(9)], [""] * 9, [""] * 9), frozenset())
    assert case.held_out.sum() == 4
    np.testing.assert_array_equal(case.held_out, case.held_out)


def point(rate, precision, kind="relative"):
    return Point(Encoding("m", 3, 120), kind, "frequency", 5, precision, rate, 30)


def test_the_front_has_what_nothing_is_faster_and_better_than():
    points = [point(1, 0.6), point(2, 0.7), point(2, 0.5), point(9, 0.2), point(3, 0.7, "absolute"), point(10, 0.1)]
    found = [(p.rate, p.precision) for p in with_front(points) if p.front]
    assert found == [(10, 0.1), (9, 0.2), (3, 0.7)]
    assert len(with_front(points)) == len(points)


def test_the_best_for_a_part_of_the_cost_is_of_relative_impact_and_fast_enough():
    paper = Point(Encoding("smollm2", 30, 120), "absolute", "frequency", 20, 0.35, 10, 1200)
    small = Point(Encoding("minilm", 6, 120), "absolute", "frequency", 20, 0.9, 90, 240)
    quantized = Point(Encoding("smollm2, int8", 30, 120), "absolute", "frequency", 20, 0.9, 90, 1200)
    points = [quantized, small, paper, point(10, 0.6), point(25, 0.5), point(29, 0.4), point(101, 0.2)]
    assert paper_of(points) is paper
    found = best_by_cost(points, paper)
    assert {cost: (p.rate, p.precision) for cost, p in found.items()} == {
        1: (10, 0.6),
        1 / 2: (25, 0.5),
        1 / 3: (101, 0.2),
        1 / 10: (101, 0.2),
    }


def test_layer_counts_are_first_parts_of_all_layers():
    assert layer_counts(30) == [30, 20, 15, 10, 5]
    assert layer_counts(6) == [6, 4, 3, 2, 1]
    assert layer_counts(1) == [1]


def test_a_plot_of_the_same_figures_is_the_same_file(tmp_path):
    one = {"average precision": {"value": 0.5, "low": 0.4, "high": 0.6}}
    results = {
        "relative, plain": {"mean": one, "a": one, "b": one},
        "random": {"mean": {"average precision": {"value": 0.1}}},
    }
    for name in ("a.svg", "b.svg"):
        plot_arms(results, tmp_path / name)
        plot_front(with_front([point(1, 0.6), point(2, 0.5)]), tmp_path / f"front-{name}")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "front-a.svg").read_bytes() == (tmp_path / "front-b.svg").read_bytes()
    assert "relative, plain" in (tmp_path / "a.svg").read_text()
    assert "random" not in (tmp_path / "a.svg").read_text()


def test_importance_weights_are_logs_of_smoothed_shares():
    pool, examples = (
        sparse.csr_matrix(np.array([[2, 1, 0], [0, 0, 3]])),
        sparse.csr_matrix(np.array([[1, 0, 0], [0, 4, 0]])),
    )
    target, background = np.array([3, 5, 1]) / 9, np.array([3, 2, 4]) / 9  # the first example twice
    weights = np.log(target / background)
    found = ImportanceArm(pool, examples).scores(np.array([2, 1]))
    np.testing.assert_allclose(found, [2 * weights[0] + weights[1], 3 * weights[2]])
    by_token = ImportanceArm(pool, examples, by_token=True).scores(np.array([2, 1]))
    np.testing.assert_allclose(by_token, found / 3)


def test_a_sum_of_arms_weighs_their_standardized_scores_alike():
    a, b = MeanArm(np.array([[1.0], [2.0], [3.0]])), MeanArm(np.array([[300.0], [100.0], [200.0]]))
    scores = SumArm([a, b]).scores(np.array([1]))
    np.testing.assert_allclose(scores, [0, -math.sqrt(1.5), math.sqrt(1.5)], atol=1e-9)
