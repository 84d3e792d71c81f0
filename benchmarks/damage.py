"""Faults in the files of an index, one at a time, and what `verify`, opening and queries make of each.

    python benchmarks/damage.py

As a program it looks at the indexes that it is told of, a JSON line each: a process of its own, so that a crash or a hang is seen.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

MODEL = Path(__file__).parent.parent / "tests" / "golden" / "data" / "models" / "qwen3"
WORDS = ["river", "sand", "fox", "index", "neuron", "graph", "sea", "quick", "lazy", "brown", "the", "of", "and", "to", "in", "is"]
DOCUMENTS = 60
"""Of a segment."""
BEST = 8
MOST_CUT = 100
MODES = ("scan", "sketch", "auto", "graph")
ALWAYS = ("scan", "sketch", "graph", "skipped", "sources")


@dataclass(frozen=True)
class Fault:
    """What is done to some files, and what must be told of it.

    Attributes:
        what: its name.
        changes: the files' new bytes, None for a file that is removed.
        told: files of which `verify` must name one; none where nothing can tell the fault from an index that never had the file.
        opening: whether opening must refuse.
    """

    what: str
    changes: dict[Path, bytes | None]
    told: tuple[Path, ...]
    opening: bool


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        name: as the table has it.
        pattern: of their paths in the index's folder, or beside it.
        derived: whether they can be made again.
        opening: which faults opening must see: `all`, those of `length` (and absence), or `none`.
        removed: whether `verify` can tell that one was removed.
        pair: whether another file belongs to each, either of which may be named where the two do not fit.
        asked: what is asked besides what every index is asked.
    """

    name: str
    pattern: str
    derived: bool = False
    opening: str = "none"
    removed: bool = True
    pair: bool = False
    asked: tuple[str, ...] = ()


KINDS = (
    Kind("manifest, current", "manifests/*.json", opening="all", removed=False, asked=("documents",)),
    Kind("manifest, older", "manifests/*.json", opening="all", removed=True),
    Kind("nags.npy", "segments/*/nags.npy", opening="length", asked=("documents",)),
    Kind("docs.parquet", "segments/*/docs.parquet", opening="length", asked=("documents",)),
    Kind("sources.parquet", "segments/*/sources.parquet", opening="length", asked=("documents",)),
    Kind("skipped.parquet", "segments/*/skipped.parquet", opening="length", asked=("documents",)),
    Kind("deleted-*.npy", "segments/*/deleted-*.npy", opening="length", asked=("documents",)),
    Kind("files of older versions", "segments/*/*"),
    Kind("basis.json", "derived/sketch-*/basis.json", derived=True, removed=False, pair=True),
    Kind("basis.npy", "derived/sketch-*/basis.npy", derived=True),
    Kind("SEGMENT.json", "derived/sketch-*/[0-9a-f]*[0-9a-f].json", derived=True, removed=False, pair=True),
    Kind("SEGMENT-*.npy", "derived/sketch-*/[0-9a-f]*-*.npy", derived=True),
    Kind("graph-*.json", "derived/sketch-*/graph-*.json", derived=True, removed=False, pair=True),
    Kind("graph-*.usearch", "derived/sketch-*/graph-*.usearch", derived=True),
    Kind("cached targets", "derived/targets/*.npy", derived=True, removed=False, asked=("texts",)),
    Kind("saved targets", "../saved/*.parquet", removed=False, asked=("saved",)),
)


def make(folder: Path) -> Path:
    """Make an index with files of every kind, several versions, two sets of sketches and two graphs, and return it; a second or two."""
    index, backbone, rng = folder / "sample.nagindex", loaded(), random.Random(0)
    for part in range(4):
        corpus = folder / f"part-{part}.jsonl"
        rows = [{"id": f"d{part}-{i:02d}", "text": " ".join(rng.choices(WORDS, k=20))} for i in range(DOCUMENTS)]
        rows += [{"id": f"none-{part}-{i}", "text": None} for i in range(part + 1)]
        corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "saved").mkdir()
    with mock.patch("secrets.token_hex", lambda count: rng.randbytes(count).hex()):  # the same names every time
        _fill(folder, index, backbone)
    return index


