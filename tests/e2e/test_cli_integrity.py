"""Damage to any file of an index is found, named and exits with status 1; running readers are left in peace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from shell import Shell, jsonl

import nagindex

FILES = ["nags.npy", "docs.parquet", "sources.parquet", "skipped.parquet", "deleted-*.npy"]


@pytest.fixture(scope="module")
def scarred_template(tmp_path_factory: pytest.TempPathFactory, pool_template: Path, model: Path) -> Path:
    """What `scarred` is a copy of."""
    folder = tmp_path_factory.mktemp("scarred")
    shutil.copytree(pool_template, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shell = Shell(folder, model)
        shell.write("t.jsonl", '{"text":"river"}\n')
        shell.run("query", "t.jsonl", "-n", "1", "-o", "out.parquet")
        shell.run("delete", "--where", "id = 'd1'")
    return folder


@pytest.fixture
def scarred(shell: Shell, scarred_template: Path) -> Shell:
    """The pool with one document deleted, so that a segment has files of every kind, and with a target asked for before."""
    shutil.copytree(scarred_template, shell.folder, dirs_exist_ok=True)
    return shell


def harm(path: Path, damage: str) -> None:
    """Remove, cut, lengthen or flip a bit in the middle of a file."""
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        middle = len(content) // 2
        changed = {
            "cut": content[:-1],
            "emptied": b"",
            "longer": content + b"\0",
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        }
        path.write_bytes(changed[damage])


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped"])
@pytest.mark.parametrize("name", FILES)
def test_verify_finds_damage_to_every_file_of_a_segment(scarred: Shell, name: str, damage: str) -> None:
    path = min((scarred.folder / "index.nagindex" / "segments").glob(f"*/{name}"))
    harm(path, damage)
    done = scarred.run("verify", status=1)
    told = done.stdout + done.stderr
    assert f"segments/{path.parent.name}/{path.name}" in told
    assert f"segment {path.parent.name}" in told
    assert "is whole" not in told


HARMED = [("query", name, damage) for name in FILES for damage in ("removed", "cut")]


@pytest.mark.parametrize(
    ("command", "name", "damage"), [*HARMED, ("append", FILES[0], "cut"), ("sql", FILES[1], "cut")]
)
def test_opening_finds_a_missing_or_shorter_file(scarred: Shell, command: str, name: str, damage: str) -> None:
    path = min((scarred.folder / "index.nagindex" / "segments").glob(f"*/{name}"))
    harm(path, damage)
    reason = scarred.error(command, *OPTIONS[command])
    assert path.name in reason
    assert f"segment {path.parent.name}" in reason
    assert "restore the file" in reason


@pytest.mark.parametrize("damage", ["cut", "emptied", "longer", "flipped"])
@pytest.mark.parametrize("version", ["current", "older"])
def test_verify_finds_damage_to_every_manifest(scarred: Shell, version: str, damage: str) -> None:
    manifests = sorted((scarred.folder / "index.nagindex" / "manifests").glob("[0-9]*.json"))
    path = manifests[-1 if version == "current" else 1]
    if damage in ("cut", "longer"):  # white space around JSON is no damage
        content = path.read_bytes()
        path.write_bytes(content.rstrip()[:-1] if damage == "cut" else content + b"x")
    else:
        harm(path, damage)
    done = scarred.run("verify", status=1)
    assert f"manifests/{path.name}" in done.stdout + done.stderr


def test_verify_as_json_lists_every_problem(scarred: Shell) -> None:
    paths = sorted((scarred.folder / "index.nagindex" / "segments").glob("*/nags.npy"))
    for path in paths:
        harm(path, "flipped")
    done = scarred.run("verify", "--json", status=1)
    damage = json.loads(done.stdout)["damage"]
    assert len(damage) == 2
    assert all(any(str(path.parent.name) in line for line in damage) for path in paths)


UNKNOWN = [
    *(
        ("format_version", 99, "format version 99", c)
        for c in ("info", "query", "append", "verify", "compact", "vacuum")
    ),
    ("flags", ["teleport"], "unknown feature flag teleport", "query"),
]
OPTIONS = {"query": ["t.jsonl", "-n", "1"], "append": ["pool"], "sql": ["SELECT 1"], "vacuum": ["--grace", "0"]}


@pytest.mark.parametrize(("field", "value", "said", "command"), UNKNOWN)
def test_an_unknown_format_is_refused_and_left_alone(
    pool: Shell, field: str, value: object, said: str, command: str
) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n')
    path = max((pool.folder / "index.nagindex" / "manifests").glob("[0-9]*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    files = {p: p.read_bytes() for p in (pool.folder / "index.nagindex").rglob("*") if p.is_file()}
    reason = pool.error(command, *OPTIONS.get(command, []))
    assert said in reason
    assert "install the nagindex that wrote it" in reason
    assert {p: p.read_bytes() for p in (pool.folder / "index.nagindex").rglob("*") if p.is_file()} == files


def test_segments_without_any_manifest_are_not_built_over(pool: Shell) -> None:
    """An index that lost its manifests is damaged: a build must not start a new one among the old one's segments."""
    for path in (pool.folder / "index.nagindex" / "manifests").glob("*.json"):
        path.unlink()
    files = sorted((pool.folder / "index.nagindex").rglob("*"))
    assert "index.nagindex" in pool.build_error("pool", "--keep-column", "label")
    assert sorted((pool.folder / "index.nagindex").rglob("*")) == files


