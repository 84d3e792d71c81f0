"""Selections read back from their files, and the query as their records have it."""

import json

import pytest
from reported import figures

from nagindex import Decontamination, Quality, QueryOptions
from nagindex.errors import BadInputError, InputNotFoundError
from nagindex.query.record_text import command_of
from nagindex.select.recorded import recorded_options


def test_a_selection_read_from_its_file_has_the_same_figures(index, targets, tmp_path):
    selection = index.query(targets, n=20, quality=Quality("number", weight=0.3))
    selection.to_parquet(tmp_path / "s.parquet")
    again = index.selection(tmp_path / "s.parquet", targets=targets)
    assert list(again) == list(selection)
    for title, rows in (("made", selection), ("read", again)):
        rows.report(tmp_path / f"{title}.html", title="same")
    made, read = (
        [line for line in (tmp_path / f"{name}.html").read_text().splitlines() if "Made by" not in line]
        for name in ("made", "read")
    )
    assert made == read
    explained = [own.to_json() for own in selection.explain("d07")]
    assert explained == [own.to_json() for own in again.explain(["d07"])]
    assert [own["target"] for own in explained] == ["s", "t"]


def test_documents_that_are_gone_are_told(index, targets, tmp_path):
    selection = index.query(targets, n=20)
    selection.to_parquet(tmp_path / "s.parquet")
    index.delete(ids=selection.ids[:3].tolist())
    again = index.selection(tmp_path / "s.parquet", targets=targets)
    assert len(again) == 17
    assert again.warnings == ["no longer in the index: 3 documents of the selection"]
    assert any("the index was at version" in note for note in figures(again).notes)
    index.delete(ids=selection.ids.tolist())
    with pytest.raises(BadInputError, match="none of its documents is in"):
        index.selection(tmp_path / "s.parquet", targets=targets)


def test_what_is_no_selection_or_no_page_is_refused(index, targets, tmp_path):
    selection = index.query(targets, n=5)
    selection.to_parquet(tmp_path / "s.parquet")
    with pytest.raises(BadInputError, match=r"ends in \.html"):
        selection.report(tmp_path / "r.pdf")
    with pytest.raises(InputNotFoundError, match="no such file"):
        index.selection(tmp_path / "none.parquet")
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(BadInputError, match="not a selection"):
        index.selection(tmp_path / "x.parquet")
    with pytest.raises(BadInputError, match="record names no files of its targets; name them with `targets`"):
        index.selection(tmp_path / "s.parquet").explain()
    with pytest.raises(BadInputError, match="was made for s, t, and s were given"):
        index.selection(tmp_path / "s.parquet", targets={"s": targets["s"]}).explain()
    source = next((index.path / "sources").iterdir())
    with pytest.raises(BadInputError, match=r"s\.parquet|source|index"):
        selection.report(index.path / "r.html")
    assert source.exists()


@pytest.mark.parametrize(
    "options",
    [
        QueryOptions(),
        QueryOptions(
            layers=[0, 2],
            top_k=3,
            score="top:2",
            mix="max",
            where="a = 1",
            cap={"label": 0.25},
            min_score=0.1,
            dedup=0.9,
        ),
        QueryOptions(
            weights="log-odds:7",
            background="candidates",
            target_weights={"s": 0.5},
            exclude=["/a.txt", "/b c.txt"],
            quality=Quality("edu", scores="/s.csv", weight=0.5, lower_is_better=True, normalize="rank"),
            decontamination=Decontamination(["/e.jsonl"], "question", 8),
        ),
    ],
)
def test_options_are_read_back_from_a_record(options):
    recorded = json.loads(json.dumps({"index": "i", "n": 5, **options.to_json()}))
    assert recorded_options(recorded) == options


def test_the_command_quotes_what_a_shell_would_take_apart():
    query = {"index": "/my index", "targets": ["/a b.jsonl"], "n": 5, "where": "x = 'y'", "cap": {"c d": 0.5}}
    command = command_of(query | {"lower-is-better": True, "score": "mean"})
    assert command.splitlines()[0] == "nagindex query '/a b.jsonl' \\"
    assert "-i '/my index'" in command
    assert "--where 'x = '\"'\"'y'\"'\"''" in command
    assert "--cap 'c d=0.5'" in command
    assert "--lower-is-better" in command
    assert "--score" not in command
    assert command_of({"index": "i", "targets": []}) == ""
