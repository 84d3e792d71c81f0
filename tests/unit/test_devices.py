"""Runs on several devices, shards and workers give what one process gives; a run that fails keeps what is complete."""

import json
import os
import signal
from itertools import islice, permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nagindex import build
from nagindex.builder import BuildOptions, build_types
from nagindex.encode import batch_size, encoder
from nagindex.errors import BadInputError, NagIndexError
from nagindex.ingest import jobs, prefetch, sharding
from nagindex.ingest.jobs import visible_devices
from nagindex.ingest.options import Shard
from nagindex.ingest.writer import IngestReport

WORDS = ["the", "cat", "sat", "on", "a mat", "and", "light", "bends", "in", "water", "while", "dogs", "print", "loops"]
TOTAL = 600


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of 16 rows, dealt out one by one: 600 documents are work for several."""
    monkeypatch.setitem(encoder.WINDOW, "cpu", 16)
    monkeypatch.setattr(sharding, "WINDOWS_PER_CHUNK", 1)


@pytest.fixture(scope="module")
def model(golden):
    return str(golden / "models" / "qwen3")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """600 short documents in five files, texts repeated under other ids, two rows that are no documents."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(WORDS, size)) for size in rng.integers(1, 12, TOTAL)]
    for number, part in enumerate(np.split(np.arange(TOTAL), [7, 200, 201, 450])):
        records = [{"id": f"d{i}", "text": texts[i % 400]} for i in part.tolist()]
        extra = [{"id": f"none{number}", "text": None}] if number in (1, 3) else []
        lines = [json.dumps(record) + "\n" for record in records[:3] + extra + records[3:]]
        (folder / f"{number}.jsonl").write_text("\n".join(lines) if number == 2 else "".join(lines))
    return folder


def state(index):
    """Return {id: (file, row, tokens, NAG's bytes)} and the skipped rows of an index without damage."""
    assert list(index.verify()) == []
    codes = index.codes
    rows = index.docs.project("id, file, row, tokens, _segment, _position").fetchall()
    found = {i: (*origin, codes[segment][place].tobytes()) for i, *origin, segment, place in rows}
    assert len(found) == len(rows)
    return found, sorted((row.file, row.row, row.id, row.reason) for row in index.skipped())


