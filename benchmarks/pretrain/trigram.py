"""Bits a token of held-out examples, by trigram models trained on the documents that each arm ranks best.

    python -m benchmarks.pretrain.trigram --folder FOLDER [--quick] [--json FILE]

Each arm's best documents at each budget, cut to exactly equal tokens, train an interpolated Kneser-Ney trigram model over a byte-level BPE
vocabulary of 4,096, trained on the pool. Intervals are 95 % bootstrap intervals over the held-out examples; they take the trained models,
and so the draws of random documents, as given. A trigram model counts what is said, not how well a larger model would learn from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nagindex.cli.tables import table

from benchmarks.pretrain.inputs import (
    RANDOM,
    WHOLE,
    Documents,
    Inputs,
    Vocabulary,
    encode_documents,
    random_ranking,
)
from benchmarks.pretrain.intervals import Interval, bootstrap_interval, resampled_ratios
from benchmarks.pretrain.kneser_ney import TrigramModel
from benchmarks.pretrain.settings import INPUT_OPTIONS, inputs_of, peer_of
from benchmarks.report import emit, options
from nagindex.progress import step

BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.5)
REPORTED = 0.1
VOCABULARY = 4096
Bits = dict[tuple[str, str, float], np.ndarray]
"""Bits of each held-out example by target, arm and budget, float64 [examples]; random: float64 [seeds, examples]."""


def example_bits(model: TrigramModel, examples: Documents) -> np.ndarray:
    """Return the bits of each example, float64 [examples]; its end is not counted."""
    bits = -np.log2(model.probabilities(examples.tokens))
    bits[examples.offsets[1:] - 1] = 0
    return np.add.reduceat(bits, examples.offsets[:-1])


def measure(inputs: Inputs, seeds: int, budgets: tuple[float, ...] = BUDGETS) -> tuple[Bits, dict[str, np.ndarray]]:
    """Return the bits of all held-out examples under all models, and the examples' tokens by target."""
    vocabulary = Vocabulary(inputs.texts, VOCABULARY)
    pool = encode_documents(vocabulary, inputs.texts)
    examples = {target: encode_documents(vocabulary, texts) for target, texts in inputs.held_out.items()}
    found: Bits = {}

    def trained(ranking: np.ndarray, budget: float) -> TrigramModel:
        return TrigramModel(pool.first(ranking, max(1, int(budget * len(pool.tokens)))).tokens, vocabulary.size)

    with step("training", len(budgets) * (seeds + sum(map(len, inputs.rankings.values()))) + 1, "models") as advance:
        whole = TrigramModel(pool.tokens, vocabulary.size)
        found |= {(target, WHOLE, 1.0): example_bits(whole, own) for target, own in examples.items()}
        advance(1)
        for budget in budgets:
            drawn: dict[str, list[np.ndarray]] = {target: [] for target in examples}
            for seed in range(seeds):
                model = trained(random_ranking(len(pool), seed), budget)
                for target, own in examples.items():
                    drawn[target].append(example_bits(model, own))
                advance(1)
            found |= {(target, RANDOM, budget): np.array(rows) for target, rows in drawn.items()}
            for target, arms in inputs.rankings.items():
                for arm, ranking in arms.items():
                    found[target, arm, budget] = example_bits(trained(ranking, budget), examples[target])
                    advance(1)
    return found, {target: own.lengths - 1 for target, own in examples.items()}


def ratios(bits: Bits, tokens: dict[str, np.ndarray], arm: str, budget: float, count: int) -> dict[str, np.ndarray]:
    """Return bits a token by target, then of bootstrap resamples, float64 [1 + count]; the mean over targets first.

    Random is the mean over its seeds.
    """
    budget = 1.0 if arm == WHOLE else budget
    own = {
        target: resampled_ratios(np.atleast_2d(bits[target, arm, budget]).mean(axis=0), units, count, seed=number)
        for number, (target, units) in enumerate(tokens.items())
    }
    return {"mean": np.mean(list(own.values()), axis=0)} | own


