"""An index from a stranger: whatever its JSON says under a checksum that fits, the answer is right or one clear error.

Nothing outside the index's folder is created, changed or removed, whatever is asked of it.
"""

import copy
import json
import os
import shutil
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nagindex.errors import NagIndexError
from nagindex.index import Index
from nagindex.storage.json_bytes import digest
from nagindex.storage.manifest import read_latest

TEXTS = [f"{word} and {word} of the {other}" for word in ("river", "proof", "salmon") for other in ("sea", "sum")]


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_backbone):
    """A folder with a calibrated index of six documents in two segments, one deleted, with a graph, and files beside."""
    from nagindex import Columns, build

    folder = tmp_path_factory.mktemp("stranger")
    records = [json.dumps({"id": f"d{i}", "text": text, "label": i}) + "\n" for i, text in enumerate(TEXTS)]
    (folder / "corpus").mkdir()
    (folder / "corpus" / "a.jsonl").write_text("".join(records[:4]))
    columns = Columns(keep_columns=("label",))
    build(folder / "corpus", folder / "i", backbone=tiny_backbone, columns=columns, impact="relative")
    (folder / "corpus" / "b.jsonl").write_text("".join(records[4:]))
    index = Index(folder / "i", read_latest(folder / "i"), backbone=tiny_backbone)
    index.append(folder / "corpus")
    index.delete(ids=["d1"])
    index.optimize()
    (folder / "more.jsonl").write_text(json.dumps({"id": "new", "text": "a new one", "label": 7}) + "\n")
    (folder / "deleted-00000000.npy").write_bytes(b"beside")
    (folder / "nags.npy").write_bytes(b"beside")
    return folder


@contextmanager
def copied(template, prepare=lambda folder: None):
    """Yield a copy of the template, prepared, and check afterwards that all but its index is as it was."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "work")
        shutil.copytree(template, folder)
        prepare(folder)
        before = outside(place)
        yield folder
        assert outside(place) == before


def outside(place):
    """Return what lies in a folder, but for the index."""
    return {
        path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
        for path in sorted(Path(place).rglob("*"))
        if Path(place, "work", "i") not in path.parents and path != Path(place, "work")
    }


def reseal(path, change):
    """Change a JSON file of an index as `change(content)` says, with a checksum that fits."""
    content = json.loads(path.read_text())
    content.pop("sha256")
    content = change(content)
    if isinstance(content, dict):
        content["sha256"] = digest(content)
    path.write_text(json.dumps(content))


DEEP = "[" * 400 + "]" * 400
NUMBERS = [
    0,
    1,
    -1,
    2,
    7,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63),
    10**15,
    10**30,
    0.0,
    0.5,
    1e300,
    float("nan"),
    float("inf"),
]
WORDS = [
    "",
    "0",
    "x" * 100_000,
    "\0",
    "\n",
    "\ud800",
    "id",
    "_segment",
    "sha256",
    "0" * 16,
    "f" * 64,
    'a"; DROP VIEW docs; --',
]
PATHS = ["../beside", "/etc/passwd", "..", "nags.npy", "docs.parquet", "..\\beside", "deleted-00000000.npy"]
LISTS = [[], [[]], [0], [-1], [1, 2, 3], ["id"], [None], [10**30], [float("nan")] * 3, ["x"] * 1000, [65536] * 1000]
OTHERS = [None, True, False, {}, {"": ""}, {"a": {"b": {"c": [1]}}}, json.loads(DEEP)]
STRANGE = st.sampled_from([*NUMBERS, *WORDS, *PATHS, *LISTS, *OTHERS])


def places_in(content, above=()):
    """Yield the path of each value of a JSON tree."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from places_in(value, (*above, key))


def parent_of(content, path):
    for key in path[:-1]:
        content = content[key]
    return content


