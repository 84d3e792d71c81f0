"""Outputs behind URLs appear whole or not at all, and overwrite nothing that is needed."""

import itertools
import json
import os
import random
from functools import partial

import pyarrow
import pyarrow.parquet as pq
import pytest
from cluster_tasks import run_here
from stores import BUCKET, SECRET

import nagindex
from nagindex.errors import BadInputError, ObjectStoreError
from nagindex.query import remote, remote_rows, rows, selection
from nagindex.storage.files import replacing
from nagindex.storage.remote_outputs import filling
from nagindex.stores.objects import CHUNK, ObjectStore

TARGETS = ["river mountain solver"]


@pytest.fixture
def folder(proxy):
    """The URL of a folder of outputs, as a store."""
    return ObjectStore(f"s3://{BUCKET}/{random.randbytes(6).hex()}/out")


@pytest.fixture
def index(corpus, tmp_path, tiny_backbone):
    built, _ = nagindex.build(corpus("a.jsonl", 0, 60), tmp_path / "i.nagindex", backbone=tiny_backbone, preset="paper")
    return built


def _faulty_puts(fault, first):
    """Return what has the uploads of objects fail, from one of them on."""
    numbers = itertools.count(1)
    return lambda count, method, path: fault if method == "PUT" and next(numbers) >= first else None


def names(folder):
    return [found.name for found in folder.listing()]


def test_a_selection_is_written_to_a_url_as_to_a_file(folder, index, tmp_path):
    selection = index.query(TARGETS, n=20)
    for name in ("best.parquet", "best.jsonl", "best.csv.gz", "ids.txt"):
        selection.write(tmp_path / name)
        selection.write(folder.url_of(name))
        if not name.endswith(".gz"):  # which holds the time
            assert folder.get(name)[0] == (tmp_path / name).read_bytes()
    selection.report(folder.url_of("best.html"))
    index.score_curve(TARGETS).write(folder.url_of("curve.svg"))
    index.save_targets(index.encode(TARGETS), folder.url_of("own.parquet"))
    assert names(folder) == [
        "best.csv.gz",
        "best.html",
        "best.jsonl",
        "best.parquet",
        "curve.svg",
        "ids.txt",
        "own.parquet",
    ]
    again = index.query(folder.url_of("own.parquet"), n=20, exclude=folder.url_of("best.jsonl"))
    assert not set(again.ids.tolist()) & set(selection.ids.tolist())


@pytest.mark.parametrize("fault", ["500", "403", "lost"])
def test_an_upload_of_parts_that_fails_at_any_request_leaves_the_former_object(fault, folder, proxy, monkeypatch):
    monkeypatch.setattr("nagindex.stores.objects.ATTEMPTS", 2)
    url, large = folder.url_of("best.jsonl"), os.urandom(CHUNK + 1000)
    folder.put("best.jsonl", b"former")

    def write():
        with replacing(url) as temporary:
            temporary.write_bytes(large)

    proxy.reset()
    folder.put("other", large[: CHUNK + 1])
    proxy.reset()
    write()
    number = len(proxy.requests)
    assert number >= 4  # begun, two parts, completed
    folder.put("best.jsonl", b"former")
    for place in range(1, number + 1):
        proxy.reset(lambda count, method, path, place=place: fault if count >= place else None)
        with pytest.raises(ObjectStoreError, match=f"{url}: the store"):
            write()
        proxy.reset()
        assert folder.get("best.jsonl")[0] == b"former"
    for place in range(1, number + 1) if fault != "403" else ():
        folder.put("best.jsonl", b"former")
        proxy.reset(lambda count, method, path, place=place: fault if count == place else None)
        write()
        proxy.reset()
        assert folder.get("best.jsonl")[0] == large


