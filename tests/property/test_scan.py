"""The exact scan over random pools, against the oracle: scores, budgets, ties, and what it does when memory is tight."""

from functools import partial
from itertools import pairwise

import numpy as np
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pools import SHAPES, Pool, frozen, nags, pools

from nagindex.nag import NagSpec
from nagindex.search import scan as scanning
from nagindex.search import top_n
from nagindex.search.kernels import BLOCK
from nagindex.search.profile import Profile, profile_of
from nagindex.search.scorers import score, scorer_of
from nagindex.search.view import View
from nagindex.select.budget import exact_cut
from nagindex.select.ranking_key import by_target

BUDGETS = st.one_of(st.integers(0, 12), st.integers(0, 3000))


def keep_all(hits, *args, **options):
    """A cut that drops nothing."""
    return hits


def scan_profiles(parts, profiles, budgets, cuts, *, threads=1):
    """Scan a pool for profiles, each ordered by its own sums."""
    sums_of = scanning.sums_from_codes(scorer_of(profiles, View.of(profiles[0].spec)), len(profiles))
    rankings = [
        scanning.Ranking(by_target(i, profile).key, *by_target(i, profile).bounds, budget, cut)
        for i, (profile, budget, cut) in enumerate(zip(profiles, budgets, cuts, strict=True))
    ]
    return scanning.scan(parts, sums_of, rankings, threads=threads)


def _parts(pool, *, tokens):
    edges = [0, *pool.cuts, len(pool.codes)]
    alive, weights = np.array(pool.alive, bool), np.array(pool.tokens, np.int64)
    return [
        scanning.Part(
            start,
            stop - start,
            lambda rows=slice(start, stop): pool.codes[rows],
            None if all(pool.alive) else lambda rows=slice(start, stop): alive[rows],
            (lambda rows=slice(start, stop): weights[rows]) if tokens else None,
        )
        for start, stop in pairwise(edges)
        if stop > start
    ]


def _scan(pool, targets, budgets, *, tokens, threads=1):
    """Return for each target the selected positions as a set, and their sums."""
    ids = np.array(pool.ids, dtype=object)
    cuts = [partial(exact_cut, budget=budget, ids_of=lambda positions: ids[positions]) for budget in budgets]
    found = scan_profiles(
        _parts(pool, tokens=tokens), [profile_of(codes, pool.spec) for codes in targets], budgets, cuts, threads=threads
    )
    for hits in found:
        assert len(set(hits.positions.tolist())) == len(hits.positions), "a document is selected twice"
    return [dict(zip(hits.positions.tolist(), hits.keys.tolist(), strict=True)) for hits in found]


def _expected(pool, targets, budget, *, tokens):
    sums = oracle.scores(pool.codes.tolist(), targets.tolist())
    kept = (
        oracle.select(sums, pool.ids, tokens=pool.tokens, budget=budget, alive=pool.alive)
        if tokens
        else oracle.select(sums, pool.ids, n=budget, alive=pool.alive)
    )
    return {i: sums[i] for i in kept}


@st.composite
def questions(draw, *, most=40, most_targets=1):
    pool, shape = draw(pools(most=most))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=most_targets))
    tokens = draw(st.booleans())
    largest = sum(pool.tokens) if tokens else len(pool.ids)
    budgets = [draw(st.integers(1, 1 + largest)) for _ in sizes]
    return pool, [draw(nags(shape, size)) for size in sizes], budgets, tokens


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@given(data=st.data())
@settings(max_examples=25)
def test_scores_equal_the_oracle(shape, data):
    """`score` is the sum of the targets' counts, exactly, for any shape of NAG."""
    pool, targets = data.draw(nags(shape, 30)), data.draw(nags(shape, data.draw(st.integers(1, 20))))
    profile = profile_of(targets, Pool(pool, [], [], [], [], shape[2]).spec)
    assert score(pool, profile).tolist() == oracle.scores(pool.tolist(), targets.tolist())
    assert profile.scale == shape[0] * shape[1] * len(targets)


