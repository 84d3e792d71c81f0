"""The cache of target texts: never wrong, never in the way, never larger than its bound."""

import numpy as np
import pytest

from nagindex.errors import InputNotFoundError
from nagindex.nag import NagSpec
from nagindex.targets import cache as caching
from nagindex.targets.cache import TargetCache

SPEC = NagSpec("up", (50, 50), 4)
TEXTS = ["one", "two", "", "文 \u2028"]


@pytest.fixture
def codes(random_codes):
    return random_codes(np.random.default_rng(1), len(TEXTS), 2, 4, 50)


@pytest.fixture
def cache(tmp_path, fingerprint):
    return TargetCache(tmp_path / "derived" / "targets", fingerprint(SPEC))


def _same(found, texts, codes):
    return set(found) == set(texts) and all(np.array_equal(found[t], c) for t, c in zip(texts, codes, strict=True))


def test_what_was_put_is_found_and_nothing_else(cache, codes):
    """Texts put, together or apart, are found with their own codes."""
    cache.put(TEXTS[:3], codes[:3])
    cache.put(TEXTS[3:], codes[3:])
    assert _same(cache.get(TEXTS), TEXTS, codes)
    assert cache.get(["three", "One", "one "]) == {}
    assert _same(cache.get(["two", "absent"]), ["two"], codes[1:2])


def test_another_encoding_finds_nothing(cache, codes, fingerprint):
    """Codes are found only under the fingerprint that made them, wherever the backbone lies."""
    cache.put(TEXTS, codes)
    assert TargetCache(cache.folder, fingerprint(SPEC, max_length=64)).get(TEXTS) == {}
    assert TargetCache(cache.folder, fingerprint(NagSpec("up", (50, 50), 3))).get(TEXTS) == {}
    assert _same(TargetCache(cache.folder, fingerprint(SPEC, backbone="/moved")).get(TEXTS), TEXTS, codes)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], lambda b: b"junk"]
)
def test_a_damaged_file_is_as_if_it_were_not_there(cache, codes, damage):
    """A record is believed only if its file is what was written; the other files still answer."""
    cache.put(TEXTS[:2], codes[:2])
    [path] = cache.folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    cache.put(TEXTS[2:], codes[2:])
    assert _same(cache.get(TEXTS), TEXTS[2:], codes[2:])
    cache.put(TEXTS[:2], codes[:2])


def test_the_cache_stays_within_its_bound_and_drops_what_was_used_least_recently(tmp_path, fingerprint, random_codes):
    """Old files go first; one that was looked up stays longer than one that was not."""
    import os

    codes = random_codes(np.random.default_rng(2), 10, 2, 4, 50)
    small = TargetCache(tmp_path / "t", fingerprint(SPEC), max_bytes=1000)
    for i in range(10):
        for age, path in enumerate(small._files()):  # clocks of file systems are coarse: put them a second apart
            os.utime(path, (10**9 - age, 10**9 - age))
        small.get(["0"])
        small.put([str(i)], codes[i : i + 1])
        assert sum(p.stat().st_size for p in small.folder.iterdir()) <= 1000
    found = small.get([str(i) for i in range(10)])
    assert {"0", "9"} <= set(found)
    assert "1" not in found


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path, fingerprint, codes):
    """A target set that would push everything out is left alone."""
    small = TargetCache(tmp_path / "t", fingerprint(SPEC), max_bytes=200)
    small.put(TEXTS, codes)
    assert small.get(TEXTS) == {}


def test_a_folder_that_cannot_be_written_does_not_fail(tmp_path, fingerprint, codes, monkeypatch):
    """Read-only media, a full disk and a file in the folder's place cost the cache and nothing else."""

    def refuse(*args):
        raise OSError(30, "Read-only file system")

    (tmp_path / "file").write_text("x")
    blocked = TargetCache(tmp_path / "file" / "targets", fingerprint(SPEC))
    blocked.put(TEXTS, codes)
    assert blocked.get(TEXTS) == {}
    monkeypatch.setattr(caching, "create_exclusively", refuse)
    readonly = TargetCache(tmp_path / "t", fingerprint(SPEC))
    readonly.put(TEXTS, codes)
    assert readonly.get(TEXTS) == {}


def test_a_text_without_tokens_is_remembered_as_such(cache, codes):
    """Its record equals no NAG."""
    assert not any(TargetCache.is_no_nag(row) for row in codes)
    none = np.full((1, 2, 4), TargetCache.NO_NAG, np.uint16)
    cache.put(["empty"], none)
    assert TargetCache.is_no_nag(cache.get(["empty"])["empty"])


def test_targets_asked_for_twice_are_encoded_once(make_index, tmp_path):
    """The second query of the same texts needs no model at all, and answers the same."""
    from nagindex.index import Index

    index = make_index([(str(i), f"the cat sat on mat {i}") for i in range(5)])
    target = tmp_path / "t.jsonl"
    target.write_text('{"text": "the cat"}\n{"text": "the cat"}\n{"text": "a mat"}\n')
    first = index.query(target, n=5)
    cold = Index.open(index.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index, "backbone", lambda *args, **options: pytest.fail("the model was asked for"))
        second = cold.query(target, n=5)
    assert first.ids.tolist() == second.ids.tolist()
    assert first.scores.tolist() == second.scores.tolist()
    target.write_text('{"text": "a new text"}\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "nagindex.backbone.load.load_backbone",
            lambda *args, **options: (_ for _ in ()).throw(InputNotFoundError("asked")),
        )
        with pytest.raises(InputNotFoundError, match="asked"):
            cold.query(target, n=5)
