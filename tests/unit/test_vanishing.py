"""Graphs that vanish while a query reads them: approximate answers are refused, neighbors and exact answers stay right."""

from pathlib import Path

import numpy as np
import pytest

from nagindex.errors import DamagedIndexError
from nagindex.search import file_rows, hnsw
from nagindex.sketches import graphs
from nagindex.storage import arrays, files

LAYERS, TOP_K, WIDTH = 3, 4, 40


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 300 documents in three segments, with a graph."""
    codes = random_codes(np.random.default_rng(0), 300, LAYERS, TOP_K, WIDTH)
    made = write_index(tmp_path / "i", codes, [f"{i:03d}" for i in range(300)], [1] * 300, width=WIDTH, cuts=(100, 180))
    made.optimize()
    return made


def answer(index, **options):
    return index.query(index.codes[0][:5], n=20, **options)


def removing_before(monkeypatch, place, name, pattern, folder):
    """Remove files of a pattern just before the function is called with one of them for the first time, as a vacuum would."""
    real = getattr(place, name)

    def removed_first(path, *rest, **named):
        if Path(path).match(pattern):
            for file in folder.glob(f"graph-*/{pattern}"):
                file.unlink()
        return real(path, *rest, **named)

    monkeypatch.setattr(place, name, removed_first)


@pytest.mark.parametrize(("place", "name"), [(files, "verify_length"), (arrays, "data_offset"), (arrays.np, "memmap")])
def test_a_basis_that_vanishes_before_any_step_leaves_the_scan(index, monkeypatch, place, name):
    expected = [row["id"] for row in index.neighbors("007", k=5, exact=True).rows]
    removing_before(monkeypatch, place, name, "basis.npy", index.path / "derived")
    with pytest.raises(ValueError, match="graphs are not used"):
        answer(index, approx=True)
    assert answer(index).plan.engine == "scan"
    assert [row["id"] for row in index.neighbors("007", k=5).rows] == expected


def test_lost_codes_are_an_error_and_no_reason_to_go_on(index, monkeypatch):
    monkeypatch.setattr(file_rows.FileRows, "__getitem__", lambda self, rows: (_ for _ in ()).throw(self._truncated()))
    with pytest.raises(DamagedIndexError, match=r"nags\.npy"):
        answer(index, approx=True)


GRAPH_STEPS = {
    "before its description is read": (graphs, "load_dataclass", "graph-*.json"),
    "before it is verified": (graphs, "verify_once", "graph-*.usearch"),
    "before it is mapped": (hnsw, "load", "graph-*.usearch"),
}


@pytest.mark.parametrize(("place", "name", "pattern"), GRAPH_STEPS.values(), ids=GRAPH_STEPS)
def test_a_graph_that_vanishes_before_any_step_is_not_used(index, monkeypatch, place, name, pattern):
    removing_before(monkeypatch, place, name, pattern, index.path / "derived")
    with pytest.raises(ValueError, match="no graphs that can be used"):
        answer(index, approx=True)


@pytest.mark.parametrize(("place", "name", "pattern"), list(GRAPH_STEPS.values())[:2], ids=list(GRAPH_STEPS)[:2])
def test_neighbors_are_found_without_a_graph_that_vanishes(index, monkeypatch, place, name, pattern):
    expected = [row["id"] for row in index.neighbors("007", k=5, exact=True).rows]
    removing_before(monkeypatch, place, name, pattern, index.path / "derived")
    assert [row["id"] for row in index.neighbors("007", k=5).rows] == expected
