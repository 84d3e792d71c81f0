"""The Python API says the same words as the command line and gives the same answers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from shell import Shell, jsonl

import nagindex
from nagindex.query import selected_rows
from nagindex.storage import source_texts

RECORDS = [{"id": f"d{i}", "text": f"river {i} garden", "label": "ab"[i % 2]} for i in range(8)]


@pytest.fixture
def index(shell: Shell) -> nagindex.Index:
    """An index built from Python, with a target file and a file to append at hand."""
    shell.write("corpus/a.jsonl", jsonl(RECORDS))
    shell.write("t.jsonl", jsonl([RECORDS[3]]))
    shell.write("more/b.jsonl", jsonl([{"id": "new", "text": "violin", "label": "c"}, {"text": None, "label": "c"}]))
    columns = nagindex.Columns(keep_columns=("label",))
    built, report = nagindex.build("corpus", "index.nagindex", model=str(shell.model), columns=columns)
    assert (report.documents, report.version) == (8, 2)
    return built


def test_build_returns_the_index_and_what_was_done_and_open_finds_it(index: nagindex.Index, shell: Shell) -> None:
    opened = nagindex.open("index.nagindex")
    assert len(opened) == len(index) == 8
    assert opened.info() == index.info() == json.loads(shell.run("info", "--json").stdout)
    assert len(nagindex.open("index.nagindex", version=1)) == 0


def test_build_takes_a_path_or_several(shell: Shell) -> None:
    shell.write("a.jsonl", jsonl(RECORDS[:4]))
    shell.write("b.jsonl", jsonl(RECORDS[4:]))
    _, one = nagindex.build([Path("a.jsonl"), "b.jsonl"], Path("x.nagindex"), model=str(shell.model))
    assert one.documents == 8


def test_append_adds_reports_and_pins_the_result(index: nagindex.Index) -> None:
    report = index.append("more")
    assert (report.documents, dict(report.skipped), report.sources) == (1, {"null text": 1}, 1)
    assert len(index) == 9
    assert [(row.file, row.row, row.reason) for row in index.skipped()] == [("b.jsonl", 1, "null text")]
    assert index.append("more").already_in == 1


def test_a_query_gives_arrays_relations_and_files_with_the_same_rows_as_the_command_line(
    index: nagindex.Index, shell: Shell
) -> None:
    selection = index.query("t.jsonl", n=5)
    records = shell.selected("t.jsonl", "-n", "5")
    assert list(selection.ids) == [r["id"] for r in records]
    assert selection.ids[0] == "d3"
    assert selection.scores.dtype == np.float64
    assert selection.scores.tolist() == [r["score"] for r in records]
    assert selection.scores[0] == 1.0
    assert selection.tokens.tolist() == [r["tokens"] for r in records]
    assert len(selection) == 5
    relation = selection.to_duckdb()
    assert relation.columns == ["rank", "id", "score", "tokens", "file", "row", "label"]
    assert relation.fetchall() == [tuple(r.values()) for r in records]
    selection.to_jsonl("out.jsonl")
    assert [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()] == records
    selection.to_parquet("out.parquet", with_text=True)
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT id, text FROM read_parquet('out.parquet') ORDER BY rank").fetchall()
    texts = {r["id"]: r["text"] for r in RECORDS}
    assert rows == [(i, texts[i]) for i in selection.ids]


def test_targets_can_be_codes(index: nagindex.Index) -> None:
    [encoded] = index.encode("t.jsonl")
    assert encoded.codes.shape == (1, *index.manifest.fingerprint.spec.shape)
    assert list(index.query(encoded.codes, n=8).ids) == list(index.query("t.jsonl", n=8).ids)


def test_codes_are_memory_mapped_and_docs_say_where_each_document_lies(index: nagindex.Index) -> None:
    index.append("more")
    assert [len(codes) for codes in index.codes] == [8, 1]
    assert all(isinstance(codes, np.memmap) and codes.dtype == np.uint16 for codes in index.codes)
    place = index.docs.filter("id = 'd3'").project("_segment, _position").fetchall()
    assert place == [(0, 3)]
    assert (index.codes[0][3] == index.encode("t.jsonl")[0].codes[0]).all()


def test_sql_and_delete_work_on_the_same_view(index: nagindex.Index) -> None:
    counts = index.sql("SELECT label, count(*) FROM docs GROUP BY label ORDER BY label").fetchall()
    assert counts == [("a", 4), ("b", 4)]
    assert index.delete(where="label = 'a'") == 4
    assert index.delete(ids=["d1", "unknown"]) == 1
    assert [row[0] for row in index.sql("SELECT id FROM docs ORDER BY id").fetchall()] == ["d3", "d5", "d7"]
    assert index.info()["documents"] == len(index) == 3
    index.compact()
    assert index.info()["deleted"] == 0
    assert list(index.verify()) == []


def test_errors_are_the_fitting_standard_ones_too(index: nagindex.Index, shell: Shell) -> None:
    with pytest.raises(FileNotFoundError, match="no index here"):
        nagindex.open("none.nagindex")
    with pytest.raises(FileNotFoundError, match="no such file"):
        index.append("nowhere")
    with pytest.raises(ValueError, match="one budget is needed"):
        index.query("t.jsonl")
    with pytest.raises(ValueError, match="one SELECT statement"):
        index.sql("DROP VIEW docs")
    with pytest.raises(ValueError, match="`max_length` is 120 in the index and 64 here"):
        nagindex.build("corpus", "index.nagindex", model=str(shell.model), max_length=64)
    assert len(nagindex.open("index.nagindex")) == 8


def test_a_selection_is_rows_and_data_frames(index: nagindex.Index) -> None:
    selection = index.query("t.jsonl", n=5)
    rows = list(selection)
    assert [tuple(row.values()) for row in rows] == selection.to_duckdb().fetchall()
    assert [row["id"] for row in rows] == selection.ids.tolist()
    assert selection.to_arrow().to_pylist() == rows
    assert selection.to_pandas().to_dict("records") == rows
    assert selection.to_polars().to_dicts() == rows
    texts = {r["id"]: r["text"] for r in RECORDS}
    assert selection.head(2, with_text=True) == [{**row, "text": texts[row["id"]]} for row in rows[:2]]


def test_the_best_of_each_target_are_at_the_head(index: nagindex.Index) -> None:
    selection = index.query({"one": "t.jsonl", "two": "t.jsonl"}, n=4, mix="merge")
    assert [(row["target"], row["rank"]) for row in selection.head(1)] == [("one", 1), ("two", 1)]


def test_a_notebook_shows_the_first_rows(index: nagindex.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selected_rows, "ROWS_SHOWN", 6)
    shown = index.query("t.jsonl", n=8)._repr_html_()
    assert shown.count("<tr>") == 7
    assert "<td>1.0000</td>" in shown
    assert "and 2 more" in shown


@pytest.mark.parametrize(
    ("package", "method"), [("pyarrow", "to_arrow"), ("pandas", "to_pandas"), ("polars", "to_polars")]
)
def test_a_missing_package_is_named_with_its_command(
    index: nagindex.Index, monkeypatch: pytest.MonkeyPatch, package: str, method: str
) -> None:
    selection = index.query("t.jsonl", n=1)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(
        nagindex.MissingDependencyError, match=rf"{package} is not installed; run: pip install 'nagindex\["
    ):
        getattr(selection, method)()


def test_a_score_curve_is_arrays(index: nagindex.Index) -> None:
    scores = index.query("t.jsonl", n=len(index)).scores
    curve = index.score_curve("t.jsonl")
    assert curve.documents == len(index)
    assert curve.scores["t"].tolist() == scores[curve.ranks - 1].tolist()


def test_a_look_at_the_best_reads_no_source_completely(index: nagindex.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal's table is shown at once, however large the sources are."""
    selection = index.query("t.jsonl", n=2)
    hashed: list[Path] = []
    monkeypatch.setattr(source_texts, "HASHED_ALWAYS", 0)
    monkeypatch.setattr(source_texts, "still_holds", lambda source, *_: hashed.append(source.path))
    assert selection.head(1, with_text=True)[0]["text"] == RECORDS[3]["text"]
    assert not hashed
    with pytest.raises(nagindex.SourceChangedError):
        selection.to_jsonl("out.jsonl", with_text=True)
    assert hashed
