"""A query answers as the oracle does, whatever the pool and the question."""

from fractions import Fraction
from functools import cache

import numpy as np
import oracle
import oracle_query as naive
import pytest
from pools import frozen

LAYERS, TOP_K, WIDTH, DOCUMENTS = 3, 4, 30, 140
HELD = 24
"""Neurons of a layer that documents of the pools hold; targets may hold the others."""
CUTS = (1, 1, 4, 60, 90)
DELETED = {0, 5, 6, 70, 139}
EXCLUDED = {2, 20, 21, 100}


def drawn(seed, n, low=0, high=HELD):
    """Return random NAGs of neurons low <= k < high, uint16 [n, LAYERS, TOP_K]."""
    order = np.random.default_rng(seed).random((n, LAYERS, high - low)).argsort(axis=-1)[..., :TOP_K]
    return frozen(order + low)


def of_kinds(seed, kinds, stray=0):
    """Return a pool of copies of some NAGs, one in `stray` of them with one layer of its own."""
    rng = np.random.default_rng(seed)
    codes = drawn(seed, kinds)[rng.integers(0, kinds, DOCUMENTS)].copy()
    for row in range(0, DOCUMENTS, stray) if stray else ():
        codes[row, rng.integers(LAYERS)] = rng.permutation(HELD)[:TOP_K]
    return frozen(codes)