def _fill(folder: Path, index: Path, backbone: Any) -> None:
    """Build, append, compact, optimize and delete, and write targets."""
    import nagindex
    from nagindex.nagfiles import write_nags

    opened, _ = nagindex.build(folder / "part-0.jsonl", index, top_k=6, backbone=backbone)
    opened.append(folder / "part-1.jsonl")
    opened.compact()
    opened.append(folder / "part-2.jsonl")
    opened.optimize(dims=64, graph=True)
    opened.optimize(dims=128, graph=True)
    for last in (3, 7):
        opened.delete(where=f"id LIKE '%{last}'")
    opened.append(folder / "part-3.jsonl")
    opened.delete(where="id LIKE 'd3-%5'")
    opened.optimize(graph=True)
    for name, first in (("one", 0), ("two", 40)):
        texts = folder / f"{name}.jsonl"
        texts.write_text("".join((folder / "part-1.jsonl").read_text().splitlines(keepends=True)[first : first + 6]))
        [target] = opened.encode(texts)
        write_nags(folder / "saved" / f"{name}.parquet", [target], opened.manifest.fingerprint)
    np.save(folder / "targets.npy", opened.codes[0][:8])


@functools.cache
def loaded() -> Any:
    """Return the tiny model."""
    import torch

    from nagindex.backbone import load_backbone

    torch.set_num_threads(1)
    return load_backbone(str(MODEL), device="cpu", dtype="float32")


def files_of(index: Path, kind: Kind) -> list[Path]:
    """Return an index's files of a kind; of those of segments and sketches, the ones that the current version uses."""
    manifests = sorted((index / "manifests").glob("*.json"))
    if kind.name.startswith("manifest"):
        return manifests[-1:] if kind.name.endswith("current") else manifests[:-1]
    folder, _, pattern = kind.pattern.rpartition("/")
    found = sorted((index / folder.split("/")[0]).resolve().glob("/".join([*folder.split("/")[1:], pattern])))
    if folder.startswith("..") :
        found = sorted((index.parent / "saved").glob(pattern))
    current = {
        (entry["id"], name): number
        for number, path in enumerate(manifests)
        for entry in json.loads(path.read_bytes())["segments"]
        for name in entry["files"]
    }
    if folder.startswith("segments"):
        old = kind.name == "files of older versions"
        newest = len(manifests) - 1
        return [path for path in found if (current[path.parent.name, path.name] < newest) == old]
    if "sketch-" in folder:
        return [path for path in found if path.parent == max(path.parent for path in found)]
    return found


def faults_of(index: Path, kind: Kind, rng: random.Random, *, cuts: int, flips: int, files: int) -> Iterator[Fault]:
    """Yield faults in the files of a kind: bytes cut at the end, bits flipped one at a time, files emptied, exchanged and removed.

    Args:
        index: the index's folder.
        kind: of the files.
        rng: chooses files and bits.
        cuts: how many times bytes are cut, from 1 to 100 of them.
        flips: how many bits, each in one of the files.
        files: how many of the files are emptied, exchanged and removed.
    """
    own = files_of(index, kind)
    if not own:
        raise AssertionError(f"the sample has no {kind.name}")
    some = rng.sample(own, min(files, len(own)))

    def changed(what: str, path: Path, content: bytes, *names: Path) -> Fault:
        shorter = len(content) != path.stat().st_size
        return Fault(what, {path: content}, (path, *names), kind.opening == "all" or (kind.opening == "length" and shorter))

    for less in np.linspace(1, MOST_CUT, cuts).round().astype(int).tolist():
        path = rng.choice(own)
        content = path.read_bytes()
        yield changed(f"cut {less}", path, content[: max(len(content) - less, 0)])
    for _ in range(flips):
        path = rng.choice(own)
        content = bytearray(path.read_bytes())
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        yield changed(f"bit {bit}", path, bytes(content))
    for path in some:
        yield changed("emptied", path, b"")
        telling = kind.removed and not (kind.name == "manifest, older" and path == min(own))
        gone = Fault("removed", {path: None}, (path,) * telling, kind.opening != "none" and kind.name != "manifest, current")
        yield gone
        if others := _like(index, kind, path):
            other = rng.choice(others)
            swapped = changed("exchanged", path, other.read_bytes(), *([path.with_suffix("")] if kind.pair else []))
            swapped.changes[other] = path.read_bytes()
            yield swapped


def _like(index: Path, kind: Kind, path: Path) -> list[Path]:
    """Return other files of the same kind, of whichever version, that hold something else."""
    base, _, pattern = kind.pattern.rpartition("../")
    found = (index.parent if "../" in kind.pattern else index).glob(pattern or base)
    name = path.name.partition("-")[0] if kind.name == "files of older versions" else ""
    content = path.read_bytes()
    return sorted(p for p in found if p != path and p.name.startswith(name) and p.read_bytes() != content)


