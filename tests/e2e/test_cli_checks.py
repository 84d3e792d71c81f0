"""What can be known before work is said before it: nothing is overwritten that is needed, and no model is loaded in vain."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from shell import INDEX, Shell, jsonl

import nagindex
from nagindex.ingest import estimate

TARGET = jsonl([{"id": "e", "text": "river mountain solver"}])


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a model is loaded."""
    monkeypatch.setattr("nagindex.backbone.load.load_backbone", lambda *a, **k: pytest.fail("a model was loaded"))


@pytest.fixture
def asked(pool: Shell) -> Shell:
    """A working folder with an index, a target, and every file that a query can name."""
    pool.write("t.jsonl", TARGET)
    pool.write("seen.txt", "d0\n")
    pool.write("evaluation.jsonl", jsonl([{"text": "no such words anywhere"}]))
    pool.write("scores.jsonl", jsonl([{"id": f"d{i}", "score": i} for i in range(6)]))
    pool.write("query.yaml", "n: 1\n")
    [span] = nagindex.open(INDEX).segments[0].spans()
    os.link(Path(span.root, span.name), pool.folder / "source.jsonl")
    return pool


def unharmed(shell: Shell) -> dict[str, bytes]:
    """Return the content of all files of the folder but those of the index's derived data."""
    files = (path for path in sorted(shell.folder.rglob("*")) if path.is_file() and "derived" not in path.parts)
    return {str(path): path.read_bytes() for path in files}


EVERYTHING = (
    *("t.jsonl", "--exclude", "seen.txt", "--scores", "scores.jsonl", "--decontaminate", "evaluation.jsonl"),
    *("--config", "query.yaml"),
)
INPUTS = ("t.jsonl", "seen.txt", "scores.jsonl", "evaluation.jsonl", "query.yaml")


@pytest.mark.usefixtures("no_model")
def test_no_output_overwrites_an_input_a_source_or_the_index(asked: Shell) -> None:
    """Links and hard links to an input count as the input; nothing is encoded before."""
    os.symlink("t.jsonl", asked.folder / "link.jsonl")
    os.link(asked.folder / "seen.txt", asked.folder / "hard.jsonl")
    before = unharmed(asked)
    manifest = next((asked.folder / INDEX / "manifests").glob("0*.json"))
    for output in (*INPUTS, "link.jsonl", "hard.jsonl"):
        for option in ("-o", "--dropped"):
            message = asked.error("query", *EVERYTHING, option, output, "--format", "jsonl")
            assert message.startswith(f"{output}: is ")
            assert message.endswith("would be overwritten; name another file")
    for output in (("source.jsonl",), ("pool/a.jsonl", "--corpus-root", "pool")):
        assert "is a source of the index" in asked.error("query", "t.jsonl", "-n", "1", "-o", *output)
    for output in (manifest, f"{INDEX}/new.jsonl", f"{INDEX}/segments/new.jsonl"):
        assert "lies inside the index" in asked.error("query", "t.jsonl", "-n", "1", "--format", "jsonl", "-o", output)
    twice = asked.error("query", *EVERYTHING, "-o", "new.jsonl", "--dropped", "./new.jsonl", status=2)
    assert twice.endswith("new.jsonl: named for two outputs; name two files")
    assert unharmed(asked) == before


@pytest.mark.usefixtures("no_model")
def test_encode_and_targets_overwrite_no_input(asked: Shell) -> None:
    shutil.copy(asked.folder / "t.jsonl", asked.folder / "t.parquet")
    os.symlink("t.jsonl", asked.folder / "saved.parquet")
    before = unharmed(asked)
    assert "is the same file as, or in, the input t.jsonl" in asked.error("encode", "t.jsonl", "-o", "saved.parquet")
    assert "lies inside the index" in asked.error("encode", "t.jsonl", "-o", f"{INDEX}/t.parquet")
    template = ("targets", "template", "t.jsonl", "--template", "{{text}}")
    assert "t.jsonl: is an input, which would be overwritten" in asked.error(*template, "-o", "t.jsonl")
    assert "lies inside the index" in asked.error(*template, "-o", f"{INDEX}/t.jsonl")
    assert unharmed(asked) == before


def test_selections_written_from_python_spare_sources_and_the_index(asked: Shell) -> None:
    index = nagindex.open(INDEX)
    index.encode("t.jsonl", model=str(asked.model))
    selection = index.query("t.jsonl", n=2)
    before = unharmed(asked)
    for write in (selection.to_parquet, selection.to_jsonl, selection.write_dropped):
        for output, reason in (("source.jsonl", "is a source of"), (f"{INDEX}/x.parquet", "lies inside the index")):
            with pytest.raises(nagindex.BadInputError, match=reason):
                write(output)
    with pytest.raises(nagindex.BadInputError, match="lies inside the index"):
        index.save_targets(index.encode("t.jsonl"), f"{INDEX}/x.parquet")
    assert unharmed(asked) == before
    selection.to_jsonl("free.jsonl")
    selection.to_jsonl("free.jsonl")


