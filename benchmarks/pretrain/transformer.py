"""Bits a byte of held-out texts, by small Llama models trained on the documents that each arm ranks best.

    python -m benchmarks.pretrain.transformer --folder FOLDER [--tokens 1.5M] [--workers 2] [--quick] [--json FILE]
    python -m benchmarks.pretrain.transformer --folder FOLDER --size 30m --device cuda --tokens 600M

Each arm's best documents, cut to exactly equal tokens (--budget of the pool's), are repeated in shuffled epochs for --tokens. Each
held-out text is scored in its own context, cut to it, in bits over UTF-8 bytes. The general mix is 5 % of the pool's documents, which no
arm may choose: what a model gives up by specializing. Seeds vary parameters, order and random documents; differences are of models of the
same seed. Two learning rates were tried, on random documents only, before arms were compared; see training.py.

"Tokens that random needs": random is trained anew for 1, 2 and 4 times the tokens (--random-tokens 4), each with its own whole schedule
and as many times the documents, so that it repeats them no more often; its loss between these is interpolated in the logarithm of tokens.
One long run read off halfway would look worse, as its learning rate has not come down yet. What lies beyond is reported as such, never
extrapolated.

Finished runs are kept in --runs, and a stopped benchmark goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nagindex.cli.tables import table

from benchmarks.pretrain.comparison import GENERAL, Values, differences, means, run_of, runs_of, values_of
from benchmarks.pretrain.inputs import RANDOM, WHOLE
from benchmarks.pretrain.runs import Outcome, Run, outcomes
from benchmarks.pretrain.settings import INPUT_OPTIONS, TRAINING_OPTIONS, experiment_of, inputs_of, peer_of
from benchmarks.report import emit, options


def with_general(values: Values, general: Values) -> Values:
    """Return values with the general mix's mean over targets as a last column."""
    return {arm: own | {GENERAL: np.mean(list(general[arm].values()), axis=0)} for arm, own in values.items()}


def multiples_up_to(most: int) -> list[int]:
    """Return the multiples of the tokens that random is trained for beside 1: 2, 4, ... up to the most."""
    found = []
    while 2 ** (len(found) + 1) <= most:
        found.append(2 ** (len(found) + 1))
    return found


def needed(bits: float, multiples: Sequence[float], curve: Sequence[float]) -> tuple[float, str]:
    """Return the multiple of tokens at which a curve reaches some bits, and the text that states it.

    Args:
        bits: of an arm.
        multiples: ascending, from 1.
        curve: random's bits at each; the first place where they are low enough counts.

    Returns:
        (2.5, "2.5x"); (1, "< 1x") where fewer tokens than the first suffice; (inf, "> 4x") where the last are not enough.
    """
    if curve[0] <= bits:
        return 1.0, "1.0x" if curve[0] == bits else "< 1x"
    for place in range(1, len(curve)):
        if curve[place] <= bits:
            share = (curve[place - 1] - bits) / (curve[place - 1] - curve[place])
            low, high = np.log(multiples[place - 1]), np.log(multiples[place])
            multiple = float(np.exp(low + share * (high - low)))
            return multiple, f"{multiple:.1f}x"
    return float("inf"), f"> {multiples[-1]:g}x"


def needed_rows(values: Values, found: dict[Run, Outcome], multiples: Sequence[int], seeds: int) -> list[list[str]]:
    """Return for each arm and target the tokens that random needs for the arm's mean bits a byte."""
    targets = list(values[RANDOM])
    curves = {}
    for target in targets:
        longer = [[found[Run(None, RANDOM, seed, m)].bits[target] for seed in range(seeds)] for m in multiples]
        curves[target] = [float(values[RANDOM][target].mean()), *(float(np.mean(row)) for row in longer)]
    return [
        [arm, *(needed(float(own[target].mean()), [1, *multiples], curves[target])[1] for target in targets)]
        for arm, own in values.items()
        if arm != RANDOM
    ]


def main() -> None:
    """Train what is missing, and report."""
    arguments = options(
        (__doc__ or "").splitlines()[0],
        **INPUT_OPTIONS,
        **TRAINING_OPTIONS,
        **{"random-tokens": {"type": int, "default": 4, "help": "longest run of random in multiples; 1 leaves it out"}},
    )
    inputs = inputs_of(arguments)
    peer, targets, arms = peer_of(arguments, inputs), list(inputs.rankings), [RANDOM, *inputs.arms, WHOLE]
    experiment = experiment_of(arguments, inputs)
    seeds, multiples = arguments.seeds, multiples_up_to(arguments.random_tokens)
    longer = [Run(None, RANDOM, seed, multiple) for seed in range(seeds) for multiple in multiples]
    found = outcomes(experiment, runs_of(targets, arms, seeds) + longer, arguments.runs, arguments.workers)

    bits = values_of(found, targets, arms, seeds, lambda own, target: own.bits[target])
    general = values_of(found, targets, arms, seeds, lambda own, _: own.general)
    figures = with_general(bits, general)
    results: dict[str, Any] = {
        "frames": arguments.frames,
        "size": arguments.size,
        "tokens": arguments.tokens,
        "budget": arguments.budget,
        "dtype": experiment.plan.compute.dtype,
        "seeds": seeds,
        "peer": peer,
        "by_seed": {arm: {target: row.tolist() for target, row in own.items()} for arm, own in figures.items()},
    }
    for base in (RANDOM, peer):
        own, mix = differences(bits, base), differences(with_general(bits, general), base)
        rows = {arm: row | {GENERAL: mix[arm][GENERAL]} for arm, row in own.items()}
        results[f"over {base}"] = {arm: {t: i.as_dict() for t, i in row.items()} for arm, row in rows.items()}
        headings = [f"bits a byte, less {base}", "mean", *targets, GENERAL]
        print(table(headings, [[arm, *map(str, row.values())] for arm, row in rows.items()]), end="\n\n")
    if multiples:
        results["random_needs"] = needed_rows(bits, found, multiples, seeds)
        print(table(["tokens that random needs", *targets], results["random_needs"]), end="\n\n")
    seconds = [own.seconds for run, own in found.items() if run.multiple == 1]
    results["seconds_per_run"] = float(np.median(seconds))
    print(f"{np.median(seconds):.0f} s a run of {found[run_of(targets[0], RANDOM, 0)].tokens:,} tokens\n")
    rows = [
        [arm, *(f"{value:.3f}" for value in row.values()), f"{figures[arm][GENERAL].mean():.3f}"]
        for arm, row in means(bits).items()
    ]
    emit(["bits a byte", "mean", *targets, GENERAL], rows, results, arguments.json)


if __name__ == "__main__":
    main()
