"""An index outlives the programs that wrote it: newer formats are refused by name, other libraries are told and measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shell import INDEX, Shell, jsonl

import nagindex
from nagindex._version import __version__
from nagindex.storage import fingerprint
from nagindex.storage.checksummed_json import load_json
from nagindex.storage.json_bytes import dump_json

INSTALLED = fingerprint.installed_libraries()
COMMANDS = {
    "info": [],
    "query": ["t.jsonl", "-n", "1"],
    "append": ["pool"],
    "verify": [],
    "sql": ["SELECT 1"],
    "delete": ["--where", "true"],
    "compact": [],
    "optimize": [],
}


WITH_LIBRARIES = (
    "backbone.load",
    "facade.encoding",
    "ingest.writer",
    "maintenance.info",
    "maintenance.reencode",
    "query.run",
)
WITH_LIBRARIES += ("storage.fingerprint", "storage.snapshot")


@pytest.fixture
def other_torch(monkeypatch: pytest.MonkeyPatch) -> str:
    """The version of torch that is installed from now on."""
    other = {**INSTALLED, "torch": "99.1.2"}
    for module in WITH_LIBRARIES:
        monkeypatch.setattr(f"nagindex.{module}.installed_libraries", lambda: other)
    return "99.1.2"


def resealed(path: Path, **changes: object) -> None:
    """Rewrite a sealed JSON file with other values and the checksum that fits them."""
    content, whole = load_json(path, "")
    assert whole
    path.write_bytes(dump_json(content | changes))


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_index_of_a_newer_version_is_refused_with_both_versions_named(pool: Shell, command: str) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n')
    manifest = max((pool.folder / INDEX / "manifests").glob("[0-9]*.json"))
    resealed(manifest, format_version=2, writer="nagindex 9.8.7", segments={"of another": "shape"})
    before = files(pool.folder / INDEX)
    reason = pool.error(command, *COMMANDS[command])
    assert (
        f"format version 2, nagindex {__version__} reads 1; install the nagindex that wrote it (nagindex 9.8.7)"
        in reason
    )
    assert files(pool.folder / INDEX) == before


@pytest.fixture
def optimized(pool: Shell) -> Shell:
    """The pool with a graph."""
    pool.write("t.jsonl", '{"text":"river"}\n{"text":"violin salmon"}\n')
    pool.run("optimize")
    pool.run("query", "t.jsonl", "-n", "3", "-o", "warm.parquet")
    return pool


@pytest.mark.parametrize("which", ["basis", "graph-*"])
def test_graphs_of_a_newer_version_are_told_of_where_they_are_asked_for(optimized: Shell, which: str) -> None:
    wanted = optimized.selected("t.jsonl", "-n", "3")
    [described] = (optimized.folder / INDEX / "derived").glob(f"graph-*/{which}.json")
    resealed(described, format_version=2)
    assert optimized.selected("t.jsonl", "-n", "3") == wanted
    for told in (
        optimized.error("query", "t.jsonl", "-n", "3", "--approx"),
        optimized.run("verify", status=1).stdout,
        optimized.run("info").stdout,
    ):
        assert "of format version 2, this nagindex reads 1; run nagindex optimize --refit" in told
    optimized.run("optimize", "--refit")
    optimized.run("verify")


def test_info_says_nothing_where_the_libraries_are_the_indexs(pool: Shell) -> None:
    assert "Warning" not in pool.run("info").stderr
    found = json.loads(pool.run("info", "--json").stdout)
    assert (found["warnings"], found["installed"]) == ([], INSTALLED)


def test_info_warns_of_other_libraries_with_both_versions_and_what_to_do(pool: Shell, other_torch: str) -> None:
    done = pool.run("info")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Warning: encoded with torch {INSTALLED['torch']}, and installed is torch {other_torch}; ")
    assert line.endswith("see what that changes with nagindex append --check")
    assert "transformers" not in line
    found = json.loads(pool.run("info", "--json").stdout)
    assert [f"Warning: {told}" for told in found["warnings"]] == [line]
    assert found["installed"]["torch"] == other_torch


def test_info_names_the_versions_of_segments_that_were_appended_with_others(pool: Shell, other_torch: str) -> None:
    pool.write("pool/c.jsonl", jsonl([{"id": "new", "text": "violin", "label": "x"}]))
    pool.run("append", "pool", "--accept-libraries")
    [told] = json.loads(pool.run("info", "--json").stdout)["warnings"]
    assert f"torch {INSTALLED['torch']} and {other_torch}, and installed is torch {other_torch}" in told


def test_append_with_other_libraries_names_the_check(pool: Shell, other_torch: str) -> None:
    reason = pool.error("append", "pool")
    assert INSTALLED["torch"] in reason
    assert other_torch in reason
    assert "nagindex append --check" in reason
    assert "--accept-libraries" in reason


@pytest.fixture
def large(shell: Shell) -> Shell:
    """An index of 160 documents in three segments, the last of which has four documents, with some deleted."""
    for name, count in (("a", 96), ("b", 60), ("c", 4)):
        shell.write(
            f"corpus/{name}.jsonl",
            jsonl({"id": f"{name}{n}", "text": f"river {n} garden " + "violin " * (n % 40)} for n in range(count)),
        )
        shell.build("corpus")
    shell.run("delete", "--where", "id IN ('c0', 'a1')")
    return shell


def test_check_finds_every_code_equal_and_appends_nothing(large: Shell, other_torch: str) -> None:
    large.write("corpus/d.jsonl", jsonl([{"id": "new", "text": "river"}]))
    before = files(large.folder / INDEX)
    done = large.run("append", "--check", "corpus", "--json")
    found = json.loads(done.stdout)
    assert (found["documents"], found["differing"], found["differing_codes"], found["ids"]) == (64, 0, 0, [])
    assert found["codes"] == 64 * 2 * 10
    assert found["recorded"]["torch"] == [INSTALLED["torch"]]
    assert found["installed"]["torch"] == other_torch
    assert "64 documents encoded again, and all 1,280 codes are equal" in done.stderr
    assert large.run("append", "--check").stdout == ""  # from where they were read
    assert files(large.folder / INDEX) == before


def changed_codes(shell: Shell, change: Any) -> None:
    """Rewrite the stored codes of every segment, as a model that encodes otherwise would have written them, and their checksums."""
    index = nagindex.open(shell.folder / INDEX)
    manifest = max((shell.folder / INDEX / "manifests").glob("[0-9]*.json"))
    content, _ = load_json(manifest, "")
    for number, segment in enumerate(index.segments):
        path = segment.folder / "nags.npy"
        codes = np.load(path)
        change(number, codes)
        np.save(path, codes)
        entry = nagindex.storage.files.FileEntry.of(path)
        content["segments"][number]["files"]["nags.npy"] = vars(entry)
    manifest.write_bytes(dump_json({k: v for k, v in content.items() if k != "sha256"}))


def swapped(number: int, codes: np.ndarray) -> None:
    codes[:, 0, :2] = codes[:, 0, 1::-1]  # two neurons change places, in one layer of two


def replaced(number: int, codes: np.ndarray) -> None:
    if number == 2:
        for nag in codes:
            nag[1, -1] = next(neuron for neuron in range(64) if neuron not in nag[1])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (swapped, "64 of 64 documents differ, in 128 of 1,280 codes (10.00%), 0 of them neurons"),
        (replaced, "3 of 64 documents differ, in 3 of 1,280 codes (0.23%), 3 of them neurons"),
    ],
)
def test_check_counts_what_differs_and_exits_with_1(large: Shell, change: Any, told: str) -> None:
    """All three living documents of the smallest segment are in the sample: it is spread over the segments."""
    changed_codes(large, change)
    large.run("verify")
    done = large.run("append", "--check", "--json", status=1)
    found = json.loads(done.stdout)
    assert told in done.stderr
    assert "--accept-libraries" in done.stderr
    assert found["differing"] == len(found["ids"]) == int(told.split()[0])
    if change is replaced:
        assert found["ids"] == ["c1", "c2", "c3"]
    assert nagindex.open(INDEX).recheck().differing == found["differing"]


def test_check_reads_sources_where_they_lie_now(large: Shell) -> None:
    (large.folder / "corpus").rename(large.folder / "moved")
    reason = large.error("append", "--check")
    assert "corpus/" in reason
    assert "is not there any more" in reason
    large.run("append", "--check", "moved")
    large.run("append", "--check", "moved/a.jsonl", "--corpus-root", "moved")
    found = nagindex.open(INDEX).recheck("moved/a.jsonl", documents=200)
    assert found.documents == 95
    assert "changed" in large_changed(large)


def large_changed(shell: Shell) -> str:
    path = shell.folder / "moved" / "a.jsonl"
    path.write_text(path.read_text().replace("river", "lever"))
    return shell.error("append", "--check", "moved")


@pytest.mark.parametrize("option", ["--accept-libraries", "--shard=0/2", "--on-duplicate=error", "--workers=0"])
def test_check_takes_no_option_of_appending(pool: Shell, option: str) -> None:
    assert option.split("=")[0] in pool.error("append", "--check", option, status=2)


def test_append_without_a_corpus_is_wrong_usage(pool: Shell) -> None:
    assert "CORPUS" in pool.error("append", status=2)


def test_check_of_what_holds_nothing_of_the_corpus_is_one_line(pool: Shell) -> None:
    pool.write("other/x.jsonl", jsonl([{"text": "river"}]))
    assert "no document of it comes from the files named" in pool.error("append", "--check", "other")
    pool.run("delete", "--where", "true")
    assert "it holds no document" in pool.error("append", "--check")
