"""Duplicate ids: which of two documents stays does not depend on how many processes share a corpus, nor on who is faster."""

import json
from itertools import permutations

import pytest

from nagindex import build
from nagindex.encode import encoder as encoding
from nagindex.errors import DuplicateIdError
from nagindex.index import Index
from nagindex.ingest import sharding
from nagindex.ingest.options import Shard


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Two files of 48 documents of 30 ids, dealt out in windows of four rows."""
    monkeypatch.setitem(encoding.WINDOW, "cpu", 4)
    monkeypatch.setattr(sharding, "WINDOWS_PER_CHUNK", 1)
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("a", "b"):
        records = [{"id": str(row * 7 % 30), "text": f"the cat sat on {name} mat {row}"} for row in range(48)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def stored(index: Index):
    """Return where each document came from, by id, and where each skipped one did."""
    rows = index.sql("SELECT id, file, row FROM docs").fetchall()
    return {i: (file, row) for i, file, row in rows}, sorted((s.file, s.row, s.id, s.reason) for s in index.skipped())


@pytest.mark.parametrize("on_duplicate", ["skip", "replace"])
def test_the_order_of_shards_does_not_decide_which_duplicate_stays(corpus, tmp_path, tiny_backbone, on_duplicate):
    """Three shards in any order keep the documents that one process keeps; for `skip` they list the same rows as skipped."""
    whole, report = build(corpus, tmp_path / "whole", backbone=tiny_backbone, on_duplicate=on_duplicate)
    expected, skipped = stored(whole)
    assert len(expected) == 30
    assert report.documents - report.replaced == 30
    assert {file for file, _ in expected.values()} == {"a.jsonl" if on_duplicate == "skip" else "b.jsonl"}
    for number, order in enumerate(permutations(range(3))):
        for part in order:
            index, _ = build(
                corpus, tmp_path / str(number), backbone=tiny_backbone, on_duplicate=on_duplicate, shard=Shard(part, 3)
            )
        found, left_out = stored(index)
        assert found == expected
        assert len(index) == 30
        if on_duplicate == "skip":
            assert left_out == skipped


def test_a_later_append_never_overtakes(corpus, tmp_path, tiny_backbone):
    """A file that stands before the others in the list, but came later, gives way: only shards of one list are as one."""
    index, _ = build(corpus / "b.jsonl", tmp_path / "i", backbone=tiny_backbone, corpus_root=corpus)
    before, _ = stored(index)
    index.append(corpus, corpus_root=corpus)
    assert stored(index)[0] == before


def test_error_is_an_error_from_every_shard(corpus, tmp_path, tiny_backbone):
    """With `error` a duplicate that another shard stored stops the build, naming both places."""
    build(corpus, tmp_path / "i", backbone=tiny_backbone, shard=Shard(1, 3))
    with pytest.raises(DuplicateIdError, match=r"\.jsonl, row \d+: id .* occurs in .*\.jsonl, row \d+"):
        build(corpus, tmp_path / "i", backbone=tiny_backbone, shard=Shard(0, 3), on_duplicate="error")
