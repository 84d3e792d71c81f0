"""Encodings of `nagindex build` compared: documents a second, bytes a document, query seconds, and average precision.

    python -m benchmarks.quality.presets --pool POOL --targets TARGETS --model smollm2 [--documents N] [--quick] [--json FILE]

The pool is written as five files. Each encoding appends one file after the other, and the encodings take turns within a file, so
that what else the machine does slows all of them alike: a ratio is the median over the files. Rates are those of `build` and `append`
with everything that they do, without loading the model and without the calibration, which is timed apart. Precision is that of the
ranking that `nagindex query` gives for each target, by the plain profile and by log-ratio weights.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import nagindex
from benchmarks.quality.metrics import figures
from benchmarks.quality.texts import POOL_OPTIONS, Case, Texts, limit, mapping_of, read_cases, read_texts
from benchmarks.report import emit, options
from nagindex.backbone.load import Backbone, load_backbone

HERE = Path(__file__).parent
PARTS = 5
WEIGHTS = ("frequency", "log-ratio")
ENCODINGS: dict[str, dict[str, Any]] = {
    "absolute, K = 20 (the peer)": {"impact": "absolute", "top_k": 20},
    "relative, K = 20": {"impact": "relative", "top_k": 20},
    "relative, K = 5 (calibrated)": {"preset": "calibrated"},
    "relative, K = 5, layers 0-9": {"preset": "calibrated", "layers": "0-9"},
    "relative, K = 5, layers 0-9, 32 tokens (fast)": {"preset": "fast"},
}


@dataclass
class Arm:
    """One encoding while it is measured.

    Attributes:
        options: the options of its build.
        index: its index, once it exists.
        seconds: of each file, the calibration apart.
        calibration: seconds of the calibration.
    """

    options: dict[str, Any]
    index: nagindex.Index | None = None
    seconds: list[float] = field(default_factory=list)
    calibration: float = 0.0


class CalibrationClock:
    """Adds up the seconds of the steps that belong to a calibration."""

    def __init__(self) -> None:
        self.seconds, self.began = 0.0, 0.0

    def __call__(self, progress: nagindex.Progress) -> None:
        """Note a step's beginning and end."""
        if progress.stage in ("drawing a sample", "calibrating"):
            now = time.perf_counter()
            self.began = self.began or now
            self.seconds = now - self.began


def write_parts(documents: Texts, folder: Path) -> list[Path]:
    """Write documents in a random order as JSON lines, in several files; return the files."""
    order = np.random.default_rng(0).permutation(len(documents.ids))
    paths = []
    for number, rows in enumerate(np.array_split(order, PARTS)):
        path = folder / f"part-{number}.jsonl"
        with open(path, "w") as file:
            for row in rows.tolist():
                file.write(json.dumps({"id": documents.ids[row], "text": documents.texts[row]}) + "\n")
        paths.append(path)
    return paths


def encode(arms: dict[str, Arm], paths: list[Path], backbone: Backbone, folder: Path) -> None:
    """Build and append with every encoding in turn."""
    for path in paths:
        for number, arm in enumerate(arms.values()):
            clock = CalibrationClock()
            started = time.perf_counter()
            if arm.index is None:
                place = folder / f"{number}.nagindex"
                settings = {"corpus_root": folder, "workers": 0, "batch_tokens": 2048} | arm.options
                arm.index, _ = nagindex.build(path, place, backbone=backbone, progress=clock, **settings)
                arm.calibration = clock.seconds
            else:
                arm.index.append(path, corpus_root=folder, workers=0)
            arm.seconds.append(time.perf_counter() - started - clock.seconds)


def precision(index: nagindex.Index, case: Case, labels: dict[str, str], weights: str) -> float:
    """Return the average precision of the ranking of all documents for one target."""
    ranked = index.query(case.examples.texts, n=len(index), weights=weights)
    order = ranked.ids.tolist()
    relevant = np.array([labels[one] in case.labels for one in order])
    return figures(-np.arange(len(order)), relevant)[0]


def query_seconds(index: nagindex.Index, cases: dict[str, Case]) -> float:
    """Return the median time of a query for 1 % of the pool, its examples encoded before."""
    seconds = []
    for case in cases.values():
        for _ in range(2):
            started = time.perf_counter()
            index.query(case.examples.texts, n=max(1, len(index) // 100))
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def main() -> None:
    """Encode, query and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **POOL_OPTIONS
        | {
            "documents": {"type": int, "default": 300, "help": "documents of each label"},
            "examples": {"type": int, "default": 300, "help": "examples of each target"},
        },
    )
    mapping = mapping_of(arguments)
    documents = limit(read_texts(arguments.pool, arguments.label), arguments.documents)
    cases = read_cases(mapping, arguments.targets, arguments.examples, labeled=True)
    labels = dict(zip(documents.ids, documents.labels, strict=True))
    backbone = load_backbone(arguments.model)
    layers = len(backbone.widths)
    arms = {name: Arm(own) for name, own in ENCODINGS.items() if own.get("layers") != "0-9" or layers > 10}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        paths = write_parts(documents, folder)
        encode({"warm-up": Arm({"impact": "absolute"})}, paths[:1], backbone, folder)
        shutil.rmtree(folder / "0.nagindex")
        encode(arms, paths, backbone, folder)
        rows, results = [], {}
        peer = next(iter(arms.values()))
        for name, arm in arms.items():
            index = nagindex.open(folder / f"{len(results)}.nagindex")
            rates = [len(documents.ids) / PARTS / seconds for seconds in arm.seconds]
            ratio = statistics.median(a / b for a, b in zip(peer.seconds, arm.seconds, strict=True))
            found = {w: float(np.mean([precision(index, case, labels, w) for case in cases.values()])) for w in WEIGHTS}
            seconds = query_seconds(index, cases)
            stored = index.manifest.fingerprint.spec.bytes_per_document
            results[name] = {
                "documents_per_second": statistics.median(rates),
                "times_the_peer": ratio,
                "seconds": arm.seconds,
                "calibration_seconds": arm.calibration,
                "bytes_per_document": stored,
                "query_seconds": seconds,
                "average_precision": found,
            }
            rows.append(
                [
                    name,
                    f"{statistics.median(rates):.1f}",
                    f"{ratio:.2f}",
                    f"{arm.calibration:.0f}",
                    f"{stored:,}",
                    f"{seconds:.3f}",
                ]
                + [f"{found[w]:.3f}" for w in WEIGHTS]
            )
    headings = [
        "encoding",
        "documents/s",
        "times the peer",
        "calibration s",
        "bytes/document",
        "query s",
        "AP plain",
        "AP log-ratio",
    ]
    about = {
        "model": arguments.model,
        "dtype": str(backbone.model.dtype),
        "documents": len(documents.ids),
        "targets": list(cases),
    }
    print(f"{len(documents.ids):,} documents, {arguments.model} in {backbone.model.dtype}, {len(cases)} targets")
    emit(headings, rows, about | {"results": results}, arguments.json)


if __name__ == "__main__":
    main()
