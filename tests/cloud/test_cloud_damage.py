"""Objects that are truncated, flipped or missing give an error that names them, never a wrong answer; so do files of the mirror."""

import errno

import pytest
import writer
from stores import objects_of

import nagindex
from nagindex.errors import DamagedIndexError
from nagindex.storage import locations, mirrored_graphs
from nagindex.storage.mirrored_graphs import push_graphs
from nagindex.stores import objects
from nagindex.stores.objects import ObjectStore

FLIPS = ("cut", "flip", "remove")


def damaged(content, kind):
    middle = len(content) // 2
    return content[:-1] if kind == "cut" else content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.fixture
def index(url, corpus, tiny_backbone):
    index, _ = nagindex.build(corpus("a.jsonl", 0, 30), url, backbone=tiny_backbone, preset="calibrated")
    index._backbone = tiny_backbone
    index.append(corpus("b.jsonl", 30, 40))
    index.delete(ids=["d3", "d33"])
    index.optimize()
    return index


def answers(url, backbone):
    opened = nagindex.open(url)
    opened._backbone = backbone
    scanned = opened.query(["river mountain", "violin proof"], n=9, weights="log-ratio")
    return [
        scanned.ids.tolist(),
        scanned.scores.tobytes(),
        opened.sql("SELECT * FROM docs ORDER BY id").fetchall(),
        [codes.tobytes() for codes in opened.codes],
        [str(span) for segment in opened.segments for span in segment.spans()],
        len(opened.skipped()),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLIPS)
def test_every_damaged_object_is_named_or_does_not_matter(kind, url, index, tiny_backbone, elsewhere):
    expected, objects, store = answers(url, tiny_backbone), objects_of(url), ObjectStore(url)
    named, newest = [], max(name for name in objects if name.startswith("manifests/0"))
    for name, content in objects.items():
        if name.endswith(("claim", "derived.json")) or (kind == "remove" and name == newest):
            continue
        if kind == "remove":
            store.delete([name])
        else:
            store.put(name, damaged(content, kind))
        elsewhere()
        try:
            assert answers(url, tiny_backbone) == expected, name
        except DamagedIndexError as error:
            named.append((error.path, f"{url}/{name}"))
        found = [error.path for error in nagindex.open(url).verify()] if name != newest else []
        if name not in (
            newest,
            "manifests/latest.json",
            min(objects, key=lambda own: (own[:11] != "manifests/0", own)),
        ):
            hidden = kind == "remove" and name.startswith("derived/") and name.endswith(".json")
            assert hidden or any(path == f"{url}/{name}" for path in found), (name, found)
        store.put(name, content)
    elsewhere()
    assert answers(url, tiny_backbone) == expected
    assert len(named) >= 10
    assert [path for path, _ in named] == [path for _, path in named]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLIPS)
def test_every_damaged_file_of_the_mirror_is_fetched_again(kind, url, index, tiny_backbone, elsewhere):
    elsewhere()
    expected = answers(url, tiny_backbone)
    place = locations.index_folder(url)
    files = [path for path in place.rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        content = path.read_bytes()
        path.unlink()
        if kind != "remove":
            path.write_bytes(damaged(content, kind))
        assert answers(url, tiny_backbone) == expected, path
    assert nagindex.open(url).verify() == []


def test_optimize_replaces_damaged_graphs_in_the_store(url, index, tiny_backbone, elsewhere):
    expected, store = answers(url, tiny_backbone), ObjectStore(url)
    for name, content in objects_of(url).items():
        if name.startswith("derived/graph-") and not name.endswith("claim"):
            store.put(name, damaged(content, "flip"))
    elsewhere()
    assert nagindex.open(url).verify() != []
    nagindex.open(url).optimize()
    elsewhere()
    assert nagindex.open(url).verify() == []
    assert answers(url, tiny_backbone) == expected


@pytest.fixture
def connected(url):
    writer.start(url)
    for name in ("a", "b", "c"):
        writer.append(url, name)
    nagindex.open(url).optimize()
    return url


def test_a_description_of_graphs_that_was_damaged_in_the_cache_is_not_uploaded(connected):
    stored, place = objects_of(connected), locations.index_folder(connected)
    files = [*place.glob("derived/graph-*/*.json")]
    assert len(files) >= 2
    for path in files:
        path.write_bytes(damaged(path.read_bytes(), "flip"))
    push_graphs(locations.mirror_of(place))
    assert objects_of(connected) == stored


def test_graphs_of_a_process_killed_before_their_mark_are_heard_of_when_its_command_runs_again(
    url, elsewhere, monkeypatch
):
    writer.start(url)
    writer.append(url, "a")
    elsewhere()
    assert nagindex.open(url).info()["graphs"] is None
    other, real = locations.cache_root(), mirrored_graphs.mark_graphs
    elsewhere()

    def killed(mirror):
        raise KeyboardInterrupt

    monkeypatch.setattr(mirrored_graphs, "mark_graphs", killed)
    with pytest.raises(KeyboardInterrupt):
        nagindex.open(url).optimize()
    monkeypatch.setattr(mirrored_graphs, "mark_graphs", real)
    nagindex.open(url).optimize()
    monkeypatch.setenv("NAGINDEX_CACHE", str(other))
    assert nagindex.open(url).info()["graphs"]["documents"] == 1


def test_a_full_disk_is_reported_with_the_file_of_the_cache(connected, elsewhere, monkeypatch):
    elsewhere()
    opened = nagindex.open(connected)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(objects.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*cache-.*/nags.npy'"):
        _ = [codes.sum() for codes in opened.codes]