def apply(fault: Fault) -> dict[Path, bytes]:
    """Do a fault, and return what undoes it."""
    before = {path: path.read_bytes() for path in fault.changes}
    for path, content in fault.changes.items():
        path.unlink() if content is None else _written(path, content)
    return before


def undo(before: dict[Path, bytes]) -> None:
    """Write the files again as they were."""
    for path, content in before.items():
        _written(path, content)


def _written(path: Path, content: bytes) -> None:
    """Write a file beside the one of its name, and then in its place, as a copying program does."""
    temporary = path.with_name("." + path.name)
    temporary.write_bytes(content)
    os.replace(temporary, path)


def look(index: Path, version: int | None, asked: Sequence[str], *, repair: bool) -> dict[str, Any]:
    """Return what is made of an index: `verify`'s lines, opening's refusal, each question's answer or refusal, and what crashed.

    Args:
        index: the index's folder.
        version: to open; None for the current one.
        asked: names of questions.
        repair: whether to see what `optimize` makes of a copy.
    """
    from nagindex.index import Index
    from nagindex.maintain import verify
    from nagindex.storage.manifest import read_latest

    crashes: list[str] = []
    said: dict[str, Any] = {"verify": [], "opening": None, "answers": {}, "warnings": [], "crashes": crashes}
    found = _asked(lambda: [str(error) for error in verify(index, read_latest(index))], crashes)
    said["verify"] = found if isinstance(found, list) else [found["refused"]]
    opened = _asked(lambda: Index.open(index, version=version), crashes)
    if isinstance(opened, dict):
        said["opening"] = opened["refused"]
        return said
    all_questions = questions(index.parent, opened, said["warnings"])
    said["answers"] = {name: _asked(all_questions[name], crashes) for name in asked}
    if repair:
        said["repaired"] = _asked(lambda: _repaired(index), crashes)
    return said


def _asked(question: Callable[[], Any], crashes: list[str]) -> Any:
    """Return an answer, or a refusal; an error that nagindex does not raise on purpose is a crash."""
    from nagindex.errors import NagIndexError

    try:
        return question()
    except NagIndexError as error:
        return {"refused": str(error)}
    except Exception:
        crashes.append(traceback.format_exc()[-1500:])
        return {"refused": "crashed"}


def questions(place: Path, opened: Any, warnings: list[str]) -> dict[str, Callable[[], Any]]:
    """Return what is asked of an opened index: queries by every engine, its documents, skipped rows and sources."""
    codes = np.load(place / "targets.npy")

    def query(targets: Any, **options: Any) -> list[Any]:
        found = opened.query(targets, n=BEST, threads=1, **options)
        warnings.extend(found.warnings)
        return [found.column(name).tolist() for name in ("id", "score", "tokens", "row")]

    def texts() -> list[Any]:
        opened._backbone = loaded()
        return query(place / "one.jsonl", mode="scan")

    asked: dict[str, Callable[[], Any]] = {mode: functools.partial(query, codes, mode=mode) for mode in MODES}
    return asked | {
        "texts": texts,
        "saved": lambda: query(place / "saved" / "one.parquet", mode="scan"),
        "documents": lambda: [list(row) for row in opened.sql("SELECT * FROM docs ORDER BY ALL").fetchall()],
        "skipped": lambda: [list(vars(row).values()) for row in opened.skipped()],
        "sources": lambda: [list(vars(span).values()) for part in opened.segments for span in part.spans()],
    }


def _repaired(index: Path) -> dict[str, Any]:
    """Run `optimize` on a copy of an index, and return what is still wrong with it, what it warns of, and its answers."""
    from nagindex.index import Index

    place = index.parent / "copy"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(index.parent, place, ignore=shutil.ignore_patterns("copy"))
    copy, warnings = Index.open(place / index.name), list[str]()
    copy.optimize(graph=True)
    asked = questions(place, copy, warnings)
    answers = {name: asked[name]() for name in (*MODES, "texts")}
    return {"verify": [str(error) for error in copy.verify()], "warnings": warnings, "answers": answers}


def serve() -> None:
    """Look at the indexes that stdin names, and print what is made of each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        said = look(Path(request["index"]), request["version"], request["asked"], repair=request["repair"])
        print(json.dumps(said, default=str), file=answers, flush=True)


if __name__ == "__main__":
    serve()
