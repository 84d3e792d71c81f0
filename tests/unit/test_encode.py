"""Encoding: what a NAG must not depend on, and how tokens are counted and batched."""

import dataclasses
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nagindex.encode.encoder import encode_ids, length_sorted_batches
from nagindex.encode.tokenize import tokenize
from nagindex.errors import BadInputError
from nagindex.nag import NagSpec, default_top_k, invalid_rows

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a mat",
    "and",
    "light",
    "bends",
    "water",
    "42",
    "dogs",
    "print(x)",
    "ünïcode",
    "文",
    "loops",
]


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(3)
    return [" ".join(rng.choice(WORDS, size)) for size in rng.integers(1, 90, 60)]


@pytest.fixture(scope="module")
def prepared(tiny_backbone, texts):
    """Token ids of 60 texts of 1 to 120 tokens, the spec, and NAGs and impacts of each text alone."""
    ids = tokenize(tiny_backbone.tokenizer, texts, max_length=120).ids
    spec = tiny_backbone.fingerprint(top_k=20).spec
    alone = encode_ids(tiny_backbone, ids, spec, batch_tokens=1)
    impacts = [
        torch.stack(tiny_backbone.impacts(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long)))[:, 0]
        for row in ids
    ]
    return ids, spec, alone, torch.stack(impacts).numpy()


def _assert_same_nags(codes, expected, impacts, case):
    """Lists may differ only in neurons whose impacts are within 1e-5 relative of each other; print how many do."""
    differing = int((codes != expected).any(axis=-1).sum())
    print(f"{case}: {differing} of {codes.shape[0] * codes.shape[1]} lists differ within rounding")
    mine = np.take_along_axis(impacts, codes.astype(np.int64), axis=-1)
    theirs = np.take_along_axis(impacts, expected.astype(np.int64), axis=-1)
    np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert differing <= 3


@pytest.mark.parametrize("batch_tokens", [1, 100, 700, 4096, 10**6])
def test_batch_size_and_padding_do_not_change_a_nag(tiny_backbone, prepared, batch_tokens):
    """From one text at a time to all in one batch, every NAG is the same."""
    ids, spec, alone, impacts = prepared
    found = encode_ids(tiny_backbone, ids, spec, batch_tokens=batch_tokens)
    _assert_same_nags(found, alone, impacts, f"batch_tokens {batch_tokens}")


def test_order_and_company_do_not_change_a_nag(tiny_backbone, prepared):
    """Shuffled, reversed, or among other texts, every text keeps its NAG."""
    ids, spec, alone, impacts = prepared
    for order in (np.random.default_rng(1).permutation(len(ids)), np.arange(len(ids))[::-1], np.arange(0, len(ids), 3)):
        found = encode_ids(tiny_backbone, [ids[i] for i in order], spec, batch_tokens=900)
        _assert_same_nags(found, alone[order], impacts[order], "another order")


def test_the_pad_token_does_not_matter(tiny_backbone, prepared):
    """The padding's token ids have no effect, and a tokenizer without a pad token works."""
    ids, spec, _, _ = prepared
    before = encode_ids(tiny_backbone, ids, spec, batch_tokens=4096)
    for pad in (7, None):
        other = dataclasses.replace(tiny_backbone, tokenizer=SimpleNamespace(pad_token_id=pad))
        assert np.array_equal(encode_ids(other, ids, spec, batch_tokens=4096), before)


def test_the_same_settings_give_the_same_bytes(tiny_backbone, prepared):
    """Encoding twice with the same settings gives the same codes, byte for byte."""
    ids, spec, _, _ = prepared
    first, second = (encode_ids(tiny_backbone, ids, spec, batch_tokens=700).tobytes() for _ in range(2))
    assert first == second


def test_codes_are_valid_nags(prepared):
    """Every row holds K different neurons of its layer, in the type that indexes store."""
    _, spec, alone, _ = prepared
    assert alone.dtype == np.dtype("<u2")
    assert alone.shape == (60, 4, 20)
    assert len(invalid_rows(alone, spec)) == 0


def test_no_text_gives_no_nag(tiny_backbone):
    """An empty list is encoded to an empty array of the right shape."""
    spec = tiny_backbone.fingerprint(top_k=20).spec
    assert encode_ids(tiny_backbone, [], spec, batch_tokens=100).shape == (0, 4, 20)
    assert tokenize(tiny_backbone.tokenizer, [], max_length=5).ids == []


