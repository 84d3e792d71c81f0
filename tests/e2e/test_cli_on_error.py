"""`--on-error`: what cannot be read stops the run with a line that names the remedy, or is skipped, listed, and tried again once mended."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from parquet_files import parquet
from shell import Shell, jsonl
from test_cli_damaged_sources import DAMAGED, GZIP, LINES, parquet_bytes

from nagindex.corpus import sources, text_files
from nagindex.encode import encoder
from nagindex.ingest import sharding

GOOD = jsonl([{"id": "a", "text": "river garden"}, {"id": "b", "text": "violin"}])


def listed(shell: Shell, *, index: str = "index.nagindex") -> list[tuple[str, int, str]]:
    return sorted(shell.skipped(index=index))


BAD_ROWS = {
    "json.jsonl": (GOOD + '{"id":"c","te\n' + '{"id":"d","text":"harvest"}\n', [(2, "line 3: not a JSON record")]),
    "list.jsonl": (GOOD + '[1]\n{"id":"d","text":"harvest"}\n', [(2, "a JSON array, not an object")]),
    "type.jsonl": (GOOD + '{"id":"c","text":["x"]}\n{"id":"d","text":"harvest"}\n', [(2, "column 'text' holds array")]),
    "id.jsonl": (GOOD + '{"id":{},"text":"x"}\n{"id":"d","text":"harvest"}\n', [(2, "the id is {}")]),
    "count.jsonl": (GOOD + '{"id":"c","text":"x","n_tokens":-1}\n{"id":"d","text":"harvest"}\n', [(2, "token count -1")]),
    "array.json": ('[{"id":"a","text":"x"},{"id":"b","text":"y"},7,{"id":"d","text":"z"}]', [(2, "a JSON number")]),
    "wide.csv": ("id,text\na,river\nb,violin\nc,x,3\nd,harvest\n", [(2, "3 fields where the header has 2")]),
    "quote.csv": ('id,text\na,river\nb,violin\nc,"gar"den\nd,harvest\n', [(2, "record that ends in line 4")]),
    "open.csv": ('id,text\na,river\nb,violin\nd,harvest\ne,"garden\nf,x\n', [(3, "record that ends in line 6")]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_skipped_and_listed_and_the_rows_around_it_are_read(shell: Shell, name: str) -> None:
    content, bad = BAD_ROWS[name]
    path = shell.write(name, content)
    reason = shell.build_error(name)
    assert reason.startswith(str(path))
    assert reason.endswith(", or pass over it with --on-error skip")
    done = shell.build(name, "--on-error", "skip")
    assert f"Skipped {len(bad)} row{'s' * (len(bad) > 1)}: {len(bad)} bad row" in done.stderr
    assert shell.docs("id") == ["a", "b", "d"]
    found = listed(shell)
    assert [(file, row) for file, row, _ in found] == [(name, row) for row, _ in bad]
    assert all(why.startswith(f"bad row: {said}") for (_, _, why), (_, said) in zip(found, bad, strict=True)), found


def test_a_bad_value_in_a_table_is_skipped_and_listed(shell: Shell) -> None:
    rows = "('a', 'river', 3), ('b', 'garden', -3), ('c', 'violin', NULL)"
    parquet(shell.folder / "x.parquet", f"SELECT * FROM (VALUES {rows}) t(id, text, n_tokens)")
    assert "--on-error skip" in shell.build_error("x.parquet")
    shell.build("x.parquet", "--on-error", "skip")
    assert shell.docs("id") == ["a", "c"]
    [(file, row, why)] = shell.skipped()
    assert (file, row) == ("x.parquet", 1)
    assert why.startswith("bad row: token count -3")


FILES = {name: content for name, (content, _) in DAMAGED.items() if name not in ("cut.jsonl",)}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_skipped_whole_and_comes_in_once_it_is_mended(
    shell: Shell, name: str, tmp_path: Path
) -> None:
    """No half of a file is left in the index, so the mended file is an ordinary new one."""
    content = FILES[name]
    if content is None:
        whole = parquet_bytes(tmp_path)
        damage = {
            "cut": whole[:-30],
            "head": whole[: len(whole) // 2],
            "flip": whole[:1000] + bytes(200) + whole[1200:],
        }
        content = damage[name.partition(".")[0]]
    shell.write("pool/a.jsonl", jsonl([{"id": "a", "text": "river"}]))
    path = shell.write(f"pool/m.{name}", content)
    shell.write("pool/z.jsonl", jsonl([{"id": "z", "text": "violin"}]))
    assert shell.build_error("pool").endswith(", or pass over it with --on-error skip")
    done = shell.build("pool", "--on-error", "skip")
    assert f"Warning: m.{name}: " in done.stderr
    assert shell.docs("id") == ["a", "z"]
    [(file, row, why)] = shell.skipped()
    assert (file, row) == (f"m.{name}", 0)
    assert why.startswith("unreadable: ")
    version = json.loads(shell.run("info", "--json").stdout)["version"]
    again = shell.run("append", "pool", "--on-error", "skip")
    assert f"Warning: m.{name}: " in again.stderr, "it is told again, and not taken for known"
    assert json.loads(shell.run("info", "--json").stdout)["version"] == version
    path.unlink()
    shell.write(f"pool/m.{name.partition('.')[0]}.jsonl", LINES)
    assert "Added 60 documents" in shell.run("append", "pool", "--on-error", "skip").stderr


def test_a_damaged_file_without_ids_has_usual_ids_once_it_is_mended(shell: Shell) -> None:
    lines = jsonl({"text": f"river {i}"} for i in range(5)).encode()
    whole = gzip.compress(lines)
    shell.write("c/x.jsonl.gz", whole[:-9])
    shell.build("c", "--on-error", "skip")
    assert shell.docs("id") == []
    shell.write("c/x.jsonl.gz", whole)
    done = shell.run("append", "c")
    assert "Warning" not in done.stderr
    assert shell.docs("id") == [f"x.jsonl.gz:{i}" for i in range(5)]
    assert len(shell.skipped()) == 1, "the list keeps what was skipped"
    shell.run("compact")
    shell.run("verify")


def test_a_mended_row_of_a_cut_download_is_read_and_the_others_are_not_read_twice(shell: Shell) -> None:
    """A file cut within a line comes in but for that line; the whole file brings only what is missing."""
    lines = jsonl({"text": f"river {i}"} for i in range(6))
    shell.write("c/x.jsonl", lines[:-30])
    shell.build("c", "--on-error", "skip")
    before = shell.docs("id")
    assert 3 <= len(before) < 6
    shell.write("c/x.jsonl", lines)
    shell.run("append", "c")
    assert shell.docs("id") == [f"x.jsonl:{i}" for i in range(6)]


def test_a_file_without_a_text_column_is_skipped_among_others(shell: Shell) -> None:
    shell.write("c/a.jsonl", GOOD)
    shell.write("c/urls.csv", "url,time\nx,1\n")
    shell.build_error("c")
    done = shell.build("c", "--on-error", "skip")
    assert "Warning: urls.csv: no text column found" in done.stderr
    assert shell.docs("id") == ["a", "b"]


def test_a_link_to_nowhere_stops_every_command_that_reads_the_corpus(shell: Shell) -> None:
    shell.write("c/a.jsonl", GOOD)
    (shell.folder / "c" / "more").symlink_to(shell.folder / "gone")
    for command in (["build", "c", "--model", shell.model], ["build", "c", "--dry-run", "--model", shell.model]):
        reason = shell.error(*command)
        assert reason.startswith(f"{shell.folder / 'c' / 'more'}: cannot be read (a link to {shell.folder / 'gone'}: ")
        assert reason.endswith("--on-error skip")
        assert not (shell.folder / "index.nagindex").exists()
    assert "Warning: more: cannot be read (a link to" in shell.build("c", "--dry-run", "--on-error", "skip").stderr
    done = shell.build("c", "--on-error", "skip", "--json")
    [said] = json.loads(done.stdout)["unreadable"]
    assert said.startswith("more: cannot be read (a link to")
    assert shell.docs("id") == ["a", "b"]
    assert [(file, row) for file, row, _ in shell.skipped()] == [("more", 0)]
    assert json.loads(shell.run("info", "--json").stdout)["sources"] == 1
    (shell.folder / "gone").mkdir()
    shell.write("gone/b.jsonl", jsonl([{"id": "c", "text": "garden"}]))
    shell.run("append", "c")
    assert shell.docs("id") == ["a", "b", "c"]


def test_a_file_that_goes_away_after_it_was_found_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write("c/a.jsonl", GOOD)
    path = shell.write("c/b.jsonl", GOOD)
    hashed = sources.content_hash

    def hash_without_b(file: Path) -> str:
        path.unlink(missing_ok=True)
        return hashed(file)

    monkeypatch.setattr(sources, "content_hash", hash_without_b)
    assert shell.build_error("c").startswith(f"{path}: cannot be read (No such file or directory)")


@pytest.mark.parametrize("options", [(), ("--workers", "1"), ("--neuron-type", "up,down"), "shards"], ids=str)
def test_however_a_corpus_is_read_the_same_is_skipped(
    shell: Shell, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker process, several indexes and several shards leave out and list what one process does, and go on alike."""
    monkeypatch.setitem(encoder.WINDOW, "cpu", 4)
    monkeypatch.setattr(sharding, "WINDOWS_PER_CHUNK", 1)
    records = [{"id": f"d{i}", "text": f"river {i}"} if i % 5 else {"id": f"d{i}", "text": [i]} for i in range(23)]
    shell.write("c/a.jsonl", jsonl(records[:9]))
    shell.write("c/b.jsonl.gz", GZIP[:-20])
    shell.write("c/d.jsonl", jsonl(records[9:]))
    (shell.folder / "c" / "e.jsonl").symlink_to("nowhere")
    shell.build("c", "--on-error", "skip", "-i", "whole.nagindex")
    expected = shell.state(index="whole.nagindex"), listed(shell, index="whole.nagindex")
    assert [file for file, _, _ in expected[1]] == ["a.jsonl"] * 2 + [
        "b.jsonl.gz",
        "d.jsonl",
        "d.jsonl",
        "d.jsonl",
        "e.jsonl",
    ]
    if options == "shards":
        for part in range(3):
            shell.build("c", "--on-error", "skip", "-i", "x.nagindex", "--shard", f"{part}/3")
        assert sorted(map(str, shell.state(index="x.nagindex"))) == sorted(map(str, expected[0]))
        assert listed(shell, index="x.nagindex") == expected[1]
        return
    shell.build("c", "--on-error", "skip", "-i", "x.nagindex", *options)
    for name in ("x.up.nagindex", "x.down.nagindex") if "up,down" in options else ("x.nagindex",):
        if "down" not in name:
            assert shell.state(index=name) == expected[0]
        assert listed(shell, index=name) == expected[1]


