"""Codes that stand in for target texts: NAGs saved by an index of a larger K, and arrays of any integer type."""

import json

import numpy as np
import pytest

from nagindex import build
from nagindex.errors import BadInputError, SettingsMismatchError
from nagindex.nag import NagSpec
from nagindex.targets.load import load_targets
from nagindex.targets.saved import TargetSet, read_nags, write_nags

SPEC = NagSpec("up", (8, 8), 3)
CODES = np.array([[[0, 1, 2], [3, 4, 5]], [[5, 6, 7], [0, 2, 4]]], np.uint16)


@pytest.fixture
def targets(tmp_path):
    path = tmp_path / "targets.jsonl"
    records = [{"id": str(i), "text": text} for i, text in enumerate(("the cat sat", "dogs print loops", "light"))]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def index_of(top_k, targets, tmp_path, backbone):
    index, _ = build(targets, tmp_path / f"{top_k}.nagindex", backbone=backbone, top_k=top_k)
    return index


def saved(index, targets, path):
    write_nags(path, index.encode(targets), index.manifest.fingerprint)
    return path


def test_nags_of_a_larger_k_serve_an_index_of_a_smaller_one(targets, tmp_path, tiny_backbone):
    """The first K neurons of each layer are the NAG: codes, ids and a query's answer are those of the texts."""
    large, small = (index_of(k, targets, tmp_path, tiny_backbone) for k in (4, 2))
    path = saved(large, targets, tmp_path / "large.parquet")
    [found], [expected] = small.encode(path), small.encode(targets)
    np.testing.assert_array_equal(found.codes, expected.codes)
    assert (found.codes.dtype, found.codes.shape[-1], found.ids) == (np.uint16, 2, expected.ids)
    assert found.codes.flags["C_CONTIGUOUS"]
    by_nags, by_texts = small.query(path, n=2), small.query(targets, n=2)
    assert by_nags.ids.tolist() == by_texts.ids.tolist()
    assert by_nags.scores.tolist() == by_texts.scores.tolist()


def test_nags_of_a_smaller_k_are_refused_and_both_values_named(targets, tmp_path, tiny_backbone):
    """Neurons beyond the saved ones are not known."""
    large, small = (index_of(k, targets, tmp_path, tiny_backbone) for k in (4, 2))
    path = saved(small, targets, tmp_path / "small.parquet")
    with pytest.raises(SettingsMismatchError, match=r"small\.parquet: `top_k` is 4 in the index and 2 here; "):
        large.encode(path)


def test_nags_of_a_larger_k_and_another_encoding_are_refused(tmp_path, fingerprint):
    """Only K may differ, and the message names only what must not."""
    path = tmp_path / "x.parquet"
    write_nags(path, [TargetSet(CODES, ["a", "b"], [])], fingerprint(SPEC, max_length=64))
    with pytest.raises(SettingsMismatchError, match=r"x\.parquet: `max_length` is \d+ in the index and 64 here; "):
        read_nags(path, fingerprint(NagSpec("up", (8, 8), 2)))


def test_nags_of_a_larger_k_are_checked_beyond_the_smaller_one(tmp_path, fingerprint):
    """A file that holds an impossible neuron is damaged, wherever that stands."""
    path, codes = tmp_path / "x.parquet", CODES.copy()
    codes[1, 1, 2] = 8
    write_nags(path, [TargetSet(codes, ["a", "b"], [])], fingerprint(SPEC))
    with pytest.raises(
        BadInputError, match=r"x\.parquet, row 1: holds a neuron twice or one that its layer does not have"
    ):
        read_nags(path, fingerprint(NagSpec("up", (8, 8), 2)))


def load(codes, fingerprint):
    [target] = load_targets(codes, fingerprint=fingerprint(SPEC), backbone=None, batch_tokens=1)
    return target


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "uint64", ">u2", ">i8"])
def test_codes_of_any_integer_type_are_those_of_uint16(fingerprint, dtype):
    """NumPy makes int64 of a list of numbers: the target set is the same, and so is the hash that provenance records."""
    expected, found = load(CODES, fingerprint), load(CODES.astype(dtype), fingerprint)
    assert found.codes.dtype == np.dtype("<u2")
    np.testing.assert_array_equal(found.codes, CODES)
    assert found.files == expected.files
    converted = load(TargetSet(CODES.astype(dtype), ["a", "b"], [], name="mine"), fingerprint)
    assert (converted.codes.dtype, converted.name) == (np.dtype("<u2"), "mine")
    np.testing.assert_array_equal(converted.codes, CODES)


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (-1, np.int64, "row 1: holds -1, and neurons have numbers from 0 to 65535"),
        (65536, np.int64, "row 1: holds 65536, and neurons have numbers from 0 to 65535"),
        (8, np.int64, "row 1: holds a neuron twice or one that its layer does not have"),
        (5, np.int64, "row 1: holds a neuron twice or one that its layer does not have"),
        (0.5, np.float64, "float64 [2, 2, 3], not uint16 [n, 2, 3]"),
        (1.0, np.float32, "float32 [2, 2, 3], not uint16 [n, 2, 3]"),
    ],
)
def test_codes_that_are_no_neurons_are_refused(fingerprint, value, dtype, reason):
    """Numbers that do not fit are named with their row; floating-point values are no codes even where they are whole."""
    codes = CODES.astype(dtype)
    codes[1, 0, 1] = value
    with pytest.raises(BadInputError) as caught:
        load(codes, fingerprint)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("the codes given")
    assert "\n" not in str(caught.value)
