"""Every exact engine answers as the oracle does, whatever the pool, the basis and the question.

An engine is a mode of the query and what an index needs for it; another one is a line in `ENGINES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from itertools import pairwise

import numpy as np
import oracle
import oracle_query as naive
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import frozen, nags, pools

from nagindex.nag import NagSpec
from nagindex.search import basis as basis_module
from nagindex.search import plan, rescore, sketch_search, top_n
from nagindex.search.basis import Basis, fit
from nagindex.search.profile import profile_of
from nagindex.search.scan import Part, Ranking
from nagindex.search.scorers import scorer_of
from nagindex.search.sketch import ProjectedQuery, Sketch
from nagindex.search.view import View
from nagindex.select.budget import exact_cut
from nagindex.select.ranking_key import by_target
from nagindex.sketches.build import sketch_missing
from nagindex.sketches.store import create_sketches

LAYERS, TOP_K, WIDTH, DOCUMENTS = 3, 4, 30, 140
HELD = 24
"""Neurons of a layer that documents of the pools hold; targets may hold the others."""
CUTS = (1, 1, 4, 60, 90)
LEFT_OUT = {4}
"""The segment without sketches; the one after it is of documents that the basis was not fitted to."""
DELETED = {0, 5, 6, 70, 139}
EXCLUDED = {2, 20, 21, 100}
SPEC = NagSpec("up", (WIDTH,) * LAYERS, TOP_K)


@dataclass(frozen=True)
class Engine:
    """The mode of a query, and f(index, sample, vectors) that makes what the mode needs."""

    mode: str
    prepare: Callable = lambda index, sample, vectors: None


def sketched(index, sample, vectors, *, dims, dtype, left_out=LEFT_OUT):
    """Sketch all segments but some in a basis of given vectors, or in one fitted to a sample."""
    spec = index.manifest.fingerprint.spec
    basis = Basis.of(fit(sample, spec, dims - 1, seed=0)[0] if vectors is None else vectors, spec)
    info = {"dims": dims, "dtype": dtype, "seed": 0, "sample": len(sample), "documents": len(index), "kept": 1.0}
    sketches = create_sketches(index.path, basis, residual=1.0, **info)
    sketch_missing(sketches, [segment for number, segment in enumerate(index.segments) if number not in left_out])


ENGINES = {
    "scan": Engine("scan"),
    **{
        f"sketch-{dtype}-{dims}": Engine("sketch", partial(sketched, dims=dims, dtype=dtype))
        for dtype in ("i8", "f16")
        for dims in (64, 128)
    },
    "auto": Engine("auto", partial(sketched, dims=128, dtype="i8")),
}
each_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


@pytest.fixture(autouse=True)
def _small_pools_are_worth_it(monkeypatch):
    """Let the plan choose sketches for pools that are scanned in no time."""
    monkeypatch.setattr(plan, "OVERHEAD", -1.0)


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
    "uniform": (drawn(1, DOCUMENTS), lambda codes: codes[:60]),
    "equal": (of_kinds(2, 1), lambda codes: codes[:1]),
    "two clusters": (of_kinds(3, 2, stray=4), lambda codes: codes[:60]),
    "ties": (of_kinds(4, 5), lambda codes: codes[:60]),
    "unlike the fit": (drawn(5, DOCUMENTS), lambda codes: drawn(6, 50, high=9)),
    "crooked basis": (drawn(7, DOCUMENTS), None),
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
    """Return f(world, engine): an index of the world in six segments, one empty, made ready for the engine."""

    @cache
    def make(world, engine):
        folder = tmp_path_factory.mktemp("world")
        codes, sample = WORLDS[world]
        ids, tokens = documents_of(world)
        index = write_index(folder / "i", codes, ids, tokens, width=WIDTH, cuts=CUTS)
        index.delete(ids=[ids[i] for i in DELETED])
        (folder / "seen.txt").write_text("".join(ids[i] + "\n" for i in EXCLUDED))
        crooked = np.random.default_rng(12).normal(size=(LAYERS * WIDTH, 20)).astype(np.float32) / 5
        engine.prepare(index, sample(codes) if sample else codes, None if sample else crooked)
        return folder, index

    return make


@cache
def expected(world, question):
    """Return the oracle's answer: (target or None, id, score) in order."""
    names, options = QUESTIONS[question]
    codes, (ids, tokens) = WORLDS[world][0], documents_of(world)
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
@each_engine
def test_every_engine_answers_as_the_oracle(opened, monkeypatch, engine, question, world):
    """Documents, order and scores are the oracle's, ties by id, whatever is asked of whichever pool."""
    folder, index = opened(world, engine)
    monkeypatch.chdir(folder)
    names, options = QUESTIONS[question]
    targets = {name: TARGETS[name](WORLDS[world][0]) for name in names}
    selection = index.query(targets, mode=engine.mode, threads=2, **{"mix": "merge"} | options)
    assert engine.mode in ("auto", selection.plan.engine)
    of = selection.column("target").tolist() if len(names) > 1 else [None] * len(selection)
    found = list(zip(of, selection.ids.tolist(), selection.scores.tolist(), strict=True))
    assert found == expected(world, question)


