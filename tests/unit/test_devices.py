"""Runs on several devices, shards and workers give what one process gives; a run that fails keeps what is complete."""

import dataclasses
import json
import os
import signal
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nagindex import build, devices, encode, feed, tuning, windows
from nagindex.building import BuildOptions, build_types
from nagindex.devices import visible_devices
from nagindex.encode import Encoder, encode_ids
from nagindex.errors import BadInputError, NagIndexError
from nagindex.ingest import IngestReport
from nagindex.storage.segment import segments_of
from nagindex.tokenise import tokenise
from nagindex.windows import Shard

WORDS = "the cat sat on a mat and light bends in water while dogs print loops".split()
TOTAL = 600


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of 16 rows, dealt out one by one: 600 documents are work for several."""
    monkeypatch.setitem(encode.WINDOW, "cpu", 16)
    monkeypatch.setattr(windows, "WINDOWS_PER_CHUNK", 1)


@pytest.fixture(scope="module")
def model(golden):
    return str(golden / "models" / "qwen3")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """600 short documents in five files, texts repeated under other ids, two rows that are no documents."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(WORDS, size)) for size in rng.integers(1, 60, TOTAL)]
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
        patch.setitem(encode.WINDOW, "cpu", 16)
        index, report = build(corpus, tmp_path_factory.mktemp("whole") / "i", backbone=tiny_backbone, workers=0)
    assert (report.documents, dict(report.skipped)) == (TOTAL, {"null text": 2})
    return state(index)


@pytest.mark.parametrize("group_bytes", [1, 1 << 26], ids=["groups", "windows"])
@pytest.mark.parametrize("count", [1, 3])
def test_shards_in_any_order_make_the_whole(corpus, tiny_backbone, whole, tmp_path, monkeypatch, group_bytes, count):
    """Same ids, same codes, byte for byte, however many shards build the index and in whatever order they run."""
    monkeypatch.setattr(windows, "GROUP_BYTES", group_bytes)
    monkeypatch.setattr(windows, "GROUPS_PER_SHARD", 1)
    for number, order in enumerate(permutations(range(count))):
        reports = []
        for shard in order:
            place = tmp_path / str(number)
            index, report = build(corpus, place, backbone=tiny_backbone, shard=Shard(shard, count), workers=0)
            reports.append(report)
        assert sum(report.documents for report in reports) == TOTAL
        assert all(report.documents for report in reports)
        found = state(index)
        if group_bytes > 1:
            assert found == whole
        assert found[0].keys() == whole[0].keys()
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
    files = [[s.entry.files for s in segments_of(index.path, index.manifest)] for index in made]
    assert files[0] == files[1]
    assert len(files[0]) == 1


def test_a_worker_is_used_where_the_corpus_is_worth_it(corpus, tiny_backbone, whole, tmp_path, monkeypatch):
    """By default a small corpus is read in this process, a large one in another."""
    started = []
    real = feed.Child
    monkeypatch.setattr(feed, "Child", lambda *arguments, **options: started.append(1) or real(*arguments, **options))
    build(corpus, tmp_path / "small", backbone=tiny_backbone)
    assert not started
    monkeypatch.setattr(feed, "SMALL_CORPUS", 1)
    index, _ = build(corpus, tmp_path / "large", backbone=tiny_backbone)
    assert started
    assert state(index) == whole


# Several devices ----------------------------------------------------------------------------------------------------


def test_a_process_for_each_device_makes_the_whole(corpus, model, whole, tmp_path):
    """`cpu,cpu` builds what one process builds, the report and the progress are of all, and both did a part."""
    told = []
    index, report = build(corpus, tmp_path / "i", model=model, device="cpu,cpu", workers=0,
                          progress=lambda p: told.append((p.documents, p.committed)))  # fmt: skip
    assert state(index) == whole
    assert (report.documents, dict(report.skipped), report.sources) == (TOTAL, {"null text": 2}, 5)
    assert report.version == index.manifest.version == 3
    assert len(index.segments) == 2
    assert told == sorted(told)
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

    class Recorded(devices.Child):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            children.append(self)

    def kill(progress):
        children[0]._link.process.send_signal(signal.SIGKILL)

    monkeypatch.setattr(devices, "Child", Recorded)
    options = {"model": model, "device": "cpu,cpu", "workers": 0}
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


# Memory and budgets -------------------------------------------------------------------------------------------------


class Scarce:
    """A model whose device has room for so many padded tokens a pass."""

    def __init__(self, model, room):
        self.model, self.room, self.passes = model, room, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, *, input_ids, **options):
        self.passes.append(input_ids.numel())
        if input_ids.numel() > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return self.model(input_ids=input_ids, **options)


def scarce(backbone, room):
    return dataclasses.replace(backbone, model=Scarce(backbone.model, room))


@pytest.fixture(scope="module")
def ids(tiny_backbone):
    rng = np.random.default_rng(8)
    texts = [" ".join(rng.choice(WORDS, size)) for size in rng.integers(1, 90, 50)]
    return tokenise(tiny_backbone.tokenizer, texts, max_length=60).ids


def test_a_budget_that_memory_does_not_suffice_for_is_halved_for_good(tiny_backbone, ids):
    """Every text still gets its NAG, each batch that ran is counted once, and later windows start with what fitted."""
    small, counted = scarce(tiny_backbone, 300), []
    spec = tiny_backbone.fingerprint(top_k=20).spec
    encoder = Encoder([small], [spec], 1000, lambda texts, tokens: counted.append((texts, tokens)))
    [codes] = encoder.encode(ids)
    assert 150 <= encoder.batch_tokens <= 300
    assert np.array_equal(codes, encode_ids(tiny_backbone, ids, spec, batch_tokens=encoder.batch_tokens))
    assert [sum(column) for column in zip(*counted, strict=True)] == [50, sum(map(len, ids))]
    small.model.passes.clear()
    encoder.encode(ids)
    assert max(small.model.passes) <= 300


def test_a_text_that_does_not_fit_alone_is_an_error(tiny_backbone, ids):
    """There is nothing left to halve: the device's own error goes on; so does any other error of the model."""
    spec = tiny_backbone.fingerprint().spec
    with pytest.raises(torch.OutOfMemoryError):
        encode_ids(scarce(tiny_backbone, 20), ids, spec, batch_tokens=500)
    with pytest.raises(IndexError):
        encode_ids(tiny_backbone, [[10**6], [5]], spec, batch_tokens=500)