@pytest.mark.usefixtures("no_model")
def test_what_cannot_be_written_is_said_before_the_model_is_loaded(
    asked: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root everything can be written, so rights are taken away where they are asked for."""
    asked.write("new.jsonl", TARGET)
    (asked.folder / "locked").mkdir()
    query = ("query", "new.jsonl", "-n", "1", "-o")
    assert "its folder does not exist" in asked.error(*query, "nowhere/x.parquet")
    assert "not a regular file; name another, or - for stdout" in asked.error(*query, "/dev/null", "--format", "jsonl")
    locked = {str(asked.folder / name) for name in ("locked", INDEX, f"{INDEX}/segments")}
    monkeypatch.setattr(
        os, "access", lambda path, mode, access=os.access: str(path) not in locked and access(path, mode)
    )
    assert "no permission to write in" in asked.error(*query, "locked/x.parquet")
    for arguments in (
        ("append", "new.jsonl"),
        ("build", "new.jsonl"),
        ("build", "new.jsonl", "-i", "locked/i.nagindex"),
    ):
        message = asked.error(*arguments)
        assert "no permission to write in" in message
        assert message.endswith("change its permissions, or name another folder with -i")


@pytest.mark.usefixtures("no_model")
def test_a_full_disk_is_said_before_the_model_is_loaded(asked: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))
    assert "no space left on its disk" in asked.error("query", "t.jsonl", "-n", "1", "-o", "x.parquet")
    for command in ("append", "build"):
        assert "about 1 MB are needed and 0 MB are free; free some," in asked.error(command, "t.jsonl")


def test_the_room_that_is_needed_is_estimated_from_the_corpus(asked: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what is in already: a build that goes on needs room for the rest only."""
    spec = nagindex.open(INDEX).manifest.fingerprint.spec
    documents = 2 * (4 << 20) // spec.bytes_per_document
    asked.write("many/many.jsonl", jsonl([{"text": "x", "label": "y"}]) * documents)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3 << 20))
    assert "about 8 MB are needed and 3 MB are free" in asked.error("append", "many")
    asked.run("append", "pool")
    asked.run("append", "many", "--shard", "0/1000000")


@pytest.mark.usefixtures("no_model")
def test_columns_and_files_of_a_query_are_looked_for_before_the_model_is_loaded(asked: Shell) -> None:
    """The texts are new, so each of these would have loaded it."""
    asked.write("new.jsonl", jsonl([{"text": "violin"}]))
    asked.write("other.jsonl", jsonl([{"words": "violin"}]))
    for arguments, message in (
        (("other.jsonl",), "other.jsonl: no text column found"),
        (("--text-column", "body"), "new.jsonl: no column 'body'"),
        (("--target-column", "task"), "new.jsonl: no column 'task'"),
        (("--quality-column", "nope"), "no column 'nope' in the index"),
        (("--cap", "nope=0.5"), "cap nope: no such column"),
        (("--where", "nope > 1"), "nope"),
        (("--exclude", "nope.txt"), "nope.txt: no such file"),
        (("--decontaminate", "nope.jsonl"), "nope.jsonl: no such file"),
        (("--device", "warp"), "device 'warp' cannot be used"),
    ):
        assert message in asked.error("query", "new.jsonl", *arguments, "-n", "1")


def test_a_device_is_checked_where_no_model_is_needed_too(asked: Shell) -> None:
    """The second query finds its targets in the cache."""
    asked.run("query", "t.jsonl", "-n", "1")
    for command in (("query", "t.jsonl", "-n", "1"), ("encode", "t.jsonl", "-o", "x.parquet"), ("append", "pool")):
        assert "device 'cuda:99' cannot be used" in asked.error(*command, "--device", "cuda:99")


def test_a_cache_that_cannot_be_written_is_one_warning(asked: Shell) -> None:
    """A file stands where its folder would be made: the query goes on."""
    shutil.rmtree(asked.folder / INDEX / "derived", ignore_errors=True)
    (asked.folder / INDEX / "derived").mkdir()
    (asked.folder / INDEX / "derived" / "targets").write_text("in the way")
    done = asked.run("query", "t.jsonl", "-n", "1", "-o", "x.parquet")
    assert done.stderr.count("the cache of encoded targets cannot be written") == 1
    assert Path("x.parquet").exists()
    assert "the cache of encoded targets cannot be written" in asked.run("encode", "t.jsonl", "-o", "y.parquet").stderr


def test_the_room_of_an_append_is_that_of_its_new_rows(pool: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many documents the index holds; files that it holds already take none, and columns are those of the append."""
    asked: list[int] = []
    monkeypatch.setattr(estimate, "require_room", lambda index, size: asked.append(size))
    pool.write("pool/c.jsonl", jsonl({"id": f"n{i}", "body.of": "river", "label": "x"} for i in range(4)))
    pool.run("append", "pool", "--text-column", "body.of")
    size = nagindex.open(INDEX).manifest.fingerprint.spec.bytes_per_document
    assert asked == [4 * size]
    pool.run("append", "pool", "--text-column", "body.of")
    assert asked == [4 * size, 0]
