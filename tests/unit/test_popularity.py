"""Popularity of neurons: what is kept on disk is never the truth, and what is counted never includes deleted documents."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nagindex.errors import DamagedIndexError
from nagindex.index import Index
from nagindex.search.view import View
from nagindex.sketches import popularity
from nagindex.sketches.popularity import popularity_of

LAYERS, TOP_K, WIDTH, DOCUMENTS = 3, 4, 11, 30
IDS = [f"d{i:02d}" for i in range(DOCUMENTS)]


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 30 documents in four segments, one of them empty."""
    codes = random_codes(np.random.default_rng(0), DOCUMENTS, LAYERS, TOP_K, WIDTH)
    return write_index(tmp_path / "i", codes, IDS, range(DOCUMENTS), width=WIDTH, cuts=(9, 9, 20))


def view_of(index, layers=None, top_k=None):
    return View.of(index.manifest.fingerprint.spec, layers, top_k)


def counted(index, layers=range(LAYERS), top_k=TOP_K, segments=None):
    """Return counts of the living documents, from the codes alone."""
    chosen = index.segments if segments is None else segments
    living = [np.array(segment.codes())[segment.alive()] for segment in chosen]
    codes = np.concatenate([np.empty((0, LAYERS, TOP_K), np.uint16), *living])
    return [np.bincount(codes[:, layer, :top_k].ravel(), minlength=WIDTH).tolist() for layer in layers], len(codes)


def told(index, layers=None, top_k=None, segments=None):
    chosen = index.segments if segments is None else segments
    counts, documents = popularity_of(chosen, view_of(index, layers, top_k), threads=2)
    assert counts.dtype == np.int64
    return counts.tolist(), documents


def files(index):
    return sorted((index.path / "derived" / "popularity").glob("*"))


def test_counts_are_kept_once_and_no_codes_are_read_again(index, monkeypatch):
    """The second query reads as many numbers as there are neurons, whatever the size of the pool."""
    assert told(index) == counted(index)
    written = {path: path.stat().st_mtime_ns for path in files(index)}
    assert len(written) == 3
    monkeypatch.setattr(popularity, "_counted", lambda *_: pytest.fail("codes are read again"))
    assert told(index) == counted(index)
    assert told(index, "0,2") == counted(index, [0, 2])
    assert {path: path.stat().st_mtime_ns for path in files(index)} == written


def test_views_of_fewer_neurons_have_counts_of_their_own(index):
    """Of the first K' neurons of a layer, kept beside those of all."""
    for top_k in (1, 3, 1):
        assert told(index, "1-2", top_k) == counted(index, [1, 2], top_k)
    assert len(files(index)) == 6


def test_segments_are_counted_alone_or_together(index):
    """Of an appended part alone, as of the whole."""
    for chosen in ([index.segments[0]], index.segments[1:], []):
        assert told(index, segments=chosen) == counted(index, segments=chosen)


@given(
    steps=st.lists(st.sampled_from(["delete", "delete more", "compact", "vacuum", "lose", "cut", "flip"]), max_size=8),
    data=st.data(),
)
@settings(max_examples=30, deadline=None)
def test_whatever_happens_to_an_index_the_counts_are_those_of_its_living_documents(
    tmp_path_factory, write_index, random_codes, steps, data
):
    """Deletions, compactions, vacuums and damage in any order."""
    folder = tmp_path_factory.mktemp("life")
    codes = random_codes(np.random.default_rng(1), DOCUMENTS, LAYERS, TOP_K, WIDTH)
    index = write_index(folder / "i", codes, IDS, range(DOCUMENTS), width=WIDTH, cuts=(9, 9, 20))
    told(index)
    for step in steps:
        paths = files(index)
        if step.startswith("delete"):
            index.delete(ids=data.draw(st.lists(st.sampled_from(IDS), max_size=9 if step == "delete" else 20)))
        elif step == "compact":
            index.compact()
        elif step == "vacuum":
            index.vacuum(grace=0)
            assert {path.name[:16] for path in files(index)} <= {entry.id for entry in index.manifest.segments}
        elif paths:
            damage(data.draw(st.sampled_from(paths)), step)
        assert told(index) == counted(index)
    assert list(index.verify()) == []
    shutil.rmtree(folder)


