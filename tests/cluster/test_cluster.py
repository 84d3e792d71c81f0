"""On a Ray cluster an index becomes what one process makes of the corpus, whatever happens to nodes and to the driver."""

import dataclasses
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clusters import DOCUMENTS, DUPLICATES, LIMIT, MORE, command, content, options, skipped

from nagindex.storage.commit import commit
from nagindex.storage.manifest import read_latest, versions

RAY = importlib.util.find_spec("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(RAY is None or RAY.origin is None, reason="needs the extra ray"),
]


def committed(index):
    """Return how many documents an index holds, 0 before there is one."""
    return read_latest(index).documents if versions(index) else 0


def assert_same(index, alone):
    assert content(index) == content(alone)
    assert skipped(index) == skipped(alone)


def test_a_node_that_is_lost_takes_no_document_along(cluster, corpus, alone, drive, tmp_path):
    """Its shard goes on elsewhere; the report counts every document once, and the display never goes backwards."""
    index = tmp_path / "i.nagindex"
    driver = drive("build", corpus, *options(index), "--ray", cluster.address)
    driver.wait_until(lambda: committed(index) > 0)
    cluster.lose()
    report = driver.finish()
    cluster.join()
    assert (report["documents"], report["skipped"]) == (DOCUMENTS, {"duplicate id": DUPLICATES})
    assert_same(index, alone)
    done = [state["done"] for state in driver.progress() if state["stage"] == "encoding documents"]
    assert done == sorted(done)
    assert [line.split()[0] for line in driver.said().splitlines()] == ["Skipped", "Added"]  # nothing of Ray's


def test_a_killed_driver_is_run_again_and_goes_on(cluster, corpus, alone, drive, tmp_path):
    """What was committed is not encoded again; then an append adds only what is new."""
    index = tmp_path / "i.nagindex"
    arguments = ["build", corpus, *options(index), "--ray", cluster.address]
    driver = drive(*arguments)
    driver.wait_until(lambda: committed(index) > 0)
    driver.kill()
    before = committed(index)
    report = drive(*arguments).finish()
    assert 0 < before < DOCUMENTS
    assert 0 < report["documents"] <= DOCUMENTS - before + DUPLICATES
    assert_same(index, alone)


def test_an_append_adds_what_is_new_and_queries_answer_as_without_ray(cluster, corpus, more, drive, tmp_path, alone):
    """Without a value, --ray takes the cluster of RAY_ADDRESS. The files of selections are the same, byte for byte."""
    index, both = tmp_path / "i.nagindex", tmp_path / "both.nagindex"
    shutil.copytree(alone, index)
    shutil.copytree(alone, both)
    report = drive(
        "append", more, corpus, "-i", index, "--device", "cpu", "--ray", RAY_ADDRESS=cluster.address
    ).finish()
    expected = drive("append", more, corpus, "-i", both, "--device", "cpu").finish()
    for name in ("documents", "tokens", "skipped", "changed"):
        assert report[name] == expected[name]
    assert_same(index, both)
    targets = [corpus.with_name("some.jsonl"), more.with_name("others.jsonl")]
    for target, source in zip(targets, (corpus, more), strict=True):
        target.write_text("".join((source / "one.jsonl").read_text().splitlines(keepends=True)[:20]))
    script = Path(__file__).with_name("questions.py")
    asked = [sys.executable, script, index, *targets, cluster.address]
    selected = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True, timeout=LIMIT).stdout)
    assert min(selected.values()) > 20


def test_verify_compact_and_optimize_print_exit_and_write_as_without_ray(cluster, write_index, random_codes, tmp_path):
    """Of an index of twelve segments, one of them damaged for a time; what they hold is the same afterwards."""
    rng, cuts = np.random.default_rng(0), range(100, 1200, 100)
    here, there = tmp_path / "a" / "i", tmp_path / "b" / "i"
    ids = [f"{number:04d}" for number in range(1200)]
    written = write_index(here, random_codes(rng, 1200, 3, 4, 30), ids, [9] * 1200, width=30, cuts=cuts)
    written.delete(ids=ids[150:260])
    shutil.copytree(here, there)

    def both(name):
        runs = [
            subprocess.run(command(name, *where, "--progress", "none"), capture_output=True, text=True, timeout=LIMIT)
            for where in (["-i", here], ["-i", there, "--ray", cluster.address])
        ]
        local, remote = ([own.stdout, own.stderr, own.returncode] for own in runs)
        assert [str(part).replace(str(there), str(here)) for part in remote] == [*map(str, local)]
        return local[-1]

    paths = [index / "segments" / written.manifest.segments[7].id / "nags.npy" for index in (here, there)]
    whole = paths[0].read_bytes()
    for path in paths:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert both("verify") == 1
    for path in paths:
        path.write_bytes(whole)
    assert [both(name) for name in ("verify", "compact", "optimize", "verify")] == [0] * 4
    files = [[own.files for own in read_latest(index).segments] for index in (here, there)]
    assert files[0] == files[1]
    assert len(files[0]) == 1


