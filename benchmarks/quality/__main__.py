"""Quality of rankings: average precision of in-domain documents for NAGs of every setting, words, embeddings and classifiers.

    python -m benchmarks.quality --pool POOL --targets TARGETS --model smollm2 --cache FOLDER [--quick] [--json FILE] [--plots FOLDER]

For each target of a labeled pool: average precision, precision at R (R is the number of in-domain documents) and at budgets, from all
examples, and the average precision from either half of them; 95 % bootstrap intervals over the examples for the main arms. --cache
keeps the codes, so that a stopped run goes on, and the rankings by the first half of the examples, which `benchmarks.pretrain`
trains on. --quick uses the project's sample data and all-MiniLM-L6-v2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from nagindex.cli.tables import table

from benchmarks.quality.arms import Arm, SumArm, impact_arms, nag_arms, setting_arms, trial_arms
from benchmarks.quality.codes import IMPACTS, MAX_LENGTH, CodeCache, Encoded
from benchmarks.quality.impacts import REDUCTIONS
from benchmarks.quality.metrics import METRICS, bootstrap, figures, random_figures
from benchmarks.quality.peers import ClassifierArm, WordPeers, sentence_vectors, state_arms, vector_arms
from benchmarks.quality.rankings import keep_rankings
from benchmarks.quality.texts import POOL_OPTIONS, Case, limit, mapping_of, read_cases, read_texts
from benchmarks.report import emit, options
from nagindex.progress import step
from nagindex.search.metrics import interval, resamples

CLOSE = "mean, close labels"
HALVES = ("first half", "second half")
NEAREST_SENTENCES = "MiniLM, centered, 10 nearest"
ORDER = (
    "random",
    "absolute, plain, K = 20",
    "absolute, log-ratio, K = 20",
    "relative, plain, K = 20",
    "relative, log-ratio, K = 20",
)
"""Arms in the order that they are expected in, worst first."""
Results = dict[str, dict[str, dict[str, Any]]]
"""For each arm and target, and for the means, the figures of each metric: value, low, high."""


def main_arms(
    case: Case, target: str, codes: Encoded, words: WordPeers, sentences: dict[str, np.ndarray]
) -> Iterator[tuple[str, Arm]]:
    """Yield the rankings for a target whose figures are given with intervals: peers, and NAGs of all layers."""
    own = [sentences[part] for part in ("pool", target)]
    embeddings, nags = dict(vector_arms("MiniLM", *own)), dict(nag_arms(codes, target))
    yield from chain(words.arms(case), embeddings.items(), [("MiniLM, classifier", ClassifierArm(*own))])
    yield from chain(state_arms("backbone's", codes, target), nags.items())
    for name in ORDER[-2:]:
        yield f"{name} + {NEAREST_SENTENCES}", SumArm([nags[name], embeddings[NEAREST_SENTENCES]])


def evaluate(
    arms: Iterator[tuple[str, Arm]], relevant: np.ndarray, held_out: np.ndarray, times: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return each arm's figures and its ranking by the examples that are not held out.

    Args:
        arms: arms by name.
        relevant: bool [documents]; none for a target without labels, whose figures are left out.
        held_out: bool [examples].
        times: int64 [resamples, examples].

    Returns:
        Figures, float64 [3 + resamples, metrics] of all examples, either half and each resample; rankings, int32 [documents]. Models
        that are fitted have the first figures only, and no ranking.
    """
    found, rankings = {}, {}
    every, first = np.ones(len(held_out), np.int64), (~held_out).astype(np.int64)
    for name, arm in arms:
        scores = [arm.scores(part) for part in ([every] if arm.refits else [every, first, 1 - first])]
        if not arm.refits:
            rankings[name] = np.argsort(-scores[1], kind="stable").astype(np.int32)
        if relevant.any():
            again = bootstrap(arm.scores, relevant, times[:0] if arm.refits else times)
            halves = np.full((3 - len(scores), len(METRICS)), np.nan)
            found[name] = np.vstack([[figures(own, relevant) for own in scores], halves, again])
    return found, rankings


