"""Bits of texts are those of one pass a text, whatever the batches; losses with neurons off are those of the patched model."""

import json
import math
from inspect import signature

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from nagindex.analysis import NeuronChoice, deactivated, evaluate_deactivation
from nagindex.analysis.choice import random_neurons
from nagindex.analysis.losses import DeactivationLosses, Loss
from nagindex.backbone import language_model
from nagindex.backbone.language_model import load_language_model
from nagindex.errors import BadInputError, InputNotFoundError, UnsupportedBackboneError
from nagindex.nag import NagSpec

TEXTS = [
    "The river runs under the old bridge.",
    "x",
    "Über",
    " ".join(f"word{n} of a long text" for n in range(40)),
    "a b",
]
CHOICE = NeuronChoice({0: [1, 5, 200], 2: [7]}, by="frequency")


@pytest.fixture(scope="module")
def folder(golden):
    """The folder of a random Llama of four layers, with its head and tokenizer."""
    return golden / "models" / "llama"


@pytest.fixture(scope="module")
def model(folder):
    return load_language_model(str(folder), device="cpu", dtype="fp32")


def one_by_one(model, texts):
    """Return the bits of each text from a pass of its own over all its tokens, float64 [n]."""
    found = []
    for text in texts:
        ids = [model.prefix, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]
        with torch.inference_mode():
            logits = model.model(input_ids=torch.tensor([ids[:-1]])).logits[0].double()
        found.append(-logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]].sum().item() / math.log(2))
    return np.array(found)


@pytest.mark.parametrize("batch_tokens", [1, 50, 1024])
def test_bits_are_those_of_each_text_alone(model, monkeypatch, batch_tokens):
    monkeypatch.setattr(language_model, "BATCH_TOKENS", batch_tokens)
    np.testing.assert_allclose(model.bits(TEXTS), one_by_one(model, TEXTS), rtol=1e-5)


def test_long_texts_are_read_in_windows_that_know_the_last_token_before_them(model, monkeypatch):
    """As in EleutherAI's harness with disjoint windows."""
    monkeypatch.setattr(language_model, "WINDOW", 16)
    ids = [model.prefix, *model.tokenizer(TEXTS[3], add_special_tokens=False)["input_ids"]]
    assert len(ids) > 3 * 16
    expected = 0.0
    for first in range(0, len(ids) - 1, 16):
        window, after = ids[first : first + 16][: len(ids) - 1 - first], ids[first + 1 : first + 17]
        logits = model.model(input_ids=torch.tensor([window])).logits[0].double()
        expected -= logits.log_softmax(-1)[range(len(after)), after].sum().item() / math.log(2)
    assert model.bits(TEXTS)[3] == pytest.approx(expected, rel=1e-5)


def test_losses_are_those_of_the_patched_model_and_of_the_random_draws(model, folder):
    keys = {"mine": CHOICE, "same": NeuronChoice({2: [8], 0: [0, 2, 3]}), "other": NeuronChoice({1: [4]})}
    found = evaluate_deactivation(keys, TEXTS, random=2, seed=9, model=str(folder), device="cpu", dtype="fp32")
    assert [loss.name for loss in found.losses] == ["untouched", "mine", "same", "other"]
    assert [loss.neurons for loss in found.losses] == [0, 4, 4, 1]
    assert found.bytes.tolist() == [len(text.encode()) for text in TEXTS]
    np.testing.assert_array_equal(found.losses[0].bits, model.bits(TEXTS))
    spec = NagSpec("up", (256,) * 4, 1)
    for loss, choice in zip(found.losses[1:], keys.values(), strict=True):
        with deactivated(model.model, choice):
            np.testing.assert_array_equal(loss.bits, model.bits(TEXTS))
        assert loss.draws.shape == (2, len(TEXTS))
        for draw in range(2):
            counts = {layer: len(own) for layer, own in sorted(choice.neurons.items())}
            with deactivated(model.model, random_neurons(counts, spec, 9 + draw)):
                np.testing.assert_array_equal(loss.draws[draw], model.bits(TEXTS))
    np.testing.assert_array_equal(found.losses[1].draws, found.losses[2].draws)
    rows = json.loads(json.dumps(found.to_json()))["rows"]
    assert [row["share"] for row in rows] == [0, 4 / 1024, 4 / 1024, 1 / 1024]
    assert rows[1]["change"] == pytest.approx((found.losses[1].bits - found.losses[0].bits).sum() / found.bytes.sum())
    assert rows[1]["random_mean"] == pytest.approx(np.mean(rows[1]["random"]))
    assert (rows[0]["random"], rows[0]["random_mean"], rows[0]["change"]) == ([], None, 0)


