"""Files from a stranger: corpora and saved targets of any bytes end in every row accounted for, or in one line with file and remedy."""

import gzip
import io
import json
import pickle
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nagindex.corpus import Columns, find_sources, read_documents
from nagindex.errors import BadInputError, NagIndexError
from nagindex.nag import NagSpec
from nagindex.nagfiles import NAGS_KEY, TargetSet, is_saved_nags, read_nags, write_nags
from nagindex.targets import load_targets

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SPEC = NagSpec("up", (8, 8), 3)
CODES = np.array([[[0, 1, 2], [3, 4, 5]], [[5, 6, 7], [0, 2, 4]]], np.uint16)
GOOD = {
    "jsonl": b'{"text": "river", "id": "a"}\n{"text": null}\n{"text": "se\xff"}\n{"text": "\\ud800", "id": "b\\u0000\\n"}\n',
    "json": b'[{"text": "river", "id": 7}, {"text": "sea", "x": {"y": [1, 2.5, true]}}]',
    "csv": b'id,text,n\n1,"a ""river""\nwide",2\n2,sea,\n',
    "tsv": b"id\ttext\n1\ta river\n2\t\n",
    "txt": b"a river\nand the sea\n",
}
ENDINGS = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}


def read(path, **columns):
    """Return the documents of a file; None where it is refused in one line that names it and a remedy."""
    [source] = find_sources([path]).sources
    try:
        return list(read_documents(source, Columns(**columns)))
    except BadInputError as error:
        told = str(error)
    assert "\n" not in told
    assert str(path) in told
    assert ";" in told
    return None


def accounted_for(documents):
    """Check that every row has a text or a reason, in order, and an id that can be written."""
    rows = [document.row for document in documents]
    assert rows == sorted(set(rows))
    for document in documents:
        document.id.encode()
        assert (document.text is None) == (document.problem is not None)
        assert document.text is None or document.text.encode() is not None


@st.composite
def damaged(draw, content):
    """Draw bytes that were `content` before something was cut, flipped, doubled, inserted or joined by other encodings."""
    content = bytearray(content)
    for kind in draw(st.lists(st.sampled_from(["cut", "flip", "insert", "double", "drop"]), min_size=1, max_size=4)):
        at = draw(st.integers(0, len(content)))
        if kind == "cut":
            del content[at:]
        elif kind == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            content[at:at] = draw(st.one_of(st.binary(max_size=8), st.sampled_from(PIECES)))
        elif kind == "double":
            content += content[at:]
        elif kind == "drop":
            del content[at : at + draw(st.integers(1, 9))]
    return bytes(content)


PIECES = [b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b'"', b"\\", b"\xed\xa0\x80", b"\\ud800", b"[" * 5000]
PIECES += [
    "größe".encode("latin-1"),
    "river".encode("utf-16"),
    b'{"text": 1}\n',
    b"1" * 5000,
    b"NaN",
    b"}",
    b",",
    b"\t",
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_text_source_is_read_row_by_row_or_refused(kind, ending, data):
    """Before and after compression; whatever is read is accounted for, whatever is not is one line."""
    inner = data.draw(damaged(GOOD[kind]))
    content = ENDINGS[ending](inner)
    if ending and data.draw(st.booleans()):
        content = data.draw(damaged(content))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x.{kind}{ending}")
        path.write_bytes(content)
        found = read(path)
        if found is not None:
            accounted_for(found)


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_parquet_is_read_or_refused(parquet_bytes, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.parquet")
        path.write_bytes(data.draw(damaged(parquet_bytes)))
        found = read(path)
        if found is not None:
            accounted_for(found)


@pytest.fixture(scope="module")
def parquet_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "x.parquet"
    duckdb.sql(f"COPY (SELECT i AS id, 'river ' || i AS text FROM range(50) t(i)) TO '{path}' (FORMAT parquet)")
    return path.read_bytes()


NAMES = [
    '"; DROP TABLE x; --',
    'a"b',
    "größe",
    "x'y",
    "[x]",
    "x) FROM y; --",
    "*",
    "select",
    " ",
    "a\nb",
    "{",
    "?",
    "$1",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_columns_name_is_a_name_whatever_it_spells(tmp_path, name, kind):
    """It holds the text, the id, or what is kept."""
    path = tmp_path / f"x.{kind}"
    if kind == "parquet":
        quoted = name.replace('"', '""')
        duckdb.sql(f"COPY (SELECT 'river' AS \"{quoted}\", 'sea' AS text) TO '{path}' (FORMAT parquet)")
    elif kind == "jsonl":
        path.write_text(json.dumps({name: "river", "text": "sea"}) + "\n")
    else:
        path.write_text('"{}",text\nriver,sea\n'.format(name.replace('"', '""')))
    assert [d.text for d in read(path, text=name)] == ["river"]
    assert [(d.id, d.text) for d in read(path, id=name)] == [("river", "sea")]
    assert [d.kept for d in read(path, keep=(name,))] == [("river",)]


@pytest.mark.parametrize(
    "identifier", ["a\nb", "a\0b", "\r\n", "x" * 10_000_000, "'; --", "\u2028", "\ufeff", "../../x"]
)
def test_an_id_is_kept_byte_for_byte(tmp_path, identifier):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": identifier, "text": "sea"}) + "\n")
    assert [d.id == identifier for d in read(path)] == [True]


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
        *(CODES.astype(np.int64), CODES.astype(np.float32), CODES[:, :1], CODES[0], CODES[:0], CODES + 8, CODES * 0),
        *(
            np.array([[object()]]),
            np.zeros((0, 2, 3), np.uint16),
            np.uint16(5),
            CODES[:, :, :, None],
            CODES.astype(">u2"),
        ),
    ],
    ids=lambda codes: f"{codes.dtype}{list(codes.shape)}",
)
def test_codes_that_are_no_nags_are_refused(fingerprint, codes):
    with pytest.raises(NagIndexError):
        load_targets(np.asarray(codes), fingerprint=fingerprint(SPEC), backbone=None, batch_tokens=1)


@pytest.mark.parametrize("name", ["a\nb", "\0", "x" * 1_000_000])
@pytest.mark.parametrize("columns", [{"text": "nope"}, {"id": "nope"}, {"keep": ("nope",)}, {}])
def test_columns_of_any_name_and_number_are_listed_in_one_short_line(tmp_path, name, columns):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({name: 1, **({f"c{i}": i for i in range(5000)})}) + "\n")
    [source] = find_sources([path]).sources
    with pytest.raises(BadInputError, match="available columns are") as caught:
        list(read_documents(source, Columns(**columns)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 5000
