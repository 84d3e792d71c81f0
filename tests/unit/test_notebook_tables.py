"""What notebooks show is short, well-formed, and escaped: no text of a document or a name becomes markup."""

from xml.etree import ElementTree

import numpy as np
import pytest

from nagindex.targets.saved import TargetSet

MARKUP = "<script>alert(1)</script>&"


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    codes = random_codes(np.random.default_rng(3), 60, 2, 4, 9)
    kept = [(MARKUP if n % 2 else "x" * 10**6,) for n in range(60)]
    ids = [f"{MARKUP}{n}" for n in range(60)]
    return write_index(tmp_path / "<i>", codes, ids, np.ones(60), width=9, kept=kept, keep=("<b>",))


def test_reports_are_short_escaped_tables(index, random_codes, tmp_path):
    codes = random_codes(np.random.default_rng(4), 30, 2, 4, 9)
    target = TargetSet(codes, [f"{n}" for n in range(30)], [], name=MARKUP, texts=[MARKUP * 1000] * 30)
    selection = index.query([target], n=40)
    for name in "ab":
        selection.to_parquet(tmp_path / f"{name}.parquet")
    [explained] = index.explain(f"{MARKUP}7", [target])
    compared = index.compare(tmp_path / "a.parquet", tmp_path / "b.parquet")
    neuron = int(codes[0, 1, 0])
    analyses = [
        index.score_curve([target]),
        *index.profile([target]),
        index.neuron(1, neuron),
        index.evaluate([target], relevant={"<b>": [MARKUP]}),
        index.map_sweep(label="<b>", top_k=[4]),
        index.map([target], label="<b>", perplexity=5),
        index.choose_neurons(target, count=3),
    ]
    for shown in (index, selection, explained, compared, *analyses):
        html = shown._repr_html_()
        assert len(html) < 20_000
        assert "<script" not in html
        root = ElementTree.fromstring(f"<div>{html}</div>")
        assert {own.tag for own in root.iter()} <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert MARKUP in "".join(ElementTree.fromstring(f"<div>{explained._repr_html_()}</div>").itertext())
    assert "60" in [own.text for own in ElementTree.fromstring(index._repr_html_()).iter("td")]
