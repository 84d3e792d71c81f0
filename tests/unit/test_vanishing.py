"""Sketches and graphs that vanish while a query reads them: their documents are scanned, and the answer stays right."""

import os
from pathlib import Path

import numpy as np
import pytest

from nagindex.errors import DamagedIndexError
from nagindex.search import file_rows, hnsw, plan, sketch_search
from nagindex.sketches import graphs, store
from nagindex.storage import arrays, files

LAYERS, TOP_K, WIDTH = 3, 4, 40


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 300 documents in three segments, with sketches and graphs."""
    codes = random_codes(np.random.default_rng(0), 300, LAYERS, TOP_K, WIDTH)
    made = write_index(tmp_path / "i", codes, [f"{i:03d}" for i in range(300)], [1] * 300, width=WIDTH, cuts=(100, 180))
    made.optimize(graph=True)
    return made


@pytest.fixture(autouse=True)
def sketches_pay(monkeypatch):
    """Let the planner take sketches for worthwhile on a small pool, too."""
    monkeypatch.setattr(plan, "OVERHEAD", -1.0)


def answer(index, mode):
    found = index.query(index.codes[0][:5], n=20, mode=mode)
    return list(zip(found.ids, found.scores, strict=True)), found


def removing_before(monkeypatch, place, name, pattern, folder):
    """Remove files of a pattern just before the function is called with one of them for the first time, as a vacuum would."""
    real = getattr(place, name)

    def removed_first(path, *rest, **named):
        if Path(path).match(pattern):
            for file in folder.glob(f"sketch-*/{pattern}"):
                file.unlink()
        return real(path, *rest, **named)

    monkeypatch.setattr(place, name, removed_first)


STEPS = {
    "before its length is read": (files, "verify_length"),
    "before it is checksummed": (files, "open"),
    "before it is verified": (store, "verify_once"),
    "before its header is read": (store, "data_offset"),
    "before its rows are opened": (file_rows.os, "open"),
}


@pytest.mark.parametrize(("place", "name"), STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("mode", ["auto", "sketch"])
def test_sketches_that_vanish_before_any_step_are_scanned(index, monkeypatch, mode, place, name):
    expected, _ = answer(index, "scan")
    if name == "open" and place is files:
        monkeypatch.setattr(files, "open", open, raising=False)
        monkeypatch.setattr(files.verified, "is_verified", lambda *of: False)
    folder = index.path / "derived"
    removing_before(monkeypatch, place, name, f"{index.segments[1].entry.id}-*.npy", folder)
    found, selection = answer(index, mode)
    assert found == expected
    assert not list(folder.glob(f"sketch-*/{index.segments[1].entry.id}-*.npy"))
    assert sum("it is scanned" in warning for warning in selection.warnings) == 1


@pytest.mark.parametrize(("place", "name"), [(files, "verify_length"), (arrays, "data_offset"), (arrays.np, "memmap")])
@pytest.mark.parametrize("mode", ["auto", "sketch"])
def test_a_basis_that_vanishes_before_any_step_leaves_the_scan(index, monkeypatch, mode, place, name):
    expected, _ = answer(index, "scan")
    removing_before(monkeypatch, place, name, "basis.npy", index.path / "derived")
    if mode == "sketch":
        with pytest.raises(ValueError, match="mode sketch: sketches are not used"):
            answer(index, mode)
        return
    found, selection = answer(index, mode)
    assert found == expected
    assert any("sketches are not used" in warning for warning in selection.warnings)


@pytest.mark.parametrize(
    "fault", [FileNotFoundError(2, "gone"), PermissionError(13, "no"), OSError(5, "disk")], ids=str
)
def test_sketches_that_no_longer_open_in_the_second_pass_are_scanned(index, monkeypatch, fault):
    expected, _ = answer(index, "scan")
    real, read = sketch_search.documents_above_bound, store.SketchSet.read

    def failing(self, entry):
        if entry == index.segments[2].entry:
            raise fault
        return read(self, entry)

    def second_pass(*given, **named):
        monkeypatch.setattr(store.SketchSet, "read", failing)
        return real(*given, **named)

    monkeypatch.setattr(sketch_search, "documents_above_bound", second_pass)
    found, selection = answer(index, "sketch")
    assert found == expected
    assert sum("it is scanned" in warning for warning in selection.warnings) == 1


def unreadable_from(monkeypatch, call, pattern):
    """Let a call of preadv on files of a pattern, and all later ones, fail as a lost network file does."""
    real, calls = os.preadv, iter(range(10**6))

    def preadv(descriptor, *rest):
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).match(pattern) and next(calls) >= call:
            raise OSError(116, "Stale file handle")
        return real(descriptor, *rest)

    monkeypatch.setattr(file_rows.os, "preadv", preadv)


@pytest.mark.parametrize("call", [0, 1])
def test_sketches_that_are_lost_while_they_are_read_are_scanned(index, monkeypatch, call):
    expected, _ = answer(index, "scan")
    unreadable_from(monkeypatch, call, f"{index.segments[0].entry.id}-*.npy")
    found, selection = answer(index, "sketch")
    assert found == expected
    assert sum("it is scanned" in warning for warning in selection.warnings) == 1


def test_lost_codes_are_an_error_and_no_reason_to_go_on(index, monkeypatch):
    index.optimize()
    monkeypatch.setattr(file_rows.FileRows, "_read_rows", lambda self, rows: (_ for _ in ()).throw(self._truncated()))
    with pytest.raises(DamagedIndexError, match=r"nags\.npy"):
        answer(index, "sketch")


GRAPH_STEPS = {
    "before its description is read": (graphs, "load_dataclass", "graph-*.json"),
    "before it is verified": (graphs, "verify_once", "graph-*.usearch"),
    "before it is mapped": (hnsw, "load", "graph-*.usearch"),
}


@pytest.mark.parametrize(("place", "name", "pattern"), GRAPH_STEPS.values(), ids=GRAPH_STEPS)
def test_a_graph_that_vanishes_before_any_step_is_not_used(index, monkeypatch, place, name, pattern):
    removing_before(monkeypatch, place, name, pattern, index.path / "derived")
    with pytest.raises(ValueError, match="no graphs that can be used"):
        answer(index, "graph")


@pytest.mark.parametrize(("place", "name", "pattern"), list(GRAPH_STEPS.values())[:2], ids=list(GRAPH_STEPS)[:2])
def test_neighbors_are_found_without_a_graph_that_vanishes(index, monkeypatch, place, name, pattern):
    expected = [row["id"] for row in index.neighbors("007", k=5, exact=True).rows]
    removing_before(monkeypatch, place, name, pattern, index.path / "derived")
    assert [row["id"] for row in index.neighbors("007", k=5).rows] == expected


def test_recall_is_estimated_without_sketches_that_vanish(index, monkeypatch):
    for segment in index.segments:
        removing_before(monkeypatch, file_rows.os, "open", f"{segment.entry.id}-*.npy", index.path / "derived")
    found, selection = answer(index, "graph")
    [recall] = selection.plan.actual["recall"]
    exact, _ = answer(index, "scan")
    assert recall["low"] <= len(set(found) & set(exact)) / 20 <= recall["high"]


def test_new_segments_are_kept_when_former_sketches_vanish(index, monkeypatch):
    """A vacuum that removes former sketches while new segments are sketched does no harm to these."""
    from nagindex.sketches.build import sketch_new_segments

    for path in index.path.glob("derived/sketch-*/*.json"):
        if path.stem != "basis":
            path.unlink()
    monkeypatch.setattr(
        store, "write_array", lambda path, *of: (_ for _ in ()).throw(FileNotFoundError(2, "", str(path)))
    )
    sketch_new_segments(index.path, index.segments)
    assert answer(index, "auto")[0] == answer(index, "scan")[0]
