"""What an index can hold: widths, documents, segments and tokens, by the types that count them and by arithmetic."""

import dataclasses
import json
import os
import resource
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from nagindex.errors import BadInputError, DamagedIndexError, NagIndexError
from nagindex.index import Index
from nagindex.nag import CODE_DTYPE, MAX_WIDTH, NagSpec, invalid_rows
from nagindex.search.profile import contrast_of, profile_of
from nagindex.storage import commit as commits
from nagindex.storage import manifest as manifests
from nagindex.storage.files import FileEntry
from nagindex.storage.manifest import Manifest, SegmentEntry, Settings
from nagindex.storage.segment import SEGMENT_DOCUMENTS

LIMIT = 10**9
SPEC = NagSpec("up", (3072,) * 28, 20)  # Qwen3-0.6B's
FILES = ("nags.npy", "docs.parquet", "sources.parquet", "skipped.parquet", "deleted-00000000.npy")


def test_a_layer_has_as_many_neurons_as_a_code_can_name():
    assert MAX_WIDTH == np.iinfo(CODE_DTYPE).max + 1 == 65_536
    assert NagSpec("up", (65_536,), 1).widths == (65_536,)
    with pytest.raises(ValueError, match=r"1 to 65536 neurons, got widths \(8, 65537\)"):
        NagSpec("up", (8, 65_537), 1)


def test_the_last_neuron_of_the_widest_layer_is_stored_searched_and_verified(tmp_path, write_index):
    codes = np.array([[[65_535, 0]], [[1, 65_535]], [[2, 3]]], CODE_DTYPE)
    index = write_index(tmp_path / "i", codes, ["a", "b", "c"], [1] * 3, width=65_536)
    assert list(index.verify()) == []
    assert len(invalid_rows(codes, index.manifest.fingerprint.spec)) == 0
    found = index.query(np.array([[[65_535, 7]]], CODE_DTYPE), n=3)
    assert list(zip(found.ids, found.scores, strict=True)) == [("a", 0.5), ("b", 0.5), ("c", 0.0)]


@pytest.mark.parametrize("width", [65_537, 1 << 20])
def test_a_model_with_a_wider_layer_is_refused_in_one_line_that_names_the_limit(tiny_backbone, width):
    wide = dataclasses.replace(tiny_backbone.projections[0], width=width)
    backbone = dataclasses.replace(tiny_backbone, projections=(*tiny_backbone.projections, wide))
    with pytest.raises(NagIndexError, match=f"{width:,} neurons.*65,536"):
        backbone.fingerprint(top_k=5)


