"""Files of one name and different content: documents without ids are never taken for one another by accident."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from pathlib import Path

import pytest
from shell import Shell, jsonl

from nagindex.encode import encoder
from nagindex.errors import BadInputError
from nagindex.index import Index
from nagindex.ingest import sharding, windows, writer

FIRST = jsonl({"text": f"river {i}"} for i in range(5))
SECOND = jsonl({"text": f"garden {i}"} for i in range(7))


def tag(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def texts(shell: Shell, index: str = "index.nagindex") -> dict[str, str]:
    """Return the text of each document by its id, as a selection of all documents has them."""
    rows = shell.selected("t.jsonl", "-n", "1000", "--with-text", "-i", index)
    return {row["id"]: row["text"] for row in rows}


@pytest.fixture
def crawls(shell: Shell) -> Shell:
    """Two crawls whose files have the same names and no ids, and a target."""
    shell.write("crawl1/000.jsonl", FIRST)
    shell.write("crawl2/000.jsonl", SECOND)
    shell.write("t.jsonl", '{"text":"river"}\n')
    return shell


EXPECTED = {f"000.jsonl:{i}": f"river {i}" for i in range(5)} | {
    f"000.jsonl@{tag(SECOND)}:{i}": f"garden {i}" for i in range(7)
}


@pytest.mark.parametrize("mode", ["skip", "error"])
@pytest.mark.parametrize("command", ["append", "build"])
def test_two_crawls_with_the_same_file_names_are_both_in(crawls: Shell, command: str, mode: str) -> None:
    crawls.build("crawl1")
    options = ("--model", crawls.model) if command == "build" else ()
    done = crawls.run(command, "crawl2", "--on-duplicate", mode, *options)
    assert "Added 7 documents" in done.stderr
    assert "Warning: 000.jsonl: the index holds a file of this name with other content" in done.stderr
    assert texts(crawls) == EXPECTED
    assert "Added 0 documents" in crawls.run("append", "crawl2").stderr
    assert "Added 0 documents" in crawls.run("append", "crawl1").stderr
    crawls.run("compact")
    assert texts(crawls) == EXPECTED


def test_a_third_content_and_one_that_continues_it(crawls: Shell) -> None:
    """Lines appended to a file go on with the names that the file's documents have."""
    crawls.build("crawl1")
    crawls.run("append", "crawl2")
    longer = SECOND + jsonl([{"text": "violin"}])
    crawls.write("crawl2/000.jsonl", longer)
    crawls.write("crawl1/000.jsonl", FIRST + jsonl([{"text": "harvest"}]))
    assert "Added 1 document " in crawls.run("append", "crawl2").stderr
    assert "Added 1 document " in crawls.run("append", "crawl1").stderr
    assert sorted(crawls.docs("id")) == sorted([*EXPECTED, f"000.jsonl@{tag(SECOND)}:7", "000.jsonl:5"])
    assert texts(crawls).items() >= EXPECTED.items(), "rows of a file that only grew are where they were"
    assert crawls.skipped() == []


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_lines_appended_to_a_file_are_added_once(shell: Shell, suffix: str, end: str) -> None:
    rows = ["text", "river", "garden"] if suffix != "jsonl" else ['{"text":"river"}', '{"text":"garden"}']
    first = (end or "\n").join(rows) + end
    path = shell.write(f"c/x.{suffix}", first)
    shell.build("c")
    more = "violin" if suffix != "jsonl" else '{"text":"violin"}'
    path.write_bytes((first + ("" if end else "\n") + more + "\n").encode())
    assert "Added 1 document " in shell.run("append", "c").stderr
    assert shell.docs("id") == [f"x.{suffix}:{i}" for i in range(3)]
    assert shell.skipped() == []


def test_a_text_that_grew_is_another_text(shell: Shell) -> None:
    path = shell.write("c/x.txt", "river\n")
    shell.build("c")
    path.write_text("river\ngarden\n")
    shell.run("append", "c")
    assert shell.docs("id") == ["x.txt:0", f"x.txt@{tag('river' + chr(10) + 'garden' + chr(10))}:0"]


def test_replace_puts_a_changed_file_in_place_of_the_former(crawls: Shell) -> None:
    crawls.build("crawl1")
    done = crawls.run("append", "crawl2", "--on-duplicate", "replace")
    assert "Replaced 5 documents" in done.stderr
    assert texts(crawls) == {f"000.jsonl:{i}": f"garden {i}" for i in range(7)}


