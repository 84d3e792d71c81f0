"""Quality of rankings: average precision of in-domain documents for calibrated NAGs, the paper's, BM25 and embeddings.

    python benchmarks/quality.py --pool POOL --targets TARGETS --model smollm2 --cache FOLDER [--quick] [--json FILE]

For each target of a labeled pool: average precision and precision at R (R is the number of in-domain documents), with 95 % bootstrap
intervals over its examples. --cache keeps the codes, so that a stopped run goes on and another needs no encoding. --quick uses the
project's sample data and all-MiniLM-L6-v2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from nagindex.cli.tables import table
from quality_arms import Arm, nag_arms
from quality_codes import POOL_OPTIONS, CodeCache, limit, mapping_of, read_cases, read_texts
from quality_metrics import bootstrap, figures, interval, random_figures, resamples
from quality_peers import Peers
from report import emit, options

from nagindex.progress import step

HERE = Path(__file__).parent
CLOSE = "mean, close labels"
METRICS = ("average precision", "precision at R")
ORDER = (
    "random",
    "absolute, plain, K = 20, all layers",
    "absolute, log-ratio, K = 20, all layers",
    "relative, plain, K = 20, all layers",
    "relative, log-ratio, K = 20, all layers",
)
"""Arms in the order that they are expected in, worst first."""
Results = dict[str, dict[str, dict[str, Any]]]
"""For each arm and target, and for the means, the figures of each metric: value, low, high."""


def evaluate(arms: Iterator[tuple[str, Arm]], relevant: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """Return each arm's figures, float64 [1 + resamples, 2]: of all examples, then of each resample."""
    every = np.ones(times.shape[1], np.int64)
    found = {}
    for name, arm in arms:
        found[name] = np.vstack([figures(arm.scores(every), relevant), bootstrap(arm.scores, relevant, times)])
    return found


def summarize(found: dict[str, dict[str, np.ndarray]], loose: Collection[str] = ()) -> Results:
    """Return values and intervals of each arm by target, and of their means over the targets.

    Args:
        found: for each target each arm's figures, float64 [1 + resamples, 2].
        loose: targets whose labels are loose.
    """
    return {
        name: with_means({t: arms[name] for t, arms in found.items()}, loose) for name in next(iter(found.values()))
    }


def with_means(values: dict[str, np.ndarray], loose: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the figures of each target, after those of the means over all targets and over the ones that are not loose."""
    means = {"mean": np.mean(list(values.values()), axis=0)}
    close = [own for target, own in values.items() if target not in loose]
    if 0 < len(close) < len(values):
        means[CLOSE] = np.mean(close, axis=0)
    return {target: described(own) for target, own in (means | values).items()}


def described(own: np.ndarray) -> dict[str, dict[str, float]]:
    """Return value and interval of each metric of figures, float64 [1 + resamples, 2]."""
    parts: dict[str, dict[str, float]] = {}
    for column, metric in enumerate(METRICS):
        parts[metric] = {"value": float(own[0, column])}
        if len(own) > 2:
            ends = interval(float(own[0, column]), own[1:, column])
            parts[metric] |= dict(zip(("low", "high"), ends, strict=True))
    return parts


def differences(found: dict[str, dict[str, np.ndarray]], order: Sequence[str], loose: Collection[str] = ()) -> Results:
    """Return how much better each arm is than the one before it, by the same resamples of the examples."""
    return {
        f"{better}, over {worse}": with_means({t: arms[better] - arms[worse] for t, arms in found.items()}, loose)
        for worse, better in pairwise(order)
    }


def table_of(results: Results, metric: str) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of one metric: a row for each arm, a column for each mean with its interval and each target."""
    columns = list(next(iter(results.values())))
    rows = [[name, *(cell(own[column][metric], column) for column in columns)] for name, own in results.items()]
    return [metric, *columns], rows


def cell(figure: dict[str, float], column: str) -> str:
    """Return a figure, and half its interval where the column is a mean."""
    half = f" ± {figure['high'] - figure['value']:.3f}" if "high" in figure and column in {"mean", CLOSE} else ""
    return f"{figure['value']:.3f}{half}"


def main() -> None:
    """Encode what is missing, rank by every arm and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **POOL_OPTIONS,
        documents={"type": int, "help": "documents of each label, drawn by a seed; by default all"},
        examples={"type": int, "help": "examples of each target, drawn by a seed; by default all"},
        cache={"type": Path, "help": "folder that keeps codes and embeddings"},
        calibrate={"type": int, "default": 512, "help": "documents of the calibration"},
        prior={"type": float, "default": 40, "help": "m of log-ratio weights"},
        resamples={"type": int, "default": 200, "help": "bootstrap resamples of each target's examples"},
    )
    mapping = mapping_of(arguments)
    if arguments.quick:
        arguments.resamples = 20
    documents = limit(read_texts(arguments.pool, arguments.label), arguments.documents)
    cases = read_cases(mapping, arguments.targets, arguments.examples)
    labels = np.array(documents.labels)
    with tempfile.TemporaryDirectory() as folder:
        cache = CodeCache(arguments.cache or Path(folder), arguments.model, top_k=20)
        cache.require(documents, cases)
        cache.encode(documents, cases, arguments.pool, arguments.calibrate)
        codes = cache.read(documents, cases)
        peers = Peers(documents, cases, cache.folder)
    found: dict[str, dict[str, np.ndarray]] = {}
    with step("evaluating", len(cases), "targets") as advance:
        for target, case in cases.items():
            relevant = np.isin(labels, sorted(case.labels))
            times = resamples(len(case.examples.ids), arguments.resamples)
            arms = chain(peers.arms(target), nag_arms(codes, target, arguments.prior))
            found[target] = {"random": np.tile(random_figures(relevant), (1 + len(times), 1))} | evaluate(
                arms, relevant, times
            )
            advance(1)
    loose = {target for target, case in cases.items() if case.loose}
    results = summarize(found, loose)
    counts = {
        target: {"examples": len(case.examples.ids), "in_domain": int(np.isin(labels, sorted(case.labels)).sum())}
        for target, case in cases.items()
    }
    steps = differences(found, ORDER, loose)
    settings = {name: getattr(arguments, name) for name in ("model", "calibrate", "prior", "resamples")}
    about = settings | {"documents": len(labels), "targets": counts, "results": results, "differences": steps}
    for own, metric in ((steps, METRICS[0]), (results, METRICS[1])):
        print(table(*table_of(own, metric)), end="\n\n")
    emit(*table_of(results, METRICS[0]), about, arguments.json)


if __name__ == "__main__":
    main()
