"""Explanations, on random pools: the parts of layers, of neurons and of examples each sum to the score as integers."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

SCORINGS = st.one_of(
    st.just({}),
    st.just({"score": "max"}),
    st.builds(lambda count: {"score": f"top:{count}"}, st.integers(1, 9)),
    st.builds(lambda prior: {"weights": f"log-ratio:{prior}"}, st.integers(1, 60)),
    st.builds(lambda prior: {"weights": f"log-odds:{prior / 4}"}, st.integers(1, 200)),
    st.builds(lambda share: {"weights": f"contrast:{share / 8}"}, st.integers(0, 16)),
)


@st.composite
def pools(draw):
    """Draw the shape of an index, its documents and examples, which part of the codes counts, and the scoring."""
    layers, top_k = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    width = draw(st.integers(top_k, 12))
    view = {}
    if draw(st.booleans()):
        view["layers"] = ",".join(map(str, sorted(draw(st.sets(st.integers(0, layers - 1), min_size=1)))))
    if draw(st.booleans()):
        view["top_k"] = draw(st.integers(1, top_k))
    return layers, top_k, width, draw(st.integers(1, 12)), draw(st.integers(1, 8)), view, draw(SCORINGS)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(0, 2**32), pools())
def test_parts_of_layers_neurons_and_examples_sum_to_the_score(write_index, random_codes, seed, pool):
    layers, top_k, width, documents, examples, view, scoring = pool
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, documents, layers, top_k, width)
    target = {"t": random_codes(rng, examples, layers, top_k, width)}
    with tempfile.TemporaryDirectory() as folder:
        index = write_index(Path(folder) / "i", codes, range(documents), np.ones(documents), width=width)
        selection = index.query(target, n=documents, **scoring, **view)
        scores = dict(zip(selection.ids.tolist(), selection.scores.tolist(), strict=True))
        found = index.explain(list(scores), target, **scoring, **view)
    for own in found:
        assert own.score == scores[own.id]
        told = own.to_json(neurons=10**6, examples=10**6)
        for kind in ("layers", "neurons"):
            assert sum(part["sum"] for part in told[kind]) == own.sum
        if "weights" in scoring:
            assert own.example_sums is None
            assert "no sum over examples" in own.no_example_parts
        else:
            assert own.no_example_parts is None
            assert sum(part["sum"] for part in told["examples"]) == own.sum
            assert all(isinstance(part["sum"], int) for part in told["examples"])
