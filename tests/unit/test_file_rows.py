"""Rows read from files: the same as of the array in memory, and an error where the file is shorter."""

import os

import numpy as np
import pytest

from nagindex.errors import DamagedIndexError
from nagindex.search import file_rows as module
from nagindex.search.file_rows import FileRows


@pytest.fixture(params=[np.int8, np.float16, np.uint16])
def array(request):
    return np.random.default_rng(0).integers(0, 100, (1000, 7, 3)).astype(request.param)


@pytest.fixture
def path(tmp_path, array):
    np.save(tmp_path / "array.npy", array)
    return tmp_path / "array.npy"


@pytest.fixture
def file_rows(path):
    return FileRows.of(np.load(path, mmap_mode="r"))


@pytest.mark.parametrize("slow", [0.0, 1e9])
@pytest.mark.parametrize("count", [0, 1, 128, 129, 1000])
def test_single_rows_are_those_of_the_array_whether_the_disk_is_slow_or_not(file_rows, array, slow, count, monkeypatch):
    monkeypatch.setattr(module, "SLOW", slow)
    rows = np.random.default_rng(1).choice(1000, count)
    assert isinstance(file_rows, FileRows)
    assert file_rows[rows].dtype == array.dtype
    assert np.array_equal(file_rows[rows], array[rows])


def test_a_file_that_shrinks_is_an_error_and_no_crash(file_rows, path):
    os.truncate(path, path.stat().st_size - 1)
    assert len(file_rows[np.arange(999)]) == 999
    for rows in (np.array([999]), np.arange(1000)):
        with pytest.raises(DamagedIndexError, match="shorter than"):
            file_rows[rows]


@pytest.mark.parametrize("row", [-1, 1000, 1 << 60])
def test_rows_beyond_the_array_are_refused(file_rows, row):
    with pytest.raises(IndexError, match="of 1000"):
        file_rows[np.array([0, row])]


def test_a_file_that_is_removed_is_read_to_the_end(file_rows, path, array):
    path.unlink()
    assert np.array_equal(file_rows[np.arange(1000)], array)


def test_descriptors_are_given_back(path):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        FileRows.of(np.load(path, mmap_mode="r"))
    assert (len(os.listdir("/proc/self/fd")) if before else 0) <= before


def test_an_array_in_memory_stays_what_it_is(array):
    assert FileRows.of(array) is array
