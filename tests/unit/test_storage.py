"""Manifests, segments and files: published whole or not at all, read only if they are what was written."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nagindex.errors import DamagedIndexError, InputNotFoundError, UnknownFormatError
from nagindex.index import Index
from nagindex.nag import NagSpec
from nagindex.storage import manifest as manifests
from nagindex.storage.arrays import data_offset, map_array, write_array
from nagindex.storage.commit import commit, publish
from nagindex.storage.files import create_exclusively, replacing
from nagindex.storage.json_bytes import digest
from nagindex.storage.manifest import Manifest, Settings, manifest_path, read_latest, read_manifest

SPEC = NagSpec("up", (8, 8), 3)


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """A written index of six documents in two segments."""
    codes = random_codes(np.random.default_rng(0), 6, 2, 3, 8)
    kept = [("x", 1), ("y", None), ("é", 3), ("x", 4), (None, 5), ("z", 6)]
    ids = ["007", "1e3", "b", "2024-01-01", "文", "a'b"]
    return write_index(tmp_path / "i", codes, ids, range(6), width=8, cuts=(4,), kept=kept, keep=("label", "n"))


def test_a_manifest_comes_back_as_it_was_written(index, fingerprint):
    """Every field of a version, settings and segments included, survives the file."""
    settings = Settings("body", "key", "n", ("label", "q"), window=7, batch_tokens=99)
    made = Manifest(2, "append", "2026-01-01T00:00:00+00:00", fingerprint(SPEC), settings, index.manifest.segments)
    assert publish(index.path, made)
    assert read_manifest(index.path, 2) == made == read_latest(index.path)
    assert made.documents == 6
    assert made.tokens == 15


def test_a_written_index_comes_back_as_it_was_given(index):
    """Codes are mapped as they were written; ids, tokens and kept columns are what they were, byte for byte."""
    assert [part.shape for part in index.codes] == [(4, 2, 3), (2, 2, 3)]
    assert all(isinstance(part, np.memmap) and not part.flags.writeable for part in index.codes)
    rows = index.sql("SELECT id, tokens, label, n FROM docs ORDER BY _segment, _position").fetchall()
    ids = ["007", "1e3", "b", "2024-01-01", "文", "a'b"]
    labels = ["x", "y", "é", "x", None, "z"]
    assert rows == [
        (i, t, label, n) for i, t, label, n in zip(ids, range(6), labels, [1, None, 3, 4, 5, 6], strict=True)
    ]
    assert list(index.verify()) == []


def test_of_two_publications_of_one_version_one_wins(index, fingerprint):
    """Whoever creates a version's file first has it; the other is told, and nothing of the winner's changes."""
    following = [dataclasses.replace(index.manifest, version=2, operation=f"writer {i}") for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda made: publish(index.path, made), following))
    assert sum(won) == 1
    assert read_latest(index.path) == following[won.index(True)]
    names = ["000000000001.json", "000000000002.json", "latest.json"]
    assert sorted(p.name for p in (index.path / "manifests").iterdir()) == names


def test_a_commit_that_loses_the_race_is_applied_to_the_winners_version(index):
    """The change is made again on what the other writer published: both are in."""
    seen = []

    def change(current):
        seen.append(current.version)
        if len(seen) == 1:
            assert publish(index.path, current.following("other", current.segments[:1]))
        return current.following("mine", (*current.segments, index.manifest.segments[1]))

    committed = commit(index.path, change)
    assert seen == [1, 2]
    assert committed.version == 3
    assert read_latest(index.path) == committed
    assert [entry.id for entry in committed.segments] == [entry.id for entry in index.manifest.segments]


def test_a_commit_of_nothing_makes_no_version(index):
    """A change that finds nothing to do leaves the current version."""
    assert commit(index.path, lambda current: None) == index.manifest
    assert manifests.versions(index.path) == [1]


def test_many_writers_lose_no_commit(index):
    """Eight writers at once: every one's change is in, in some order."""
    settings = [str(i) for i in range(8)]

    def add(name):
        return commit(index.path, lambda current: current.following(f"{current.operation} {name}", current.segments))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, settings))
    assert manifests.versions(index.path) == list(range(1, 10))
    assert sorted(read_latest(index.path).operation.split()[1:]) == settings


