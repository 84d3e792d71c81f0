"""What claims to be large must not be believed: a child with little memory to spare reads bombs and ends with a clear error."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nagindex.storage.json_bytes import digest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROOM = 3 << 30
CHILD = """
import json, resource, signal, sys
import numpy as np
import torch, duckdb, numba, nagindex
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources
from nagindex.errors import NagIndexError
from nagindex.index import Index

def ask(way, path):
    if way == "read":
        [source] = find_sources([path]).sources
        return sum(len(document.text or "") for document in read_documents(source))
    index = Index.open(path)
    if way == "info":
        return len(index.info())
    if way == "verify":
        return [str(error) for error in index.verify()]
    if way == "sql":
        return index.sql("SELECT count(*) FROM docs").fetchall()
    if way == "vacuum":
        return str(index.vacuum(grace=0))
    if way == "compact":
        return index.compact()
    codes = np.array([[[0, 1]]], np.uint16)
    return len(index.query(codes, fraction=1.0, cache=False)) if way == "tokens" else len(index.query(codes, n=2, cache=False))

warm = json.loads(sys.argv[2])
for way in ("info", "query", "sql") if warm else ():
    ask(way, warm)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), -1))
signal.alarm(900)
for line in sys.stdin:
    way, path = json.loads(line)
    try:
        answer = "answer", str(ask(way, path))
    except NagIndexError as error:
        answer = type(error).__name__, str(error)
    except BaseException as error:
        answer = "!" + type(error).__name__, str(error)[:300]
    print(json.dumps(answer), flush=True)
"""


def ask_child(asked, *, warm=None):
    """Return (kind of outcome, message) for each (way, path), all of them in one child with 3 GiB beyond what it starts with."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(ROOM), json.dumps(warm)],
        input="".join(json.dumps([way, str(path)]) + "\n" for way, path in asked),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(asked), done.stderr[-2000:]
    return answers


def squeezed(kind, head, block):
    """Return 2 GiB of `block` after `head`, as gzip or zstd: many small members, one like the other."""
    squeeze = gzip.compress if kind == "gz" else zstd.compress
    whole = block * ((1 << 24) // len(block))
    return (squeeze(head) if head else b"") + squeeze(whole) * 128


BOMBS = {
    "zeros.jsonl.gz": (b"", b"\0"),
    "zeros.txt.zst": (b"", b"\0"),
    "second.jsonl.zst": (b'{"text": "a"}\n{"text": "', b"a"),
    "string.json.gz": (b'[{"text": "', b"a"),
    "header.csv.zst": (b"", b"a"),
    "lines.csv.gz": (b'text,x\n"', b"a" * 65_535 + b"\n"),
}


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    """Files of a few megabytes at most that are 2 GiB when they are unpacked: zeros, a string without an end, a quoted field."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, (head, block) in BOMBS.items():
        (folder / name).write_bytes(squeezed(name.rpartition(".")[2], head, block))
    return folder


def test_a_bomb_of_one_record_is_a_clear_error_and_fits_into_memory(bombs):
    """Two gibibytes in one line, value, field or text are refused after an eighth of them, with file, row and remedy."""
    paths = sorted(bombs.iterdir())
    assert len(paths) == len(BOMBS)
    assert all(path.stat().st_size < 1 << 24 for path in paths)
    answers = ask_child([("read", path) for path in paths])
    for path, (kind, message) in zip(paths, answers, strict=True):
        assert kind == "BadInputError", (path.name, kind, message)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert any(place in message for place in ("line ", "row ", "record "))
        assert any(remedy in message for remedy in ("split the document", "mend the quotes"))
    assert "line 2" in dict(zip([path.name for path in paths], answers, strict=True))["second.jsonl.zst"][1]


def test_a_large_record_that_is_a_document_is_read(tmp_path):
    """A line of forty megabytes is a long book, and no bomb."""
    path = tmp_path / "book.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "' + b"a" * 40_000_000 + b'"}\n', 1))
    assert ask_child([("read", path)]) == [["answer", "40000000"]]


def _each(content, **values):
    for entry in content["segments"]:
        entry.update(values)


CLAIMS = {
    "documents": lambda c: _each(c, documents=10**15),
    "documents beyond int64": lambda c: _each(c, documents=10**30),
    "documents, none": lambda c: _each(c, documents=0),
    "tokens": lambda c: _each(c, tokens=10**30),
    "tokens that only fit one by one": lambda c: _each(c, tokens=2**63 - 1),
    "deleted": lambda c: _each(c, deleted_documents=10**15),
    "deleted without a file": lambda c: _each(c, deleted_documents=1),
    "layers": lambda c: c["fingerprint"]["spec"].update(widths=[65536] * 10**5),
    "layers of one neuron": lambda c: c["fingerprint"]["spec"].update(widths=[65536] + [1] * 10**5, top_k=1),
    "layers and documents": lambda c: (
        _each(c, documents=0),
        c["fingerprint"]["spec"].update(widths=[65536] * 10**5, top_k=65536),
    ),
    "top-k": lambda c: c["fingerprint"]["spec"].update(top_k=10**15),
    "widths": lambda c: c["fingerprint"]["spec"].update(widths=[10**15]),
    "segments": lambda c: c.update(segments=c["segments"] * 1000),
    "columns": lambda c: c["settings"].update(keep_columns=["x"] * 10**5),
    "columns of different names": lambda c: c["settings"].update(keep_columns=[f"x{i}" for i in range(100)]),
    "window": lambda c: c["settings"].update(window=0),
    "files": lambda c: c["segments"][0]["files"].update({"nags.npy": {"bytes": 10**15, "sha256": "0" * 64}}),
    "names": lambda c: c.update(operation="x" * 10**6),
}


def claim(index, change):
    """Make the current manifest say something else, under a checksum that fits."""
    path = max((index / "manifests").glob("[0-9]*.json"))
    content = json.loads(path.read_text())
    content.pop("sha256")
    change(content)
    path.write_text(json.dumps(content | {"sha256": digest(content)}))


def test_a_manifest_cannot_make_its_reader_allocate_what_the_files_do_not_hold(tmp_path, write_index):
    """Whatever numbers it states, every way to use the index ends with an answer or one clear error."""
    codes = np.array([[[0, 1]], [[1, 2]], [[1, 3]], [[3, 0]]], np.uint16)
    whole = write_index(tmp_path / "whole", codes, list("abcd"), [1] * 4, width=4, cuts=(2,)).path
    asked = []
    for number, change in enumerate(CLAIMS.values()):
        index = Path(shutil.copytree(whole, tmp_path / f"i{number}"))
        claim(index, change)
        asked += [(way, index) for way in ("info", "query", "tokens", "sql", "verify", "vacuum", "compact")]
    answers = ask_child([("query", whole), *asked], warm=str(whole))
    assert answers[0] == ["answer", "2"]
    names = [
        f"{way} of {name}"
        for name in CLAIMS
        for way in ("info", "query", "tokens", "sql", "verify", "vacuum", "compact")
    ]
    bad = [(name, answer) for name, answer in zip(names, answers[1:], strict=True) if answer[0].startswith("!")]
    assert not bad
    refused = {name for name, (kind, _) in zip(names, answers[1:], strict=True) if kind == "DamagedIndexError"}
    assert {f"query of {name}" for name in CLAIMS if name != "names" and "different" not in name} <= refused
