"""Relative impact: the codes are those of a naive oracle, and every document and target of an index is measured by the same means."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nagindex import build
from nagindex import open as open_index
from nagindex.encode.calibrate import mean_impacts
from nagindex.encode.tokenize import tokenize
from nagindex.nag import CODE_DTYPE, impact_divisors
from nagindex.storage.calibration import calibration_hash, read_calibration

WORDS = [
    "river",
    "sand",
    "fox",
    "index",
    "neuron",
    "graph",
    "sea",
    "quick",
    "lazy",
    "brown",
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
]


def naive_impacts(backbone, text, max_length=120):
    """Return mean |output| of each projection over a text's tokens, float32 [d] of each layer, from outputs kept by hooks."""
    ids = torch.tensor([backbone.tokenizer(text, add_special_tokens=False)["input_ids"][:max_length]])
    kept = {}
    handles = [
        projection.module.register_forward_hook(lambda module, given, output, at=at: kept.__setitem__(at, output))
        for at, projection in enumerate(backbone.projections)
    ]
    with torch.no_grad():
        backbone.model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return [kept[at][0].abs().mean(dim=0).numpy() for at in range(len(handles))]


def naive_codes(impacts, means, k):
    """Return the k neurons of largest impact over mean plus a tenth of the layer's average mean, ties to the lower."""
    rows = []
    for own, mean in zip(impacts, means, strict=True):
        mean = mean[: len(own)]
        relative = own / (mean + np.float32(0.1) * np.float32(mean.mean(dtype=np.float64)))
        rows.append(sorted(range(len(own)), key=lambda n: (-relative[n], n))[:k])
    return np.array(rows, CODE_DTYPE)


def texts_of(rng, count):
    return [" ".join(rng.choice(WORDS, rng.integers(1, 40))) for _ in range(count)]


def write(path, texts, first=0):
    path.write_text("".join(json.dumps({"id": f"d{first + n:03}", "text": t}) + "\n" for n, t in enumerate(texts)))
    return path


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    top_k=st.integers(1, 12),
    layers=st.sampled_from([None, "0-1", "last", "0,3", "first-half"]),
)
def test_codes_are_the_naive_oracles(tiny_backbone, tmp_path_factory, seed, top_k, layers):
    """Of documents that calibrated, of those appended later, and of targets, in all layers and in some."""
    folder, rng = tmp_path_factory.mktemp("i"), np.random.default_rng(seed)
    texts = texts_of(rng, 14)
    index, _ = build(
        write(folder / "a.jsonl", texts[:9]),
        folder / "i",
        impact="relative",
        top_k=top_k,
        layers=layers,
        backbone=tiny_backbone,
    )
    index.append(write(folder / "b.jsonl", texts[9:12], first=9))
    spec = index.manifest.fingerprint.spec
    numbers = spec.layer_numbers
    impacts = [naive_impacts(tiny_backbone, text) for text in texts]
    means = [np.mean([own[n] for own in impacts[:9]], axis=0, dtype=np.float64).astype(np.float32) for n in numbers]
    stored = read_calibration(index.path, index.manifest.fingerprint)
    np.testing.assert_allclose(stored, np.array(means), rtol=1e-5)
    expected = np.stack([naive_codes([own[n] for n in numbers], stored, top_k) for own in impacts])
    found = np.concatenate(index.codes)
    [target] = index.encode(texts[12:])
    for codes, oracle in ((found, expected[:12]), (target.codes, expected[12:])):
        differing = (codes != oracle).any(axis=-1).mean()  # only neurons whose impacts differ in the last bits
        assert differing <= 0.1
        assert (np.sort(codes) == np.sort(oracle)).all(axis=-1).mean() >= 0.9


def test_means_do_not_depend_on_batches_beyond_rounding(tiny_backbone):
    """Batches are added up in a fixed order in float64; other batches change the last bits alone."""
    texts = texts_of(np.random.default_rng(1), 40)
    ids = tokenize(tiny_backbone.tokenizer, texts, max_length=120, count=False).ids
    [first], [again], [other] = (mean_impacts([tiny_backbone], ids, batch_tokens=n) for n in (64, 64, 1))
    assert calibration_hash(first) == calibration_hash(again)
    np.testing.assert_allclose(first, other, rtol=1e-5)


def test_a_neuron_that_never_fires_does_not_win(tiny_backbone):
    """Its divisor is the floor, and a layer of silent neurons divides by one."""
    means = np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 0.0]], np.float32)
    first, second = impact_divisors(means, (3, 2))
    np.testing.assert_allclose(first, [1 + 0.4 / 3, 0.4 / 3, 3 + 0.4 / 3], rtol=1e-6)
    assert second.tolist() == [1, 1]
    assert first.dtype == np.float32


def test_layers_of_a_query_are_the_backbones(tiny_backbone, tmp_path):
    """Layer 3 is the same layer in an index of all layers and in one of layers 1 and 3; with one calibration, codes are equal."""
    corpus = write(tmp_path / "a.jsonl", texts_of(np.random.default_rng(2), 30))
    options = {"impact": "relative", "top_k": 6, "backbone": tiny_backbone}
    whole, _ = build(corpus, tmp_path / "whole", **options)
    some, _ = build(corpus, tmp_path / "some", layers="1,3", calibration=whole.path, **options)
    assert some.manifest.fingerprint.spec.numbers == (1, 3)
    assert np.array_equal(np.concatenate(whole.codes)[:, [1, 3]], np.concatenate(some.codes))
    for layers in ("3", "1-3", "last"):
        asked = "3" if layers == "last" else layers.replace("1-3", "1,3")
        a, b = (i.query(["sand fox river"], n=30, layers=own) for i, own in ((whole, asked), (some, layers)))
        assert (a.ids.tolist(), a.scores.tolist()) == (b.ids.tolist(), b.scores.tolist())
    with pytest.raises(ValueError, match="the index has layers 1,3"):
        some.query(["sand"], n=1, layers="2")
    assert open_index(some.path).verify() == []