def _rewrite(index, change, *, sealed=True):
    """Change the current manifest's JSON, with a checksum that fits unless told otherwise."""
    path = manifest_path(index.path, 1)
    content = json.loads(path.read_text())
    stated = content.pop("sha256")
    change(content)
    path.write_text(json.dumps(content | {"sha256": digest(content) if sealed else stated}))


@pytest.mark.parametrize("cut", [0, 1, 100, -2])
def test_a_truncated_manifest_is_damage(index, cut):
    """A manifest that lost its end is named, with the remedy."""
    path = manifest_path(index.path, 1)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DamagedIndexError, match=r"000000000001\.json"):
        Index.open(index.path)


def test_every_flipped_byte_of_a_manifest_is_noticed(index):
    """No byte that means anything can change unnoticed."""
    path = manifest_path(index.path, 1)
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        try:
            assert read_manifest(index.path, 1) == index.manifest
        except (DamagedIndexError, UnknownFormatError):
            continue
    path.write_bytes(content)
    assert read_manifest(index.path, 1) == index.manifest


@pytest.mark.parametrize(
    "content", ["[]", "5", "null", '"x"', "{}", '{"sha256": 5}', "[" * 100_000, '{"sha256": "x", "format_version": 1}']
)
def test_json_that_is_no_manifest_is_damage(index, content):
    """Whatever the JSON is, the answer is one clear error."""
    manifest_path(index.path, 1).write_text(content)
    with pytest.raises((DamagedIndexError, UnknownFormatError), match=r"000000000001\.json"):
        Index.open(index.path)


def test_an_unknown_format_version_is_refused(index):
    """The message names both versions and the nagindex that wrote it."""
    _rewrite(index, lambda content: content.update(format_version=2, writer="nagindex 99.0"))
    with pytest.raises(UnknownFormatError, match=r"format version 2.*reads 1.*nagindex 99\.0"):
        Index.open(index.path)


def test_a_format_version_of_the_future_is_recognised_whatever_else_it_holds(index):
    """The version is looked at before anything whose meaning may have changed."""
    manifest_path(index.path, 1).write_text('{"sha256": "", "format_version": 7, "segments": {"new": "shape"}}')
    with pytest.raises(UnknownFormatError, match="format version 7"):
        Index.open(index.path)


def test_an_unknown_flag_is_refused(index):
    """The message names the flag."""
    _rewrite(index, lambda content: content.update(flags=["sparse-codes"]))
    with pytest.raises(UnknownFormatError, match="sparse-codes"):
        Index.open(index.path)


@pytest.mark.parametrize("flags", [5, [7], [["a"]], None])
def test_flags_that_are_no_flags_are_damage(index, flags):
    """Even a flag list of the wrong type is one clear error."""
    _rewrite(index, lambda content: content.update(flags=flags))
    with pytest.raises((DamagedIndexError, UnknownFormatError), match=r"000000000001\.json"):
        Index.open(index.path)


def _set_id(entry, value):
    entry["id"] = value


def _rename_file(entry, value):
    entry["files"][value] = entry["files"].pop("nags.npy")


def _add_file(entry, value):
    entry["files"][value] = {"bytes": 1, "sha256": "0"}


def _set_deleted(entry, value):
    entry["deleted"] = value


TRICKS = [
    (_set_id, "../../../etc"),
    (_set_id, "/etc"),
    (_set_id, ".."),
    (_set_id, "0123456789ABCDEF"),
    (_set_id, "0123456789abcdef\n"),
    (_set_id, 5),
    (_rename_file, "../nags.npy"),
    (_add_file, "../x"),
    (_add_file, "/etc/passwd"),
    (_add_file, "nags.npy/../../x"),
    (_set_deleted, "../deleted-00000000.npy"),
    (_set_deleted, "deleted-00000000.npy"),
    (_set_deleted, 5),
]


@pytest.mark.parametrize(("trick", "value"), TRICKS)
def test_paths_that_lead_out_of_a_segment_are_refused(index, trick, value):
    """Segment ids and file names are matched in full: no manifest can name a file outside its own folders."""
    _rewrite(index, lambda content: trick(content["segments"][0], value))
    with pytest.raises(DamagedIndexError, match=r"000000000001\.json"):
        Index.open(index.path)


def test_a_manifest_under_another_number_is_refused(index):
    """A version's file must hold that version."""
    manifest_path(index.path, 2).write_bytes(manifest_path(index.path, 1).read_bytes())
    with pytest.raises(DamagedIndexError, match="holds version 1"):
        Index.open(index.path)


