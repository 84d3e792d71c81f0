"""Requests that fail, one at a time and all from one on: the answer is right or the error clear, and no commit is lost."""

import pytest
import writer

import nagindex
from nagindex.errors import ObjectStoreError
from nagindex.storage import locations
from nagindex.stores import objects

FAULTS = ("500", "500 after", "lost", "lost after", "409", "503", "429")


def ids(url):
    return sorted(name for (name,) in nagindex.open(url).docs.project("id").fetchall())


def requests_of(proxy, action):
    proxy.reset()
    action()
    return len(proxy.requests)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*FAULTS, "late"])
def test_an_append_survives_a_failure_of_each_of_its_requests(fault, url, proxy, monkeypatch):
    if fault == "late":  # given up by the client, and carried out all the same
        monkeypatch.setattr(objects, "TIMEOUT", 1.5)
    writer.start(url)
    number, expected = requests_of(proxy, lambda: writer.append(url, "first")), ["first"]
    assert number >= 7
    for place in range(1, number + 2):
        proxy.reset(lambda count, method, path, place=place: fault if count == place else None)
        writer.append(url, f"d{place:02}")
        proxy.reset()
        expected.append(f"d{place:02}")
        assert ids(url) == sorted(expected)
    opened = nagindex.open(url)
    assert opened.manifest.version == len(expected) + 1  # none was published twice
    assert opened.verify() == []


@pytest.mark.parametrize("fault", ["500", "lost after"])
def test_a_store_that_stays_away_gives_a_clear_error_and_a_good_index(fault, url, proxy):
    writer.start(url)
    number, expected = requests_of(proxy, lambda: writer.append(url, "first")), ["first"]
    for place in range(1, number + 1):
        proxy.reset(lambda count, method, path, place=place: fault if count >= place else None)
        name, failed = f"d{place:02}", None
        try:
            writer.append(url, name)
        except ObjectStoreError as error:
            failed = str(error)
            assert "does not answer after 6 attempts" in failed
            assert failed.startswith(url)
        proxy.reset()
        found = ids(url)
        assert set(found) - {name} == set(expected)
        assert failed or name in found
        expected = found  # after an error, it may have been published
    assert nagindex.open(url).verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_cold_read_survives_a_failure_of_each_of_its_requests(fault, url, proxy, elsewhere):
    writer.start(url)
    for name in ("a", "b", "c"):
        writer.append(url, name)
    nagindex.open(url).optimize()

    def read():
        elsewhere()
        opened = nagindex.open(url)
        found = opened.neighbors(["b"], k=3)
        return ids(url), [codes.tobytes() for codes in opened.codes], found.rows

    expected = read()
    number = requests_of(proxy, read)
    for place in range(1, number + 1):
        proxy.reset(lambda count, method, path, place=place: fault if count == place else None)
        assert read() == expected


def test_a_store_that_hangs_is_given_up(url, proxy, monkeypatch):
    import time

    writer.start(url)
    monkeypatch.setattr(objects, "TIMEOUT", 0.3)
    monkeypatch.setattr(objects, "ATTEMPTS", 2)
    locations._MIRRORS.clear()
    proxy.reset(lambda *_: time.sleep(1.5))
    with pytest.raises(ObjectStoreError, match="does not answer after 2 attempts"):
        nagindex.open(url)
