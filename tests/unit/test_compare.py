"""Comparisons of selections: counts, shares and correlation are what sets and scipy say."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from nagindex.errors import BadInputError, InputNotFoundError

SUBJECTS = ("law", "biology", None)


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 60 documents with a subject in two segments, some of them deleted."""
    rng = np.random.default_rng(3)
    codes = random_codes(rng, 60, 2, 4, 9)
    kept = [(SUBJECTS[n % 3],) for n in range(60)]
    ids, tokens = [f"d{n}" for n in range(60)], np.arange(60)
    index = write_index(tmp_path / "i", codes, ids, tokens, width=9, cuts=(25,), kept=kept, keep=("subject",))
    index.delete(ids=["d0", "d31"])
    return index


@pytest.fixture
def selections(index, random_codes, tmp_path):
    """Two selections that overlap, as files in two formats."""
    rng = np.random.default_rng(4)
    a, b = (index.query({"t": random_codes(rng, 5, 2, 4, 9)}, n=n) for n in (20, 30))
    a.to_parquet(tmp_path / "a.parquet")
    b.to_jsonl(tmp_path / "b.jsonl")
    return a, b


def test_counts_shares_and_correlation(index, selections, tmp_path):
    a, b = selections
    found = index.compare(tmp_path / "a.parquet", tmp_path / "b.jsonl")
    first, second = set(a.ids), set(b.ids)
    groups = {
        "a": first,
        "b": second,
        "both": first & second,
        "only_a": first - second,
        "only_b": second - first,
        "pool": {f"d{n}" for n in range(60)} - {"d0", "d31"},
    }
    assert groups["both"]
    assert found.documents == {name: len(own) for name, own in groups.items()}
    assert found.tokens == {name: sum(int(one[1:]) for one in own) for name, own in groups.items()}
    assert found.overlap == len(first & second) / len(first | second)
    scores = [dict(zip(own.ids, own.scores, strict=True)) for own in (a, b)]
    common = sorted(first & second)
    expected = spearmanr(*([own[name] for name in common] for own in scores)).statistic
    assert found.rank_correlation == pytest.approx(expected, abs=1e-12)
    for row in found.columns["subject"]:
        of_value = {f"d{n}" for n in range(60) if SUBJECTS[n % 3] == row["value"]}
        parts = ("pool", "a", "b", "only_a", "only_b")
        assert [row[key] for key in parts] == [len(groups[key] & of_value) for key in parts]
    assert sum(row["a"] for row in found.columns["subject"]) == len(first)
    assert list(found.columns) == ["subject", "file"]
    for group, own in found.examples.items():
        assert set(own) <= groups[group]
        assert len(own) == min(3, len(groups[group]))
    assert found.missing == 0
    assert json.loads(json.dumps(found.to_json()))["overlap"] == found.overlap


def test_files_of_ids_have_no_order_and_unknown_ids_are_counted(index, selections, tmp_path):
    (tmp_path / "ids.txt").write_text("d1\nd2\nd31\nnobody\n")
    found = index.compare(tmp_path / "ids.txt", tmp_path / "a.parquet", columns=["file"], values=1)
    assert (found.documents["a"], found.missing, found.rank_correlation) == (2, 2, None)
    assert list(found.columns) == ["file"]
    assert len(found.columns["file"]) == 1


def test_a_document_chosen_for_two_targets_counts_once(index, random_codes, tmp_path):
    codes = random_codes(np.random.default_rng(5), 5, 2, 4, 9)
    selection = index.query({"s": codes, "t": codes}, n=20, mix="merge")
    selection.to_parquet(tmp_path / "two.parquet")
    assert len(selection) == 2 * len(set(selection.ids))
    found = index.compare(tmp_path / "two.parquet", tmp_path / "two.parquet")
    assert (found.documents["both"], found.overlap, found.rank_correlation) == (len(set(selection.ids)), 1.0, None)


def test_what_cannot_be_compared_is_named(index, selections, tmp_path):
    with pytest.raises(InputNotFoundError, match=r"none\.parquet"):
        index.compare(tmp_path / "none.parquet", tmp_path / "a.parquet")
    with pytest.raises(BadInputError, match=r"no column 'nix' in .*; there are subject, file"):
        index.compare(tmp_path / "a.parquet", tmp_path / "b.jsonl", columns=["nix"])