def test_a_billion_documents_fit_the_types_that_count_them():
    """Positions and tokens are int64; rows in a segment uint32; sums of a profile int64, and exact as float64."""
    assert np.iinfo(np.int64).max > LIMIT * 1_000_000  # tokens, a million a document
    assert np.iinfo(np.uint32).max > SEGMENT_DOCUMENTS
    segments = -(-LIMIT // SEGMENT_DOCUMENTS)
    assert segments == 7_630
    examples, layers, top_k = 1_000_000, 128, 200  # of the largest target, the deepest model, the largest K
    assert examples * layers * top_k < 2**53  # sums are exact in float64, and scores are sums over one common number
    assert SPEC.bytes_per_document == 1_120
    assert LIMIT * SPEC.bytes_per_document == 1_120_000_000_000


def test_sums_of_the_largest_targets_over_a_billion_documents_are_exact_integers():
    """Plain sums, and those of a contrast of 0.5 with the pool's frequencies, which share one denominator."""
    spec = NagSpec("up", (32,) * 28, 20)
    codes = np.broadcast_to(np.arange(20, dtype=CODE_DTYPE), (10_000, 28, 20))
    plain = profile_of(codes, spec)
    assert plain.weights.dtype == spec.offsets.dtype == np.int64
    assert plain.high == 28 * 20 * 10_000
    pool = np.full((28, 32), LIMIT, np.int64)
    contrasted = contrast_of(codes, pool, LIMIT, Fraction(1, 2), spec)
    assert contrasted.weights[0, 0] == 2 * LIMIT * 10_000 - LIMIT * 10_000
    assert contrasted.high == 28 * 20 * 10_000 * LIMIT
    assert contrasted.low == -28 * (12 - 8) * 10_000 * LIMIT
    with pytest.raises(BadInputError, match="too fine for 10,000 examples and 1,000,000,000 documents"):
        contrast_of(codes, pool, LIMIT, Fraction(123_457, 1_000_000), spec)


def entry_of(number, folder_id=None, files=None):
    made = files or {name: FileEntry(123_456_789, "f" * 64) for name in FILES}
    return SegmentEntry(
        id=folder_id or f"{number:016x}",
        documents=SEGMENT_DOCUMENTS,
        tokens=10**9,
        skipped=1000,
        files=made,
        libraries={"torch": "2.13.0", "transformers": "5.23.0", "tokenizers": "0.23.3"},
        deleted="deleted-00000000.npy" if files is None else None,
        deleted_documents=1000 if files is None else 0,
        run="0123456789abcdef",
    )


def test_the_manifest_of_a_billion_documents_is_ten_megabytes_that_come_back_whole(tmp_path, fingerprint):
    (tmp_path / "manifests").mkdir()
    entries = tuple(entry_of(number) for number in range(7_630))
    made = Manifest(1, "append", manifests.now(), fingerprint(SPEC), Settings(), entries)
    assert made.documents >= LIMIT - 7_630 * 1000
    assert made.tokens == 7_630 * 10**9
    assert commits.publish(tmp_path, made)
    size = manifests.manifest_path(tmp_path, 1).stat().st_size
    assert size < 12_000_000
    assert manifests.read_manifest(tmp_path, 1) == made
    assert len(entries) * len(FILES) == 38_150  # files, five a segment


OPENING = """
import json, os, resource, sys
from pathlib import Path
from nagindex.index import Index
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
index = Index.open(sys.argv[1])
held = os.listdir("/proc/self/fd")
print(json.dumps({
    "documents": len(index),
    "segments": len(index.segments),
    "descriptors": len(held),
    "kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before,
}))
"""


def many_segments(write_index, random_codes, folder, count):
    """Write an index of one document, and then a version in which it stands `count` times, as links to the same files."""
    codes = random_codes(np.random.default_rng(0), 1, 2, 3, 8)
    index = write_index(folder, codes, ["a"], [1], width=8)
    [first] = index.manifest.segments
    source = folder / "segments" / first.id
    names = [f"{number:016x}" for number in range(1, count)]
    groups = [[] for _ in range(-(-count // 10_000))]  # a file has at most 65,000 names on ext4
    for number, name in enumerate(names):
        group = groups[number // 10_000]
        original = source if not group else folder / "segments" / group[0]
        place = folder / "segments" / name
        place.mkdir()
        for file in first.files:
            if group:
                os.link(original / file, place / file)
            else:
                (place / file).write_bytes((source / file).read_bytes())
        group.append(name)
    entries = (first, *(SegmentEntry(**{**vars(first), "id": name}) for name in names))
    assert commits.publish(folder, index.manifest.following("append", entries))


def opened_in_a_child(folder):
    done = subprocess.run([sys.executable, "-c", OPENING, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_so_many_segments_are_opened_with_few_descriptors_and_little_memory(tmp_path, write_index, random_codes, count):
    """Opening looks at every file, and holds none open; what it keeps of a segment is 10 kB at most."""
    many_segments(write_index, random_codes, tmp_path / "i", count)
    found = opened_in_a_child(tmp_path / "i")
    assert (found["documents"], found["segments"]) == (count, count)
    assert found["descriptors"] < 16
    assert found["kilobytes"] < 10 * count


def test_a_missing_file_among_many_segments_is_found_on_opening(tmp_path, write_index, random_codes):
    many_segments(write_index, random_codes, tmp_path / "i", 300)
    (tmp_path / "i" / "segments" / f"{299:016x}" / "nags.npy").unlink()
    with pytest.raises(DamagedIndexError, match=f"{299:016x}/nags.npy"):
        Index.open(tmp_path / "i")


def test_the_segments_of_many_are_searched_with_few_descriptors(tmp_path, write_index, random_codes):
    """A query maps a segment at a time: it needs no descriptor and no mapping for each."""
    many_segments(write_index, random_codes, tmp_path / "i", 600)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(os.listdir("/proc/self/fd"))
    index = Index.open(tmp_path / "i")
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 100, hard))
    try:
        found = index.query(index.segments[0].codes()[:1], n=3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(found.scores) == [1.0] * 3
