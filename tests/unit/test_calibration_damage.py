"""Files of calibrations that are damaged or something else are refused in one line, and none is written over what is needed."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nagindex import build, builder, calibrate
from nagindex.errors import BadInputError, DamagedIndexError, InputNotFoundError
from nagindex.ingest.calibrate import load_calibration
from nagindex.storage.calibration import calibration_hash


def refused(path):
    with pytest.raises((BadInputError, InputNotFoundError, DamagedIndexError)) as caught:
        load_calibration(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_cut_of_a_file_is_refused(made, tmp_path):
    """However little is missing."""
    content = (made / "c.npz").read_bytes()
    for length in {*range(0, len(content), 61), len(content) - 1}:
        (tmp_path / "f.npz").write_bytes(content[:length])
        assert "not a calibration, or a damaged one" in refused(tmp_path / "f.npz")


def test_a_flipped_bit_is_refused_or_changes_nothing(made, tmp_path):
    """Some bytes of a zip archive say nothing; whatever is read is what was written."""
    content, whole = (made / "c.npz").read_bytes(), load_calibration(made / "c.npz")
    said = 0
    for at in [*range(300), *range(300, len(content) - 400, 37), *range(len(content) - 400, len(content))]:
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        (tmp_path / "f.npz").write_bytes(damaged)
        try:
            found = load_calibration(tmp_path / "f.npz")
        except BadInputError:
            said += 1
            continue
        np.testing.assert_array_equal(found.means, whole.means)
        assert (found.fingerprint, found.documents) == (whole.fingerprint, whole.documents)
    assert said > 100


def test_foreign_files_are_refused(made, tmp_path, monkeypatch):
    """Arrays, archives of other arrays, pickles, text, nothing, a device and a pipe, which hangs nothing."""
    good = dict(np.load(made / "c.npz"))
    huge = dict(good, means=np.zeros((4, 256), np.float32))
    np.save(tmp_path / "array.npy", good["means"])
    np.savez(tmp_path / "other.npz", means=good["means"])
    np.savez(tmp_path / "more.npz", extra=1, **good)
    np.savez(tmp_path / "double.npz", **good | {"means": good["means"].astype(np.float64)})
    np.savez(tmp_path / "zeros.npz", **huge)
    np.savez(tmp_path / "objects.npz", **good | {"means": np.array([{}], dtype=object)})
    np.savez(tmp_path / "text.npz", **good | {"fingerprint": np.array("[" * 100_000)})
    np.savez_compressed(tmp_path / "packed.npz", **good | {"means": np.zeros((1 << 14, 256), np.float32)})
    (tmp_path / "text.txt").write_text("means")
    (tmp_path / "nothing").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for path in sorted(tmp_path.iterdir()):
        assert "not a calibration" in refused(path)
    assert "not a calibration" in refused("/dev/null")
    assert "no such index or file" in refused(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    assert "no index here" in refused(tmp_path / "folder")
    monkeypatch.chdir(tmp_path / "folder")
    assert ".: no index here" in refused(Path())


def test_means_that_no_impact_has_are_refused(made, tmp_path):
    """Negative or not finite, under a hash that fits."""
    whole = load_calibration(made / "c.npz")
    for value in (-1, np.nan, np.inf):
        means = whole.means.copy()
        means[1, 3] = value
        fields = whole.fingerprint.to_json() | {"calibration": calibration_hash(means)}
        np.savez(tmp_path / "f.npz", means=means, fingerprint=np.array(json.dumps(fields)), documents=np.array(4))
        assert "not a calibration, or a damaged one" in refused(tmp_path / "f.npz")


def test_an_index_without_or_with_a_damaged_calibration_is_refused(made, tmp_path, tiny_backbone):
    """Absolute impact has none; a damaged one is named."""
    build(made / "c.jsonl", tmp_path / "absolute", backbone=tiny_backbone)
    assert "an index of absolute impact has no calibration" in refused(tmp_path / "absolute")
    shutil.copytree(made / "i", tmp_path / "i")
    [path] = (tmp_path / "i" / "calibration").iterdir()
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    assert str(path) in refused(tmp_path / "i")
    path.unlink()
    assert str(path) in refused(tmp_path / "i")


# Writing a file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("c.npy", "a calibration is a file that ends in .npz"),
        ("c", "a calibration is a file that ends in .npz"),
        ("corpus/a.npz", "is the same file as"),
        ("i/a.npz", "lies inside the index"),
        ("i/calibration/a.npz", "lies inside the index"),
        ("nowhere/a.npz", "its folder does not exist"),
        ("folder.npz", "is a folder"),
        ("pipe.npz", "is not a regular file"),
        ("link.npz", "is the same file as"),
    ],
)
def test_a_calibration_is_never_written_over_what_is_needed(made, tmp_path, model, name, said, monkeypatch):
    """Neither a source, by any link, nor an index, nor what is no file; nothing is loaded or drawn for it."""

    def loaded(*args, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(builder, "load_model", loaded)
    shutil.copytree(made / "i", tmp_path / "i")
    (tmp_path / "corpus").mkdir()
    shutil.copy(made / "c.jsonl", tmp_path / "corpus" / "a.jsonl")
    (tmp_path / "folder.npz").mkdir()
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "link.npz").symlink_to(tmp_path / "corpus" / "a.jsonl")
    if name.startswith("corpus"):
        os.link(tmp_path / "corpus" / "a.jsonl", tmp_path / name)
    before = (tmp_path / "corpus" / "a.jsonl").read_bytes()
    with pytest.raises(BadInputError, match=said):
        calibrate(tmp_path / "corpus", tmp_path / name, model=model)
    assert (tmp_path / "corpus" / "a.jsonl").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "i").iterdir()) == sorted(
        path.name for path in (made / "i").iterdir()
    )


def test_a_calibration_that_fails_leaves_no_file(made, tmp_path, model):
    """Nor a temporary one; and one that was there stays."""
    (tmp_path / "empty.jsonl").write_text('{"text": null}\n')
    (tmp_path / "c.npz").write_bytes(b"before")
    with pytest.raises(BadInputError, match="no document to calibrate on"):
        calibrate(tmp_path / "empty.jsonl", tmp_path / "c.npz", model=model)
    with pytest.raises(BadInputError, match="leave `calibration` out"):
        calibrate(tmp_path / "empty.jsonl", tmp_path / "c.npz", model=model, calibration=made / "c.npz")
    assert (tmp_path / "c.npz").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.npz", "empty.jsonl"]