def test_no_index_and_no_such_version_are_clear(index, tmp_path):
    """An empty place says how to make an index; a version that is gone is named."""
    with pytest.raises(InputNotFoundError, match=r"make one with: `build\(CORPUS"):
        Index.open(tmp_path / "nothing")
    with pytest.raises(InputNotFoundError, match="no version 9; versions kept are"):
        Index.open(index.path, version=9)


FILES = ["nags.npy", "docs.parquet", "sources.parquet", "skipped.parquet"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_shortened_file_is_noticed_on_opening(index, name):
    """Opening names the file and the segment."""
    entry = index.manifest.segments[1]
    path = index.path / "segments" / entry.id / name
    content = path.read_bytes()
    for damage in (lambda: path.write_bytes(content[:-1]), lambda: path.write_bytes(content + b"x"), path.unlink):
        damage()
        with pytest.raises(DamagedIndexError, match=rf"{name}.*{entry.id}"):
            Index.open(index.path)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_noticed_by_verify(index, name):
    """verify checks the bytes of every file and names the file and the segment."""
    entry = index.manifest.segments[0]
    path = index.path / "segments" / entry.id / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    [error] = Index.open(index.path).verify()
    assert isinstance(error, DamagedIndexError)
    assert str(path) in str(error)
    assert entry.id in str(error)


def test_codes_that_are_no_nags_are_noticed_by_verify(tmp_path, write_index):
    """A neuron twice in a row, or one the layer lacks, is found even where the checksums fit."""
    codes = np.array([[[0, 1]], [[2, 2]], [[1, 3]], [[4, 0]]], np.uint16)
    index = write_index(tmp_path / "i", codes, "abcd", [1] * 4, width=4)
    errors = [str(error) for error in index.verify()]
    assert len(errors) == 2
    assert "row 1" in errors[0]
    assert "row 3" in errors[1]


def test_a_file_is_created_once(tmp_path):
    """The second to create a name is refused and the first one's bytes stay; no temporary file is left."""
    assert create_exclusively(tmp_path / "x", b"one")
    assert not create_exclusively(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def _write_half(path):
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("killed")


def test_replacing_leaves_the_old_file_when_the_block_fails(tmp_path):
    """Output appears whole or not at all."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="killed"):
        _write_half(path)
    assert path.read_bytes() == b"old"
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_an_index_elsewhere_in_the_folder_is_left_alone(tmp_path, fingerprint):
    """A folder that holds something else is not made an index."""
    (tmp_path / "important.txt").write_text("x")
    with pytest.raises(ValueError, match="not an index"):
        Index.create(tmp_path, fingerprint(SPEC), Settings())
    assert [p.name for p in tmp_path.iterdir()] == ["important.txt"]


def _cut_magic(content):
    return b"x" + content[1:]


def _other_shape(content):
    return content.replace(b"(4, 2, 3)", b"(2, 4, 3)")


def _other_dtype(content):
    return content.replace(b"<u2", b"<i2")


def _hostile_header(content):
    return content.replace(b"'shape': (4, 2, 3)", b"'shape': (9**9**9,)")


@pytest.mark.parametrize(
    "change", [_cut_magic, _other_shape, _other_dtype, _hostile_header, lambda c: c[:-1], lambda c: b""]
)
def test_an_array_of_another_dtype_shape_or_length_is_refused(tmp_path, change):
    """Whatever its header holds is compared, and not evaluated."""
    path, values = tmp_path / "x.npy", np.arange(24, dtype="<u2").reshape(4, 2, 3)
    write_array(path, values)
    assert np.array_equal(map_array(path, values.dtype, values.shape), values)
    assert np.array_equal(np.load(path), values)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedIndexError, match=r"x\.npy"):
        map_array(path, values.dtype, values.shape)


def test_headers_are_read_in_several_threads(tmp_path):
    """numpy's own reader fails at random there, with Python 3.11, as it evaluates the header."""
    path, values = tmp_path / "x.npy", np.arange(24, dtype="<u2").reshape(4, 2, 3)
    write_array(path, values)
    with ThreadPoolExecutor(8) as pool:
        offsets = pool.map(lambda _: data_offset(path, values.dtype, values.shape), range(2000))
        assert set(offsets) == {128}
