"""What the tests share: no network, a tiny backbone, and indexes built from texts or written from codes."""

import hashlib
import ipaddress
import json
import os
import socket
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models lose more to threads that wait than they gain

from nagindex import build
from nagindex.index import Index
from nagindex.nag import CODE_DTYPE, NagSpec
from nagindex.storage import commit as commits
from nagindex.storage import manifest as manifests
from nagindex.storage import segment as segments
from nagindex.storage.fingerprint import Fingerprint, installed_libraries

GOLDEN = Path(__file__).parent / "golden" / "data"


def _is_local(address):
    if not isinstance(address, tuple):
        return True  # a Unix socket
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return address[0] == "localhost"


@pytest.fixture(scope="session", autouse=True)
def offline():
    """No test reaches the network: a connection to anything but this machine fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TRANSFORMERS_OFFLINE", "1")
        for name in ("connect", "connect_ex"):
            real = getattr(socket.socket, name)

            def guarded(self, address, real=real):
                if not _is_local(address):
                    raise OSError(f"the tests are offline: no connection to {address}")
                return real(self, address)

            patch.setattr(socket.socket, name, guarded)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_notes(tmp_path_factory):
    """No test reads or writes the user's notes of files found whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def golden():
    """The folder of the reference's models, texts and outputs."""
    return GOLDEN


@pytest.fixture(scope="session")
def tiny_backbone():
    """A random Qwen3 of 4 layers with 256 neurons each, and its tokenizer of 1,000 tokens."""
    from nagindex.backbone.load import load_backbone

    return load_backbone(str(GOLDEN / "models" / "qwen3"), device="cpu", dtype="float32")


@pytest.fixture
def make_index(tmp_path, tiny_backbone):
    """Return f(records, **build options): an index of (id, text) pairs, by default of absolute impact, built through the public API."""

    def make(records, *, name="made", **options):
        corpus = tmp_path / f"{name}.jsonl"
        corpus.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in records))
        encoding = {} if "impact" in options else {"preset": "paper"}
        index, _ = build(corpus, tmp_path / f"{name}.nagindex", backbone=tiny_backbone, **encoding | options)
        return index

    return make


@pytest.fixture(scope="session")
def random_codes():
    """Return f(rng, n, layers, top_k, width): valid NAGs, uint16 [n, layers, top_k], no neuron twice in a row."""

    def draw(rng, n, layers, top_k, width):
        order = rng.random((n, layers, width)).argsort(axis=-1)
        return np.ascontiguousarray(order[..., :top_k].astype(CODE_DTYPE))

    return draw


def fingerprint_of(spec, **changes):
    """Return a fingerprint with made-up hashes for an index that no model wrote."""
    fields = {
        "backbone": "made-up",
        "weights": "0" * 64,
        "tokenizer": "1" * 64,
        "spec": spec,
        "max_length": 120,
        "dtype": "float32",
        "attention": "sdpa",
        "libraries": installed_libraries(),
    }
    return Fingerprint(**fields | changes)


@pytest.fixture(scope="session")
def fingerprint():
    """Return f(spec, **changes): a fingerprint with made-up hashes."""
    return fingerprint_of


@pytest.fixture(scope="session")
def write_index():
    """Return f(path, codes, ids, tokens, ...): an index of given codes in several segments, written without any model."""

    def write(path, codes, ids, tokens, *, width, cuts=(), kept=None, keep=(), texts=None, backbone=None, top_k=None):
        path = Path(path)
        _, layers, k = codes.shape
        spec = NagSpec("up", (width,) * layers, k)
        found = fingerprint_of(spec) if backbone is None else backbone.fingerprint(top_k=top_k)
        for name in ("manifests", "segments"):
            (path / name).mkdir(parents=True)
        entries = []
        edges = [0, *cuts, len(codes)]
        for number, (start, stop) in enumerate(pairwise(edges)):
            part = slice(start, stop)
            source = _write_source(path, number, texts[part] if texts is not None else None, stop - start)
            entries.append(_write_segment(path, spec, source, codes, ids, tokens, kept, keep, part))
        settings = manifests.Settings(keep_columns=tuple(keep))
        created = manifests.Manifest(1, "create", manifests.now(), found, settings, tuple(entries))
        assert commits.publish(path, created)
        return Index.open(path)

    return write


def _write_source(path, number, texts, n):
    """Return the span of a segment's source, which is written where texts are given and made up where they are not."""
    name = f"source-{number}.jsonl"
    if texts is None:
        return segments.SourceSpan(name, "/nowhere", 1, "2" * 64, 0, n, complete=True)
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    (path / "sources").mkdir(exist_ok=True)
    (path / "sources" / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return segments.SourceSpan(name, str(path / "sources"), len(content), digest, 0, n, complete=True)


def _write_segment(path, spec, source, codes, ids, tokens, kept, keep, part):
    n = part.stop - part.start
    rows = segments.Rows(
        ids=[str(i) for i in ids[part]],
        files=[source.name] * n,
        rows=list(range(n)),
        tokens=[int(t) for t in tokens[part]],
        kept=list(kept[part]) if kept is not None else [()] * n,
    )
    return segments.write_segment(
        path,
        spec,
        codes=[codes[part]],
        rows=rows,
        keep=keep,
        spans=[source],
        skipped=[],
        libraries=installed_libraries(),
    )
