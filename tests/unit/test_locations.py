"""URLs of indexes: one spelling, no credentials, and an error that says what to install."""

import os
import sys
from pathlib import Path

import pytest

import nagindex
from nagindex.errors import BadInputError, DamagedIndexError, MissingDependencyError, show_folder_as
from nagindex.storage import locations
from nagindex.stores import objects
from nagindex.stores.failures import failure_of
from nagindex.stores.urls import absolute, is_url, normalized_url, source_place

SECRET = "kLsecretKEY0123456789"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://pools/web.nagindex/", "s3://pools/web.nagindex"),
        ("s3a://pools/web", "s3://pools/web"),
        (Path("s3://pools/web"), "s3://pools/web"),
        ("gcs://pools/web", "gs://pools/web"),
        ("azure://pools/web", "az://pools/web"),
        ("file:///data/web", "file:///data/web"),
        (Path("file:///data/web"), "file:///data/web"),
    ],
)
def test_a_url_has_one_spelling(given, url):
    assert is_url(given)
    assert normalized_url(given) == url


@pytest.mark.parametrize("path", ["index.nagindex", "/data/s3/x", "C:/x", "s3", "./s3:x"])
def test_other_paths_are_folders(path):
    assert not is_url(path)
    assert locations.index_folder(path) == Path(path)
    assert locations.mirror_of(Path(path)) is None
    assert locations.location(Path(path)) == str(Path(path))


@pytest.mark.parametrize(
    "url",
    [
        f"s3://kLid:{SECRET}@pools/web",
        f"s3://kLid:a/{SECRET}@pools/web",
        f"s3://pools/web?key={SECRET}",
        f"gs://{SECRET}@pools/web",
        f"abfss://c:{SECRET}@account/web",
        "file:///data/a#b",
        "file:///data/a?b",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_shown(url):
    with pytest.raises(BadInputError, match="in the environment, not in the URL") as refused:
        normalized_url(url)
    assert SECRET not in str(refused.value)


def test_an_index_of_its_own_below_the_cache_is_no_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("NAGINDEX_CACHE", str(tmp_path))
    assert locations.mirror_of(tmp_path / "project" / "index" / "segments") is None


def test_a_container_of_another_account_has_another_mirror(tmp_path, monkeypatch):
    pytest.importorskip("obstore")
    monkeypatch.setenv("NAGINDEX_CACHE", str(tmp_path))
    folders = set()
    for account in ("one", "two"):
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", account)
        folders.add(locations.index_folder("az://pools/web"))
    assert len(folders) == 2


@pytest.mark.parametrize("url", ["http://x/y", "S3://pools/web"])
def test_a_url_of_no_known_store_is_refused(url):
    with pytest.raises(BadInputError, match="no URL of an object store; known are s3, "):
        nagindex.open(url)


def test_a_url_names_a_bucket():
    with pytest.raises(BadInputError, match="names no bucket"):
        normalized_url("s3://")


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'nagindex\[cloud\]'"):
        nagindex.open("s3://pools/web")


def test_messages_name_a_mirror_by_its_url():
    show_folder_as("/cache/pool-0123/index", "s3://pools/web")
    error = DamagedIndexError(Path("/cache/pool-0123/index/segments/a/nags.npy"), "cut")
    assert str(error).startswith("s3://pools/web/segments/a/nags.npy: cut")
    assert error.path == "s3://pools/web/segments/a/nags.npy"
    assert str(BadInputError("/cache/pool-0123/index: no")) == "s3://pools/web: no"


def test_an_output_does_not_lie_in_an_index_that_has_no_document_yet(tmp_path):
    (tmp_path / "i" / "manifests").mkdir(parents=True)
    (tmp_path / "i" / "manifests" / "000000000001.json").touch()
    with pytest.raises(BadInputError, match=f"lies inside the index {tmp_path}/i"):
        nagindex.check_output(tmp_path / "i" / "best.parquet")


@pytest.mark.parametrize(
    ("url", "variable"),
    [("az://pools/web", "AZURE_STORAGE_ACCOUNT_NAME"), ("abfss://c@own/web", "AZURE_"), ("gs://p", "GOOGLE_")],
)
def test_missing_credentials_are_named_for_each_store(url, variable):
    for text in ("Account must be specified", "error sending request for url (http://metadata.google.internal/x)"):
        failure = failure_of(RuntimeError(text), url, attempts=6)
        assert str(failure).startswith(
            f"{url}: no credentials in the environment; set those of the store, such as {variable}"
        )


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("s3a://pools/web/", "s3://pools/web"),
        (Path("s3://pools/web"), "s3://pools/web"),
        (Path("hf://datasets/o/n@main/x.parquet"), "hf://datasets/o/n@main/x.parquet"),
        ("file:///data/a%20b", Path("/data/a b")),
        ("data/x.jsonl", "data/x.jsonl"),
    ],
)
def test_a_source_lies_on_the_disk_or_behind_a_url(given, place):
    assert source_place(given) == place
    assert absolute(given) == (str(place) if "://" in str(place) else os.path.abspath(place))


@pytest.mark.parametrize(
    "url", [f"hf://{SECRET}@datasets/o/n", f"hf://datasets/o/n?token={SECRET}", f"s3://a:{SECRET}@b/x"]
)
def test_credentials_of_a_source_are_refused_and_not_shown(url):
    with pytest.raises(BadInputError, match="not in the URL") as refused:
        source_place(url)
    assert SECRET not in str(refused.value)


def test_a_corpus_in_a_bucket_names_the_package_that_reads_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'nagindex\[cloud\]'"):
        nagindex.build("s3://pools/corpus", tmp_path / "i", model="minilm")


@pytest.mark.parametrize(("stated", "known"), [("0x8D", '"0x8D"'), ('"a-2"', '"a-2"'), ('W/"a"', 'W/"a"'), (None, "")])
def test_an_etag_is_the_same_however_a_store_quotes_it(stated, known):
    """Listings of Azure leave out the quotes that its answers to HEAD have."""
    assert objects._stored({"path": "a", "size": 1, "e_tag": stated, "last_modified": None}).etag == known


def test_what_is_no_url_is_refused():
    with pytest.raises(BadInputError, match=r"s3://...: not a URL .*; write s3://BUCKET/PREFIX"):
        normalized_url("s3://[bucket/x")
