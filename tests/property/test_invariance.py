"""In float32 a NAG depends on the text and the model alone: not on company, padding, kernels, threads, shards or memory."""

import copy
import dataclasses
import json

import duckdb
import numpy as np
import pytest
import torch

from nagindex import build
from nagindex import open as open_index
from nagindex.backbone.load import load_backbone
from nagindex.encode import encoder
from nagindex.encode.batch import pad
from nagindex.encode.cpu_workers import CpuWorkers
from nagindex.encode.encoder import Encoder, encode_ids
from nagindex.encode.tokenize import tokenize
from nagindex.errors import BadInputError
from nagindex.ingest.options import Shard

MODELS = ("qwen3", "llama", "smollm3", "minilm")
TOP_K = 20
SAME = 1e-5


class Subject:
    """A model, token ids of the golden documents, and the NAG and impacts of each text encoded alone."""

    def __init__(self, name, golden):
        self.name = name
        self.place = name if name == "minilm" else str(golden / "models" / name)
        self.backbone = self.loaded()
        documents = duckdb.sql(f"SELECT docid, doc FROM '{golden / 'docs.parquet'}'").fetchall()
        ids = tokenize(self.backbone.tokenizer, [text for _, text in documents], max_length=120).ids
        self.documents = [document for document, row in zip(documents, ids, strict=True) if row]
        self.ids = [row for row in ids if row]
        self.spec = self.backbone.fingerprint(top_k=TOP_K).spec
        self.impacts = np.concatenate([self.impacts_of([row]) for row in self.ids])
        self.alone = encode_ids(self.backbone, self.ids, self.spec, batch_tokens=1)

    def loaded(self, **options):
        return load_backbone(self.place, device="cpu", dtype="fp32", **options)

    def impacts_of(self, rows, *, left=False):
        """Return impacts, float32 [n, L, d], of texts in one batch, padded on the right or on the left."""
        ids, mask = pad(rows, 7)
        if left:
            ids, mask = (
                torch.stack([row.roll(len(row) - int(m.sum())) for row, m in zip(part, mask, strict=True)])
                for part in (ids, mask)
            )
        return torch.stack(self.backbone.impacts(ids, mask), dim=1).numpy()

    def assert_same_nags(self, found, what, expected=None, order=slice(None)):
        """Lists may differ only in neurons whose impacts are within 1e-5 of each other; print how many do."""
        expected, impacts = (self.alone if expected is None else expected)[order], self.impacts[order]
        differing = int((found != expected).any(axis=-1).sum())
        print(f"{self.name}, {what}: {differing} of {found.shape[0] * found.shape[1]} lists differ within rounding")
        mine, theirs = (np.take_along_axis(impacts, part.astype(np.int64), axis=-1) for part in (found, expected))
        np.testing.assert_allclose(mine, theirs, rtol=SAME)
        assert differing <= found.shape[0] * found.shape[1] / 20


@pytest.fixture(scope="module", params=MODELS)
def subject(request, golden):
    return Subject(request.param, golden)


def encoded(subject, ids=None, batch_tokens=900, backbone=None):
    return encode_ids(backbone or subject.backbone, ids or subject.ids, subject.spec, batch_tokens=batch_tokens)


def test_batches_of_any_size_give_the_same_nags(subject):
    """From each text alone to all of them in one batch."""
    for batch_tokens in (130, 700, 4096, 10**6):
        subject.assert_same_nags(encoded(subject, batch_tokens=batch_tokens), f"batches of {batch_tokens}")


def test_any_order_gives_the_same_nags(subject):
    """Shuffled, reversed or thinned out, each text keeps its NAG."""
    count = len(subject.ids)
    for order in (np.random.default_rng(2).permutation(count), np.arange(count)[::-1], np.arange(0, count, 3)):
        subject.assert_same_nags(encoded(subject, [subject.ids[i] for i in order]), "another order", order=order)


def test_padding_on_either_side_gives_the_same_impacts(subject):
    """The reference pads on the left, nagindex on the right; each row of a batch is what it is alone."""
    left, right = subject.impacts_of(subject.ids, left=True), subject.impacts_of(subject.ids)
    assert np.array_equal(left, right), "tokens go to the front before the model sees them"
    np.testing.assert_allclose(right, subject.impacts, rtol=SAME, atol=SAME * float(subject.impacts.max()))


def test_eager_attention_gives_the_same_nags(subject):
    """The attention implementation is a matter of speed."""
    eager = subject.loaded(attention="eager")
    assert eager.fingerprint().attention == "eager" != subject.backbone.fingerprint().attention
    subject.assert_same_nags(encoded(subject, backbone=eager), "eager attention")


def test_threads_give_the_same_nags(subject):
    """One thread or two, with products split among them."""
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(encoded(subject))
            subject.assert_same_nags(found[-1], f"{threads} threads")
    finally:
        torch.set_num_threads(before)


def test_the_same_settings_give_the_same_bytes(subject):
    """Encoding again, also by a model loaded again, repeats every byte."""
    first = encoded(subject).tobytes()
    assert encoded(subject).tobytes() == first
    assert encoded(subject, backbone=subject.loaded()).tobytes() == first


def test_types_from_one_pass_are_those_of_separate_passes(subject):
    """Several neuron types at once cost one forward pass and change no byte of any."""
    views = [subject.backbone.of_type(kind) for kind in ("q", "up", "k", "v", "o", "down")]
    specs = [view.fingerprint().spec for view in views]
    together = Encoder(views, specs, 900).encode(subject.ids)
    for view, spec, codes in zip(views, specs, together, strict=True):
        assert np.array_equal(codes, encode_ids(view, subject.ids, spec, batch_tokens=900)), view.neuron_type