def summarize(found: dict[str, dict[str, np.ndarray]], loose: Collection[str] = ()) -> Results:
    """Return values and intervals of each arm by target, and of their means over the targets.

    Args:
        found: for each target each arm's figures, see `evaluate`.
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


def described(own: np.ndarray) -> dict[str, Any]:
    """Return value and interval of each metric, and the halves' values, of figures [3 + resamples, metrics]."""
    parts: dict[str, Any] = {}
    for column, metric in enumerate(METRICS):
        parts[metric] = {"value": float(own[0, column])}
        if column == 0 and not np.isnan(own[1, 0]):
            parts[metric] |= dict(zip(HALVES, map(float, own[1:3, 0]), strict=True))
        if len(own) > 4:
            ends = interval(float(own[0, column]), own[3:, column])
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
    rows = []
    for name, own in results.items():
        halves = [f"{own['mean'][metric][half]:.3f}" for half in HALVES if half in own["mean"][metric]]
        rows.append([name, *(cell(own[column][metric], column) for column in columns), " / ".join(halves)])
    return [metric, *columns, "mean, from either half"], rows


def cell(figure: dict[str, float], column: str) -> str:
    """Return a figure, and half its interval where the column is a mean."""
    half = f" ± {figure['high'] - figure['value']:.3f}" if "high" in figure and column in {"mean", CLOSE} else ""
    return f"{figure['value']:.3f}{half}"


def main() -> None:
    """Encode what is missing, rank by every arm and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **POOL_OPTIONS,
        cache={"type": Path, "help": "folder that keeps codes, embeddings and rankings"},
        calibrate={"type": int, "default": 512, "help": "documents of the calibration"},
        impacts={
            "choices": ["paper", "all"],
            "default": "paper",
            "help": "all: compare ways to measure impact, no peers",
        },
        tokens={"type": int, "default": MAX_LENGTH, "help": "tokens read of each text"},
        resamples={"type": int, "default": 100, "help": "bootstrap resamples of each target's examples"},
        plots={"type": Path, "help": "folder for plots (SVG)"},
    )
    mapping = mapping_of(arguments)
    if arguments.quick:
        arguments.resamples = 5
    documents = limit(read_texts(arguments.pool, arguments.label), arguments.documents)
    cases = read_cases(mapping, arguments.targets, arguments.examples)
    labels = np.array(documents.labels)
    found: dict[str, dict[str, np.ndarray]] = {}
    rankings: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.cache or Path(temporary)
        wanted = IMPACTS if arguments.impacts == "paper" else list(REDUCTIONS)
        cache = CodeCache(
            folder, arguments.model, impacts=wanted, max_length=arguments.tokens, calibrate=arguments.calibrate
        )
        cache.require(documents, cases)
        cache.encode(documents, cases)
        codes = cache.read(documents, cases)
        peers = arguments.impacts == "paper"
        words = WordPeers(documents) if peers else None
        sentences = sentence_vectors(documents, cases, folder) if peers else {}
        with step("evaluating", len(cases), "targets") as advance:
            for target, case in cases.items():
                relevant = np.isin(labels, sorted(case.labels))
                times = resamples(len(case.examples.ids), arguments.resamples)
                if words is None:
                    sets = [(impact_arms(codes, target), times[:0])]
                else:
                    further = chain(setting_arms(codes, target), trial_arms(codes, target))
                    sets = [(main_arms(case, target, codes, words, sentences), times), (further, times[:0])]
                random = np.tile(random_figures(relevant), (3 + len(times), 1)) if relevant.any() else None
                found |= {} if random is None else {target: {"random": random}}
                for arms, again in sets:
                    own, ranked = evaluate(arms, relevant, case.held_out, again)
                    found |= {target: found[target] | own} if own else {}
                    rankings |= {f"{target}|{name}": order for name, order in ranked.items()}
                advance(1)
        if peers:
            keep_rankings(folder, documents, cases, rankings)
    loose = {target for target, case in cases.items() if case.loose}
    results = summarize(found, loose)
    counts = {
        target: {
            "examples": len(cases[target].examples.ids),
            "in_domain": int(np.isin(labels, sorted(cases[target].labels)).sum()),
        }
        for target in found
    }
    settings = {name: getattr(arguments, name) for name in ("model", "calibrate", "resamples", "tokens")}
    about = settings | {"documents": len(labels), "targets": counts, "results": results}
    if peers:
        steps = differences(found, ORDER, loose)
        about["differences"] = steps
        print(table(*table_of(steps, METRICS[0])), end="\n\n")
    if arguments.plots:
        from benchmarks.quality.plots import plot_arms

        plot_arms(results, arguments.plots / f"quality-{arguments.model}.svg")
    print(table(*table_of(results, METRICS[1])), end="\n\n")
    emit(*table_of(results, METRICS[0]), about, arguments.json)


if __name__ == "__main__":
    main()