def test_the_error_of_a_change_is_the_one_that_resampling_texts_gives():
    random = np.random.default_rng(2)
    size = random.integers(20, 400, 60)
    bits = size * random.uniform(0.5, 1.5, 60)
    more = size * random.normal(0.3, 0.2, 60)
    losses = DeactivationLosses("", 1, size, [Loss("untouched", 0, bits, np.empty((0, 60)))])
    change, error = losses.change(bits + more)
    assert change == pytest.approx(more.sum() / size.sum())

    def ratio(a, b, axis):
        return a.sum(axis) / b.sum(axis)

    seed = {"rng" if "rng" in signature(bootstrap).parameters else "random_state": 1}  # scipy renamed it in 1.15
    resampled = bootstrap((more, size), ratio, paired=True, n_resamples=4000, **seed)
    assert error == pytest.approx(resampled.standard_error, rel=0.08)
    one = DeactivationLosses("", 1, size[:1], [Loss("untouched", 0, bits[:1], np.empty((0, 1)))])
    assert one.to_json()["rows"][0]["error"] is None


def test_files_of_texts_and_choices_are_read_as_those_of_targets(folder, tmp_path):
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in (*TEXTS[:2], None, "")))
    CHOICE.write(tmp_path / "mine.json")
    found = evaluate_deactivation(
        [tmp_path / "mine.json"], tmp_path / "texts.jsonl", random=1, model=str(folder), device="cpu", dtype="fp32"
    )
    assert [loss.name for loss in found.losses] == ["untouched", "mine"]
    assert len(found.bytes) == 2
    [skipped] = found.skipped
    assert "row 2" in skipped
    assert found.to_json()["rows"][1]["random_deviation"] is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keys": {}}, BadInputError, "no choice of neurons"),
        (
            {"keys": {"a": CHOICE}, "model": None},
            BadInputError,
            "chosen with an unknown model; name the model with `model`",
        ),
        ({"keys": {"a": CHOICE, "b": NeuronChoice({0: [1]}, "gate")}}, BadInputError, "neurons of types gate, up"),
        ({"keys": {"a": NeuronChoice({9: [1]})}}, BadInputError, "layer 9: the model has layers 0 to 3"),
        ({"texts": []}, BadInputError, "there is no text"),
        ({"texts": [""]}, BadInputError, "there is no text"),
        ({"random": -1}, BadInputError, "`random` -1: a number of draws"),
        ({"device": "cuda:99"}, BadInputError, "device 'cuda:99' cannot be used"),
        ({"dtype": "int3"}, BadInputError, "dtype 'int3': one of"),
        ({"model": "/nowhere"}, InputNotFoundError, "/nowhere: no such folder"),
        ({"model": "minilm"}, UnsupportedBackboneError, "minilm: the checkpoint lacks"),
    ],
)
def test_what_cannot_be_measured_is_refused(folder, options, error, message):
    given = {"keys": {"a": CHOICE}, "texts": TEXTS, "model": str(folder), "random": 1} | options
    with pytest.raises(error, match=message):
        evaluate_deactivation(given.pop("keys"), given.pop("texts"), **given)


def test_an_encoder_with_a_head_is_no_causal_model(tmp_path, golden):
    """Its tokens see those that are to be predicted."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=1000,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=44,
        pad_token_id=0,
    )
    transformers.BertLMHeadModel(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(golden / "models" / "llama").save_pretrained(tmp_path)
    with pytest.raises(UnsupportedBackboneError, match="its tokens see those after them"):
        load_language_model(str(tmp_path), device="cpu", dtype="fp32")