@pytest.fixture(scope="module")
def whole(corpus, tiny_backbone, tmp_path_factory):
    """The state of an index that one process built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(encoder.WINDOW, "cpu", 16)
        index, report = build(corpus, tmp_path_factory.mktemp("whole") / "i", backbone=tiny_backbone, workers=0)
    assert (report.documents, dict(report.skipped)) == (TOTAL, {"null text": 2})
    return state(index)


@pytest.mark.parametrize("group_bytes", [1, 1 << 26], ids=["groups", "windows"])
@pytest.mark.parametrize("count", [1, 3])
def test_shards_in_any_order_make_the_whole(corpus, tiny_backbone, whole, tmp_path, monkeypatch, group_bytes, count):
    """Same ids, same codes, byte for byte, however many shards build the index and in whatever order they run."""
    monkeypatch.setattr(sharding, "GROUP_BYTES", group_bytes)
    monkeypatch.setattr(sharding, "GROUPS_PER_SHARD", 1)
    expected = state(build(corpus, tmp_path / "one", backbone=tiny_backbone, workers=0)[0])
    assert expected[0].keys() == whole[0].keys()
    for number, order in enumerate(islice(permutations(range(count)), 0, None, 2)):
        reports = []
        for shard in order:
            place = tmp_path / str(number)
            index, report = build(corpus, place, backbone=tiny_backbone, shard=Shard(shard, count), workers=0)
            reports.append(report)
        assert sum(report.documents for report in reports) == TOTAL
        assert all(report.documents for report in reports)
        assert state(index) == expected
        assert [build(corpus, place, backbone=tiny_backbone, workers=0)[1].documents] == [0]


def test_one_process_goes_on_where_shards_and_others_left_off(corpus, tiny_backbone, whole, tmp_path):
    """Shard 1/3, then 0/2, then all: windows known already are passed over, and the rest makes the same index."""
    added = []
    for shard in (Shard(1, 3), Shard(0, 2), Shard()):
        index, report = build(corpus, tmp_path / "i", backbone=tiny_backbone, shard=shard, workers=0)
        added.append(report.documents)
    assert all(added)
    assert sum(added) == TOTAL
    assert state(index) == whole


def test_a_worker_changes_no_byte(corpus, tiny_backbone, tmp_path):
    """Reading ahead in a process of its own gives the same segments, file by file."""
    made = [build(corpus, tmp_path / str(n), backbone=tiny_backbone, workers=n)[0] for n in (0, 1)]
    files = [[s.entry.files for s in index.segments] for index in made]
    assert files[0] == files[1]
    assert len(files[0]) == 1


def test_a_worker_is_used_where_the_corpus_is_worth_it(corpus, tiny_backbone, whole, tmp_path, monkeypatch):
    """By default a small corpus is read in this process, a large one in another."""
    started = []
    real = prefetch.Child
    monkeypatch.setattr(
        prefetch, "Child", lambda *arguments, **options: started.append(1) or real(*arguments, **options)
    )
    build(corpus, tmp_path / "small", backbone=tiny_backbone)
    assert not started
    monkeypatch.setattr(prefetch, "SMALL_CORPUS", 1)
    index, _ = build(corpus, tmp_path / "large", backbone=tiny_backbone)
    assert started
    assert state(index) == whole


# Several devices ----------------------------------------------------------------------------------------------------


def test_a_process_for_each_device_makes_the_whole(corpus, model, whole, tmp_path):
    """`cpu,cpu` builds what one process builds, the report and the progress are of all, and both did a part."""
    told = []
    index, report = build(corpus, tmp_path / "i", model=model, device="cpu,cpu", dtype="fp32", workers=0,
                          progress=told.append)  # fmt: skip
    assert state(index) == whole
    assert (report.documents, dict(report.skipped), report.sources) == (TOTAL, {"null text": 2}, 5)
    assert report.version == index.manifest.version == 3
    assert len(index.segments) == 2
    encoding = [p for p in told if p.stage == "encoding documents"]
    counts = [(p.done, p.committed) for p in encoding]
    assert counts == sorted(counts)
    assert all(p.done <= p.total for p in encoding)
    assert (encoding[-1].done, encoding[-1].total, encoding[-1].committed) == (TOTAL + 2, TOTAL + 2, TOTAL)
    assert index._backbone is None, "the model of this process was only for the settings"
    again = index.append(corpus, device="cpu, cpu")
    assert (again.documents, again.already_in) == (0, 5)


@pytest.fixture
def with_pipe(tmp_path, corpus):
    """The corpus and behind it a pipe that nobody writes to: whoever comes there waits, with all before it complete."""
    folder = tmp_path / "piped"
    folder.mkdir()
    for file in corpus.iterdir():
        (folder / file.name).symlink_to(file)
    os.mkfifo(folder / "z.jsonl")
    return folder


def test_a_device_whose_process_dies_stops_the_run_and_the_same_command_ends_it(
    with_pipe, model, whole, tmp_path, monkeypatch
):
    """Killed by the system: one line says so, the other process commits what it has, and nothing is lost for good."""
    children = []

    class Recorded(jobs.Child):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            children.append(self)

    def kill(progress):
        if progress.stage == "encoding documents":
            children[0]._link.process.send_signal(signal.SIGKILL)

    monkeypatch.setattr(jobs, "Child", Recorded)
    options = {"model": model, "device": "cpu,cpu", "dtype": "fp32", "workers": 0}
    with pytest.raises(NagIndexError, match=r"a worker process was killed by signal 9"):
        build(with_pipe, tmp_path / "i", progress=kill, **options)
    assert len(children) == 2
    (with_pipe / "z.jsonl").unlink()
    monkeypatch.undo()
    index, _ = build(with_pipe, tmp_path / "i", **options)
    assert state(index) == whole


def test_a_bad_file_is_the_same_one_line_error_from_any_device(corpus, model, tmp_path):
    """A BadInputError arrives as such, with its text; what was complete in every process is committed."""
    folder = tmp_path / "bad"
    folder.mkdir()
    for file in corpus.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "z.jsonl").write_text('{"id": "ok", "text": "a cat"}\n' * 3 + '{"id": \n')
    said = []
    for number, device in enumerate(("cpu", "cpu,cpu")):
        with pytest.raises(BadInputError) as caught:
            build(folder, tmp_path / str(number), model=model, device=device, workers=0)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "z.jsonl, line 4: not a JSON record" in said[0]
    assert "\n" not in said[0]
    from nagindex import open as open_index

    assert len(open_index(tmp_path / "0")) > 500
    assert len(open_index(tmp_path / "1")) > 0


def test_devices_are_those_named_else_the_visible_ones(monkeypatch):
    """A launcher's rank takes its own GPU; without one a run takes all, and the CPU where there is none."""
    assert visible_devices("cpu, cuda:1") == ["cpu", "cuda:1"]
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert visible_devices() == ["cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert visible_devices() == ["cuda:0", "cuda:1"]
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert visible_devices() == ["cuda:1"]


# The budget of batches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("room", "slow", "expected", "largest"),
    [(10**6, 0, 1024, 4096), (1024, 0, 1024, 2048), (512, 0, 512, 1024), (100, 0, 64, 512), (10**6, 11, 512, 512)],
    ids=["all fit", "2048 does not fit", "1024 does not fit", "none fits", "ten seconds are over"],
)
def test_the_measured_budget_is_the_smallest_of_the_fast_ones(
    tiny_backbone, monkeypatch, room, slow, expected, largest
):
    """By a clock that knows how fast each candidate is, on a device with room for so many tokens."""
    microseconds_per_token = {512: 3.0, 1024: 1.02, 2048: 1.0, 4096: 1.01}
    now, tried = [0.0], []

    class Fake:
        concurrency = 1

        def __init__(self, backbones, specs, batch_tokens):
            self.batch_tokens = batch_tokens

        def encode(self, ids):
            assert {len(row) for row in ids} == {32}
            tried.append(self.batch_tokens)
            now[0] += slow + microseconds_per_token.get(self.batch_tokens, 1) * sum(map(len, ids)) / 1e6
            if self.batch_tokens > room:
                self.batch_tokens //= 2

    monkeypatch.setattr(batch_size, "Encoder", Fake)
    monkeypatch.setattr(batch_size, "time", SimpleNamespace(monotonic=lambda: now[0]))
    found = batch_size.measure_batch_tokens([tiny_backbone], [tiny_backbone.fingerprint().spec], max_length=32)
    assert (found, max(tried)) == (expected, largest)


