"""Corpora and targets behind URLs are read in place, as local ones are; what a store does to them is said in one line."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stores import BUCKET, SECRET, WORDS

import nagindex
from nagindex.errors import BadInputError, InputNotFoundError, ObjectStoreError, SourceChangedError
from nagindex.stores import remote_files
from nagindex.stores.objects import ObjectStore

TARGETS = ["river mountain solver"]


def lines(start, stop):
    generator = random.Random(start)
    rows = [{"id": f"d{i}", "text": " ".join(generator.choices(WORDS, k=12)), "n": i} for i in range(start, stop)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(path, start, stop):
    rows = [json.loads(line) for line in lines(start, stop).splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=40)
    return path.read_bytes()


@pytest.fixture
def files(tmp_path):
    """The files of a corpus by name: plain and compressed lines, a table, a text, and what is no source."""
    from backports import zstd

    return {
        "a/first one.jsonl": lines(0, 30),
        "a/zipped.jsonl.gz": gzip.compress(lines(30, 50)),
        "b/packed.jsonl.zst": zstd.compress(lines(50, 70)),
        "b/table.parquet": table(tmp_path / "table.parquet", 70, 190),
        "b/letter.txt": b"river kettle garden",
        "b/odd %20 ä+&.jsonl": lines(200, 203),
        "b/.hidden/x.jsonl": lines(900, 901),
        "old.nagindex/x.jsonl": lines(900, 901),
        "notes.md": b"dear",
    }


@pytest.fixture
def remote(proxy, files):
    """The URL of that corpus in a bucket."""
    url = f"s3://{BUCKET}/{random.randbytes(6).hex()}/corpus"
    for name, content in files.items():
        ObjectStore(url).put(name, content)
    proxy.reset()
    return url


@pytest.fixture
def local(files, tmp_path):
    """The folder of the same corpus on the disk."""
    for name, content in files.items():
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "corpus"


@pytest.fixture
def build(tmp_path, tiny_backbone):
    """Return f(corpus, name): an index of a corpus with its report."""

    def built(corpus, name="i", **options):
        return nagindex.build(
            corpus,
            tmp_path / f"{name}.nagindex",
            backbone=tiny_backbone,
            preset="calibrated",
            columns=nagindex.Columns(keep_columns="all"),
            **options,
        )

    return built


def content(index):
    rows = index.docs.project("id, file, row, tokens, n").fetchall()
    codes = np.concatenate(list(index.codes))
    return {row: own.tobytes() for row, own in zip(rows, codes, strict=True)}


def gets(proxy):
    return [path for method, path in proxy.requests if method == "GET" and "list-type" not in path]


def test_an_index_of_a_remote_corpus_is_that_of_the_same_files_on_a_disk(remote, local, build):
    (near, expected), (far, report) = build(local, "near"), build(remote, "far")
    assert content(far) == content(near)
    assert (report.documents, report.sources, report.warnings) == (expected.documents, expected.sources, [])
    assert far.manifest.fingerprint.calibration == near.manifest.fingerprint.calibration
    assert far.texts(["d3", "d33", "d60", "d180"]) == near.texts(["d3", "d33", "d60", "d180"])
    assert sorted(nagindex.find_sources(remote).ignored, key=str)[0].name == "notes.md"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a", ["first one.jsonl", "zipped.jsonl.gz"]),
        ("*/*.jsonl", ["a/first one.jsonl", "b/odd %20 ä+&.jsonl"]),
        ("**/*.gz", ["a/zipped.jsonl.gz"]),
        ("[b]", ["b/letter.txt", "b/odd %20 ä+&.jsonl", "b/packed.jsonl.zst", "b/table.parquet"]),
        ("b/table.parquet", ["table.parquet"]),
        ("a/first one.jsonl", ["first one.jsonl"]),
    ],
)
def test_files_folders_and_globs_name_what_they_name_on_a_disk(pattern, names, remote, local):
    assert [source.name for source in nagindex.find_sources(f"{remote}/{pattern}").sources] == names
    assert [source.name for source in nagindex.find_sources(f"{local}/{pattern}").sources] == names
    [*found] = nagindex.find_sources(f"file://{local}/{pattern}").sources
    assert found == nagindex.find_sources(f"{local}/{pattern}").sources


def test_an_append_of_an_unchanged_corpus_lists_it_and_reads_nothing(remote, build, proxy):
    index, _ = build(remote)
    proxy.reset()
    report = index.append(remote)
    assert (report.documents, report.already_in) == (0, 6)
    assert gets(proxy) == []
    assert len(proxy.requests) <= 2


def test_a_build_that_is_run_again_goes_on_and_new_objects_are_added(remote, build):
    build(f"{remote}/a")
    index, report = build(remote, corpus_root=f"{remote}/a".removesuffix("/a"))
    assert report.documents == 20 + 120 + 1 + 3
    ObjectStore(remote).put("c.jsonl", lines(300, 305))
    assert index.append(remote).documents == 5
    assert index.append(remote).documents == 0


def test_an_object_that_was_replaced_is_read_as_another_one_and_its_texts_are_refused(remote, build):
    index, _ = build(f"{remote}/a")
    ObjectStore(remote).put("a/first one.jsonl", lines(0, 30) + lines(400, 401))
    with pytest.raises(SourceChangedError, match=f"{remote}/a/first one.jsonl: the source has changed"):
        index.texts(["d3"])
    report = index.append(f"{remote}/a")
    assert (report.documents, report.changed) == (1, ["first one.jsonl"])
    ObjectStore(remote).delete(["a/zipped.jsonl.gz"])
    with pytest.raises(SourceChangedError, match="the source is not there any more"):
        index.texts(["d40"])


def test_texts_are_read_from_where_the_corpus_was_moved(remote, local, build):
    for index, moved in ((build(local, "near")[0], remote), (build(remote, "far")[0], local)):
        expected = index.texts(["d3", "d100"])
        assert index.texts(["d3", "d100"], corpus_root=moved) == expected
    (local / "a" / "first one.jsonl").write_bytes(lines(0, 29))
    with pytest.raises(SourceChangedError, match="changed"):
        index.texts(["d3"], corpus_root=local)


def test_a_table_is_read_by_ranges(remote, tmp_path, proxy, build):
    generator = np.random.default_rng(0)
    noise = [generator.bytes(20_000).hex() for _ in range(400)]
    pq.write_table(
        pa.table({"text": [f"river {i}" for i in range(400)], "id": [f"n{i}" for i in range(400)], "noise": noise}),
        tmp_path / "wide.parquet",
        row_group_size=100,
    )
    size = (tmp_path / "wide.parquet").stat().st_size
    url = f"{remote}/wide.parquet"
    ObjectStore(remote).put("wide.parquet", tmp_path / "wide.parquet")
    [source] = nagindex.find_sources(url).sources
    read = []

    real = remote_files.RemoteFile.read_range

    def counted(self, start, stop):
        read.append(stop - start)
        return real(self, start, stop)

    from nagindex.corpus.columns import Columns
    from nagindex.corpus.reading import read_documents

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(remote_files.RemoteFile, "read_range", counted)
        documents = list(read_documents(source, Columns()))
    assert [document.id for document in documents] == [f"n{i}" for i in range(400)]
    assert size > 8e6
    assert sum(read) < size / 3


def test_an_object_that_changes_while_it_is_read_stops_the_build(remote, build, monkeypatch):
    big = lines(0, 9000)
    ObjectStore(remote).put("big/x.jsonl", big)
    real = remote_files.RemoteFile.read_range

    def read(self, start, stop):
        if start > 600_000:
            ObjectStore(remote).put("big/x.jsonl", big + b"\n")
        return real(self, start, stop)

    monkeypatch.setattr(remote_files.RemoteFile, "read_range", read)
    with pytest.raises(SourceChangedError, match=f"{remote}/big/x.jsonl: changed while it was read; run the same"):
        build(f"{remote}/big")


def test_a_table_that_changes_while_it_is_read_stops_the_build_too(remote, build, tmp_path, monkeypatch):
    real = remote_files.RemoteFile.read_range
    fetched = []

    def read(self, start, stop):
        fetched.append(start)
        if len(fetched) == 3:
            ObjectStore(remote).put("b/table.parquet", table(tmp_path / "other.parquet", 500, 620))
        return real(self, start, stop)

    monkeypatch.setattr(remote_files.RemoteFile, "read_range", read)
    with pytest.raises(SourceChangedError, match=f"{remote}/b/table.parquet: changed while it was read; run the same"):
        build(f"{remote}/b/table.parquet")


@pytest.mark.parametrize("fault", ["500", "500 after", "lost", "lost after", "503", "429"])
def test_a_read_survives_a_failure_of_each_of_its_requests(fault, remote, proxy):
    from nagindex.corpus.reading import read_documents

    def read():
        sources = nagindex.find_sources(remote).sources
        return [(source.name, list(read_documents(source))) for source in sources]

    proxy.reset()
    expected, number = read(), len(proxy.requests)
    assert sum(len(rows) for _, rows in expected) == 194
    for place in range(1, number + 1):
        proxy.reset(lambda count, method, path, place=place: fault if count == place else None)
        assert read() == expected


@pytest.mark.parametrize("name", ["b/table.parquet", "a/first one.jsonl", "a/zipped.jsonl.gz", "b/packed.jsonl.zst"])
def test_a_store_that_stays_away_is_not_taken_for_a_damaged_file(name, remote, proxy, build):
    """Nor is the file passed over under `skip`."""
    [source] = nagindex.find_sources(f"{remote}/{name}").sources
    from nagindex.corpus.reading import read_documents

    for fault, said in (("500", "does not answer after 6 attempts"), ("403", "refuses (HTTP 403")):
        proxy.reset(lambda *_, fault=fault: fault)
        with pytest.raises(ObjectStoreError) as raised:
            list(read_documents(source))
        assert str(raised.value).startswith(f"{remote}/{name}: the store {said}")
        assert SECRET not in str(raised.value)
        proxy.reset(lambda count, method, path, fault=fault: fault if method == "GET" and "list" not in path else None)
        with pytest.raises(ObjectStoreError, match="the store"):
            build(f"{remote}/{name}", on_error="skip")


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("s3://no-such-bucket-here/x", BadInputError, "s3://no-such-bucket-here: the bucket does not exist"),
        (f"s3://{BUCKET}/nothing-here", InputNotFoundError, f"s3://{BUCKET}/nothing-here: no such file or folder"),
        (f"s3://{BUCKET}/nothing/*.jsonl", InputNotFoundError, "no such file or folder"),
        (f"s3://u:{SECRET}@{BUCKET}/x", BadInputError, "in the environment"),
        ("http://example.com/x.jsonl", BadInputError, "http://...: no URL that nagindex reads"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_line(url, error, said, proxy, build):
    with pytest.raises(error) as raised:
        build(url)
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_remote_and_local_files_are_not_mixed_nor_those_of_two_buckets(remote, local, build):
    with pytest.raises(BadInputError, match="read together with local files"):
        build([remote, str(local)])
    with pytest.raises(BadInputError, match="lies outside the corpus root"):
        build(remote, corpus_root=f"{remote}/a")


def test_targets_and_files_of_a_query_come_from_urls(remote, build, tmp_path, tiny_backbone):
    index, _ = build(remote)
    store = ObjectStore(remote)
    store.put("t/own.jsonl", lines(5, 9))
    store.put("t/excluded.txt", b"d5\nd6\n")
    store.put("t/values.parquet", table(tmp_path / "v.parquet", 70, 190))
    (tmp_path / "own.jsonl").write_bytes(lines(5, 9))
    (tmp_path / "excluded.txt").write_bytes(b"d5\nd6\n")
    found = [
        index.query(
            [folder / "own.jsonl"] if folder is not None else [Path(f"{remote}/t/own.jsonl")], n=20, exclude=[excluded]
        )
        for folder, excluded in ((tmp_path, str(tmp_path / "excluded.txt")), (None, f"{remote}/t/excluded.txt"))
    ]
    assert found[0].ids.tolist() == found[1].ids.tolist()
    assert found[1].settings["query"]["targets"] == [f"{remote}/t/own.jsonl"]
    assert found[1].settings["query"]["exclude"] == [f"{remote}/t/excluded.txt"]
    assert [t["files"] for t in found[0].settings["targets"]] == [t["files"] for t in found[1].settings["targets"]]
    rows = found[1].head(3, with_text=True)
    assert all(row["text"] for row in rows)
    scored = index.query(
        f"{remote}/t/own.jsonl", n=5, quality=nagindex.Quality(scores=f"{remote}/t/values.parquet", column="n")
    )
    assert scored.ids.tolist()


def test_the_command_line_builds_appends_and_asks_with_urls(remote, tmp_path, tiny_backbone, monkeypatch):
    from click.testing import CliRunner
    from nagindex.cli import main

    def run(*arguments):
        done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="nagindex")
        assert done.exit_code == 0, done.output
        assert SECRET not in done.output
        return done

    index = tmp_path / "i"
    run("build", f"{remote}/a", "-i", index, "--model", "minilm", "--log-file", tmp_path / "log")
    told = run("append", remote, "--corpus-root", f"{remote}/a".removesuffix("/a"), "-i", index).stderr
    assert "Passing over 1 file" in told
    found = run("query", f"{remote}/a/first one.jsonl", "-n", "5", "-i", index, "--format", "jsonl").stdout
    assert all(json.loads(line)["text"] for line in found.splitlines())
    assert SECRET not in (tmp_path / "log").read_text()