def test_ids_of_the_corpus_are_left_as_they_are(shell: Shell) -> None:
    shell.write("one/x.jsonl", jsonl([{"id": "a", "text": "river"}, {"id": None, "text": "garden"}]))
    shell.write("two/x.jsonl", jsonl([{"id": "a", "text": "violin"}, {"id": None, "text": "harvest"}]))
    shell.build("one")
    shell.run("append", "two")
    content = (shell.folder / "two" / "x.jsonl").read_text()
    assert shell.docs("id") == ["a", "x.jsonl:1", f"x.jsonl@{tag(content)}:1"]
    assert shell.skipped() == [("x.jsonl", 0, "duplicate id")]


def test_a_build_that_stopped_goes_on_with_the_same_ids(crawls: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was committed of the second content, and in whichever shards: ids depend on what came first."""
    monkeypatch.setitem(encoder.WINDOW, "cpu", 2)
    monkeypatch.setattr(sharding, "WINDOWS_PER_CHUNK", 1)
    crawls.build("crawl1")
    shutil.copytree(crawls.folder / "index.nagindex", crawls.folder / "whole.nagindex")
    crawls.run("append", "crawl2", "-i", "whole.nagindex")
    expected = crawls.state(index="whole.nagindex")
    read, encoded = windows.read_documents, itertools.count()

    def stop_after_four(*arguments, **options):
        for document in read(*arguments, **options):
            if next(encoded) == 5:
                raise BadInputError("x: stopped")
            yield document

    with monkeypatch.context() as patch:
        patch.setattr(windows, "read_documents", stop_after_four)
        crawls.error("append", "crawl2")
    assert len(crawls.docs("id")) == 9
    crawls.run("append", "crawl2")
    assert crawls.state() == expected
    for part in (2, 0, 1):
        crawls.build("crawl1", "-i", "sharded.nagindex", "--shard", f"{part}/3")
    for part in (1, 2, 0):
        crawls.run("append", "crawl2", "-i", "sharded.nagindex", "--shard", f"{part}/3")
    assert sorted(map(str, crawls.state(index="sharded.nagindex"))) == sorted(map(str, expected))


def test_two_crawls_added_at_once_are_both_in(crawls: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which content came first is decided when documents are published, not when they are read."""
    crawls.write("other/a.jsonl", jsonl([{"text": "violin"}]))
    crawls.build("other")
    publish, index = writer.SegmentWriter.publish, crawls.folder / "index.nagindex"

    def publish_second_first(self: writer.SegmentWriter) -> None:
        monkeypatch.setattr(writer.SegmentWriter, "publish", publish)
        Index.open(index).append(crawls.folder / "crawl2")
        publish(self)

    monkeypatch.setattr(writer.SegmentWriter, "publish", publish_second_first)
    crawls.run("append", "crawl1")
    ids = [f"000.jsonl:{i}" for i in range(7)] + [f"000.jsonl@{tag(FIRST)}:{i}" for i in range(5)]
    assert crawls.docs("id") == ["a.jsonl:0", *ids]


@pytest.mark.parametrize("lost", [[2], [0, 1, 2, 3, 4], [0, 3, 4]], ids=str)
def test_rows_lost_as_duplicates_come_in_under_another_corpus_root(
    shell: Shell, lost: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows whose made-up ids another document had are read again where the file has another name, and no other row is."""
    monkeypatch.setitem(encoder.WINDOW, "cpu", 2)
    shell.write("a/ids.jsonl", jsonl({"id": f"x.jsonl:{i}", "text": f"violin {i}"} for i in lost))
    shell.write("b/x.jsonl", FIRST)
    shell.build("a")
    shell.run("append", "b")
    assert [row for _, row, _ in shell.skipped()] == lost
    assert f"Added {len(lost)} document" in shell.run("append", "b", "--corpus-root", ".").stderr
    expected = [f"x.jsonl:{i}" for i in lost] + [f"x.jsonl:{i}" for i in range(5) if i not in lost]
    assert shell.docs("id") == [*expected, *(f"b/x.jsonl:{i}" for i in lost)]
    for root in (".", "b"):
        assert "Added 0 documents" in shell.run("append", "b", "--corpus-root", root).stderr


def test_the_report_names_the_file(crawls: Shell, tmp_path: Path) -> None:
    crawls.build("crawl1")
    done = crawls.run("append", "crawl2", "--json")
    report = json.loads(done.stdout)
    assert (report["changed"], report["documents"]) == (["000.jsonl"], 7)