def damage(path, how):
    """Remove a file, cut it, or change a byte of it."""
    content = bytearray(path.read_bytes())
    path.unlink()
    if how != "lose":
        content[len(content) // 2 if how == "flip" else -1] ^= 1
        path.write_bytes(content[: len(content) - (how == "cut")])


@pytest.mark.parametrize("how", ["cut", "flip"])
def test_damage_is_reported_and_mended(index, how):
    """`verify` names the file; the next use makes it again, and so does `optimize`."""
    told(index)
    for mend in (lambda: told(index), index.optimize):
        path = files(index)[0]
        damage(path, how)
        [error] = index.verify()
        assert isinstance(error, DamagedIndexError)
        assert str(path) in str(error)
        mend()
        assert list(index.verify()) == []
        assert told(index) == counted(index)


def test_a_file_of_another_segment_is_not_believed(index):
    """Its content fits its name's checksum, but its documents are not as many."""
    told(index)
    first, _, last = (segment for segment in index.segments if segment.entry.documents)
    [own] = [path for path in files(index) if path.name.startswith(last.entry.id)]
    content = next(path for path in files(index) if path.name.startswith(first.entry.id))
    own.unlink()
    shutil.copy(content, own.with_name(content.name.replace(first.entry.id, last.entry.id)))
    assert told(index) == counted(index)
    assert len(files(index)) == 3


def test_an_index_that_cannot_be_written_is_counted_each_time(index, monkeypatch):
    """A full disk, read-only media, or a link in place of the folder: the answer is the same, and nothing is written elsewhere."""

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(popularity, "create_exclusively", full)
    assert told(index) == counted(index)
    assert files(index) == []
    monkeypatch.undo()
    elsewhere = index.path.parent / "elsewhere"
    elsewhere.mkdir()
    (index.path / "derived" / "popularity").rmdir()
    (index.path / "derived" / "popularity").symlink_to(elsewhere)
    assert told(index) == counted(index)
    assert list(elsewhere.iterdir()) == []
    assert list(index.verify()) == []


def test_a_vacuum_meanwhile_costs_a_count(index, monkeypatch):
    """Files that were listed and are gone when they are opened are made again."""
    told(index)
    real = popularity._files

    def listed_then_removed(path):
        found = real(path)
        for paths in found.values():
            for own in paths:
                own.unlink()
        return found

    monkeypatch.setattr(popularity, "_files", listed_then_removed)
    assert told(index) == counted(index)
    assert len(files(index)) == 3


def test_a_killed_writer_leaves_a_temporary_file_that_a_vacuum_removes(index, monkeypatch):
    """What was being written is no file of the index; the next query writes its own."""

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", killed)
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        told(index)
    monkeypatch.undo()
    left = files(index)
    assert left
    assert all(path.name.endswith(".tmp") for path in left)
    assert told(index) == counted(index)
    index.vacuum(grace=0)
    assert len(files(index)) == 3
    assert not any(path.name.endswith(".tmp") for path in files(index))


def test_an_answer_changes_with_what_is_deleted_and_appended(index, write_index):
    """Weights that compare with the pool are those of the version that is asked."""
    codes = np.array(index.segments[0].codes()[:3])
    before = index.query({"a": codes}, n=5, weights="log-ratio")
    index.delete(ids=IDS[10:25])
    after = index.query({"a": codes}, n=5, weights="log-ratio")
    assert before.ids.tolist() != after.ids.tolist() or before.scores.tolist() != after.scores.tolist()
    index.compact()
    compacted = index.query({"a": codes}, n=5, weights="log-ratio")
    assert (compacted.ids.tolist(), compacted.scores.tolist()) == (after.ids.tolist(), after.scores.tolist())
    old = Index.open(index.path, version=1).query({"a": codes}, n=5, weights="log-ratio")
    assert (old.ids.tolist(), old.scores.tolist()) == (before.ids.tolist(), before.scores.tolist())
