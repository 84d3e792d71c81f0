"""A vacuum beside writers: whatever the clocks say, no version ever names a file that is gone."""

import numpy as np
import pytest

from nagindex.errors import BadInputError
from nagindex.index import Index
from nagindex.maintenance import vacuum, verify
from nagindex.storage.commit import commit, publish
from nagindex.storage.manifest import read_latest
from nagindex.storage.segment import with_deleted


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """A written index of six documents in two segments."""
    codes = random_codes(np.random.default_rng(0), 6, 2, 3, 8)
    return write_index(tmp_path / "i", codes, list("abcdef"), range(6), width=8, cuts=(4,))


@pytest.mark.parametrize("clock", [0.0, 86_400.0])
def test_a_vacuum_whose_clock_is_ahead_costs_a_writer_its_work_and_never_the_index(index, monkeypatch, clock):
    """By the clock that stamps files nothing looks old; where that one jumps, what is published is whole, or the writer is told."""
    monkeypatch.setattr(vacuum.time, "time", lambda now=vacuum.time.time: now() + 86_400)
    monkeypatch.setattr(vacuum, "_file_system_time", lambda path, now=vacuum._file_system_time: now(path) + clock)

    def change(current):
        entry = with_deleted(index.path, current.segments[0], np.array([0]), tokens=0)
        index.vacuum()
        return current.following("delete", (entry, *current.segments[1:]))

    if clock:
        with pytest.raises(BadInputError, match=r"deleted-.*removed before it was published"):
            commit(index.path, change)
    else:
        assert commit(index.path, change).version == 2
    assert list(Index.open(index.path).verify()) == []


def test_a_vacuum_keeps_what_is_published_while_it_looks(index, monkeypatch):
    """However old its files look."""
    entry = with_deleted(index.path, index.manifest.segments[0], np.array([0]), tokens=0)
    following = index.manifest.following("delete", (entry, *index.manifest.segments[1:]))
    real = vacuum.unused_files

    def published_meanwhile(*arguments):
        assert publish(index.path, following)
        return real(*arguments)

    monkeypatch.setattr(vacuum, "unused_files", published_meanwhile)
    index.vacuum(grace=0)
    assert read_latest(index.path) == following
    assert list(Index.open(index.path).verify()) == []


def test_a_vacuum_keeps_the_calibrations_of_kept_versions_and_of_writers(make_index):
    """Strays and the remains of killed writers go once they are old; what any kept version names stays, whatever its age."""
    index = make_index([("a", "the cat"), ("b", "on a mat")], impact="relative")
    folder = index.path / "calibration"
    [named] = folder.iterdir()
    for name in (f"{'0' * 64}.npy", f".{named.name}.12ab34cd.tmp", "note.txt"):
        (folder / name).write_bytes(b"stray")
    assert index.vacuum().young_files == 3
    assert len(list(folder.iterdir())) == 4
    assert index.vacuum(grace=0).files == 3
    assert list(folder.iterdir()) == [named]
    assert list(Index.open(index.path).verify()) == []


def test_damage_is_told_of_files_that_a_kept_version_names(index, monkeypatch):
    """Also if the first version that named them is removed while they are read."""
    index.delete(ids=["a"])
    [damaged] = (index.path / "segments" / index.manifest.segments[0].id).glob("deleted-*.npy")
    index.delete(ids=["e"])
    index.delete(ids=["b"])
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    real = verify._check_here

    def vacuumed_meanwhile(*arguments):
        index.vacuum(keep=2, grace=0)
        return real(*arguments)

    monkeypatch.setattr(verify, "_check_here", vacuumed_meanwhile)
    assert [damaged.name in str(error) for error in index.verify()] == [True]
