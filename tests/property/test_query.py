"""Every option of a query, and every pair of them, against the oracle: several targets, segments, deletions, ties everywhere."""

import json
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import oracle_query as naive
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pools import frozen

from nagindex.errors import BadInputError
from nagindex.search import scan, spill
from nagindex.select.signals import Decontamination, Quality

LAYERS, TOP_K, WIDTH, DOCUMENTS = 4, 3, 7, 60
SOURCES = ("web", "books", "code", None)
WORDS = ("red", "green", "blue", "grey")
OPTIONS = {
    "layers": [{"layers": "last"}, {"layers": "0-2"}, {"layers": "0,3"}],
    "top_k": [{"top_k": 1}, {"top_k": 2}],
    "score": [{"score": "max"}, {"score": "top:2"}, {"score": "top:9"}],
    "contrast": [{"contrast": 0.5}, {"contrast": 1.0}],
    "weights": [
        {"weights": "log-ratio"},
        {"weights": "log-odds:2.5"},
        {"weights": "contrast:0.25", "background": "candidates"},
        {"weights": "log-ratio:20", "background": "candidates"},
    ],
    "min_score": [{"min_score": 0.5}, {"min_score": 0.5, "n": None}],
    "mix": [{"mix": "distinct"}, {"mix": "merge"}, {"mix": "max"}],
    "target_weights": [{"target_weights": {"a": 0.5}}, {"target_weights": {"a": 0.2, "b": 0.2}}],
    "quality": [{"quality_column": "q"}, {"quality_column": "q", "lower_is_better": True, "quality_weight": 0.3}],
    "scores": [{"scores": "scores.jsonl"}, {"scores": "scores.jsonl", "normalize": "rank"}],
    "where": [{"where": "source = 'web' OR tokens > 40"}],
    "cap": [{"cap": {"source": 0.4}}, {"cap": {"source": 0.5, "file": 0.6}}],
    "exclude": [{"exclude": ["seen.txt"]}],
    "dedup": [{"dedup": 1.0}, {"dedup": 0.75}],
    "decontaminate": [{"decontaminate": ["evaluation.jsonl"], "ngram": 3}],
    "budget": [{"tokens": 500}, {"fraction": 0.3}],
}
SINGLES = [{name: which} for name, variants in OPTIONS.items() for which in range(len(variants))]
PAIRS = [{a: 0, b: len(OPTIONS[b]) - 1} for a, b in combinations(OPTIONS, 2) if "mix" not in (a, b)]
MIXED = [{"mix": which, name: 0} for which in range(len(OPTIONS["mix"])) for name in OPTIONS if name != "mix"]
CASES = [{}, *SINGLES, *PAIRS, *MIXED]