@pytest.mark.parametrize(("shards", "window", "workers"), [(1, 256, 1), (3, 5, 0), (2, 4, 1)])
def test_shards_windows_and_workers_give_the_same_nags(subject, tmp_path, monkeypatch, shards, window, workers):
    """However an index was built, its documents have the NAGs that their texts have alone."""
    monkeypatch.setitem(encoder.WINDOW, "cpu", window)
    monkeypatch.setattr("nagindex.ingest.sharding.WINDOWS_PER_CHUNK", 1)
    lines = [json.dumps({"id": i, "text": text}) + "\n" for i, text in subject.documents]
    for number in range(3):
        (tmp_path / f"{number}.jsonl").write_text("".join(lines[number::3]))
    paths = sorted(tmp_path.glob("*.jsonl"))
    for number in range(shards):
        options = {"shard": Shard(number, shards), "workers": workers, "top_k": TOP_K, "batch_tokens": 500}
        index, report = build(paths, tmp_path / "i.nagindex", backbone=subject.backbone, **options)
        assert report.documents
    codes = np.concatenate(index.codes)
    order = [i for (i,) in index.docs.order("_segment, _position").project("id").fetchall()]
    places = [order.index(i) for i, _ in subject.documents]
    subject.assert_same_nags(codes[places], f"{shards} shards, windows of {window}, {workers} workers")


def test_cpu_workers_give_the_same_bytes_as_one_batch_after_the_other(subject):
    """Concurrent batches, each on its own core with copied modules and shared weights, change nothing."""
    alone = Encoder([subject.backbone], [subject.spec], 700)
    alone._workers = None
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = alone.encode(subject.ids)[0].tobytes()
    finally:
        torch.set_num_threads(before)
    concurrent = Encoder([subject.backbone], [subject.spec], 700)
    concurrent._workers = CpuWorkers([subject.backbone], 3, 3)
    for _ in range(3):
        assert concurrent.encode(subject.ids)[0].tobytes() == expected
    weights = subject.backbone.model.state_dict()
    for backbone in concurrent._workers._replicas.get():
        assert all(t.data_ptr() == weights[name].data_ptr() for name, t in backbone.model.state_dict().items())
    assert not any(p.module._forward_hooks for p in subject.backbone.projections)


# Memory -------------------------------------------------------------------------------------------------------------


class Scarce:
    """A model whose device has room for so many padded tokens a pass."""

    def __init__(self, model, room):
        self.model, self.room, self.passes = model, room, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __deepcopy__(self, memo):
        twin = Scarce(copy.deepcopy(self.model, memo), self.room)
        twin.passes = self.passes
        return twin

    def __call__(self, *, input_ids, **options):
        self.passes.append(input_ids.numel())
        if input_ids.numel() > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return self.model(input_ids=input_ids, **options)


def scarce(backbone, room):
    return dataclasses.replace(backbone, model=Scarce(backbone.model, room))


def test_a_budget_that_memory_does_not_suffice_for_is_halved_for_good(subject):
    """Every text still gets its NAG, each batch that ran is counted once, and later windows start with what fitted."""
    small, counted = scarce(subject.backbone, 300), []
    encoder = Encoder([small], [subject.spec], 1000, lambda texts, tokens: counted.append((texts, tokens)))
    subject.assert_same_nags(encoder.encode(subject.ids)[0], "budget halved")
    assert 150 <= encoder.batch_tokens <= 300
    assert [sum(column) for column in zip(*counted, strict=True)] == [len(subject.ids), sum(map(len, subject.ids))]
    assert len(counted) == sum(tokens <= 300 for tokens in small.model.passes)
    small.model.passes.clear()
    encoder.encode(subject.ids)
    assert max(small.model.passes) <= 300


def test_an_index_remembers_what_memory_sufficed_for(tiny_backbone, tmp_path):
    """The next version's settings record the halved batch size, and the next run starts with it."""
    for number in range(2):
        texts = [{"id": f"{number}-{i}", "text": "the cat sat on a mat " * 4} for i in range(40)]
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    small = scarce(tiny_backbone, 300)
    index, _ = build(tmp_path / "0.jsonl", tmp_path / "i", backbone=small, batch_tokens=2048)
    budget = open_index(tmp_path / "i").manifest.settings.batch_tokens
    assert 150 <= budget <= 300
    small.model.passes.clear()
    index, report = build(tmp_path / "1.jsonl", tmp_path / "i", backbone=small)
    assert report.documents == 40
    assert max(small.model.passes) <= 300
    assert index.manifest.settings.batch_tokens == budget


def test_a_text_that_does_not_fit_alone_is_an_error(tiny_backbone):
    """There is nothing left to halve: the device's own error is raised, and so is any other error of the model."""
    spec, ids = tiny_backbone.fingerprint().spec, [[5] * 30, [6] * 25]
    with pytest.raises(torch.OutOfMemoryError):
        encode_ids(scarce(tiny_backbone, 20), ids, spec, batch_tokens=500)
    with pytest.raises(IndexError):
        encode_ids(tiny_backbone, [[10**6], [5]], spec, batch_tokens=500)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_impacts_that_are_not_finite_are_named_in_any_type(golden, value):
    """Of several types in one pass, one that overflows is enough; the message names the model, its dtype and the remedy."""
    backbone = load_backbone(str(golden / "models" / "llama"), device="cpu", dtype="fp32")
    views = [backbone, backbone.of_type("q")]
    with torch.no_grad():
        views[1].projections[2].module.weight[0] = value
    with pytest.raises(BadInputError, match=r"llama in torch.float32 gives impacts that are not finite; use `dtype="):
        Encoder(views, [view.fingerprint().spec for view in views], 100).encode([[5, 6], [7]])