@pytest.mark.parametrize("examples", [1, 65_535, 65_536, 70_000])
def test_large_target_sets_are_counted_exactly(examples):
    """Counts above 16 bits neither wrap nor round."""
    pool = frozen([[[0, 1]], [[1, 2]], [[3, 4]]])
    targets = np.broadcast_to(frozen([[[0, 1]]]), (examples, 1, 2))
    profile = profile_of(targets, Pool(pool, [], [], [], [], 5).spec)
    assert score(pool, profile).tolist() == [2 * examples, examples, 0]


@given(questions())
@settings(max_examples=200)
def test_selections_equal_the_oracle(question):
    """Every budget selects the oracle's documents, ties by id, at least one, none that is deleted."""
    pool, [targets], [budget], tokens = question
    [found] = _scan(pool, [targets], [budget], tokens=tokens)
    assert found == _expected(pool, targets, budget, tokens=tokens)


@given(questions(most=60), st.integers(1, 8), st.integers(1, 4))
@settings(max_examples=400)
def test_selections_equal_the_oracle_when_room_is_tight(question, room, rows_per_task):
    """The same where the scan must drop documents again and again on the way, as it does in a pool of many millions."""
    pool, [targets], [budget], tokens = question
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_n, "CAPACITY", room)
        patch.setattr(scanning, "ROWS_PER_TASK", rows_per_task)
        patch.setattr(top_n, "ROWS_PER_THRESHOLD", rows_per_task)
        [found] = _scan(pool, [targets], [budget], tokens=tokens)
    assert found == _expected(pool, targets, budget, tokens=tokens)


def test_a_document_that_did_not_fit_still_ends_the_selection_after_it_was_dropped():
    """Once a document is over the budget, none that stands after it is selected, even if it is read later and would fit."""
    pool = Pool(frozen([[[0]]] * 3), ["a", "b", "c"], [5, 100, 1], [True] * 3, [], 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_n, "CAPACITY", 1)
        patch.setattr(scanning, "ROWS_PER_TASK", 1)
        patch.setattr(top_n, "ROWS_PER_THRESHOLD", 1)
        [found] = _scan(pool, [frozen([[[0]]])], [10], tokens=True)
    assert found == {0: 1}


@given(questions(most=60), st.integers(1, 12), st.integers(2, 5))
@settings(max_examples=100)
def test_threads_change_nothing(question, room, rows_per_task):
    """Blocks that arrive in any order give the same selection."""
    pool, [targets], [budget], tokens = question
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_n, "CAPACITY", room)
        patch.setattr(scanning, "ROWS_PER_TASK", rows_per_task)
        patch.setattr(top_n, "ROWS_PER_THRESHOLD", rows_per_task)
        [found] = _scan(pool, [targets], [budget], tokens=tokens, threads=4)
    assert found == _expected(pool, targets, budget, tokens=tokens)


@given(questions(most_targets=10), st.sampled_from([3, 8192]))
@settings(max_examples=120)
def test_several_targets_in_one_pass_equal_one_at_a_time(question, rows_per_task):
    """One to ten targets, eight of them in one pass, select what each selects alone."""
    pool, targets, budgets, tokens = question
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "ROWS_PER_TASK", rows_per_task)
        patch.setattr(top_n, "ROWS_PER_THRESHOLD", rows_per_task)
        together = _scan(pool, targets, budgets, tokens=tokens)
        alone = [_scan(pool, [t], [b], tokens=tokens)[0] for t, b in zip(targets, budgets, strict=True)]
    assert together == alone
    assert together == [_expected(pool, t, b, tokens=tokens) for t, b in zip(targets, budgets, strict=True)]


def test_large_counts_of_six_targets_do_not_run_into_each_other():
    """Sums near 2^31 of one target leave those of the others, which lie beside them, alone."""
    rng = np.random.default_rng(5)
    spec = Pool(frozen([[[0, 1]]]), [], [], [], [], 4).spec
    counts = [rng.integers(2**29, 2**30, (1, 4)) for _ in range(6)]

    profiles = [Profile(c, 2**31, spec) for c in counts]
    codes = frozen([[[0, 1]], [[2, 3]], [[3, 0]]])
    part = scanning.Part(0, len(codes), lambda: codes)
    found = scan_profiles([part], profiles, [3] * 6, [keep_all] * 6)
    for hits, c in zip(found, counts, strict=True):
        expected = {i: sum(int(c[0, k]) for k in row[0]) for i, row in enumerate(codes.tolist())}
        assert dict(zip(hits.positions.tolist(), hits.keys.tolist(), strict=True)) == expected