def spread(bits: Bits, tokens: dict[str, np.ndarray], budget: float) -> dict[str, float]:
    """Return the standard deviation of random's bits a token over its seeds, of the mean over targets and by target."""
    own = {target: bits[target, RANDOM, budget].sum(axis=1) / units.sum() for target, units in tokens.items()}
    own = {"mean": np.mean(list(own.values()), axis=0)} | own
    return {target: float(values.std(ddof=1)) if len(values) > 1 else float("nan") for target, values in own.items()}


def by_target(bits: Bits, tokens: dict[str, np.ndarray], arms: list[str], count: int) -> dict[str, dict[str, Interval]]:
    """Return bits a token of each arm by target at the reported budget, each with its bootstrap interval."""
    return {
        arm: {t: bootstrap_interval(r) for t, r in ratios(bits, tokens, arm, REPORTED, count).items()} for arm in arms
    }


def differences(
    bits: Bits, tokens: dict[str, np.ndarray], arms: list[str], base: str, budget: float, count: int
) -> dict[str, dict[str, Interval]]:
    """Return how many bits a token more each arm needs than a base arm, by the same resamples."""
    bases = ratios(bits, tokens, base, budget, count)
    return {
        arm: {t: bootstrap_interval(r - bases[t]) for t, r in ratios(bits, tokens, arm, budget, count).items()}
        for arm in arms
        if arm != base
    }


def by_budget(
    bits: Bits, tokens: dict[str, np.ndarray], arms: list[str], budgets: tuple[float, ...]
) -> list[list[str]]:
    """Return rows of the mean over targets of bits a token by budget; random's with its spread over seeds."""
    rows = []
    for arm in arms:
        values = [ratios(bits, tokens, arm, budget, 0)["mean"][0] for budget in budgets]
        cells = [f"{value:.3f}" for value in values]
        if arm == RANDOM:
            cells = [f"{c} (sd {spread(bits, tokens, b)['mean']:.3f})" for c, b in zip(cells, budgets, strict=True)]
        rows.append([arm, *cells])
    whole = ratios(bits, tokens, WHOLE, 1.0, 0)["mean"][0]
    return [*rows, [WHOLE, *["" for _ in budgets[1:]], f"{whole:.3f} at 100 %"]]


def described(figures: dict[str, dict[str, Interval]]) -> dict[str, dict[str, Any]]:
    """Return intervals by arm and target for JSON."""
    return {arm: {target: own.as_dict() for target, own in row.items()} for arm, row in figures.items()}


def main() -> None:
    """Train all models and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **INPUT_OPTIONS,
        seeds={"type": int, "default": 3, "help": "draws of random documents"},
        resamples={"type": int, "default": 1000, "help": "bootstrap resamples of the held-out examples"},
    )
    inputs = inputs_of(arguments)
    peer = peer_of(arguments, inputs)
    bits, tokens = measure(inputs, arguments.seeds)
    arms = [RANDOM, *inputs.arms]
    figures = by_target(bits, tokens, [*arms, WHOLE], arguments.resamples)
    results: dict[str, Any] = {
        "frames": arguments.frames,
        "figures": described(figures),
        "seeds": arguments.seeds,
        "peer": peer,
    }
    results["random_spread"] = {str(budget): spread(bits, tokens, budget) for budget in BUDGETS}
    headings = [f"bits a token at {REPORTED:.0%}", "mean", *tokens]
    for base in (RANDOM, peer):
        own = differences(bits, tokens, [*arms, WHOLE], base, REPORTED, arguments.resamples)
        results[f"over {base}"] = described(own)
        print(
            table([f"{headings[0]}, less {base}", *headings[1:]], [[a, *map(str, r.values())] for a, r in own.items()])
        )
        print()
    curves = by_budget(bits, tokens, arms, BUDGETS)
    results["by_budget"] = curves
    print(table(["mean bits a token, by budget", *(f"{budget:.0%}" for budget in BUDGETS)], curves), end="\n\n")
    rows = [[arm, *(f"{own.value:.3f}" for own in row.values())] for arm, row in figures.items()]
    emit(headings, rows, results, arguments.json)


if __name__ == "__main__":
    main()
