"""What a query can be asked: contradictions and values out of range are one line each; what was asked is recorded and replayed."""

import json
import os
from fractions import Fraction

import numpy as np
import pytest

from nagindex.errors import BadInputError
from nagindex.nag import NagSpec
from nagindex.search.profile import contrast_of
from nagindex.search.view import View, layers_of
from nagindex.select.budget import shares_of
from nagindex.select.options import QueryOptions, exact_decimal
from nagindex.select.signals import Decontamination, Quality

REFUSED = {
    "mix 'both': one of union, merge, distinct, max": {"mix": "both"},
    "normalize 'z': one of minmax, rank": {"quality": lambda: Quality("q", normalize="z")},
    "score 'top:0': write mean, max, or top:R": {"score": "top:0"},
    "score 'median'": {"score": "median"},
    "weights contrast:0.5 go with score mean": {"score": "max", "contrast": 0.5},
    "weights log-ratio:40 go with score mean": {"score": "top:3", "weights": "log-ratio"},
    "weights 'log': write frequency, log-ratio, ": {"weights": "log"},
    "weights 'log-ratio:': write": {"weights": "log-ratio:"},
    "weights 'frequency:1': write": {"weights": "frequency:1"},
    "weights 'Frequency': write": {"weights": "Frequency"},
    "weights 'contrast': write": {"weights": "contrast"},
    "weights 'log-odds:0': m is a number from 1e-09 to 1e+09, such as log-odds:40": {"weights": "log-odds:0"},
    "weights 'log-ratio:nan': m is a number": {"weights": "log-ratio:nan"},
    "weights 'contrast:-1': A is a number from 0 up": {"weights": "contrast:-1"},
    "weights 'contrast:1e999': A is a number from 0 up": {"weights": "contrast:1e999"},
    "weights log-ratio and contrast 0.5 are given": {"weights": "log-ratio", "contrast": 0.5},
    "background candidates: weights frequency are not compared with any": {"background": "candidates"},
    "background 'all': one of pool, candidates": {"background": "all", "weights": "log-ratio"},
    "contrast -1": {"contrast": -1},
    "contrast nan": {"contrast": float("nan")},
    "quality weight 0": {"quality": lambda: Quality("q", weight=0)},
    "quality weight inf": {"quality": lambda: Quality("q", weight=float("inf"))},
    "target-weight a=-0.5": {"target_weights": {"a": -0.5}},
    "mix max makes one list": {"mix": "max", "target_weights": {"a": 0.5}},
    "cap source=1.5": {"cap": {"source": 1.5}},
    "cap source=0": {"cap": {"source": 0}},
    "dedup 0": {"dedup": 0},
    "dedup 1.01": {"dedup": 1.01},
    "ngram 0": {"decontamination": lambda: Decontamination(("e.jsonl",), ngram=0)},
    "`cap`: 'a=0.5' of class str was given; give Mapping": {"cap": "a=0.5"},
    "score 'top:\u00b2'": {"score": "top:\u00b2"},
    "settings of quality without quality": {"quality": lambda: Quality(lower_is_better=True)},
    "no option 'qualty' of a query; there are layers": {"qualty": "q"},
}


