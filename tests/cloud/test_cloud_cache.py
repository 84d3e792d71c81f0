"""The cache of mirrors is bounded, leaves what processes use, and can be listed and emptied."""

import shutil
import subprocess
import sys

import pytest
import writer

import nagindex
from nagindex import errors
from nagindex.errors import BadInputError
from nagindex.storage import cache_room, locations, mirror

READER = """
import sys, nagindex
opened = nagindex.open(sys.argv[1])
[codes.sum() for codes in opened.codes]
print("open", flush=True)
sys.stdin.readline()
print(sum(int(codes.sum()) for codes in opened.codes), opened.sql("SELECT count(*) FROM docs").fetchall())
"""
KILLED_VERIFY = """
import os, signal, sys, nagindex
from nagindex.maintenance import verify
verify.release = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
nagindex.open(sys.argv[1]).verify()
"""


@pytest.fixture
def filled(url):
    """An index of six segments, none of them in use by this process."""
    writer.start(url)
    for number in range(6):
        writer.append(url, f"d{number}")
    return url


def release():
    """Use nothing any more, as if this process had ended."""
    for own in list(OPENED):
        own.pins.close()
    locations._MIRRORS.clear()
    cache_room._room["left"] = 0


OPENED = []


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    real = mirror.Mirror.__init__

    def noted(self, *arguments):
        real(self, *arguments)
        OPENED.append(self)

    monkeypatch.setattr(mirror.Mirror, "__init__", noted)
    yield
    OPENED.clear()


def held(url):
    return {path.name for path in locations.index_folder(url).glob("segments/*")}


def test_least_recently_used_segments_leave_a_full_cache(filled, monkeypatch):
    assert len(held(filled)) == 6
    release()
    monkeypatch.setenv("NAGINDEX_CACHE_SIZE", "20kB")
    other = filled.replace("pool.nagindex", "other.nagindex")
    writer.start(other)
    writer.append(other, "x")
    release()
    opened = nagindex.open(other)
    locations.fetch(  # makes room for a file
        opened.path / "segments" / opened.segments[0].entry.id / "nags.npy",
        length=opened.segments[0].entry.files["nags.npy"].bytes,
        sha256=opened.segments[0].entry.files["nags.npy"].sha256,
        owner="x",
    )
    assert sum(own.bytes for own in cache_room.cached_indexes()) <= 22_000
    assert len(held(filled)) < 6
    assert len(nagindex.open(filled).sql("SELECT id FROM docs").fetchall()) == 6


def test_what_a_running_process_uses_stays(filled, monkeypatch):
    release()
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, filled], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout.readline() == "open\n"
    before = held(filled)
    release()
    monkeypatch.setenv("NAGINDEX_CACHE_SIZE", "1")
    cache_room.make_room(1)
    assert held(filled) == before
    assert nagindex.cached_indexes()[0].in_use
    release()
    assert nagindex.clear_cache() == []
    told, _ = reader.communicate("go on\n", timeout=60)
    assert told.endswith("[(6,)]\n")
    release()
    assert [own.url for own in nagindex.clear_cache()] == [filled]
    assert nagindex.cached_indexes() == []
    assert len(nagindex.open(filled)) == 6


def test_the_limit_is_read_as_people_write_it(monkeypatch):
    for text, limit in {"50GB": 50 * 10**9, "1.5 T": 15 * 10**11, "1000": 1000, "2MiB": 2 * 10**6}.items():
        monkeypatch.setenv("NAGINDEX_CACHE_SIZE", text)
        assert cache_room.cache_limit() == limit
    monkeypatch.setenv("NAGINDEX_CACHE_SIZE", "much")
    with pytest.raises(BadInputError, match="NAGINDEX_CACHE_SIZE=much"):
        cache_room.cache_limit()
    monkeypatch.delenv("NAGINDEX_CACHE_SIZE")
    assert 0 < cache_room.cache_limit() <= 50 * 10**9


def test_what_a_killed_verify_fetched_is_removed(filled):
    killed = subprocess.run([sys.executable, "-c", KILLED_VERIFY, filled], check=False, timeout=60)
    assert killed.returncode == -9
    assert len([*cache_room.cache_root().glob("*/mirror.json")]) == 2
    assert [own.url for own in nagindex.cached_indexes()] == [filled]
    assert len([*cache_room.cache_root().glob("*/mirror.json")]) == 1


def test_verify_leaves_nothing_behind(filled):
    opened = nagindex.open(filled)
    before = len(errors._SHOWN), len(locations._MIRRORS), {*cache_room.cache_root().iterdir()}
    assert opened.verify() == []
    assert (len(errors._SHOWN), len(locations._MIRRORS), {*cache_room.cache_root().iterdir()}) == before


def test_a_cache_that_is_removed_while_an_index_is_used_is_filled_again(filled):
    opened = nagindex.open(filled)
    before = [codes.tobytes() for codes in opened.codes]
    shutil.rmtree(cache_room.cache_root())
    assert [codes.tobytes() for codes in opened.codes] == before
    shutil.rmtree(cache_room.cache_root())
    writer.append(filled, "later")
    assert len(nagindex.open(filled)) == 7
    assert opened.verify() == []
