"""A kept column may have any name but the reserved ones: also one that a query uses for columns of its own."""

from collections import Counter

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest
from cluster_tasks import run_here

import nagindex
from nagindex.query import remote, remote_rows, rows, run
from nagindex.select.signals import Quality

NAMES = (
    *("_text", "_part", "_key", "_score", "_extra0", "_column0", "_list", "_place", "_at", "_rank", "_owner"),
    *("value", "position", "segment", "t", "v", "in_a", "in_b", "a", "b", "c0", "own", "docs"),
)
DOCUMENTS, WIDTH, TOP_K = 60, 12, 3
QUESTIONS = {
    "one batch": {"n": 40},
    "merge": {"n": 70, "mix": "merge"},
    "caps": {"n": 20, "cap": {"_key": 0.5, "_list": 0.5}},
    "quality": {"n": 30, "quality": Quality("value")},
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory, write_index, random_codes):
    """An index whose kept columns have those names, and whose documents have different values in each; its targets."""
    rng = np.random.default_rng(2)
    codes = random_codes(rng, DOCUMENTS, 2, TOP_K, WIDTH)
    ids = [f"{number:02d}" for number in rng.permutation(DOCUMENTS)]
    kept = [tuple(place + 100 * (number % 7) for place in range(len(NAMES))) for number in range(DOCUMENTS)]
    path = tmp_path_factory.mktemp("pool") / "i"
    texts = [f"text {own}" for own in ids]
    index = write_index(path, codes, ids, range(DOCUMENTS), width=WIDTH, cuts=(25,), kept=kept, keep=NAMES, texts=texts)
    return index, {"a": codes[:3], "b": codes[40:44]}, dict(zip(ids, kept, strict=True))


@pytest.mark.parametrize("batch", [1 << 18, 8], ids=["", "batches"])
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_rows_have_the_values_of_their_documents(pool, monkeypatch, tmp_path, question, batch):
    """Written by this process and by tasks, with texts."""
    index, targets, kept = pool
    monkeypatch.setattr(run, "BATCH", batch)
    monkeypatch.setattr(rows, "ROWS_PER_PART", 16)
    monkeypatch.setattr(remote_rows, "ROWS_WITH_TEXTS", 64)
    run_here(monkeypatch, remote, remote_rows)
    asked = targets if "mix" in question else targets["a"]
    whole = index.query(asked, **question)
    whole.to_parquet(tmp_path / "whole.parquet", with_text=True)
    expected = pq.read_table(tmp_path / "whole.parquet")
    for row in expected.to_pylist():
        assert tuple(row[name] for name in NAMES) == kept[row["id"]]
        assert row["text"] == f"text {row['id']}"
    by_tasks = index.query(asked, **question, ray="local")
    by_tasks.to_parquet(f"{tmp_path}/there/", with_text=True)
    found = pyarrow.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "there").glob("part-*.parquet")))
    assert found.equals(expected)
    assert by_tasks.totals() == whole.totals()


def test_a_temporary_folder_gives_rows_no_values(pool, monkeypatch, tmp_path):
    """Its name may look like a column and its value."""
    index, targets, _ = pool
    run_here(monkeypatch, remote, remote_rows)
    for name in ("id=9", "score=9"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
        selection = index.query(targets["a"], n=20)
        expected = selection.ids.tolist()
        index.query(targets["a"], n=20, ray="local").to_parquet(f"{tmp_path / name}/there/")
        # as they are in the file, whose own path must not give values either
        found = pq.ParquetFile(tmp_path / name / "there" / "part-00000.parquet").read()
        assert found["id"].to_pylist() == expected
        assert found["score"].to_pylist() == selection.scores.tolist()


def test_what_describes_documents_takes_every_column(pool, tmp_path):
    index, targets, kept = pool
    for name, target in targets.items():
        index.query(target, n=20).write(tmp_path / f"{name}.parquet")
    compared = index.compare(tmp_path / "a.parquet", tmp_path / "b.parquet")
    chosen = index.query(targets["a"], n=20).ids
    for place, name in enumerate(NAMES):
        counts = Counter(str(kept[one][place]) for one in chosen)
        assert {row["value"]: row["a"] for row in compared.columns[name] if row["a"]} == counts
    selection = index.query(targets, n=40, cap={"_owner": 0.9})
    selection.report(tmp_path / "page.html", map=0, with_text=False)
    assert all(f">{name}<" in (tmp_path / "page.html").read_text() for name in NAMES)
    curve = index.score_curve(targets["a"], columns=NAMES, fine=True)
    assert curve.to_json()
    with pytest.raises(nagindex.BadInputError, match=r"no such column.*_text, _part, _key"):
        index.query(targets["a"], n=5, cap={"gone": 0.5})