@pytest.fixture(scope="module")
def world(tmp_path_factory, write_index):
    """An index of 60 documents in three segments, 8 of them deleted, with files of scores, ids and evaluation texts."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(7)
    kinds = rng.random((12, LAYERS, WIDTH)).argsort(axis=-1)[..., :TOP_K]
    codes = kinds[rng.integers(0, 12, DOCUMENTS)].copy()
    for nag in codes[::3]:  # some are unlike all others in one layer
        nag[rng.integers(LAYERS)] = rng.permutation(WIDTH)[:TOP_K]
    made = SimpleNamespace(
        codes=codes.tolist(),
        ids=[f"{i * 37 % 100:02d}" for i in range(DOCUMENTS)],
        tokens=rng.integers(0, 60, DOCUMENTS).tolist(),
        sources=[SOURCES[i] for i in rng.integers(0, 4, DOCUMENTS)],
        quality=[None if v == 0 else v / 4 for v in rng.integers(0, 9, DOCUMENTS).tolist()],
        texts=[" ".join(rng.choice(WORDS, 8)) for _ in range(DOCUMENTS)],
        files=[f"source-{0 if i < 20 else 1 if i < 45 else 2}.jsonl" for i in range(DOCUMENTS)],
        scores={},
        deleted=set(range(3, DOCUMENTS, 7)),
        excluded=set(range(0, DOCUMENTS, 5)),
        evaluation=["red green blue grey", "blue blue red", "grey grey"],
        folder=folder,
    )
    made.scores = {i: float(rng.integers(0, 6)) for i in range(DOCUMENTS) if i % 11}
    made.targets = {
        name: codes[rows].tolist() for name, rows in [("a", [0, 1, 2]), ("b", [30, 31]), ("c", [3] * 3 + [40])]
    }
    made.index = write_index(
        folder / "i", frozen(codes), made.ids, made.tokens, width=WIDTH, cuts=(20, 45),
        keep=("source", "q"), kept=list(zip(made.sources, made.quality, strict=True)), texts=made.texts,
    )  # fmt: skip
    made.index.delete(ids=[made.ids[i] for i in made.deleted])
    rows = [{"id": made.ids[i], "q": v, "value": v} for i, v in made.scores.items()]
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "seen.txt").write_text("".join(made.ids[i] + "\n" for i in made.excluded))
    (folder / "evaluation.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in made.evaluation))
    return made


def expected(world, targets, options):
    """Return what is selected, by the oracle: [(target or None, position)] in order, and each one's score."""
    o = SimpleNamespace(**{"layers": None, "top_k": TOP_K, "score": "mean", "mix": "union"} | options)
    o.weights = options.get("weights", f"contrast:{o.contrast}" if hasattr(o, "contrast") else "frequency")
    get = lambda name, default=None: getattr(o, name, default)  # noqa: E731
    layers = {None: range(LAYERS), "last": [3], "0-2": [0, 1, 2], "0,3": [0, 3]}[o.layers]
    pool = naive.seen(world.codes, layers, o.top_k)
    living = [i for i in range(DOCUMENTS) if i not in world.deleted]
    nearest = {"mean": None, "max": 1}.get(o.score, int(o.score.rpartition(":")[2]) if ":" in o.score else None)
    quality = [world.scores.get(i) for i in range(DOCUMENTS)] if get("scores") else world.quality
    candidates = [
        i
        for i in living
        if not (get("where") and not (world.sources[i] == "web" or world.tokens[i] > 40))
        and not (get("exclude") and i in world.excluded)
        and not ((get("quality_column") or get("scores")) and quality[i] is None)
    ]
    background = candidates if get("background") else living
    scored = [
        naive.sums(pool, naive.seen(e, layers, o.top_k), nearest=nearest, weights=o.weights, background=background)
        for e in targets.values()
    ]
    total = sum(world.tokens[i] for i in candidates)
    weights = [1] * DOCUMENTS if get("n") else world.tokens
    unlimited = get("n", 0) is None
    weights = [1] * DOCUMENTS if unlimited else weights
    amount = len(candidates) if unlimited else get("n") or get("tokens") or int(total * o.fraction)
    lists, names = [s for s, _ in scored], list(targets)
    if o.mix == "max":
        z = [naive.standardized(s, candidates) for s in lists]
        lists = [[max(column) for column in zip(*z, strict=True)]]
    keys = lists
    if get("quality_column") or get("scores"):
        how = {"how": get("normalize", "minmax"), "weight": get("quality_weight", 1.0)}
        blends = [
            naive.blended(k, quality, candidates, lower_is_better=get("lower_is_better", False), **how) for k in lists
        ]
        keys = [[-b.get(i, 0.0) for i in range(DOCUMENTS)] for b in blends]
    if get("decontaminate"):
        bad = set().union(*(naive.grams(text, o.ngram) for text in world.evaluation))
        candidates = [i for i in candidates if not naive.grams(world.texts[i], o.ngram) & bad]
    orders = [sorted(candidates, key=lambda i, k=k: (-k[i], world.ids[i])) for k in keys]
    owner = (lambda n, i: max(range(len(z)), key=lambda t: (z[t][i], -t))) if o.mix == "max" else (lambda n, i: n)
    score_of = lambda n, i: Fraction(scored[owner(n, i)][0][i], scored[owner(n, i)][1])  # noqa: E731
    if get("min_score") is not None:
        orders = [[i for i in order if score_of(n, i) >= Fraction(o.min_score)] for n, order in enumerate(orders)]
    given = {name: Fraction(str(w)) for name, w in get("target_weights", {}).items()}
    budgets = [amount] * len(orders)
    if len(orders) > 1 and not unlimited:
        budgets = naive.shares(amount, names, given, documents=bool(get("n")))
    columns = {"source": world.sources, "file": world.files}
    caps = [(columns[c], Fraction(str(s))) for c, s in get("cap", {}).items()]
    least = None if get("dedup") is None else Fraction(str(o.dedup))
    chosen = naive.Greedy(orders, budgets, weights, together=o.mix == "union", caps=caps, least=least, nags=pool).run()
    rows = [(number, i) for number, own in enumerate(chosen) for i in own]
    if o.mix == "distinct":
        rows = [(number, i) for number, i in rows if all((m, i) not in rows for m in range(number))]
    return [(names[owner(n, i)] if len(names) > 1 else None, world.ids[i], score_of(n, i)) for n, i in rows]


def assert_answers(world, targets, options, patch):
    """A query gives what the oracle gives: ids in order, targets, and scores."""
    patch.chdir(world.folder)
    options = options if options.keys() & {"tokens", "fraction"} else {"n": 25, **options}
    wanted = expected(world, targets, options)
    given = {name: frozen(examples) for name, examples in targets.items()}
    if not wanted:
        with pytest.raises(BadInputError, match="no document can be selected"):
            world.index.query(given, threads=1, **grouped(options))
        return
    selection = world.index.query(given, threads=1, **grouped(options))
    assert selection.ids.tolist() == [i for _, i, _ in wanted]
    assert selection.scores.tolist() == [float(score) for *_, score in wanted]
    if len(targets) > 1:
        assert selection.column("target").tolist() == [name for name, *_ in wanted]


