"""The loss of the newest manifest is noticed by the version hint, which nothing else depends on."""

import json
import os

import numpy as np
import pytest

from nagindex.errors import DamagedIndexError
from nagindex.index import Index
from nagindex.storage import commit as commits
from nagindex.storage import manifest as manifests
from nagindex.storage import version_hint
from nagindex.storage.commit import commit
from nagindex.storage.json_bytes import dump_json
from nagindex.storage.manifest import manifest_path, missing_version, read_latest
from nagindex.storage.version_hint import hint_path, read_hint, write_hint


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of six documents in two segments; three versions, of which the last two each lack one more."""
    codes = random_codes(np.random.default_rng(0), 6, 2, 3, 8)
    index = write_index(tmp_path / "i", codes, list("abcdef"), range(6), width=8, cuts=(4,))
    index.delete(ids=["a"])
    index.delete(ids=["b"])
    return index


def warnings(index):
    return [text for text in Index.open(index.path).info()["warnings"] if "manifest" in text]


def damage(index):
    return [str(error) for error in Index.open(index.path).verify()]


def test_every_publication_names_its_version(index):
    assert read_hint(index.path) == 3
    assert (missing_version(index.path), damage(index), warnings(index)) == (None, [], [])


def test_a_lost_newest_manifest_is_named_by_verify_and_info(index):
    """Queries answer from the version before, as they must not depend on the hint, and say so."""
    codes = np.array(index.codes[0][:1])
    manifest_path(index.path, 3).unlink()
    [error] = damage(index)
    assert error.startswith(f"{manifest_path(index.path, 3)}: ")
    assert "version 2 is current now" in error
    [warning] = warnings(index)
    assert f"version 3 was published, but its manifest {manifest_path(index.path, 3)} is missing" in warning
    assert "version 2 is current now; restore the file" in warning
    selection = Index.open(index.path).query(codes, n=9, cache=False)
    assert sorted(selection.ids) == list("bcdef")
    assert warning in selection.warnings


def test_several_lost_manifests_are_one_error(index):
    manifest_path(index.path, 3).unlink()
    manifest_path(index.path, 2).unlink()
    [error] = damage(index)
    assert "000000000003.json" in error
    assert "version 1 is current now" in error


def test_vacuumed_versions_are_not_missing(index):
    index.vacuum(grace=0)
    assert manifests.versions(index.path) == [3]
    assert (damage(index), warnings(index)) == ([], [])


def test_a_vacuum_does_not_remove_what_only_a_lost_version_names(index):
    """It is refused until the manifest is back, or another version was published."""
    lost = manifest_path(index.path, 3)
    content = lost.read_bytes()
    lost.unlink()
    files = sorted(path for path in index.path.glob("segments/*/*"))
    with pytest.raises(
        DamagedIndexError, match=r"000000000003.json: missing, though version 3 was published; put it back"
    ):
        Index.open(index.path).vacuum(grace=0)
    assert sorted(path for path in index.path.glob("segments/*/*")) == files
    lost.write_bytes(content)
    Index.open(index.path).vacuum(grace=0)
    assert (damage(index), warnings(index)) == ([], [])


def test_the_lost_number_is_published_again_only_once_the_hint_is_removed(index):
    """Whoever restores the manifest later must not find another version of its number."""
    manifest_path(index.path, 3).unlink()
    for change in (lambda: Index.open(index.path).delete(ids=["c"]), Index.open(index.path).compact):
        with pytest.raises(DamagedIndexError, match=r"put it back, or remove .*latest\.json to go on from version 2"):
            change()
    assert manifests.versions(index.path) == [1, 2]
    hint_path(index.path).unlink()
    Index.open(index.path).delete(ids=["c"])
    assert (manifests.versions(index.path), damage(index), warnings(index)) == ([1, 2, 3], [], [])


def test_a_writer_killed_before_the_hint_has_published(index, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(commits, "write_hint", killed)
        with pytest.raises(KeyboardInterrupt):
            index.delete(ids=["c"])
    assert (read_latest(index.path).version, read_hint(index.path)) == (4, 3)
    assert (damage(index), warnings(index)) == ([], [])


@pytest.mark.parametrize("step", ["open", "replace"])
def test_a_hint_that_cannot_be_written_costs_no_publication(index, monkeypatch, step):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((version_hint, "open", full) if step == "open" else (os, "replace", full)), raising=False)
        assert index.delete(ids=["c"]) == 1
    assert (read_latest(index.path).version, read_hint(index.path)) == (4, 3)
    assert not list(hint_path(index.path).parent.glob(".*"))
    assert damage(index) == []


def test_a_slower_writer_may_leave_a_lower_number(index):
    write_hint(index.path, 1)
    assert (missing_version(index.path), damage(index)) == (None, [])


def test_an_index_without_a_hint_is_whole(index):
    hint_path(index.path).unlink()
    assert (read_hint(index.path), damage(index), warnings(index)) == (None, [], [])


def test_a_version_published_while_the_others_are_listed_is_not_missing(index, monkeypatch):
    def published_meanwhile(path, versions=manifests.versions):
        found = versions(path)
        monkeypatch.setattr(manifests, "versions", versions)
        commit(path, lambda current: current.following("append", current.segments))
        return found

    monkeypatch.setattr(manifests, "versions", published_meanwhile)
    assert missing_version(index.path) is None
    assert read_hint(index.path) == 4


GARBAGE = [
    b"",
    b"7",
    b"\xff\xfe",
    b'{"version": 9}',
    b"[" * 100_000,
    *(dump_json(content) for content in ({}, {"version": "9"}, {"version": 0}, {"version": True}, {"version": None})),
]


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
def test_a_damaged_hint_is_reported_by_verify_and_ignored_otherwise(index, content):
    """The next publication replaces it."""
    hint_path(index.path).write_bytes(content)
    with pytest.raises(DamagedIndexError, match=r"latest\.json"):
        read_hint(index.path)
    [error] = damage(index)
    assert str(hint_path(index.path)) in error
    assert warnings(index) == []
    Index.open(index.path).delete(ids=["c"])
    assert (read_hint(index.path), damage(index)) == (4, [])


def test_every_flipped_byte_of_the_hint_is_reported(index):
    content = hint_path(index.path).read_bytes()
    assert set(json.loads(content)) == {"version", "sha256"}
    for position in range(len(content)):
        hint_path(index.path).write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(DamagedIndexError, match=r"latest\.json"):
            read_hint(index.path)


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_a_hint_that_is_no_file_is_reported(index, tmp_path, kind):
    path = hint_path(index.path)
    path.unlink()
    {"folder": path.mkdir, "link": lambda: path.symlink_to(tmp_path / "x"), "pipe": lambda: os.mkfifo(path)}[kind]()
    assert [str(path) in error for error in damage(index)] == [True]
    assert warnings(index) == []
    assert Index.open(index.path).delete(ids=["c"]) == 1