def test_impacts_that_are_not_finite_are_refused(golden):
    """A backbone that overflows in its dtype raises an error with the remedy instead of returning a NAG of noise."""
    from nagindex.backbone.load import load_backbone

    backbone = load_backbone(str(golden / "models" / "qwen3"), device="cpu", dtype="float32")
    with torch.no_grad():
        backbone.projections[1].module.weight[0] = torch.inf
    with pytest.raises(BadInputError, match=r"not finite.*`dtype="):
        encode_ids(backbone, [[5, 6]], backbone.fingerprint().spec, batch_tokens=10)


def test_token_counts_are_the_tokenizers(tiny_backbone, texts):
    """Counts are of the whole text without special tokens, ids its first max_length tokens."""
    texts = [*texts, "", " ", "<|endoftext|> spelled out", "a\x00b\u200b"]
    tokens = tokenize(tiny_backbone.tokenizer, texts, max_length=7)
    expected = [tiny_backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert tokens.counts.tolist() == [len(ids) for ids in expected]
    assert tokens.ids == [ids[:7] for ids in expected]


def test_texts_that_spell_a_special_token_become_it(tiny_backbone):
    """As in the published code, `<|endoftext|>` in a text is the token 0."""
    assert tokenize(tiny_backbone.tokenizer, ["<|endoftext|>"], max_length=5).ids == [[0]]


def test_special_tokens_are_not_added(golden):
    """A tokenizer that would put a token before every text does not."""
    from nagindex.backbone.load import load_backbone

    backbone = load_backbone(str(golden / "models" / "llama"), device="cpu", dtype="float32")
    with_special = backbone.tokenizer("the cat")["input_ids"]
    assert with_special[0] == 2
    assert tokenize(backbone.tokenizer, ["the cat"], max_length=50).ids == [with_special[1:]]


def test_truncation_left_on_does_not_shorten_counts(tiny_backbone):
    """A tokenizer that someone set to truncate still counts whole documents."""
    text = "the cat sat on a mat " * 50
    whole = tokenize(tiny_backbone.tokenizer, [text], max_length=5).counts[0]
    tiny_backbone.tokenizer([text, "a"], truncation=True, max_length=3, padding=True)
    assert tokenize(tiny_backbone.tokenizer, [text], max_length=5).counts[0] == whole > 100


@given(st.lists(st.integers(1, 130), max_size=60), st.integers(1, 600))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_batches_hold_every_text_once_within_the_token_budget(lengths, batch_tokens):
    """Each text is in one batch; a batch's padded tokens stay within the budget, or it is one text; short texts go first."""
    batches = [batch.tolist() for batch in length_sorted_batches(lengths, batch_tokens=batch_tokens)]
    positions = [p for batch in batches for p in batch]
    assert sorted(positions) == list(range(len(lengths)))
    assert [lengths[p] for p in positions] == sorted(lengths)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[p] for p in batch) <= batch_tokens


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), st.integers(1, 100))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_batches_are_as_full_as_the_budget_allows(lengths, batch_tokens):
    """A batch ends only where the next text would not fit."""
    batches = [batch.tolist() for batch in length_sorted_batches(lengths, batch_tokens=batch_tokens)]
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * lengths[following[0]] > batch_tokens


TABLE = [
    (6144, 20),
    (8192, 20),
    (11008, 30),
    (3072, 10),
    (1536, 10),
    (256, 10),
    (10, 10),
    (7, 7),
    (1, 1),
    (14336, 40),
    (18944, 60),
]


@pytest.mark.parametrize(("width", "expected"), TABLE)
def test_the_default_k_is_the_papers_table(width, expected):
    """0.3 % of the width in tens, at least ten, at most all of them."""
    assert default_top_k(width) == expected


@pytest.mark.parametrize("fields", [((), 1), ((0,), 1), ((70_000,), 1), ((5, 3), 4), ((5,), 0)])
def test_a_shape_that_cannot_be_is_refused(fields):
    """No layers, empty or too wide layers, and a K outside 1 to the narrowest width."""
    with pytest.raises(ValueError, match=r"neurons|top_k"):
        NagSpec("up", *fields)


def test_an_index_of_texts_holds_their_nags_in_order(make_index, tiny_backbone, texts):
    """Row i of an index's codes is the NAG of document i, as encoding the same texts gives it."""
    index = make_index([(str(i), text) for i, text in enumerate(texts)], top_k=20)
    spec = index.manifest.fingerprint.spec
    ids = tokenize(tiny_backbone.tokenizer, texts, max_length=120).ids
    expected = encode_ids(tiny_backbone, ids, spec, batch_tokens=index.manifest.settings.batch_tokens)
    assert np.array_equal(np.concatenate(index.codes), expected)
    assert index.sql("SELECT id FROM docs ORDER BY _segment, _position").fetchall() == [
        (str(i),) for i in range(len(texts))
    ]