@pytest.mark.parametrize("ray", [None, "local"], ids=["here", "by tasks"])
def test_a_folder_of_parts_appears_whole_or_not_at_all(ray, folder, index, proxy, tmp_path, monkeypatch):
    """Its metadata come last, parts of a failed write are removed, and objects are not replaced."""
    monkeypatch.setattr("nagindex.stores.objects.ATTEMPTS", 2)
    for module in (rows, selection):
        monkeypatch.setattr(module, "ROWS_PER_PART", 8)
    run_here(monkeypatch, remote, remote_rows)
    chosen = index.query(TARGETS, n=40, ray=ray)
    url = f"{folder.url}/"
    index.check_output(url, parts=True)
    proxy.reset()
    chosen.write(url)
    puts = [path.rpartition("/")[2] for method, path in proxy.requests if method == "PUT"]
    assert (puts[0], puts[-1]) == ("_writing", "_metadata")
    assert len(puts) >= 5
    for name in names(folder):
        (tmp_path / name).write_bytes(folder.get(name)[0])
    chosen.write(tmp_path / "whole.parquet")
    parts = sorted(tmp_path.glob("part-*.parquet"))
    assert names(folder) == ["_metadata", *(path.name for path in parts)]
    found = pyarrow.concat_tables([pq.read_table(path) for path in parts])
    assert found.equals(pq.read_table(tmp_path / "whole.parquet"))

    def is_refused(message):
        for write in (partial(index.check_output, parts=True), chosen.write):
            with pytest.raises(BadInputError, match=message):
                write(url)

    is_refused("holds _metadata; name a folder without objects")
    folder.delete(names(folder))
    folder.create("_writing", b"")
    is_refused("holds _writing: another command writes there, or was killed")
    folder.delete(["_writing"])
    for fault, place in [("500", 1), *itertools.product(("500", "lost"), range(2, len(puts) + 1))]:
        proxy.reset(_faulty_puts(fault, place))
        with pytest.raises(ObjectStoreError):
            chosen.write(url)
        proxy.reset()
        assert names(folder) == []
    chosen.write(url)
    assert len(names(folder)) == len(puts) - 1


def test_of_two_writers_of_a_folder_one_writes(folder):
    """The other, which found the folder empty before, leaves it as it is."""
    with filling(folder.url):
        folder.put("part-00000.parquet", b"first")
        with pytest.raises(BadInputError, match="holds _writing"), filling(folder.url):
            raise AssertionError
    assert names(folder) == ["part-00000.parquet"]
    with pytest.raises(BadInputError, match=r"holds part-00000\.parquet"), filling(folder.url):
        raise AssertionError
    assert names(folder) == ["part-00000.parquet"]


def test_what_raises_while_it_writes_uploads_nothing(folder):
    def write():
        with replacing(folder.url_of("x.txt")) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert names(folder) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://no-such-bucket-here/best.parquet", "the bucket does not exist"),
        (f"s3://{BUCKET}", "names a bucket"),
        ("hf://datasets/o/n/best.parquet", "read, and not written"),
        (f"s3://u:{SECRET}@{BUCKET}/best.parquet", "in the environment"),
        ("ftp://x/best.parquet", "no URL"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_before_anything_is_computed(url, said, proxy):
    with pytest.raises(BadInputError, match=said) as raised:
        nagindex.check_output(url)
    assert SECRET not in str(raised.value)


def test_inputs_sources_and_indexes_are_not_overwritten(folder, url, corpus, tmp_path, tiny_backbone):
    folder.put("a.jsonl", corpus("a.jsonl", 0, 9).read_bytes())
    index, _ = nagindex.build(folder.url_of("a.jsonl"), url, backbone=tiny_backbone, preset="paper")
    source = folder.url_of("a.jsonl")
    with pytest.raises(BadInputError, match="is a source of the index"):
        index.check_output(source)
    for given in (source, folder.url, f"{folder.url}/*.jsonl"):
        with pytest.raises(BadInputError, match="which would be overwritten"):
            nagindex.check_output(source, inputs=[given])
    nagindex.check_output(folder.url_of("new.jsonl"), inputs=[folder.url])
    with pytest.raises(BadInputError, match=f"lies inside the index {url}"):
        nagindex.check_output(f"{url}/deep/best.parquet")
    with pytest.raises(BadInputError, match="is a source of the index"):
        index.query(TARGETS, n=2).write(source)


def test_the_command_line_writes_to_urls(folder, index, tmp_path, tiny_backbone):
    from click.testing import CliRunner
    from nagindex.cli import main

    (tmp_path / "t.jsonl").write_text(json.dumps({"text": TARGETS[0]}) + "\n")
    arguments = ["query", tmp_path / "t.jsonl", "-n", 3, "-i", index.path, "--model", tiny_backbone.name]
    output, page = folder.url_of("best.jsonl"), folder.url_of("best.html")
    done = CliRunner().invoke(main, [*map(str, arguments), "-o", output, "--report", page], prog_name="nagindex")
    assert done.exit_code == 0, done.output
    assert f"to {output}" in done.stderr
    assert len(folder.get("best.jsonl")[0].splitlines()) == 3
    assert names(folder) == ["best.html", "best.jsonl"]
