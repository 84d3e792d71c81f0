"""Stores that slow writers down, whose listings are old, or whose pages expire: no commit is lost, and no answer is wrong."""

from collections import Counter

import pytest
import writer

import nagindex
from nagindex.errors import ObjectStoreError
from nagindex.storage.manifest import versions


def ids(url):
    return sorted(name for (name,) in nagindex.open(url).docs.project("id").fetchall())


def is_listing(path):
    return "list-type=2" in path


@pytest.mark.parametrize("status", ["503", "429"])
def test_a_store_that_answers_every_third_request_for_an_object_is_waited_for(status, url, proxy, elsewhere):
    asked = Counter()

    def refuse(count, method, path):
        asked[method, path] += 1
        return status if asked[method, path] % 3 else None

    proxy.reset(refuse)
    writer.start(url)
    names = [f"d{n}" for n in range(9)]
    for name in names:
        writer.append(url, name)
    elsewhere()
    opened = nagindex.open(url)
    assert (ids(url), opened.verify()) == (names, [])
    assert versions(opened.path) == list(range(1, 11))


@pytest.mark.parametrize("fault", ["stale", "blind"])
def test_an_append_survives_a_listing_of_a_moment_before(fault, url, proxy, elsewhere):
    """At each of its requests in turn, in a cache that knows the index and in an empty one."""
    writer.start(url)
    for name in ("a", "b"):
        writer.append(url, name)
    expected = ["a", "b"]
    for empty in (False, True):
        proxy.reset()
        writer.append(url, f"first {empty}")
        number = len(proxy.requests)
        expected.append(f"first {empty}")
        for place in range(1, number + 1):
            if empty:
                elsewhere()
            name = f"{empty}-{place:02}"
            proxy.reset(lambda count, method, path, place=place: fault if count == place and is_listing(path) else None)
            writer.append(url, name)
            proxy.reset()
            expected.append(name)
            elsewhere()
            assert ids(url) == sorted(expected)
    opened = nagindex.open(url)
    assert opened.manifest.version == len(expected) + 1
    assert opened.verify() == []


@pytest.mark.parametrize("fault", ["stale", "blind"])
def test_a_reader_of_an_old_listing_sees_the_newest_version_or_the_one_before(fault, url, proxy, elsewhere):
    writer.start(url)
    for name in ("a", "b", "c"):
        writer.append(url, name)

    def read():
        elsewhere()
        return ids(url)

    proxy.reset()
    assert read() == ["a", "b", "c"]
    for place in range(1, len(proxy.requests) + 1):
        proxy.reset(lambda count, method, path, place=place: fault if count == place and is_listing(path) else None)
        assert read() in (["a", "b", "c"], ["a", "b"])
        proxy.reset()
        assert ids(url) == ["a", "b", "c"]


@pytest.mark.parametrize("fault", ["stale", "blind"])
def test_a_store_whose_listings_stay_old_publishes_nothing_twice_and_ends_with_a_line(fault, url, proxy, elsewhere):
    writer.start(url)
    writer.append(url, "a")
    elsewhere()
    proxy.reset(lambda count, method, path: fault if is_listing(path) else None)
    with pytest.raises((ObjectStoreError, nagindex.DamagedIndexError)) as raised:
        writer.append(url, "b")
    assert url in str(raised.value)
    proxy.reset()
    elsewhere()
    assert ids(url) == ["a"]
    writer.append(url, "b")
    assert ids(url) == ["a", "b"]
    assert nagindex.open(url).verify() == []


def test_a_listing_whose_pages_expire_is_begun_again(url, proxy, elsewhere):
    writer.start(url)
    names = [f"d{n}" for n in range(5)]
    for name in names:
        writer.append(url, name)

    def read():
        elsewhere()
        opened = nagindex.open(url)
        return ids(url), versions(opened.path)

    proxy.reset()
    proxy.page = 2
    expected = read()
    assert expected == (names, list(range(1, 7)))
    continued = [place for place, (_, path) in enumerate(proxy.requests, start=1) if "continuation-token" in path]
    assert len(continued) >= 3
    for place in continued:
        proxy.reset(lambda count, method, path, place=place: "expired" if count == place else None)
        proxy.page = 2
        assert read() == expected
    proxy.reset(lambda *_: "expired")
    proxy.page = 2
    elsewhere()
    with pytest.raises(ObjectStoreError, match=r"does not list it to the end after 6 attempts \(HTTP 400"):
        versions(nagindex.open(url).path)
