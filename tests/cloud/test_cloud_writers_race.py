"""Writers of one index in an object store: what they publish at the same time is all kept, and a killed one leaves a good index."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import writer

import nagindex
from nagindex.errors import BadInputError
from nagindex.storage import locations, mirror
from nagindex.storage.manifest import read_latest, versions

PROGRAM = Path(__file__).with_name("writer.py")


def ids(url):
    return sorted(name for (name,) in nagindex.open(url).docs.project("id").fetchall())


def test_eight_concurrent_appenders_lose_nothing(url, tmp_path, monkeypatch, elsewhere):
    writer.start(url)
    running = []
    for number in range(8):
        if number % 2:  # some share a cache, others have one of their own
            monkeypatch.setenv("NAGINDEX_CACHE", str(tmp_path / f"own-{number}"))
        running.append(subprocess.Popen([sys.executable, PROGRAM, url, f"w{number}", "4"]))
    assert [own.wait(timeout=300) for own in running] == [0] * 8
    elsewhere()
    assert ids(url) == sorted(f"w{number}-{n}" for number in range(8) for n in range(4))
    index = nagindex.open(url)
    assert versions(index.path) == list(range(1, 34))
    assert index.verify() == []


def test_a_writer_killed_between_upload_and_publication_leaves_a_good_index(url, elsewhere):
    writer.start(url)
    writer.append(url, "first")
    killed = subprocess.run([sys.executable, PROGRAM, url, "second", "1", "kill"], check=False)
    assert killed.returncode == -9
    elsewhere()
    index = nagindex.open(url)
    assert (ids(url), index.manifest.version, index.verify()) == (["first"], 2, [])
    uploaded = {found.name.split("/")[1] for found in locations.mirror_of(index.path).store.listing("segments")}
    assert len(uploaded) == 2
    writer.append(url, "second")
    assert ids(url) == ["first", "second"]
    assert index.vacuum(grace=3600).files == 0
    assert index.vacuum(grace=0).files == 4
    assert (ids(url), nagindex.open(url).verify()) == (["first", "second"], [])


def test_a_store_without_conditional_puts_is_refused_by_name(url, proxy):
    proxy.reset(lambda number, method, path: "unconditional")
    with pytest.raises(BadInputError, match=rf"{url}: this store \({proxy.url}\) has no conditional puts"):
        writer.start(url)
    proxy.reset()
    assert locations.mirror_of(locations.index_folder(url)).store.listing() == []


def test_a_slow_writer_does_not_publish_a_version_that_was_vacuumed(url, elsewhere, monkeypatch):
    """Nor one that names its own files, if the vacuum removed those, too."""
    writer.start(url)
    slow, real = locations.index_folder(url), mirror.Mirror.create
    before = read_latest(slow)

    def late(self, path, content):
        monkeypatch.setattr(mirror.Mirror, "create", real)
        own = os.environ["NAGINDEX_CACHE"]
        elsewhere()
        for name in ("a", "b"):
            writer.append(url, name)
        assert nagindex.open(url).vacuum(grace=0).files == 4
        monkeypatch.setenv("NAGINDEX_CACHE", own)
        return real(self, path, content)

    monkeypatch.setattr(mirror.Mirror, "create", late)
    writer.append(url, "slow")
    assert before.version == 1
    assert ids(url) == ["a", "b", "slow"]
    assert versions(slow) == [3, 4]
    assert nagindex.open(url).verify() == []


def test_a_lost_race_uploads_no_file_twice(url, proxy, elsewhere, monkeypatch):
    writer.start(url)
    real = mirror.Mirror.create

    def late(self, path, content):
        monkeypatch.setattr(mirror.Mirror, "create", real)
        own = os.environ["NAGINDEX_CACHE"]
        elsewhere()
        writer.append(url, "first")
        monkeypatch.setenv("NAGINDEX_CACHE", own)
        proxy.reset()
        return real(self, path, content)

    monkeypatch.setattr(mirror.Mirror, "create", late)
    writer.append(url, "second")
    assert [path for method, path in proxy.requests if method == "PUT" and "/segments/" in path] == []
    assert ids(url) == ["first", "second"]
    assert nagindex.open(url).verify() == []
