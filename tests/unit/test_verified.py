"""A file is read to the last byte once, and again as soon as it may be another one."""

import os
import shutil

import pytest

from nagindex.errors import DamagedIndexError
from nagindex.storage import files, verified
from nagindex.storage.files import FileEntry, verify_content, verify_once


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """The notes of a user of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nagindex" / "checked"


@pytest.fixture
def file(tmp_path, notes):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 100)
    return path


@pytest.fixture
def reads(monkeypatch):
    """The paths that were read to the last byte."""
    found = []

    def counted(path, *arguments, **named):
        found.append(path)
        return verify_content(path, *arguments, **named)

    monkeypatch.setattr(files, "verify_content", counted)
    return found


def forget():
    """What another process knows: no more than the notes."""
    verified._verified_keys.cache_clear()


def flip(path):
    content = bytearray(path.read_bytes())
    content[1234] ^= 1
    path.write_bytes(content)


def test_what_this_user_wrote_is_not_read_again(file, reads):
    entry = FileEntry.of(file)
    forget()
    verify_once(file, entry, owner="segment s")
    assert reads == []


def test_what_came_from_elsewhere_is_read_once(file, reads, tmp_path):
    entry = FileEntry.of(file)
    copy = tmp_path / "copy"
    shutil.copy2(file, copy)
    for _ in range(3):
        verify_once(copy, entry, owner="segment s")
        forget()
    assert reads == [copy]


@pytest.mark.parametrize("how", ["in place", "replaced", "same times"])
def test_a_changed_byte_is_found_however_it_was_changed(file, how, tmp_path):
    entry, times = FileEntry.of(file), os.stat(file)
    if how == "replaced":
        other = tmp_path / "other"
        shutil.copy2(file, other)
        flip(other)
        os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
        os.replace(other, file)
    else:
        flip(file)
        if how == "same times":
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DamagedIndexError, match="SHA-256"):
        verify_once(file, entry, owner="segment s")


def test_another_checksum_of_the_same_file_is_not_believed(file):
    entry = FileEntry.of(file)
    with pytest.raises(DamagedIndexError, match="SHA-256"):
        verify_once(file, FileEntry(entry.bytes, "0" * 64), owner="segment s")


def test_damaged_notes_cost_a_reading_and_nothing_else(file, reads, notes):
    entry = FileEntry.of(file)
    for content in (b"\xff\x00 torn", b"", notes.read_bytes()[:-5]):
        forget()
        notes.write_bytes(content)
        verify_once(file, entry, owner="segment s")
    assert reads == [file] * 3


def test_notes_that_cannot_be_kept_hold_for_the_process(file, reads, notes):
    entry = FileEntry.of(file)
    shutil.rmtree(notes.parent)
    notes.parent.write_text("a file where the folder should be")
    forget()
    verify_once(file, entry, owner="segment s")
    verify_once(file, entry, owner="segment s")
    assert reads == [file]


def test_notes_start_anew_above_a_length(file, notes, monkeypatch, tmp_path):
    monkeypatch.setattr(verified, "RECORD_BYTES", 100)
    for number in range(20):
        (tmp_path / f"{number}").write_text(str(number))
        FileEntry.of(tmp_path / f"{number}")
    assert 0 < notes.stat().st_size <= 100 + 2 * verified.KEY_BYTES + 1


@pytest.mark.parametrize("target", ["file", "nothing", "/dev/zero"])
def test_a_link_is_no_file_of_an_index(file, target, tmp_path):
    entry = FileEntry.of(file)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    with pytest.raises(DamagedIndexError, match="not a regular file"):
        verify_once(link, entry, owner="segment s")


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path, notes):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedIndexError, match="not a regular file"):
        verify_once(tmp_path / "pipe", FileEntry(0, "0" * 64), owner="segment s")