def test_a_part_without_documents_is_scanned():
    """A segment all of whose rows were skipped, or deleted and compacted away, is no obstacle."""
    empty = scanning.Part(0, 0, lambda: np.empty((0, 1, 1), np.uint16))
    full = scanning.Part(0, 2, lambda: frozen([[[0]], [[1]]]))
    profile = profile_of(frozen([[[0]]]), Pool(frozen([[[0]]]), [], [], [], [], 2).spec)
    [hits] = scan_profiles([empty, full, empty], [profile], [2], [keep_all])
    assert sorted(zip(hits.positions.tolist(), hits.keys.tolist(), strict=True)) == [(0, 1), (1, 0)]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), min_size=1, max_size=30), BUDGETS)
@example([(1, 5), (1, 100), (1, 1)], 10)
@settings(max_examples=200)
def test_the_exact_cut_keeps_the_longest_prefix_within_the_budget(documents, budget):
    """Documents in order of falling sum and id are kept while their weights sum to at most the budget, and at least one."""
    sums, weights = (list(column) for column in zip(*documents, strict=True))
    ids = [str(i * 7919 % 1000) for i in range(len(documents))]
    hits = top_n.Hits(np.arange(len(documents)), np.array(sums), np.array(weights))
    names = np.array(ids, dtype=object)
    kept = exact_cut(hits, budget=budget, ids_of=lambda positions: names[positions])
    assert sorted(kept.positions.tolist()) == sorted(oracle.select(sums, ids, tokens=weights, budget=budget))


@given(
    st.integers(3, 10),
    st.sampled_from([2, 5, 12]),
    st.sampled_from([1, 300, 2**20, 2**28, 2**31, 2**40]),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=150)
def test_weights_of_either_sign_are_summed_together_as_alone(targets, top_k, size, signed, seed):
    """Three to ten targets, whose weights take 8 to 64 bits, with or without a sign, and whose sums take more or not."""
    rng = np.random.default_rng(seed)
    spec = NagSpec("up", (16, 8 + top_k, 20), top_k)
    codes = np.stack([rng.random((BLOCK + 40, d)).argsort(axis=1)[:, :top_k] for d in spec.widths], axis=1).astype(
        np.uint16
    )
    profiles = []
    for _ in range(targets):
        least = -size if signed else 0
        weights = rng.integers(least, size, (3, 20), endpoint=True)
        weights[rng.integers(3)] = rng.choice([least, size])
        weights[np.arange(20) >= np.array(spec.widths)[:, None]] = 0
        profiles.append(Profile(weights, 1, spec))
    view = View.of(spec, rng.choice(["all", "0,2", "last"]))
    seen = [Profile(own.weights[list(view.layers), : max(view.spec.widths)], 1, view.spec) for own in profiles]
    sums = np.empty((targets, len(codes)), np.int64)
    scorer_of(seen, view)(codes.reshape(len(codes), -1), sums)
    assert sums.tolist() == [
        [sum(int(own.weights[layer, k]) for layer in view.layers for k in nag[layer]) for nag in codes]
        for own in profiles
    ]


@given(
    st.lists(st.tuples(st.integers(0, top_n.BINS - 1), st.integers(0, 50)), max_size=40),
    st.integers(0, 1000),
)
@example([(5, 3)], 3)
@example([(5, 3), (0, 1)], 3)
@example([(top_n.BINS - 1, 1)], 0)
def test_the_threshold_is_the_highest_bin_at_which_weights_exceed_the_budget(filled, budget):
    histogram = np.zeros(top_n.BINS, np.int64)
    for place, weight in filled:
        histogram[place] += weight
    exceeding = np.flatnonzero(histogram[::-1].cumsum()[::-1] > budget)
    assert top_n.threshold_of(histogram, budget) == (exceeding[-1] if len(exceeding) else 0)