def test_a_node_that_is_lost_stops_no_compaction(cluster, write_index, random_codes, tmp_path):
    """Its tasks run again elsewhere, and leave alone what they had published; no document is lost or twice."""
    rng, documents, segments = np.random.default_rng(1), 40_000, 40
    size, path = documents // segments, tmp_path / "i"
    ids = [f"{number:05d}" for number in range(documents)]
    codes, cuts = random_codes(rng, documents, 3, 4, 30), range(size, documents, size)
    index = write_index(path, codes, ids, [9] * documents, width=30, cuts=cuts)
    index.delete(ids=ids[::size])

    def told_apart(current):
        """Segments of other libraries are not merged: each is a group of its own, for its deleted row."""
        entries = [dataclasses.replace(own, libraries={"n": f"{n % 2}"}) for n, own in enumerate(current.segments)]
        return current.following("test", tuple(entries))

    begun = commit(path, told_apart).version
    before = content(path)
    with subprocess.Popen(command("compact", "-i", path, "--ray", cluster.address), stderr=subprocess.PIPE) as driver:
        while read_latest(path).version < begun + 3:
            assert driver.poll() is None, driver.stderr.read()
        cluster.lose()
        said = driver.communicate(timeout=LIMIT)[1].decode()
    cluster.join()
    assert driver.returncode == 0, said
    after = read_latest(path)
    assert [own.deleted_documents for own in after.segments] == [0] * segments
    assert after.version == begun + segments
    assert content(path) == before


def test_a_bad_row_ends_the_run_with_the_local_message(cluster, more, drive, tmp_path):
    """The error is not tried again, and what other shards had complete is committed."""
    corpus = tmp_path / "bad"
    corpus.mkdir()
    (corpus / "good.jsonl").write_text((more / "one.jsonl").read_text())
    (corpus / "wrong.jsonl").write_text('{"id": "x", "text": "a text"}\n{"id": "y", "text": 3}\n')
    here, there = tmp_path / "here.nagindex", tmp_path / "there.nagindex"
    local, remote = (
        drive("build", corpus, *options(here)),
        drive("build", corpus, *options(there), "--ray", cluster.address),
    )
    local.finish(1)
    remote.finish(1)
    assert remote.said().splitlines()[-1] == local.said().splitlines()[-1]
    assert "wrong.jsonl" in remote.said()
    assert "Traceback" not in remote.said()


def test_an_interrupt_commits_what_is_complete(cluster, corpus, alone, drive, tmp_path):
    """As without Ray: the status is 130, and the message says how to go on."""
    index = tmp_path / "i.nagindex"
    arguments = ["build", corpus, *options(index), "--ray", cluster.address]
    driver = drive(*arguments)
    driver.wait_until(lambda: any(state["done"] > 1000 for state in driver.progress()))
    driver.signal(signal.SIGINT)
    driver.finish(130)
    held = committed(index)
    assert 0 < held < DOCUMENTS
    assert driver.said().splitlines()[-1].endswith("run the same command to go on")
    assert f"{held:,} documents are committed" in driver.said()
    drive(*arguments).finish()
    assert_same(index, alone)


def test_a_cluster_of_this_machine_is_started_and_ends_with_the_build(more, drive, tmp_path, monkeypatch):
    """--ray local; the index lies in an object store, to which the workers push their segments."""
    monkeypatch.setenv("NAGINDEX_CACHE", str(tmp_path / "cache"))
    place = (tmp_path / "i.nagindex").as_uri() if importlib.util.find_spec("obstore") else tmp_path / "i.nagindex"
    driver = drive("build", more, *options(place), "--ray", "local")
    assert driver.finish()["documents"] == MORE
    assert len(content(place)) == MORE
    left = [path.name for path in Path("/proc").glob("[0-9]*") if group_of(path) == driver.process.pid]
    assert left == []


def group_of(process):
    """Return the process group of a running process, from its folder in /proc."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except (OSError, ValueError):
        return None
