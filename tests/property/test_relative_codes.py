"""Relative impact: codes are those of a naive NumPy oracle, whatever the texts, K, layers, type, batches, workers and shards are."""

import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nagindex import build
from nagindex.backbone.load import load_backbone
from nagindex.encode.calibrate import mean_impacts
from nagindex.encode.cpu_workers import CpuWorkers
from nagindex.encode.encoder import Encoder
from nagindex.errors import BadInputError
from nagindex.storage.calibration import read_calibration

LAYERS, FLOOR, SAME = 4, 0.1, 1e-4
MODULES = {
    "up": "mlp.up_proj",
    "gate": "mlp.gate_proj",
    "down": "mlp.down_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
}
WORDS = ["the", "cat", "sat", "on", "a mat", "light", "bends", "in", "water", "dogs", "print(", "loops", "12", "\n"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join), min_size=1, max_size=10)


@pytest.fixture(scope="module", params=["qwen3", "llama", "smollm3"])
def backbone(request, golden):
    return load_backbone(str(golden / "models" / request.param), device="cpu", dtype="fp32")


def impacts_of(backbone, kind, layers, texts, max_length=120):
    """The definition: the mean over a text's tokens of a projection's absolute output, float64 [n, layers, d]; no batch, no padding."""
    seen = {}
    modules = dict(backbone.model.named_modules())
    for layer in layers:
        hook = lambda module, inputs, output, layer=layer: seen.__setitem__(layer, output[0].numpy())  # noqa: E731
        modules[f"layers.{layer}.{MODULES[kind]}"].register_forward_hook(hook)
    found = []
    for text in texts:
        ids = backbone.tokenizer(text, add_special_tokens=False)["input_ids"][:max_length]
        with torch.inference_mode():
            backbone.model(input_ids=torch.tensor([ids]))
        found.append([np.abs(seen[layer].astype(np.float64)).mean(axis=0) for layer in layers])
    for layer in layers:
        modules[f"layers.{layer}.{MODULES[kind]}"]._forward_hooks.clear()
    return np.array(found)


def relative(impacts, means):
    """The definition: divided by the neuron's mean and a tenth of the layer's average mean."""
    return impacts / (means + FLOOR * means.mean(axis=-1, keepdims=True))


def assert_top(codes, impacts):
    """Codes, uint16 [n, L, K], are the largest impacts in their order; neurons within rounding of each other may be exchanged."""
    expected = np.argsort(-impacts, axis=-1, kind="stable")[..., : codes.shape[-1]]
    mine, theirs = (np.take_along_axis(impacts, part.astype(np.int64), axis=-1) for part in (codes, expected))
    np.testing.assert_allclose(mine, theirs, rtol=SAME)
    assert all(len(set(row)) == len(row) for row in codes.reshape(-1, codes.shape[-1]).tolist())
    assert (codes == expected).mean() > 0.9


def made(folder, backbone, texts, *, mark="d", **options):
    """Return an index of relative impact of texts with the ids d000, d001 and so on, calibrated on all of them."""
    corpus = Path(folder, f"{mark}.jsonl")
    corpus.write_text("".join(json.dumps({"id": f"{mark}{i:03}", "text": text}) + "\n" for i, text in enumerate(texts)))
    chosen = {"backbone": backbone, "impact": "relative", "workers": 0} | options
    return build(corpus, Path(folder, f"{mark}.nagindex"), **chosen)[0]


def codes_of(index):
    """Return the codes, uint16 [n, L, K], in the order of the ids."""
    rows = index.docs.project("id, _segment, _position").order("id").fetchall()
    return np.array([index.codes[segment][place] for _, segment, place in rows])


@settings(max_examples=20)
@given(
    texts=TEXTS,
    kind=st.sampled_from(list(MODULES)),
    top_k=st.integers(1, 12),
    layers=st.sets(st.integers(0, LAYERS - 1), min_size=1),
    max_length=st.sampled_from([3, 120]),
    batch_tokens=st.sampled_from([1, 50, 4096]),
)
def test_codes_are_those_of_the_definition(backbone, texts, kind, top_k, layers, max_length, batch_tokens):
    """Means over the corpus, impacts divided by them, the K largest: for every neuron type and any subset of the layers."""
    numbers = sorted(layers)
    impacts = impacts_of(backbone, kind, numbers, texts, max_length)
    means = impacts.mean(axis=0)
    with tempfile.TemporaryDirectory() as folder:
        options = {"neuron_type": kind, "top_k": top_k, "layers": numbers, "max_length": max_length}
        index = made(folder, backbone, texts, batch_tokens=batch_tokens, **options)
        found = index.manifest.fingerprint
        np.testing.assert_allclose(read_calibration(index.path, found), means, rtol=SAME, atol=1e-7)
        assert_top(codes_of(index), relative(impacts, means))
        assert found.spec.layer_numbers == tuple(numbers)
        assert (found.impact, found.spec.shape) == ("relative", (len(numbers), top_k))