WORLDS = {
    "uniform": drawn(1, DOCUMENTS),
    "equal": of_kinds(2, 1),
    "two clusters": of_kinds(3, 2, stray=4),
    "ties": of_kinds(4, 5),
}
TARGETS = {
    "own": lambda codes: codes[[7, 8, 9, 95]],
    "odd": lambda codes: codes[[100]],
    "random": lambda codes: drawn(8, 30),
    "outside": lambda codes: drawn(9, 3, low=HELD - 4, high=WIDTH),
    "beyond": lambda codes: drawn(10, 2, low=HELD, high=WIDTH),
    "partly": lambda codes: frozen(np.concatenate([codes[:2], drawn(11, 2, low=HELD, high=WIDTH)])),
    "pool": lambda codes: codes[[i for i in range(DOCUMENTS) if i not in DELETED]],
}
QUESTIONS = {
    **{f"{name} n={n}": ([name], {"n": n}) for name in TARGETS for n in (1, 11)},
    **{f"n={n}": (["own"], {"n": n}) for n in (2, DOCUMENTS - len(DELETED), DOCUMENTS + 40)},
    **{f"tokens={tokens}": (["random"], {"tokens": tokens}) for tokens in (1, 60, 700, 10**6)},
    "fraction": (["own"], {"fraction": 0.3}),
    "where": (["own"], {"n": 9, "where": "tokens BETWEEN 20 AND 40"}),
    "exclude": (["own"], {"tokens": 300, "exclude": ["seen.txt"]}),
    **{f"contrast={a}": (["random"], {"n": 11, "contrast": a}) for a in (0.5, 1.0, 0.123456789)},
    "contrast of all": (["pool"], {"n": 9, "contrast": 1.0}),
    "contrast outside": (["beyond"], {"tokens": 200, "contrast": 2.0}),
    **{f"weights={w}": (["random"], {"n": 11, "weights": w}) for w in ("log-ratio", "log-odds:0.5", "log-ratio:1e6")},
    "log-odds of all": (["pool"], {"tokens": 500, "weights": "log-odds"}),
    "log-ratio outside": (["beyond"], {"n": 9, "weights": "log-ratio:1"}),
    "layers and log-ratio": (["random"], {"n": 11, "layers": "1-2", "weights": "log-ratio"}),
    "candidates": (
        ["own"],
        {"n": 9, "where": "tokens BETWEEN 20 AND 40", "weights": "log-ratio", "background": "candidates"},
    ),
    "seven of log-odds": (list(TARGETS), {"n": 70, "weights": "log-odds"}),
    **{f"layers={layers}": (["own"], {"n": 11, "layers": layers}) for layers in ("last", "0,2", "1")},
    "layers and contrast": (["random"], {"n": 11, "layers": "1-2", "contrast": 0.5}),
    "two": (["own", "odd"], {"n": 21}),
    "distinct": (["own", "odd", "outside"], {"n": 40, "mix": "distinct"}),
    "weights": (["own", "odd", "random"], {"n": 30, "target_weights": {"odd": 0.5, "own": 0.1}}),
    "tokens of four": (["own", "odd", "random", "beyond"], {"tokens": 900, "target_weights": {"own": 0.7}}),
    "seven": (list(TARGETS), {"n": 70, "mix": "distinct", "layers": "0-1"}),
}
CASES = [
    (question, list(WORLDS)[(number * 2 + number // 3 + more) % len(WORLDS)])
    for number, question in enumerate(QUESTIONS)
    for more in (0, 3)
]
"""Each question is asked in two worlds."""


def documents_of(world):
    """Return ids, in an order of their own, and tokens, some 0, of a world's documents."""
    rng = np.random.default_rng(len(world))
    return [f"{i:03d}" for i in rng.permutation(DOCUMENTS)], (
        rng.integers(0, 60, DOCUMENTS) * (rng.random(DOCUMENTS) < 0.8)
    ).tolist()


@pytest.fixture(scope="module")
def opened(tmp_path_factory, write_index):
    """Return f(world): an index of the world in six segments, one empty."""

    @cache
    def make(world):
        folder = tmp_path_factory.mktemp("world")
        ids, tokens = documents_of(world)
        index = write_index(folder / "i", WORLDS[world], ids, tokens, width=WIDTH, cuts=CUTS)
        index.delete(ids=[ids[i] for i in DELETED])
        (folder / "seen.txt").write_text("".join(ids[i] + "\n" for i in EXCLUDED))
        return folder, index

    return make


@cache
def expected(world, question):
    """Return the oracle's answer: (target or None, id, score) in order."""
    names, options = QUESTIONS[question]
    codes, (ids, tokens) = WORLDS[world], documents_of(world)
    layers = {None: [0, 1, 2], "last": [2], "0,2": [0, 2], "1": [1], "1-2": [1, 2], "0-1": [0, 1]}[
        options.get("layers")
    ]
    pool = naive.seen(codes.tolist(), layers, TOP_K)
    living = [i for i in range(DOCUMENTS) if i not in DELETED]
    gone = EXCLUDED if "exclude" in options else set()
    alive = [
        i in living and i not in gone and not ("where" in options and not 20 <= tokens[i] <= 40)
        for i in range(DOCUMENTS)
    ]
    amount = (
        options.get("n")
        or options.get("tokens")
        or int(sum(t for t, a in zip(tokens, alive, strict=True) if a) * options["fraction"])
    )
    weights = {name: Fraction(str(share)) for name, share in options.get("target_weights", {}).items()}
    budgets = naive.shares(amount, names, weights, documents="n" in options)
    rows = []
    for name, budget in zip(names, budgets, strict=True):
        examples = naive.seen(TARGETS[name](codes).tolist(), layers, TOP_K)
        weighted = options.get("weights", f"contrast:{options['contrast']}" if "contrast" in options else "frequency")
        background = [i for i in living if "background" not in options or alive[i]]
        sums, scale = naive.sums(pool, examples, weights=weighted, background=background)
        limit = {"n": budget} if "n" in options else {"tokens": tokens, "budget": budget}
        before = {i for _, i, _ in rows} if options.get("mix") == "distinct" else set()
        rows += [(name, i, sums[i] / scale) for i in oracle.select(sums, ids, alive=alive, **limit) if i not in before]
    return [(name if len(names) > 1 else None, ids[i], score) for name, i, score in rows]


@pytest.mark.parametrize(("question", "world"), CASES, ids=map(" in ".join, CASES))
def test_a_query_answers_as_the_oracle(opened, monkeypatch, question, world):
    """Documents, order and scores are the oracle's, ties by id, whatever is asked of whichever pool."""
    folder, index = opened(world)
    monkeypatch.chdir(folder)
    names, options = QUESTIONS[question]
    targets = {name: TARGETS[name](WORLDS[world]) for name in names}
    selection = index.query(targets, threads=2, **{"mix": "merge"} | options)
    of = selection.column("target").tolist() if len(names) > 1 else [None] * len(selection)
    found = list(zip(of, selection.ids.tolist(), selection.scores.tolist(), strict=True))
    assert found == expected(world, question)
