"""The cache of dequantized .gguf files: checked, made anew where it is damaged, and done without where it cannot be."""

import os
import shutil
import time
from pathlib import Path

import pytest
from gguf_folders import kept_folders

from nagindex.backbone import gguf
from nagindex.backbone.gguf import dequantized, file_hash


@pytest.fixture
def conversions(monkeypatch):
    """A conversion writes two files; the list of those that ran."""
    ran = []

    def convert(path, folder):
        ran.append(folder)
        (folder / "model.safetensors").write_bytes(b"weights of " + path.read_bytes() * 100)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(gguf, "_convert", convert)
    return ran


@pytest.fixture
def model(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"packed")
    return tmp_path / "m.gguf"


def provided(path):
    """Return the files that a folder provides, by name; the folder must be as it was converted."""
    with dequantized(path, file_hash(path)) as folder:
        assert Path(folder, "model.safetensors").read_bytes() == b"weights of " + path.read_bytes() * 100
        return Path(folder)


def test_a_file_is_converted_once(cache, conversions, model):
    """The folder in the cache is named after the content and the libraries: another name finds it, another content does not."""
    first = provided(model)
    assert first.parent == cache / "gguf"
    assert first.name == f"{file_hash(model)[:32]}-gguf1-transformers1-tokenizers1"
    assert provided(model) == first
    moved = model.rename(model.with_name("moved.gguf"))
    assert provided(moved) == first
    assert len(conversions) == 1
    moved.write_bytes(b"another")
    assert provided(moved) != first
    assert (len(conversions), len(kept_folders(cache))) == (2, 2)


def test_other_libraries_convert_anew(cache, conversions, model, monkeypatch):
    """What reads the file may read it otherwise."""
    first = provided(model)
    monkeypatch.setattr(gguf.metadata, "version", lambda name: f"{name}2")
    assert provided(model) != first
    assert len(conversions) == 2


def _flip(path):
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "flipped": lambda folder: _flip(folder / "model.safetensors"),
    "cut": lambda folder: (folder / "model.safetensors").write_bytes(b"w"),
    "gone": lambda folder: (folder / "config.json").unlink(),
    "no listing": lambda folder: (folder / "files.json").unlink(),
    "cut listing": lambda folder: (folder / "files.json").write_text('{"model'),
    "odd listing": lambda folder: (folder / "files.json").write_text("[1]"),
    "other listing": lambda folder: (folder / "files.json").write_text('{"config.json": {"bytes": 2}}'),
    "a link": lambda folder: (folder / "config.json").unlink() or (folder / "config.json").symlink_to("/dev/null"),
    "empty": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_made_anew(cache, conversions, model, damage):
    """Whatever became of it since it was written; once more, and no rest is left beside it."""
    first = provided(model)
    DAMAGE[damage](first)
    assert provided(model) == first
    assert provided(model) == first
    assert len(conversions) == 2
    assert kept_folders(cache) == [first]


@pytest.mark.parametrize("obstacle", ["no cache", "a file in the way", "a link in the way"])
def test_where_the_cache_cannot_keep_it_a_folder_is_temporary(cache, conversions, model, monkeypatch, obstacle):
    """The model is provided all the same, and the folder is gone afterwards."""
    first = provided(model)
    shutil.rmtree(first)
    if obstacle == "no cache":
        (model.parent / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(model.parent / "file" / "cache"))
    elif obstacle == "a file in the way":
        first.write_text("")
    else:
        first.symlink_to(model)
    for _ in range(2):
        found = provided(model)
        assert found != first
        assert not found.exists()
    assert len(conversions) == 3
    assert kept_folders(cache) == ([] if obstacle == "no cache" else [first])


def test_another_process_may_be_faster(cache, conversions, model, monkeypatch):
    """Both convert; one folder stays, whole, and both have the model."""
    real, seen = gguf._convert, []

    def overtaken(path, folder):
        monkeypatch.setattr(gguf, "_convert", real)
        seen.append(provided(path))
        real(path, folder)

    monkeypatch.setattr(gguf, "_convert", overtaken)
    provided(model)
    assert provided(model) == seen[0]
    assert len(conversions) == 2
    assert kept_folders(cache) == seen


def test_a_conversion_that_fails_leaves_nothing(cache, model, monkeypatch):
    """The error is the converter's, and the cache is as it was."""

    def fail(path, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise ValueError("no such architecture")

    monkeypatch.setattr(gguf, "_convert", fail)
    with pytest.raises(ValueError, match="no such architecture"):
        provided(model)
    assert kept_folders(cache) == []


def test_what_a_killed_conversion_left_is_removed_once_it_is_old(cache, conversions, tmp_path):
    """Not that of one that may still run."""
    folder = cache / "gguf"
    for name, age in ((".nagindex-old", 7200), (".nagindex-new", 60)):
        (folder / name / "m").mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    (tmp_path / "m.gguf").write_bytes(b"packed")
    with dequantized(tmp_path / "m.gguf", file_hash(tmp_path / "m.gguf")) as made:
        assert Path(made).parent == folder
    assert [path.name for path in kept_folders(cache)] == [".nagindex-new", Path(made).name]