@st.composite
def changes(draw):
    """Draw a function that changes a JSON object in one to three places."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["replace"] * 5 + ["drop", "rename", "add", "double", "swap"]),
                st.integers(0, 10**6),
                st.integers(0, 10**6),
                STRANGE,
            ),
            min_size=1,
            max_size=3,
        )
    )

    def change(content):
        for step in steps:
            content = changed(content, *step)
        return content

    return change


def changed(content, kind, place, other, value):
    places = list(places_in(content))
    path = places[place % len(places)]
    parent, key = parent_of(content, path), path[-1]
    if kind == "replace":
        parent[key] = copy.deepcopy(value)
    elif kind == "drop":
        del parent[key]
    elif kind == "rename" and isinstance(parent, dict):
        parent[str(value)] = parent.pop(key)
    elif kind == "add" and isinstance(parent, dict):
        parent[str(value)] = copy.deepcopy(value)
    elif kind == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif kind == "swap":
        there = places[other % len(places)]
        parent[key] = copy.deepcopy(parent_of(content, there)[there[-1]])
    return content


LIVING = {"d0", "d2", "d3", "d4", "d5"}
"""Ids of the template's documents but for the deleted one, d1."""


def named_by(folder):
    """Return the ids of the documents that the current manifest names, as far as it can be believed; None where it cannot."""
    manifest = json.loads(max((folder / "i" / "manifests").glob("[0-9]*.json")).read_text())
    by_segment = {2: ["d4", "d5"], 4: ["d0", "d1", "d2", "d3"]}
    try:
        found = [i for entry in manifest["segments"] for i in by_segment[entry["documents"]]]
        return found if any(entry["deleted"] for entry in manifest["segments"]) else [*found, "d1"]
    except (KeyError, TypeError):
        return None


def use(folder, backbone, codes):
    """Ask everything of an index; return the answers, with an error in place of one where there is none."""
    path = folder / "i"

    def attempt(ask):
        try:
            index = Index(path, read_latest(path), backbone=backbone)
            index.snapshot.check_lengths()
            return ask(index)
        except NagIndexError as error:
            told.append(str(error))
            return error

    told = []
    found = {
        "info": attempt(lambda index: json.dumps(index.info())),
        "query": attempt(lambda index: list(index.query(codes, n=9, cache=False).ids)),
        "graph": attempt(lambda index: list(index.query(codes, n=9, cache=False, approx=True).ids)),
        "sql": attempt(lambda index: [i for (i,) in index.sql("SELECT id FROM docs ORDER BY id").fetchall()]),
        "verify": attempt(lambda index: [str(error) for error in index.verify()]),
        "append": attempt(lambda index: index.append(folder / "more.jsonl", workers=0)),
        "delete": attempt(lambda index: index.delete(ids=["new"])),
        "compact": attempt(lambda index: index.compact()),
        "vacuum": attempt(lambda index: index.vacuum(grace=0)),
    }
    assert all("\n" not in message for message in told)
    return found


@settings(max_examples=100)
@given(change=changes())
def test_a_manifest_that_says_anything_is_right_or_refused(template, tiny_backbone, change):
    """Whatever opens holds only documents that the manifest names, in every answer, and never the deleted one unless it says so."""
    codes = np.array(Index.open(template / "i").codes[0][:2])
    with copied(template) as folder:
        reseal(max((folder / "i" / "manifests").glob("[0-9]*.json")), change)
        named = named_by(folder)
        found = use(folder, tiny_backbone, codes)
    for way in ("query", "graph", "sql"):
        if isinstance(found[way], list):
            assert named is not None
            assert set(found[way]) <= set(named)
    answers = [set(found[way]) for way in ("query", "sql") if isinstance(found[way], list)]
    assert all(answer == answers[0] for answer in answers)


LIES = [
    ({"impact": "absolute"}, {}),
    ({"calibration": None}, {}),
    ({"impact": "absolute", "calibration": None}, {}),
    ({"calibration": "0" * 64}, {}),
    ({"calibration": "../" * 20 + "0" * 4}, {}),
    ({"calibration": "../../elsewhere"}, {}),
    ({"impact": "loud"}, {}),
    ({"spec": {"numbers": [0, 1, 2]}}, {}),
    ({"spec": {"numbers": [3, 2, 1, 0]}}, {}),
    ({"spec": {"numbers": [-1, 0, 1, 2]}}, {}),
    ({"spec": {"widths": [256, 256, 256, 255]}}, {}),
    ({"spec": {"widths": [256, 256, 256, 257]}}, {}),
    ({"spec": {"widths": [256, 256]}}, {}),
    ({}, {"calibrate": -1}),
    ({}, {"calibrate": "many"}),
    ({}, {"calibrate": 10**30}),
]