@st.composite
def searches(draw):
    """Draw a pool of ties, targets, budgets, a basis of any vectors, parts without sketches, and how tight room is."""
    pool, shape = draw(pools(most=40))
    targets = [draw(nags(shape, draw(st.integers(1, 4)))) for _ in range(draw(st.integers(1, 3)))]
    tokens = draw(st.booleans())
    budgets = [draw(st.integers(0, 1 + (sum(pool.tokens) if tokens else len(pool.ids)))) for _ in targets]
    random = np.random.default_rng(draw(st.integers(0, 99)))
    vectors = random.normal(size=(shape[0] * shape[2], draw(st.integers(1, 12))))
    if draw(st.booleans()):
        vectors = np.linalg.qr(vectors)[0]
    left_out = draw(st.sets(st.integers(0, 3), max_size=2))
    return pool, targets, budgets, tokens, vectors.astype(np.float32), left_out, draw(st.integers(1, 9))


@given(searches(), st.sampled_from(["i8", "f16"]))
@settings(max_examples=250)
def test_any_pool_in_any_basis_is_searched_as_by_the_oracle(question, kind):
    """Odd ids, zero tokens and deletions, read in blocks of a few rows by threads that have next to no room."""
    pool, targets, budgets, tokens, vectors, left_out, few = question
    basis, view = Basis.of(vectors, pool.spec), View.of(pool.spec)
    ids, alive, weights = np.array(pool.ids, object), np.array(pool.alive), np.array(pool.tokens, np.int64)
    parts, sketches = [], {}
    for number, (start, stop) in enumerate(pairwise([0, *pool.cuts, len(pool.codes)])):
        codes, own_alive, own_weights = (values[start:stop] for values in (pool.codes, alive, weights))
        opened = [partial(np.asarray, values) for values in (codes, own_alive, own_weights)]
        parts.append(Part(start, stop - start, opened[0], opened[1], opened[2] if tokens else None))
        if number not in left_out and len(codes):
            sketches[start] = Sketch.of(basis, basis.coordinates(codes), kind)
    searched, wanted = [], []
    for examples, budget in zip(targets, budgets, strict=True):
        profile = profile_of(examples, pool.spec)
        cut = partial(exact_cut, budget=budget, ids_of=lambda positions: ids[positions])
        criterion = by_target(0, profile)
        ranking = Ranking(criterion.key, *criterion.bounds, budget, cut)
        query, scorer = ProjectedQuery.of(basis, profile.weights), scorer_of([profile], view)
        searched.append(sketch_search.SketchTarget(query, scorer, ranking, 0.5))
        sums = oracle.scores(pool.codes.tolist(), examples.tolist())
        limit = {"tokens": pool.tokens, "budget": budget} if tokens else {"n": max(budget, 1)}
        wanted.append({i: sums[i] for i in oracle.select(sums, pool.ids, alive=pool.alive, **limit)})
    with pytest.MonkeyPatch.context() as patch:
        for module in (sketch_search, rescore, basis_module):
            patch.setattr(module, "ROWS_PER_TASK", few)
        patch.setattr(rescore, "ROWS_AT_ONCE", few)
        patch.setattr(top_n, "CAPACITY", few)
        patch.setattr(top_n, "ROWS_PER_THRESHOLD", few)
        found, reading = sketch_search.search(parts, lambda p: sketches.get(p.start), searched, threads=3, limit=1.0)
    assert reading.complete
    assert all(len(set(hits.positions.tolist())) == len(hits.positions) for hits in found)
    assert [dict(zip(hits.positions.tolist(), hits.keys.tolist(), strict=True)) for hits in found] == wanted
