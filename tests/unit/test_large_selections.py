"""Selections of more rows than fit memory: what is kept, spilled, distributed and sorted in parts gives the rows that one sort gives."""

import tempfile

import numpy as np
import pytest

from nagindex.query import rows, run
from nagindex.search import scan, top_n
from nagindex.select.signals import Quality

DOCUMENTS, WIDTH = 3000, 12


@pytest.fixture(scope="module")
def index(tmp_path_factory, write_index, random_codes):
    """An index in which few neurons make few different scores: most documents are equal to many others. Ids are in no order."""
    rng = np.random.default_rng(5)
    codes = random_codes(rng, DOCUMENTS, 2, 3, WIDTH)
    ids = [f"{number:x}" for number in rng.permutation(DOCUMENTS)]
    quality = [None if number % 7 == 0 else number % 5 / 4 for number in range(DOCUMENTS)]
    return write_index(
        tmp_path_factory.mktemp("large") / "i",
        codes,
        ids,
        rng.integers(1, 90, DOCUMENTS).tolist(),
        width=WIDTH,
        cuts=(700, 701, 2100),
        kept=[(value,) for value in quality],
        keep=("quality",),
    )


@pytest.fixture
def targets(random_codes):
    codes = random_codes(np.random.default_rng(6), 12, 2, 3, WIDTH)
    return {"a": codes[:4], "b": codes[4:]}


@pytest.fixture
def little_memory(monkeypatch, tmp_path):
    """Limits so small that everything that can be spilled, cut early or sorted in parts is; temporary files go to a folder."""
    for module, name, value in (
        (scan, "ROWS_PER_TASK", 64),
        (top_n, "CAPACITY", 32),
        (top_n, "HITS_IN_MEMORY", 0),
        (top_n, "ROWS_PER_BLOCK", 50),
        (top_n, "ROWS_PER_THRESHOLD", 16),
        (run, "BATCH", 200),
        (rows, "ROWS_PER_PART", 100),
        (rows, "KEYS_SAMPLED", 90),
    ):
        monkeypatch.setattr(module, name, value)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


QUESTIONS = {
    "one": {"n": 1},
    "some": {"n": 333},
    "most": {"n": 2700},
    "all": {"n": 99_999},
    "minimum": {"min_score": 0.2},
    "log-ratio": {"n": 1234, "weights": "log-ratio"},
    "nearest": {"n": 1234, "score": "top:2"},
    "tokens": {"tokens": 50_000},
    "fraction": {"fraction": 0.4},
    "where": {"n": 900, "where": "tokens > 40"},
    "quality": {"n": 900, "quality": Quality("quality")},
    "cap": {"n": 600, "cap": {"quality": 0.4}},
    "both": {"n": 2000},
    "weighted": {"n": 1999, "target_weights": {"a": 0.9}},
    "both, distinct": {"n": 1500, "mix": "distinct"},
    "both, max": {"n": 2000, "mix": "max"},
    "both, tokens": {"tokens": 80_000},
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_little_memory_gives_the_same_rows(index, targets, name, request):
    """The table of a query's rows, each with its columns, is that of one sort in memory; no temporary file is left."""
    chosen = targets if name.startswith(("both", "weighted")) else targets["a"]
    usual = index.query(chosen, **QUESTIONS[name])
    expected, types = usual.to_duckdb().fetchall(), usual.to_duckdb().types
    folder = request.getfixturevalue("little_memory")
    found = index.query(chosen, **QUESTIONS[name])
    assert found.to_duckdb().fetchall() == expected
    assert (found.to_duckdb().types, len(found)) == (types, len(expected))
    assert [row["id"] for row in found] == [row[1] for row in expected]
    assert not any(path.is_dir() and any(path.iterdir()) for path in folder.iterdir())


def test_a_selection_is_the_beginning_of_a_larger_one(index, targets, little_memory):
    """Whatever part of the rows, or group of equal scores, it ends in."""
    whole = index.query(targets["b"], n=DOCUMENTS).ids.tolist()
    assert len(set(whole)) == DOCUMENTS
    for n in (1, 99, 100, 101, 150, 512, 1000, 2999):
        assert index.query(targets["b"], n=n).ids.tolist() == whole[:n]


def test_ids_are_not_read_to_find_where_a_selection_of_documents_ends(index, targets, monkeypatch):
    """Equal scores at its end are told apart when the rows are sorted, on disk if they are many."""

    def refuse(*_):
        raise LookupError("ids were read")

    monkeypatch.setattr(run, "ids_at", refuse)
    assert len(index.query(targets["a"], n=777)) == len(index.query(targets, n=777, mix="merge")) == 777
    with pytest.raises(LookupError):  # tokens of equal documents differ, and so may their number
        index.query(targets["a"], tokens=20_000)


@pytest.mark.parametrize("keys", [[], [3], [1] * 50, list(range(50)), [0.5, 0.25] * 30])
def test_parts_follow_one_another(keys, monkeypatch):
    """Equal keys are in one part, and a better key in none behind."""
    monkeypatch.setattr(rows, "ROWS_PER_PART", 7)
    array = np.array(keys)
    found = rows.parts_of(array, rows.part_edges(array))
    order = np.argsort(-array, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert all(len(set(found[array == key].tolist())) == 1 for key in keys)
    if len(set(keys)) > 7:
        assert len(set(found.tolist())) > 3


def test_parts_are_not_more_than_files_that_one_statement_may_write(monkeypatch):
    monkeypatch.setattr(rows, "ROWS_PER_PART", 10)
    keys = np.random.default_rng(3).permutation(100_000)
    edges = rows.part_edges(keys)
    sizes = np.bincount(rows.parts_of(keys, edges))
    assert len(sizes) == rows.PARTS
    assert sizes.max() < 2 * len(keys) / rows.PARTS


def test_a_second_attempt_keeps_nothing_of_a_failed_one(index, targets, monkeypatch, little_memory):
    """A database that runs out of memory after it has written files writes them anew."""
    expected = index.query(targets, n=2000).to_arrow()
    real, copies = rows.run_within, []

    def twice(connection, memory, sql):
        if sql.startswith("COPY"):
            copies.append(sql)
            real(connection, memory, sql)
        real(connection, memory, sql)

    monkeypatch.setattr(rows, "run_within", twice)
    assert index.query(targets, n=2000).to_arrow().equals(expected)
    assert copies