def test_vacuum_leaves_what_running_readers_use_until_the_grace_is_over(scarred: Shell) -> None:
    reader = nagindex.open("index.nagindex")
    before = reader.query("t.jsonl", n=9)
    scarred.run("delete", "--where", "id = 'd2'")
    scarred.run("compact")
    scarred.run("vacuum")
    again = reader.query("t.jsonl", n=9)
    assert list(again.ids) == list(before.ids)
    assert list(reader.docs.order("id").project("id").fetchnumpy()["id"]) == ["d0", "d2", "d3", "d4", "d5"]
    scarred.run("vacuum", "--grace", "0")
    assert scarred.docs("id") == ["d0", "d3", "d4", "d5"]
    scarred.run("verify")


def test_vacuum_keeps_as_many_versions_as_asked(scarred: Shell) -> None:
    latest = json.loads(scarred.run("info", "--json").stdout)["version"]
    scarred.run("vacuum", "--grace", "0", "--keep", "2")
    assert json.loads(scarred.run("info", "--json").stdout)["versions"] == [latest - 1, latest]
    assert json.loads(scarred.run("info", "--version", latest - 1, "--json").stdout)["documents"] == 6
    scarred.run("verify")


def test_a_reader_pinned_to_a_version_sees_no_append_or_compaction(pool: Shell) -> None:
    reader = nagindex.open("index.nagindex")
    rows = reader.docs.order("id").fetchall()
    pool.write("more.jsonl", jsonl([{"id": "new", "text": "violin", "label": "x"}]))
    pool.run("append", "more.jsonl")
    pool.run("delete", "--where", "id = 'd0'")
    pool.run("compact")
    assert reader.docs.order("id").fetchall() == rows
    reader.refresh()
    assert len(reader) == 6
    assert "new" in {row[0] for row in reader.docs.fetchall()}


def test_a_lost_newest_manifest_is_reported_by_verify_and_info(scarred: Shell) -> None:
    """The version before answers; nothing else depends on the version hint."""
    *_, before, newest = sorted((scarred.folder / "index.nagindex" / "manifests").glob("[0-9]*.json"))
    newest.unlink()
    done = scarred.run("verify", status=1)
    assert f"manifests/{newest.name}: missing" in done.stdout + done.stderr
    assert f"version {int(before.stem)} is current now" in done.stdout + done.stderr
    [warning] = [line for line in scarred.run("info").stderr.splitlines() if line.startswith("Warning: ")]
    assert f"version {int(newest.stem)} was published" in warning
    assert "nagindex verify" in warning
    scarred.run("query", *OPTIONS["query"])