@pytest.mark.parametrize(("fingerprint", "settings"), LIES)
def test_a_lie_about_a_calibration_is_told_before_anything_is_encoded(template, tiny_backbone, fingerprint, settings):
    """Whatever a manifest says of impact, layers and calibration, under a checksum that fits: no document is added by it."""

    def change(content):
        content["fingerprint"] |= fingerprint | {"spec": content["fingerprint"]["spec"] | fingerprint.get("spec", {})}
        content["settings"] |= settings
        return content

    codes = np.array(Index.open(template / "i").codes[0][:2])
    with copied(template) as folder:
        reseal(max((folder / "i" / "manifests").glob("[0-9]*.json")), change)
        found = use(folder, tiny_backbone, codes)
    assert isinstance(found["append"], NagIndexError)
    for way in ("query", "sql"):
        assert isinstance(found[way], NagIndexError) or set(found[way]) == LIVING


@pytest.mark.parametrize("which", ["basis", "graph"])
@settings(max_examples=25)
@given(change=changes())
def test_what_describes_graphs_may_say_anything(template, tiny_backbone, which, change):
    """Graphs are never the truth: what lies about them is told, or changes no document of an answer."""
    codes = np.array(Index.open(template / "i").codes[0][:2])
    with copied(template) as folder:
        reseal(sorted((folder / "i" / "derived").glob(f"*/{which}*.json"))[-1], change)
        found = use(folder, tiny_backbone, codes)
    assert set(found["query"]) == LIVING
    assert found["sql"] == sorted(LIVING)
    assert isinstance(found["graph"], NagIndexError) or set(found["graph"]) == LIVING


def _hangs(number, frame):
    raise AssertionError("it hangs")


@contextmanager
def alarmed(seconds=300):
    """Fail what never ends, such as reading a pipe that nobody writes to."""
    before = signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


FILES = ("manifests", "segments", "derived", "segments/*", "segments/*/nags.npy", "segments/*/docs.parquet")
FILES += ("segments/*/sources.parquet", "segments/*/skipped.parquet", "segments/*/deleted-*.npy", "derived/*")
FILES += ("derived/*/basis.json", "derived/*/basis.npy", "derived/*/graph-*", "manifests/000000000004.json")
FILES += ("manifests/latest.json", "derived/popularity", "derived/popularity/*")


@pytest.mark.parametrize("kind", ["outside", "copy", "zero", "pipe", "itself", "nothing"])
@pytest.mark.parametrize("name", FILES)
def test_a_link_in_an_index_is_never_followed(template, tiny_backbone, name, kind):
    """In place of any file or folder: to the same elsewhere, a device, a pipe, itself, nothing. It hangs nothing and deletes nothing."""
    codes = np.array(Index.open(template / "i").codes[0][:2])

    def link(folder):
        path = sorted((folder / "i").glob(name))[-1]
        elsewhere = folder / "elsewhere"
        shutil.copytree(path, elsewhere) if path.is_dir() else shutil.copy(path, elsewhere)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        os.mkfifo(folder / "pipe")
        targets = {"outside": folder / "corpus", "copy": elsewhere, "zero": "/dev/zero", "pipe": folder / "pipe"}
        path.symlink_to(targets.get(kind, path if kind == "itself" else folder / "nowhere"))

    with copied(template, link) as folder, alarmed():
        found = use(folder, tiny_backbone, codes)
    truth = name.startswith(("manifests", "segments", "calibration"))
    if truth and name != "manifests/000000000004.json":
        assert any(isinstance(found[way], NagIndexError) for way in ("query", "verify")) or found["verify"]
    for way in ("query", "sql"):
        assert isinstance(found[way], NagIndexError) or set(found[way]) in (LIVING, LIVING | {"d1"})
