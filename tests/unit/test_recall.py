"""The recall of an approximate search: known where everything was looked at, and inside its interval where a sample was."""

import numpy as np
import pytest

from nagindex.errors import BadInputError
from nagindex.search.recall import Recall, Stratum, estimate_recall

TRIALS = 300
POOLS = 6
OVERLOOKED = (0, 0.001, 0.01, 0.1, 0.3, 0.5)
SAMPLES = (10, 40, 300)


def whole(scores):
    """Return a stratum that was sampled whole."""
    return Stratum(len(scores), scores)


def recall_by_sorting(returned, others):
    """Return the recall from the order of all scores, where of equal ones those that were returned come first."""
    scores = np.concatenate([returned, others])
    order = np.lexsort((np.arange(len(scores)) >= len(returned), -scores))
    return np.count_nonzero(order[: len(returned)] < len(returned)) / len(returned)


class Pool:
    """Documents by falling exact score, each in a band of its sketch score."""

    def __init__(self, n, rng):
        """Draw four times n documents, whose exact scores are their sketch scores and an error."""
        size = 4 * n
        sketch = rng.normal(size=size)
        scores = np.rint(1000 * (sketch + rng.normal(scale=0.3, size=size))).astype(np.int64)
        order = np.argsort(-scores)
        self.n, self.scores = n, scores[order]
        rank = np.argsort(np.argsort(-sketch))[order]
        self.candidates = np.flatnonzero(rank < 2 * n)
        band = np.searchsorted([n // 2, 3 * n // 4, n, 5 * n // 4, 3 * n // 2, 2 * n, 3 * n], rank, side="right")
        self.bands = [np.flatnonzero(band == b) for b in range(8)]

    def search(self, overlooked, rng):
        """Return which documents a search finds, bool [4n], that overlooks a share of them and all but the best 2n by sketch."""
        lost = rng.choice(len(self.candidates), int(overlooked * len(self.candidates)), replace=False, shuffle=False)
        returned = np.zeros(len(self.scores), bool)
        returned[np.delete(self.candidates, lost)[: self.n]] = True
        return returned

    def estimate(self, returned, sample, rng):
        """Return the estimate from so many documents of each band, and the true recall."""
        strata = []
        for band in self.bands:
            left = band[~returned[band]]
            chosen = rng.choice(len(left), min(sample, len(left)), replace=False, shuffle=False)
            strata.append(Stratum(len(left), self.scores[left[chosen]]))
        kept, last = self.scores[returned], self.scores[self.n - 1]
        tied = min(np.count_nonzero(kept == last), self.n - np.count_nonzero(self.scores > last))
        return estimate_recall(kept, strata), (np.count_nonzero(kept > last) + tied) / self.n


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_the_recall_is_exact_where_every_stratum_is_sampled_whole(kind):
    """Ties, returned documents that are far from the best, and empty strata included."""
    rng = np.random.default_rng(1)
    found = set()
    for _ in range(300):
        returned, others = (rng.integers(0, 12, rng.integers(low, 30)).astype(kind) for low in (1, 0))
        band = rng.integers(0, 3, len(others))
        exact = recall_by_sorting(returned, others)
        recall = estimate_recall(returned, [whole(others[band == b]) for b in range(3)])
        assert recall == Recall(exact, exact, exact, len(others))
        found.add(exact)
    assert len(found) > 50
    assert {0.0, 1.0} < found


@pytest.mark.parametrize("n", [100, 1_000, 10_000, 100_000])
def test_the_interval_holds_the_true_recall(n):
    """In at least 93 % of 300 trials; it is never empty, and in none is it the whole of 0 to 1."""
    rng = np.random.default_rng(n)
    held, truths, widths = 0, [], []
    for pool in (Pool(n, rng) for _ in range(POOLS)):
        for trial in range(TRIALS // POOLS):
            returned = pool.search(OVERLOOKED[trial // len(SAMPLES) % len(OVERLOOKED)], rng)
            recall, truth = pool.estimate(returned, SAMPLES[trial % len(SAMPLES)], rng)
            assert 0 <= recall.low <= recall.estimate <= recall.high <= 1
            held += recall.low <= truth <= recall.high
            truths.append(truth)
            widths.append(recall.high - recall.low)
    assert held >= 0.93 * TRIALS
    assert min(truths) < 0.6
    assert max(truths) > 0.98
    assert max(widths) < 0.6


def test_scores_of_a_larger_sample_narrow_the_interval():
    """Down to a point where all documents are looked at."""
    rng = np.random.default_rng(2)
    pool = Pool(1000, rng)
    returned = pool.search(0.2, rng)
    widths = []
    for sample in (20, 100, 300, 4000):
        recall, truth = pool.estimate(returned, sample, rng)
        widths.append(recall.high - recall.low)
    assert widths == sorted(set(widths), reverse=True)
    assert widths[-1] == 0
    assert recall == Recall(truth, truth, truth, 3000)


@pytest.mark.parametrize(("sampled", "low", "high"), [(10, 0.60, 0.72), (100, 0.95, 0.98), (990, 0.999, 1)])
def test_a_sample_without_misses_proves_no_more_than_its_size_allows(sampled, low, high):
    """Of 1,000 documents: with d misses, a sample of m shows none with a probability of about (1 - m / 1000)^d."""
    recall = estimate_recall(np.full(1000, 5), [Stratum(1000, np.zeros(sampled, np.int64))])
    assert recall.estimate == recall.high == 1
    assert low <= recall.low <= high


def test_a_sample_of_misses_alone_leaves_doubt_the_other_way():
    """Those unseen need not be misses."""
    recall = estimate_recall(np.zeros(1000), [Stratum(500, np.ones(100))])
    assert recall.estimate == recall.low == 0.5
    assert 0.51 < recall.high < 0.54


def test_a_stratum_that_was_hardly_sampled_widens_the_interval_as_much_among_others():
    """Strata that were looked at closely neither hide it nor add to it."""
    returned, sparse, close = np.zeros(1000), Stratum(1000, np.full(20, -1)), Stratum(1000, np.full(900, -1))
    alone = estimate_recall(returned, [sparse])
    among = estimate_recall(returned, [close, sparse, *[close] * 5])
    assert (among.low, among.high) == (alone.low, alone.high)
    assert alone.low < 0.9


def test_without_other_documents_nothing_was_missed():
    """Nor with strata that hold none."""
    assert estimate_recall(np.arange(5), []) == Recall(1.0, 1.0, 1.0, 0)
    assert estimate_recall(np.arange(5), [Stratum(0, np.empty(0))]) == Recall(1.0, 1.0, 1.0, 0)


def test_the_recall_of_one_document_is_all_or_nothing():
    """A tie is no miss."""
    one = np.array([7])
    assert estimate_recall(one, [whole(np.array([7, 3]))]) == Recall(1.0, 1.0, 1.0, 2)
    assert estimate_recall(one, [whole(np.array([8, 9]))]) == Recall(0.0, 0.0, 0.0, 2)
    assert estimate_recall(one, [Stratum(100, np.array([7, 3]))]) == Recall(1.0, 0.0, 1.0, 2)


def test_a_sample_that_cannot_be_one_is_refused():
    """Larger than its stratum, or of nothing; and an answer without documents has no recall."""
    with pytest.raises(BadInputError, match="3 scores of a stratum of 2"):
        Stratum(2, np.zeros(3))
    with pytest.raises(BadInputError, match="at least one is needed"):
        Stratum(2, np.zeros(0))
    with pytest.raises(BadInputError, match="at least one document"):
        estimate_recall(np.zeros(0), [])
