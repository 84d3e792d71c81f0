"""Progress of long steps: every step begins, advances and ends, and a build measures what it has encoded, not what it has read."""

from __future__ import annotations

import json
import logging
import threading

import duckdb
import numpy as np
import pytest

import nagindex
from nagindex import Progress
from nagindex.encode import encoder
from nagindex.progress import report, reporting, step

WORDS = ["river", "garden", "planet", "oxygen", "violin", "market", "winter", "dragon"]


@pytest.fixture
def told():
    return []


def lines(count, *, start=0):
    rng = np.random.default_rng(start)
    texts = [" ".join(rng.choice(WORDS, size)) for size in rng.integers(1, 12, count)]
    return "".join(json.dumps({"id": f"d{start + i}", "text": text}) + "\n" for i, text in enumerate(texts))


def stages(told):
    """Return the stages in the order in which they began."""
    return list(dict.fromkeys(progress.stage for progress in told))


def test_a_step_begins_at_nothing_and_ends_at_its_total(told, monkeypatch):
    monkeypatch.setattr("nagindex.progress.SECONDS_BETWEEN_EVENTS", 0)
    with reporting(told.append), step("sorting", 3, "files") as advance:
        advance(1)
        advance(1)
    assert told == [Progress("sorting", done, 3, "files") for done in (0, 1, 2, 3)]


def test_events_are_few_however_fast_a_step_advances(told):
    with reporting(told.append), step("sorting", 100_000, "files") as advance:
        for _ in range(100_000):
            advance(1)
    assert told[0].done == 0
    assert told[-1].done == 100_000
    assert len(told) < 1000


def test_a_step_that_fails_does_not_end(told):
    with pytest.raises(KeyError), reporting(told.append), step("sorting", 3, "files"):
        raise KeyError
    assert [progress.done for progress in told] == [0]


def test_the_innermost_callback_is_told_and_none_leaves_the_outer_one(told):
    inner = []
    with reporting(told.append):
        with reporting(inner.append):
            report(Progress("inner", 0, 1))
        with reporting(None):
            report(Progress("outer", 0, 1))
    report(Progress("nobody", 0, 1))
    assert (stages(inner), stages(told)) == (["inner"], ["outer"])


def test_another_thread_has_a_callback_of_its_own(told):
    with reporting(told.append):
        other = threading.Thread(target=lambda: report(Progress("elsewhere", 0, 1)))
        other.start()
        other.join()
    assert told == []


def test_a_step_logs_its_seconds(caplog):
    with caplog.at_level(logging.INFO, "nagindex"), step("sorting", 2000, "files"):
        pass
    assert caplog.messages == ["sorting: 2,000 files, 0.00 s"]


def test_the_library_is_silent_where_nobody_listens(make_index, capfd):
    make_index([("a", "river")]).optimize()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_build_tells_from_its_first_batch_how_many_rows_there_are(tmp_path, tiny_backbone, told, monkeypatch, name):
    """Reading is far ahead of encoding: a share of the bytes read would say 85 % when nothing is encoded."""
    monkeypatch.setitem(encoder.WINDOW, "cpu", 256)
    (tmp_path / "a.jsonl").write_text(lines(300))
    if name != "a.jsonl":
        with duckdb.connect() as connection:
            connection.execute(f"COPY (FROM '{tmp_path}/a.jsonl') TO '{tmp_path / name}'")
    nagindex.build(tmp_path / name, tmp_path / "i", backbone=tiny_backbone, progress=told.append, workers=0)
    encoding = [progress for progress in told if progress.stage == "encoding documents"]
    assert encoding[0].done == 0
    assert all(270 <= progress.total <= 330 for progress in encoding)
    assert all(progress.done < progress.total for progress in encoding[:-1])
    assert [progress.done for progress in encoding] == sorted(progress.done for progress in encoding)
    last = encoding[-1]
    assert (last.done, last.total, last.known, last.committed) == (300, 300, 0, 300)
    assert last.tokens >= 300


def test_a_resumed_build_knows_what_was_done_before(tmp_path, tiny_backbone, told, monkeypatch):
    """Half a file and a whole one are in; the estimate is of all rows, and the known ones count as done from the start."""
    monkeypatch.setitem(encoder.WINDOW, "cpu", 16)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.jsonl").write_text(lines(100))
    (tmp_path / "c" / "b.jsonl").write_text(lines(400, start=100))

    def stop(progress):
        if progress.stage == "encoding documents" and progress.done > 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nagindex.build(tmp_path / "c", tmp_path / "i", backbone=tiny_backbone, progress=stop, workers=0)
    before = len(nagindex.open(tmp_path / "i"))
    assert 100 < before < 500
    nagindex.build(tmp_path / "c", tmp_path / "i", backbone=tiny_backbone, progress=told.append, workers=0)
    encoding = [progress for progress in told if progress.stage == "encoding documents"]
    assert all(progress.known == before for progress in encoding)
    assert before <= encoding[0].done <= before + 16
    assert all(450 <= progress.total <= 550 for progress in encoding)
    assert (encoding[-1].done, encoding[-1].total, encoding[-1].committed) == (500, 500, 500 - before)


def test_every_long_method_tells_its_steps(tmp_path, golden, monkeypatch, told):
    """Loading and encoding come wherever texts are encoded; what is told ends at its total."""
    model = str(golden / "models" / "qwen3")
    corpus, targets, more = (tmp_path / name for name in ("a.jsonl", "t.jsonl", "b.jsonl"))
    corpus.write_text(lines(40))
    targets.write_text(lines(3, start=50))
    more.write_text(lines(5, start=60))
    loading = f"loading {model}"

    def steps(method, *arguments, **options):
        told.clear()
        result = method(*arguments, progress=told.append, **options)
        left = {progress.stage: progress for progress in told}
        assert all(
            progress.done == progress.total for progress in left.values() if progress.stage != "reading the corpus"
        )
        return result, stages(told)

    _, found = steps(nagindex.estimate_build, corpus, options=nagindex.BuildOptions(model=model))
    assert found == [loading, "reading a sample", "encoding a sample"]
    (built, _), found = steps(nagindex.build, corpus, tmp_path / "i", model=model)
    assert found == [loading, "reading the corpus", "encoding documents"]
    index = nagindex.open(built.path)
    assert steps(index.encode, targets)[1] == [loading, "encoding texts"]
    assert steps(index.encode, targets)[1] == []  # all is in the cache
    assert steps(index.query, targets, n=5)[1] == ["verifying checksums", "scanning the pool"]
    checked = nagindex.Decontamination(targets)
    options = {"n": 5, "dedup": 0.9, "where": "tokens > 0", "decontamination": checked}
    assert steps(index.query, targets, **options)[1] == [
        "reading evaluation texts", "verifying checksums", "filtering documents", "scanning the pool", "choosing documents",
        "reading texts"]  # fmt: skip
    assert "scanning the pool" in steps(index.neighbors, "d1", k=2)[1]
    assert steps(index.recheck, documents=4)[1] == ["reading texts", "encoding texts"]
    assert steps(index.append, more)[1] == ["reading the corpus", "encoding documents"]
    assert steps(index.compact)[1] == ["merging segments"]
    assert steps(index.optimize)[1] == ["fitting a basis", "counting the pool's neurons", "connecting documents"]
    assert steps(index.verify) == ([], ["verifying files"])


def test_an_error_of_a_callback_ends_the_call(make_index, tmp_path):
    index = make_index([("a", "river")])

    def fail(progress):
        raise KeyError(progress.stage)

    with pytest.raises(KeyError, match="verifying files"):
        index.verify(progress=fail)
