"""A sample index with files of every kind, and the responses of an index after a fault.

    python -m benchmarks.damaged

Run as a program, it examines the indexes named on stdin, one JSON line each. The separate process makes a crash or a hang detectable.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    import nagindex
    from nagindex.select.options import AskKeywords
    from nagindex.targets.given import Targets

MODEL = Path(__file__).parent.parent / "tests" / "golden" / "data" / "models" / "qwen3"
WORDS = [
    "harbour",
    "copper",
    "violin",
    "meadow",
    "lantern",
    "winter",
    "comet",
    "orchard",
    "puzzle",
    "saddle",
    "thunder",
    "walnut",
]
DOCUMENTS = 60
"""Documents of a segment."""
BEST = 8
ENGINES = {"scan": False, "graph": True}
"""The engines, and the option `approx` that asks for each."""


def make(folder: Path) -> Path:
    """Return a new index with files of every kind, several versions, two sets of graphs; takes a second or two."""
    index, backbone, rng = folder / "sample.nagindex", loaded(), random.Random(0)
    for part in range(4):
        corpus = folder / f"part-{part}.jsonl"
        rows = [{"id": f"d{part}-{i:02d}", "text": " ".join(rng.choices(WORDS, k=20))} for i in range(DOCUMENTS)]
        rows += [{"id": f"none-{part}-{i}", "text": None} for i in range(part + 1)]
        corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with mock.patch("secrets.token_hex", lambda count: rng.randbytes(count).hex()):  # reproducible names
        _fill(folder, index, backbone)
    return index


def _fill(folder: Path, index: Path, backbone: Any) -> None:
    """Build, append, compact, optimize and delete, and write targets."""
    import nagindex
    from nagindex.targets.saved import write_nags

    opened, _ = nagindex.build(
        folder / "part-0.jsonl", index, top_k=6, impact="relative", calibrate=32, backbone=backbone
    )
    opened.append(folder / "part-1.jsonl")
    opened.compact()
    opened.append(folder / "part-2.jsonl")
    opened.optimize()
    for last in (3, 7):
        opened.delete(where=f"id LIKE '%{last}'")
    opened.optimize(refit=True)  # of other documents, so that the two bases differ
    opened.append(folder / "part-3.jsonl")
    opened.delete(where="id LIKE 'd3-%5'")
    opened.optimize()
    for name, first in (("one", 0), ("two", 40)):
        texts = folder / f"{name}.jsonl"
        texts.write_text("".join((folder / "part-1.jsonl").read_text().splitlines(keepends=True)[first : first + 6]))
        targets = opened.encode(texts)
    opened.query(folder / "one.jsonl", n=BEST, weights="log-ratio")  # counts popular neurons
    write_nags(folder / "saved.parquet", targets, opened.manifest.fingerprint)
    np.save(folder / "targets.npy", opened.codes[0][:8])


@functools.cache
def loaded() -> Any:
    """Return the tiny model."""
    import torch

    from nagindex.backbone.load import load_backbone

    torch.set_num_threads(1)
    return load_backbone(str(MODEL), device="cpu", dtype="float32")


def look(index: Path, version: int | None, asked: Sequence[str], *, repair: bool) -> dict[str, Any]:
    """Return an index's responses: errors of `verify` and of opening, answers or errors by question, crashes.

    Args:
        index: the index's folder.
        version: version to open; None for the current one.
        asked: names of questions.
        repair: whether to run `optimize` on a copy and report the result.
    """
    from nagindex.index import Index
    from nagindex.maintenance.verify import verify
    from nagindex.storage.manifest import read_latest
    from nagindex.storage.snapshot import Snapshot

    crashes: list[str] = []
    said: dict[str, Any] = {"verify": [], "opening": None, "answers": {}, "warnings": [], "crashes": crashes}
    found = _asked(lambda: [str(error) for error in verify(Snapshot(index, read_latest(index)))], crashes)
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
    """Return an answer, or nagindex's error as a refusal; any other exception is a crash."""
    from nagindex.errors import NagIndexError

    try:
        return question()
    except NagIndexError as error:
        return {"refused": str(error)}
    except Exception:
        crashes.append(traceback.format_exc()[-1500:])
        return {"refused": "crashed"}


def questions(place: Path, opened: nagindex.Index, warnings: list[str]) -> dict[str, Callable[[], Any]]:
    """Return the questions for an open index: queries with every engine, its documents, skipped rows and sources."""
    codes = np.load(place / "targets.npy")

    def query(targets: Targets, **options: Unpack[AskKeywords]) -> list[Any]:
        options.setdefault("mix", "merge")
        found = opened.query(targets, n=BEST, threads=1, **options)
        warnings.extend(found.warnings)
        return [found.column(name).tolist() for name in ("id", "score", "tokens", "row")]

    def new_texts() -> list[Any]:
        opened._backbone = loaded()
        return query(["copper lantern", "violin winter comet"], cache=False)

    def texts() -> list[Any]:
        opened._backbone = loaded()
        return query(place / "one.jsonl")

    asked: dict[str, Callable[[], Any]] = {
        engine: functools.partial(query, codes, approx=approx) for engine, approx in ENGINES.items()
    }
    return asked | {
        "texts": texts,
        "new texts": new_texts,
        "weights": lambda: query(codes, weights="log-ratio"),
        "saved": lambda: query(place / "saved.parquet"),
        "documents": lambda: [list(row) for row in opened.sql("SELECT * FROM docs ORDER BY ALL").fetchall()],
        "skipped": lambda: [list(vars(row).values()) for row in opened.skipped()],
        "sources": lambda: [list(vars(span).values()) for part in opened.segments for span in part.spans()],
    }


def _repaired(index: Path) -> dict[str, Any]:
    """Run `optimize` on a copy of an index; return the remaining errors, the warnings, and the answers."""
    from nagindex.index import Index

    place = index.parent / "copy"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(index.parent, place, ignore=shutil.ignore_patterns("copy"))
    copy, warnings = Index.open(place / index.name), list[str]()
    copy.optimize()
    asked = questions(place, copy, warnings)
    answers = {name: asked[name]() for name in (*ENGINES, "texts")}
    return {"verify": [str(error) for error in copy.verify()], "warnings": warnings, "answers": answers}


def serve() -> None:
    """Examine the indexes named on stdin, and print the responses of each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        said = look(Path(request["index"]), request["version"], request["asked"], repair=request["repair"])
        print(json.dumps(said, default=str), file=answers, flush=True)


if __name__ == "__main__":
    serve()