@pytest.mark.parametrize(("message", "given"), REFUSED.items(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_in_a_line(message, given):
    """The line says what was asked and what can be."""
    with pytest.raises(BadInputError) as refused:
        QueryOptions.of(**{name: value() if callable(value) else value for name, value in given.items()})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


DEFAULTS = {
    "score": "mean", "weights": "frequency", "background": "pool", "mix": "union",
    "quality-weight": 1.0, "lower-is-better": False, "normalize": "minmax", "ngram": 13,
    "approx": False,
}  # fmt: skip


def test_everything_that_is_asked_is_recorded():
    """The record has the command line's names, whole paths and JSON values, defaults too: they may change one day."""
    assert QueryOptions().to_json() == DEFAULTS
    asked = {
        "layers": "0,2", "top_k": 3, "score": "top:5", "min_score": 0.25, "mix": "merge", "target_weights": {"a": 0.4},
        "quality": Quality("q", "s.jsonl", weight=2.0, lower_is_better=True, normalize="rank"), "where": "x > 1",
        "cap": {"source": 0.3}, "exclude": "seen.txt", "dedup": 0.9, "decontamination": Decontamination(["e.jsonl"], ngram=8),
    }  # fmt: skip
    record = QueryOptions.of(**asked).to_json()
    assert json.loads(json.dumps(record)) == DEFAULTS | {
        "layers": "0,2", "top-k": 3, "score": "top:5", "min-score": 0.25, "mix": "merge",
        "target-weight": {"a": 0.4}, "quality-column": "q",
        "scores": os.path.abspath("s.jsonl"), "quality-weight": 2.0, "lower-is-better": True, "normalize": "rank", "where": "x > 1",
        "cap": {"source": 0.3}, "exclude": [os.path.abspath("seen.txt")], "dedup": 0.9,
        "decontaminate": [os.path.abspath("e.jsonl")], "ngram": 8,
    }  # fmt: skip
    numpys = QueryOptions.of(
        dedup=np.float64(0.9), top_k=np.int64(2), layers=[0, np.int64(2)], cap={"a": np.float32(0.5)}
    )
    assert json.loads(json.dumps(numpys.to_json())) == DEFAULTS | {
        "dedup": 0.9, "top-k": 2, "layers": "0,2", "cap": {"a": 0.5},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ({}, "frequency"), ({"contrast": 0}, "frequency"), ({"contrast": 0.5}, "contrast:0.5"), ({"contrast": 1}, "contrast:1"),
        ({"weights": "contrast:0.50"}, "contrast:0.5"), ({"weights": "contrast:0"}, "frequency"),
        ({"weights": "log-ratio"}, "log-ratio:40"), ({"weights": "log-ratio:40.0"}, "log-ratio:40"),
        ({"weights": "log-odds"}, "log-odds:40"), ({"weights": "log-odds:.5"}, "log-odds:0.5"),
        ({"weights": "log-ratio:1e-9"}, "log-ratio:1e-09"), ({"weights": "log-ratio:1E6"}, "log-ratio:1000000"),
    ],
)  # fmt: skip
def test_weights_have_one_spelling_in_a_record(given, recorded):
    """Defaults are written out, `contrast` is an alias, and what is recorded reads back as the same."""
    options = QueryOptions.of(**given)
    assert (options.weights, options.contrast) == (recorded, 0)
    assert options.to_json()["weights"] == recorded
    assert "contrast" not in options.to_json()
    assert QueryOptions(weights=recorded).weighting == options.weighting
    assert options.for_targets(1).weights == recorded


@pytest.mark.parametrize(
    ("written", "layers"),
    [
        (None, (0, 1, 2, 3)), ("all", (0, 1, 2, 3)), ("last", (3,)), ("first", (0,)), ("0-2", (0, 1, 2)), ("2,0", (0, 2)),
        ("1-last", (1, 2, 3)), ("first, last", (0, 3)), ("0-1,1-2", (0, 1, 2)), ("3", (3,)),
    ],
)  # fmt: skip
def test_layers_are_written_as_people_write_them(written, layers):
    """Numbers, ranges, first and last; each layer once, ascending."""
    assert layers_of(written, range(4)) == layers


@pytest.mark.parametrize("written", ["", "4", "0-4", "2-1", "-1", "a", "1,,2", "1-", "lastfirst", "firstlast", "0.5"])
def test_layers_that_are_not_there_are_refused(written):
    """The error repeats what was written."""
    with pytest.raises(BadInputError, match=r"layers '"):
        layers_of(written, range(4))


def test_a_view_cannot_see_more_neurons_than_are_kept():
    """K' is at most the index's K."""
    with pytest.raises(BadInputError, match="the index keeps the 3 strongest"):
        View.of(NagSpec("up", (8, 8), 3), None, 4)


def test_shares_of_documents_sum_to_the_budget():
    """What rounding leaves goes to those who lose most by it, the first among equals; shares of tokens are rounded down."""
    assert shares_of(10, "abc", {}, counts_tokens=False) == [4, 3, 3]
    assert shares_of(10, "abc", {}, counts_tokens=True) == [3, 3, 3]
    assert shares_of(10, "abc", {"b": 0.5}, counts_tokens=False) == [3, 5, 2]
    assert shares_of(10, "abc", {"a": 0.1, "b": 0.2, "c": 0.7}, counts_tokens=False) == [1, 2, 7]
    thirds = dict.fromkeys("abc", 1 / 3)
    assert shares_of(10, "abc", thirds, counts_tokens=False) == [4, 3, 3]
    assert sum(shares_of(10**9 + 7, "abcdef", {"e": 0.123}, counts_tokens=False)) == 10**9 + 7


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"x": 0.5}, "no such target; the targets are a, b"),
        ({"a": 0.5, "b": 0.6}, "sum to 1.1, not to 1"),
        ({"a": 0.2, "b": 0.3}, "sum to 0.5, not to 1"),
        ({"a": 1.0}, "leave nothing for b"),
    ],
)
def test_shares_that_contradict_each_other_are_refused(weights, message):
    """An unknown target, too much, too little, or nothing left for one."""
    with pytest.raises(BadInputError, match=message):
        shares_of(10, ["a", "b"], weights, counts_tokens=False)


def test_a_budget_below_the_number_of_targets_is_refused():
    """Each target selects at least one document."""
    with pytest.raises(BadInputError, match="leaves no document for the target c"):
        shares_of(2, ["a", "b", "c"], {}, counts_tokens=False)


def test_a_contrast_of_many_decimals_is_refused_where_integers_would_overflow():
    """Scores stay exact integers, or the query says that it cannot."""
    spec = NagSpec("up", (8,), 2)
    codes = np.zeros((1000, 1, 2), np.uint16) + np.array([0, 1], np.uint16)
    with pytest.raises(BadInputError, match="fewer decimals"):
        contrast_of(codes, np.ones((1, 8), np.int64), 10**9, exact_decimal(0.123456789123), spec)
    assert contrast_of(codes, np.ones((1, 8), np.int64), 10**9, Fraction(1, 2), spec).scale == 2 * 1000 * 2 * 10**9