def test_standardised_scores_of_large_integers_are_exact(world):
    """A contrast of many decimals makes sums beyond 2^50: means and deviations are those of a shorter one of nearly the same size."""
    given = {name: frozen(world.targets[name]) for name in "ab"}
    fine, coarse = (world.index.query(given, n=9, mix="max", contrast=c) for c in (0.1234567890123, 0.12345679))
    np.testing.assert_allclose(fine.column("standardized"), coarse.column("standardized"), rtol=1e-5)


def test_sums_in_a_temporary_file_answer_the_same(world, monkeypatch):
    """Where sums are too many for memory they lie in a file, whose room is taken first; a full folder is told in a line."""
    given = {name: frozen(world.targets[name]) for name in "ab"}
    usual = world.index.query(given, n=9, mix="max").to_duckdb().fetchall()
    monkeypatch.setattr(scan, "KEPT_IN_MEMORY", 0)
    assert world.index.query(given, n=9, mix="max").to_duckdb().fetchall() == usual

    def full(file, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill.os, "posix_fallocate", full)
    with pytest.raises(BadInputError, match=r"No space left on device.*TMPDIR"):
        world.index.query(given, n=9, mix="max")


def contradicts(options):
    """Whether a query refuses such options together."""
    weighted = options.get("mix") == "max" and "target_weights" in options
    unlimited = options.get("n", 0) is None and not options.keys() & {"tokens", "fraction"}
    return (
        weighted
        or (unlimited and options.keys() & {"target_weights", "cap"})
        or (options.keys() & {"contrast", "weights"} and options.get("score", "mean") != "mean")
        or {"contrast", "weights"} <= options.keys()
    )


def grouped(options):
    """Return options as `Index.query` takes them: those of quality and of decontamination as groups."""
    options = dict(options)
    names = {"quality_column": "column", "quality_weight": "weight"}
    quality = {
        names.get(name, name): options.pop(name)
        for name in ("quality_column", "scores", "quality_weight", "lower_is_better", "normalize")
        if name in options
    }
    if quality:
        options["quality"] = Quality(**quality)
    if "decontaminate" in options:
        options["decontamination"] = Decontamination(options.pop("decontaminate"), ngram=options.pop("ngram"))
    return options


def called(case):
    return "+".join(f"{name}{which}" for name, which in case.items()) or "plain"


@pytest.mark.parametrize("case", CASES, ids=called)
@pytest.mark.parametrize("several", [False, True], ids=["one", "three"])
def test_every_option_and_every_pair_of_options_equals_the_oracle(world, monkeypatch, case, several):
    """Each alone and each two together, for one target and for three."""
    options = {}
    for name, which in case.items():
        options |= OPTIONS[name][which]
    targets = world.targets if several else {"a": world.targets["a"]}
    if not several and "target_weights" in options:
        options["target_weights"] = {"a": 1.0}
    if contradicts(options):
        with pytest.raises(
            BadInputError, match=r"go with score mean|are given: contrast is|mix max makes one list|shares of a budget"
        ):
            world.index.query({n: frozen(own) for n, own in targets.items()}, **grouped({"n": 25} | options))
        return
    assert_answers(world, targets, options, monkeypatch)


@st.composite
def questions(draw):
    """Draw any number of options that do not contradict each other, and one to three targets."""
    names = draw(st.lists(st.sampled_from(sorted(OPTIONS)), unique=True, max_size=7))
    options = {}
    for name in names:
        options |= draw(st.sampled_from(OPTIONS[name]))
    for one, other in (("score", "contrast"), ("score", "weights"), ("weights", "contrast")):
        if {one, other} <= options.keys():
            del options[other]
    if "weights" not in options:
        options.pop("background", None)
    targets = draw(st.lists(st.sampled_from("abc"), unique=True, min_size=1, max_size=3))
    if options.get("mix") == "max" or not {"a", "b", "c"} <= set(targets):
        options.pop("target_weights", None)
    if options.keys() & {"tokens", "fraction"}:
        options.pop("n", None)
        return targets, options
    if options.get("n", 0) is None and not options.keys() & {"target_weights", "cap"}:
        return targets, options
    return targets, options | {"n": draw(st.integers(5, DOCUMENTS + 5))}


@given(question=questions())
@example(
    question=(
        ["c", "a", "b"],
        {"tokens": 500, "scores": "scores.jsonl", "decontaminate": ["evaluation.jsonl"], "ngram": 3},
    )
)
@settings(max_examples=150)
def test_any_options_together_equal_the_oracle(world, question):
    """Up to seven at once."""
    names, options = question
    with pytest.MonkeyPatch.context() as patch:
        assert_answers(world, {name: world.targets[name] for name in names}, options, patch)


def test_the_world_is_where_it_was_written(world):
    """The texts that decontamination reads are the index's sources."""
    assert Path(world.folder, "i", "sources", "source-0.jsonl").is_file()