@settings(max_examples=10)
@given(texts=TEXTS, seed=st.integers(0, 99))
def test_ties_go_to_the_lower_index_and_silent_layers_stay_whole(tiny_backbone, texts, seed):
    """With means of zero impacts are as they are; with equal impacts and means the lower index is first."""
    means = np.zeros((LAYERS, 256), np.float32)
    means[1:] = np.random.default_rng(seed).random((LAYERS - 1, 256))
    view = tiny_backbone.calibrated(means)
    ids = [tiny_backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    spec = view.fingerprint(top_k=9).spec
    [codes] = Encoder([view], [spec], 500).encode(ids)
    plain = impacts_of(tiny_backbone, "up", range(LAYERS), texts)
    expected = np.concatenate([plain[:, :1], relative(plain[:, 1:], means[1:].astype(np.float64))], axis=1)
    assert_top(codes, expected)


@settings(max_examples=10)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4).map(lambda parts: list(itertools.chain(*parts))))
def test_means_do_not_depend_on_workers_or_batches(backbone, texts):
    """The number of workers changes no bit of a mean; batches of other sizes change no more than rounding does."""
    ids = [backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    views = [backbone, backbone.of_type("v")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = mean_impacts(views, ids, batch_tokens=60)
        for count in (2, 3):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(CpuWorkers, "of", classmethod(lambda cls, own, count=count: cls(own, count, count)))
                again = mean_impacts(views, ids, batch_tokens=60)
            for one, other in zip(expected, again, strict=True):
                assert one.tobytes() == other.tobytes()
        for batch_tokens in (1, 300, 10**6):
            for one, other in zip(expected, mean_impacts(views, ids, batch_tokens=batch_tokens), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8)
    finally:
        torch.set_num_threads(threads)


@settings(max_examples=10)
@given(texts=TEXTS, more=TEXTS, layers=st.sampled_from([None, "first-half", "1,3", "last"]))
def test_targets_and_appended_documents_use_the_stored_means(backbone, texts, more, layers):
    """An example that equals a document gives it the score 1; what is appended is encoded as if it had been there at first."""
    with tempfile.TemporaryDirectory() as folder:
        index = made(folder, backbone, texts, layers=layers)
        numbers = index.manifest.fingerprint.spec.layer_numbers
        means = impacts_of(backbone, "up", numbers, texts).mean(axis=0)
        target = Path(folder, "t.jsonl")
        for place, text in enumerate(texts):
            target.write_text(json.dumps({"text": text}) + "\n")
            best = index.query(target, n=1, cache=False)
            assert best.column("score").tolist() == [1.0]
            assert codes_of(index)[int(str(best.ids[0])[1:])].tolist() == codes_of(index)[place].tolist()
        added = Path(folder, "e.jsonl")
        added.write_text("".join(json.dumps({"id": f"e{i:03}", "text": text}) + "\n" for i, text in enumerate(more)))
        assert index.append(added, workers=0).documents == len(more)
        assert_top(codes_of(index)[len(texts) :], relative(impacts_of(backbone, "up", numbers, more), means))
        assert list(index.verify()) == []


@settings(max_examples=15)
@given(
    texts=TEXTS,
    tapped=st.sets(st.integers(0, LAYERS - 1), min_size=1),
    part=st.sets(st.integers(0, LAYERS - 1), min_size=1),
    impact=st.sampled_from(["absolute", "relative"]),
)
def test_the_layers_of_a_query_are_the_backbones(tiny_backbone, texts, tapped, part, impact):
    """An index of some layers answers a query of some of them as an index of all layers does, and names those that it has."""
    with tempfile.TemporaryDirectory() as folder:
        whole = made(folder, tiny_backbone, texts, impact=impact)
        given = {"calibration": whole.path} if impact == "relative" else {}
        few = made(folder, tiny_backbone, texts, mark="f", impact=impact, layers=sorted(tapped), **given)
        target = Path(folder, "t.jsonl")
        target.write_text(json.dumps({"text": texts[0]}) + "\n")
        asked = ",".join(map(str, sorted(part)))
        if not part <= tapped:
            with pytest.raises(BadInputError, match=r"the index has layers [0-9, to]+$"):
                few.query(target, n=1, layers=asked)
            return
        mine, theirs = (index.query(target, n=len(texts), layers=asked) for index in (few, whole))
        assert mine.column("score").tolist() == theirs.column("score").tolist()
        assert [str(i)[1:] for i in mine.ids] == [str(i)[1:] for i in theirs.ids]


def test_another_calibration_is_another_encoding(tiny_backbone):
    """One bit of one mean changes the fingerprint, and with it the key of cached targets."""
    means = np.ones((LAYERS, 256), np.float32)
    other = means.copy()
    other[3, 255] = np.nextafter(np.float32(1), np.float32(2))
    first, second = (tiny_backbone.calibrated(own).fingerprint() for own in (means, other))
    assert first.key() != second.key() != tiny_backbone.fingerprint().key()
    assert [part.split()[0] for part in first.differences(second)] == ["`calibration`"]
    assert tiny_backbone.calibrated(means).calibrated(None).fingerprint() == tiny_backbone.fingerprint()