def test_the_real_probe_gives_a_candidate(tiny_backbone):
    """Whatever this machine is worth, the budget is one of those listed."""
    found = batch_size.measure_batch_tokens([tiny_backbone], [tiny_backbone.fingerprint().spec], max_length=16)
    assert found in batch_size.CANDIDATES["cpu"]


def test_a_budget_is_measured_for_new_indexes_of_large_corpora_only(corpus, tiny_backbone, tmp_path, monkeypatch):
    """What the user gives comes first, then what the index has, then what is measured, then the default."""
    monkeypatch.setattr("nagindex.ingest.prepare.measure_batch_tokens", lambda *arguments, **options: 777)

    def budget_of(name, **options):
        index, _ = build(corpus, tmp_path / name, backbone=tiny_backbone, workers=0, **options)
        return index.manifest.settings.batch_tokens

    assert budget_of("small") == encoder.BATCH_TOKENS["cpu"]
    monkeypatch.setattr("nagindex.ingest.prepare.SMALL_CORPUS", 1)
    assert budget_of("large") == 777
    assert budget_of("given", batch_tokens=555) == 555
    assert budget_of("small") == encoder.BATCH_TOKENS["cpu"], "an index that exists keeps its own"
    assert budget_of("given", batch_tokens=444) == 555
    types = {"up": tmp_path / "given", "q": tmp_path / "given.q"}
    built = build_types(corpus, types, options=BuildOptions(workers=0), backbone=tiny_backbone)
    assert [index.manifest.settings.batch_tokens for index, _ in built] == [555, 555]
    assert [report.documents for _, report in built] == [0, TOTAL]


def test_processes_report_together_what_each_of_them_did():
    """Counts add up; sources do where each process has its own, and are the same ones where all read all."""
    parts = [
        IngestReport(
            documents=n, tokens=10, sources=n, already_in=1, changed=["b", "a"][:n], unreadable=["c: gone"], version=n
        )
        for n in (1, 2)
    ]
    one, own = (jobs.merge_reports(parts, how) for how in (max, sum))
    assert (one.documents, one.tokens, one.sources, one.already_in) == (3, 20, 2, 1)
    assert (one.changed, one.unreadable, one.version) == (["a", "b"], ["c: gone"], 2)
    assert (own.documents, own.sources, own.already_in) == (3, 3, 2)
