"""How many requests an index in an object store costs."""

import writer

import nagindex
from nagindex.storage import locations


def as_new_process(monkeypatch):
    """Forget what this process knows of mirrors, as a new process does."""
    locations._MIRRORS.clear()


def kinds(proxy):
    return [(method, "list-type" in path) for method, path in proxy.requests]


def test_a_warm_query_makes_one_request_and_fetches_no_object(url, corpus, proxy, tiny_backbone, monkeypatch):
    index, _ = nagindex.build(corpus("a.jsonl", 0, 40), url, backbone=tiny_backbone, preset="paper")
    index.optimize()

    def query():
        opened = nagindex.open(url)
        opened._backbone = tiny_backbone
        return opened.query(["river mountain"], n=5).ids.tolist()

    expected = query()
    as_new_process(monkeypatch)
    proxy.reset()
    assert query() == expected
    assert kinds(proxy) == [("GET", True)]


def test_a_cold_query_asks_for_the_hint_lists_once_and_fetches_each_file_once(
    url, corpus, proxy, tiny_backbone, elsewhere
):
    nagindex.build(corpus("a.jsonl", 0, 40), url, backbone=tiny_backbone, preset="paper")
    elsewhere()
    proxy.reset()
    opened = nagindex.open(url)
    opened._backbone = tiny_backbone
    opened.query(["river mountain"], n=5)
    fetched = [path.split("?")[0] for method, path in proxy.requests if method == "GET" and "list-type" not in path]
    assert len(fetched) == len(set(fetched))
    assert len([1 for _, listing in kinds(proxy) if listing]) == 1
    assert sorted(path.rsplit("/", 1)[1] for path in fetched)[:2] == ["000000000002.json", "docs.parquet"]


def test_a_hint_saves_the_listing_of_old_versions_and_is_never_trusted(url, proxy, elsewhere):
    from nagindex.storage.json_bytes import dump_json
    from nagindex.stores.objects import ObjectStore

    writer.start(url)
    for number in range(5):
        writer.append(url, f"d{number}")
    store = ObjectStore(url)
    for hinted, listings in ((6, 1), (2, 1), (1, 1)):
        store.put("manifests/latest.json", dump_json({"version": hinted}))
        elsewhere()
        proxy.reset()
        assert len(nagindex.open(url)) == 5
        listed = [path for method, path in proxy.requests if "list-type" in path]
        assert len(listed) == listings
        assert f"{hinted - 1:012d}" in listed[0]
    for broken in (b"", b"{", b"[]", b'{"version": "x"}'):
        store.put("manifests/latest.json", broken)
        elsewhere()
        assert len(nagindex.open(url)) == 5
    store.delete(["manifests/latest.json"])
    elsewhere()
    assert len(nagindex.open(url)) == 5
    store.put("manifests/latest.json", dump_json({"version": 9}))
    elsewhere()
    opened = nagindex.open(url)
    assert len(opened) == 5
    assert [text for text in opened.info()["warnings"] if f"{url}/manifests/000000000009.json is missing" in text]
    assert ["missing, though version 9" in str(error) for error in opened.verify()] == [True]
