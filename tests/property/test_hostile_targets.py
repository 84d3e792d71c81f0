"""Saved targets from a stranger: right, or refused in one line; nothing in them is ever run."""

import io
import json
import pickle
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hostile import damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from nagindex.errors import NagIndexError
from nagindex.nag import NagSpec
from nagindex.targets.load import load_targets
from nagindex.targets.saved import NAGS_KEY, TargetSet, is_saved_nags, read_nags, write_nags

SPEC = NagSpec("up", (8, 8), 3)
CODES = np.array([[[0, 1, 2], [3, 4, 5]], [[5, 6, 7], [0, 2, 4]]], np.uint16)


def save(path, codes=CODES, *, fingerprint):
    write_nags(path, [TargetSet(codes, [str(i) for i in range(len(codes))], [], name="t")], fingerprint)
    return path


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_saved_targets_are_right_or_refused(fingerprint, saved_bytes, data):
    """A file that is still read holds NAGs of the encoding; every other is one line that names it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.parquet")
        path.write_bytes(data.draw(damaged(saved_bytes)))
        if not is_saved_nags(path):
            return
        try:
            found = read_nags(path, fingerprint(SPEC))
        except NagIndexError as error:
            found, told = [], str(error)
        else:
            told = str(path)
        assert str(path) in told
        assert "\n" not in told
        assert all(example.codes.shape == SPEC.shape and example.codes.max() < 8 for example in found)


@pytest.fixture(scope="module")
def saved_bytes(tmp_path_factory, fingerprint):
    return save(tmp_path_factory.mktemp("saved") / "x.parquet", fingerprint=fingerprint(SPEC)).read_bytes()


SELECTS = [
    *("SELECT 't' AS target, 'a' AS id, NULL AS nag", "SELECT 't' AS target, 'a' AS id", "SELECT 5 AS nag, 'a' AS id"),
    *(
        "SELECT 'a' AS id, [1, 2] AS nag",
        "SELECT 'a' AS id, [0, 1, 2, 3, 4, 99999] AS nag",
        "SELECT 'a' AS id, '' AS nag",
    ),
    *("SELECT 'a' AS id, [-1, 1, 2, 3, 4, 5] AS nag", "SELECT 'a' AS id, [0, 0, 0, 3, 4, 5] AS nag"),
    *("SELECT 'a' AS id, [0.5, 1, 2, 3, 4, 5] AS nag", "SELECT 'a' AS id, [NULL, 1, 2, 3, 4, 5]::INT[] AS nag"),
    *("SELECT 'a' AS id, [[0, 1, 2], [3, 4, 5]] AS nag", "SELECT 'a' AS id, ['x', '1', '2', '3', '4', '5'] AS nag"),
    *("SELECT NULL::VARCHAR AS id, [0, 1, 2, 3, 4, 5] AS nag", "SELECT 7 AS id, [0, 1, 2, 3, 4, 5] AS nag"),
    *("SELECT [1] AS target, 'a' AS id, [0, 1, 2, 3, 4, 5] AS nag", "SELECT 'a' AS id, range(100000) AS nag"),
    *(
        "SELECT 'a' AS id, [0, 1, 2, 3, 4, 5] AS nag LIMIT 0",
        "SELECT 'a' AS id, [0, 1, 2, 3, 4, 10::HUGEINT ** 30] AS nag",
    ),
]


@pytest.mark.parametrize("select", SELECTS)
def test_saved_targets_of_another_shape_or_type_are_refused(tmp_path, fingerprint, select):
    """Their fingerprint fits and their rows do not: the message names the file."""
    path = tmp_path / "x.parquet"
    metadata = json.dumps(fingerprint(SPEC).to_json()).replace("'", "''")
    duckdb.sql(f"COPY ({select}) TO '{path}' (FORMAT parquet, KV_METADATA {{{NAGS_KEY}: '{metadata}'}})")
    with pytest.raises(NagIndexError, match=r"x\.parquet") as caught:
        load_targets(path, fingerprint=fingerprint(SPEC), backbone=None, batch_tokens=1)
    assert "\n" not in str(caught.value)


METADATA = ["", "{", "[]", "5", "null", "{}", '{"spec": {}}', "[" * 100_000, "\xff", '{"spec": {"widths": [1e99]}}']


@pytest.mark.parametrize("metadata", [*METADATA, "widths", "top_k", "libraries", "extra"])
def test_saved_targets_with_another_fingerprint_are_refused(tmp_path, fingerprint, metadata):
    fields = fingerprint(SPEC).to_json()
    if metadata == "extra":
        fields["__class__"] = "x"
    elif metadata == "libraries":
        fields["libraries"] = 5
    elif metadata in ("widths", "top_k"):
        fields["spec"][metadata] = [65536] * 10**5 if metadata == "widths" else 10**15
    written = metadata if metadata in METADATA else json.dumps(fields)
    path = tmp_path / "x.parquet"
    duckdb.sql(
        f"""COPY (SELECT 'a' AS id, [0, 1, 2, 3, 4, 5] AS nag) TO '{path}'
        (FORMAT parquet, KV_METADATA {{{NAGS_KEY}: '{written.replace("'", "''")}'}})"""
    )
    with pytest.raises(NagIndexError, match=r"x\.parquet") as caught:
        read_nags(path, fingerprint(SPEC))
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("stolen"),)


def _array_file(path, kind):
    objects = np.array([Bomb()], dtype=object)
    with io.BytesIO() as buffer:
        if kind == "npz":
            np.savez(buffer, objects)
        elif kind == "npy":
            np.save(buffer, objects, allow_pickle=True)
        else:
            buffer.write(pickle.dumps(Bomb()))
        path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("kind", ["npz", "npy", "pickle"])
@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pkl", "x.parquet", "x.jsonl", "x.txt.gz"])
def test_a_pickle_never_runs_under_any_name(tmp_path, monkeypatch, fingerprint, name, kind):
    monkeypatch.chdir(tmp_path)
    _array_file(tmp_path / name, kind)
    with pytest.raises(NagIndexError, match=name):
        load_targets(tmp_path / name, fingerprint=fingerprint(SPEC), backbone=None, batch_tokens=1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "codes",
    [
        *(CODES.astype(bool), CODES.astype(np.float32), CODES[:, :1], CODES[0], CODES[:0], CODES + 8, CODES * 0),
        *(CODES.astype(np.int64) - 1, CODES.astype(np.int32) + 65536, CODES.astype(np.uint64) + 2**63, CODES + 0j),
        *(
            np.array([[object()]]),
            np.zeros((0, 2, 3), np.uint16),
            np.uint16(5),
            CODES[:, :, :, None],
        ),
    ],
    ids=lambda codes: f"{codes.dtype}{list(codes.shape)}",
)
def test_codes_that_are_no_nags_are_refused(fingerprint, codes):
    with pytest.raises(NagIndexError):
        load_targets(np.asarray(codes), fingerprint=fingerprint(SPEC), backbone=None, batch_tokens=1)