# What is committed --------------------------------------------------------------------------------------------------


def test_a_run_that_stops_says_what_is_committed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(encoder.WINDOW, "cpu", 4)
    shell.write("a.jsonl", jsonl([{"id": f"d{i}", "text": f"river {i}"} for i in range(9)] + [[1]]))
    shell.write("b.jsonl", "[1]\n")
    done = shell.build("b.jsonl", status=1)
    assert "0 documents are committed in index.nagindex" in done.stderr
    done = shell.build("a.jsonl", status=1)
    assert "8 documents are committed in index.nagindex" in done.stderr


def test_a_file_without_rights_is_skipped_by_a_dry_run_and_a_build(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rights are made up here, since those of an administrator suffice for every file."""
    shell.write("c/a.jsonl", jsonl([{"id": "a", "text": "river"}]))
    closed = shell.write("c/b.jsonl", jsonl([{"id": "b", "text": "violin"}]))
    access, opened = os.access, text_files._CountingFile.__init__

    def open_if_allowed(self: Any, source: sources.Source, *others: Any) -> None:
        if source.path == closed.resolve():
            raise PermissionError(13, "Permission denied", str(source.path))
        opened(self, source, *others)

    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed.resolve() and access(path, mode))
    monkeypatch.setattr(text_files._CountingFile, "__init__", open_if_allowed)
    assert "b.jsonl: cannot be read (Permission denied)" in shell.build_error("c", "--dry-run")
    assert (
        "b.jsonl: cannot be read (Permission denied); passed over"
        in shell.build("c", "--dry-run", "--on-error", "skip").stderr
    )
    shell.build("c", "--on-error", "skip")
    assert shell.docs("id") == ["a"]
