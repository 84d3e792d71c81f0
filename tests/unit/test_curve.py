"""Score curves with columns: shares are what counting the ranking says, ties in equal parts; the image is well-formed XML."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from nagindex.errors import BadInputError

LABELS = ("law", "biology", None, "<b>&", "law")


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 90 documents with a subject in two segments, three of them deleted."""
    codes = random_codes(np.random.default_rng(3), 90, 2, 4, 9)
    kept = [(LABELS[n % 5], n) for n in range(90)]
    ids = [f"d{n}" for n in range(90)]
    index = write_index(
        tmp_path / "i", codes, ids, np.arange(90), width=9, cuts=(25,), kept=kept, keep=("subject", "number")
    )
    index.delete(ids=["d0", "d31", "d2"])
    return index


@pytest.fixture
def examples(random_codes):
    rng = np.random.default_rng(4)
    return {name: random_codes(rng, 5, 2, 4, 9) for name in "ab"}


@pytest.mark.parametrize("options", [{}, {"weights": "log-ratio"}, {"where": "tokens % 3 > 0"}], ids=str)
def test_shares_are_those_of_the_ranking(index, examples, options):
    curve = index.score_curve(examples, columns=["subject"], values=3, **options)
    shares = curve.columns["subject"]
    assert shares.values == ["law", "<b>&", "biology"]
    for name in examples:
        rows = list(index.query({name: examples[name]}, n=90, **options))
        assert len(rows) == curve.documents
        assert curve.scores[name] == pytest.approx([rows[rank - 1]["score"] for rank in curve.ranks], abs=1e-5)
        scores = np.array([row["score"] for row in rows])
        for place, value in enumerate(shares.values):
            has = np.array([row["subject"] == value for row in rows])
            assert shares.pool[place] == pytest.approx(has.mean())
            for rank, found in zip(curve.ranks, shares.shares[name][place], strict=True):
                last = scores[rank - 1]
                tied, above = scores == last, scores > last
                expected = has[above].sum() + has[tied].sum() * (rank - above.sum()) / tied.sum()
                assert found == pytest.approx(expected / rank)
    told = json.loads(json.dumps(curve.to_json()))
    assert told["columns"]["subject"]["shares"]["b"][0][-1] == pytest.approx(shares.pool[0])


def test_columns_of_few_values_are_found(index, examples):
    assert list(index.score_curve(examples, columns=None).columns) == ["subject"]
    [shares] = index.score_curve(examples, columns=["file"]).columns.values()
    assert shares.pool.sum() == pytest.approx(1)
    assert index.score_curve(examples).to_json().keys() == {"documents", "ranks", "scores"}


def test_a_fine_curve_has_ten_ranks_for_each_power_of_ten(index, examples):
    assert index.score_curve(examples, fine=True).ranks.tolist()[:12] == [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25]
    assert index.score_curve(examples).ranks.tolist() == [1, 2, 5, 10, 20, 50, 87]


def test_the_image_is_xml_with_a_line_for_each_target_and_value(index, examples):
    curve = index.score_curve({"a\x1b<i>": examples["a"], "b" * 60: examples["b"]}, columns=None, fine=True)
    root = ElementTree.fromstring(curve.to_svg())
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2 + 2 * len(curve.columns["subject"].values)
    texts = [own.text for own in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a <i>", "b" * 25 + "…", "<b>&", "(none)", "law"} <= set(texts)


def test_what_cannot_be_drawn_is_named(index, examples):
    with pytest.raises(BadInputError, match=r"no column 'nix' in .*; there are subject, number, file"):
        index.score_curve(examples, columns=["nix"])
    with pytest.raises(BadInputError, match="from 1 to 250"):
        index.score_curve(examples, columns=["subject"], values=0)
