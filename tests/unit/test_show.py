"""Selections read back: the same documents from every format, and near misses that are the ranking without what was chosen."""

import numpy as np
import pytest

from nagindex import BadInputError, InputNotFoundError, selected_documents

FORMATS = ("parquet", "jsonl", "csv", "jsonl.gz", "csv.zst")


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 60 documents in two segments; two documents are deleted."""
    codes = random_codes(np.random.default_rng(3), 60, 2, 4, 9)
    ids = [f"{n:03}" for n in range(60)]
    kept = [(("2024-01-01", 'a "b",\nc', None)[n % 3],) for n in range(60)]
    index = write_index(tmp_path / "i", codes, ids, np.arange(60), width=9, cuts=(25,), kept=kept, keep=("label",))
    index.delete(ids=["000", "031"])
    return index


@pytest.fixture
def examples(random_codes):
    rng = np.random.default_rng(4)
    return {name: random_codes(rng, 5, 2, 4, 9) for name in "ab"}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_values_that_were_written(index, examples, tmp_path, kind):
    selection = index.query(examples, n=20)
    path = tmp_path / f"s.{kind}"
    selection.write(path)
    rows = list(selection)
    found = selected_documents(path, ranks=(2, 4))
    assert found.rows == [row for row in rows if 2 <= row["rank"] <= 4]
    assert (found.documents, found.targets) == (20, ["a", "b"])
    assert selected_documents(path).rows == rows
    last = selected_documents(path, last=3, targets=["b"])
    assert last.rows == [row for row in rows if row["target"] == "b"][-3:]
    assert last.documents == 10
    drawn = selected_documents(path, sample=7)
    assert drawn.rows == [row for row in rows if row in drawn.rows]
    assert len(drawn.rows) == 7
    assert drawn == selected_documents(path, sample=7) != selected_documents(path, sample=7, seed=1)
    assert len(selected_documents(path, sample=99).rows) == 20


def test_a_table_without_ranks_is_counted_by_rows(tmp_path):
    (tmp_path / "t.csv").write_text("id,note\nx,1\ny,\n")
    assert selected_documents(tmp_path / "t.csv").rows == [
        {"rank": 1, "id": "x", "note": "1"},
        {"rank": 2, "id": "y", "note": None},
    ]


def test_what_cannot_be_read_is_named(index, examples, tmp_path):
    index.query({"a": examples["a"]}, n=3).write(tmp_path / "s.parquet")
    index.query({"a": examples["a"]}, n=3).write(tmp_path / "ids.txt")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "rank": 1}\n{"id": "b", "rank": "first"}\n')
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputNotFoundError, match=r"none\.parquet: no such file"):
        selected_documents(tmp_path / "none.parquet")
    with pytest.raises(InputNotFoundError, match="a folder without _metadata"):
        selected_documents(tmp_path)
    for name, problem in {
        "ids.txt": "no ranks and scores",
        "bad.parquet": "bad.parquet",
        "bad.jsonl": "cannot be read as a selection",
        "empty.csv": "no column 'id'",
    }.items():
        with pytest.raises(BadInputError, match=problem):
            selected_documents(tmp_path / name)
    with pytest.raises(BadInputError, match="no target 'b'; it is of one target"):
        selected_documents(tmp_path / "s.parquet", targets=["b"])
    for wrong in ({"ranks": (0, 3)}, {"ranks": (3, 2)}, {"last": 0}, {"sample": 0}, {"last": 1, "sample": 1}):
        with pytest.raises(BadInputError):
            selected_documents(tmp_path / "s.parquet", **wrong)


@pytest.mark.parametrize("mix", ["union", "merge", "distinct", "max"])
@pytest.mark.parametrize("options", [{}, {"weights": "log-ratio"}, {"dedup": 0.6}, {"where": "tokens > 5"}], ids=str)
def test_near_misses_are_the_ranking_without_the_chosen(index, examples, tmp_path, mix, options):
    """Held against the whole ranking of each target, from a query for all documents."""
    index.save_targets(index.encode(examples), tmp_path / "t.parquet")
    selection = index.query(tmp_path / "t.parquet", n=12, mix=mix, **options)
    selection.write(tmp_path / "s.parquet")
    found = index.near_misses(tmp_path / "s.parquet", n=4)
    ranking = {name: value for name, value in options.items() if name != "dedup"}
    everything = list(index.query(tmp_path / "t.parquet", n=200, mix="max" if mix == "max" else "merge", **ranking))
    lists = [everything] if mix == "max" else [[r for r in everything if r["target"] == name] for name in "ab"]
    expected = []
    for own in lists:
        chosen = {row["id"] for row in selection if mix != "merge" or row["target"] == own[0]["target"]}
        expected += [row for row in own if row["id"] not in chosen][:4]
    assert found == expected
    assert len(found) == 4 * len(lists)


def test_near_misses_need_a_record_of_targets(index, examples, tmp_path):
    selection = index.query(examples, n=5)
    for name in ("s.parquet", "s.jsonl"):
        selection.write(tmp_path / name)
    with pytest.raises(BadInputError, match="names no file of targets"):
        index.near_misses(tmp_path / "s.parquet")
    with pytest.raises(BadInputError):
        index.near_misses(tmp_path / "s.jsonl")
