"""Margins of right answers over wrong ones, by the models that transformer.py trains.

    python -m benchmarks.pretrain.choices --folder FOLDER [--tokens 1.5M] [--workers 2] [--quick] [--json FILE]

For held-out examples "Question: ... Answer: ...": how many bits a byte fewer the right answer takes after its question than three wrong
ones on average. The examples carry no wrong options of their own: wrong answers are those of other held-out examples of the target, drawn
by a seed, none equal to the right one. They are easier to rule out than a benchmark's own options; a model of a million parameters shows
here that it knows the words of a subject, hardly that it can answer. The last column has accuracies; chance is 0.25.

The models are trained and asked in the same runs as those of transformer.py: with the same options, either uses what the other kept in
--runs.
"""

from __future__ import annotations

from typing import Any

from nagindex.cli.tables import table

from benchmarks.pretrain.comparison import differences, means, runs_of, values_of
from benchmarks.pretrain.inputs import RANDOM, WHOLE
from benchmarks.pretrain.runs import outcomes
from benchmarks.pretrain.settings import INPUT_OPTIONS, TRAINING_OPTIONS, experiment_of, inputs_of, peer_of
from benchmarks.report import emit, options


def main() -> None:
    """Train what is missing, and report.

    Raises:
        ValueError: no target is questions.
    """
    arguments = options((__doc__ or "").splitlines()[0], **INPUT_OPTIONS, **TRAINING_OPTIONS)
    inputs = inputs_of(arguments)
    peer, arms = peer_of(arguments, inputs), [RANDOM, *inputs.arms, WHOLE]
    experiment, seeds = experiment_of(arguments, inputs), arguments.seeds
    targets = list(experiment.questions)
    if not targets:
        raise ValueError('no target has four different answers in texts "Question: ... Answer: ..."')
    found = outcomes(experiment, runs_of(targets, arms, seeds), arguments.runs, arguments.workers)

    margins = values_of(found, targets, arms, seeds, lambda own, target: own.margins[target])
    accuracies = means(values_of(found, targets, arms, seeds, lambda own, target: own.accuracies[target]))
    results: dict[str, Any] = {
        "questions": {target: len(own) for target, own in experiment.questions.items()},
        "by_seed": {arm: {target: row.tolist() for target, row in own.items()} for arm, own in margins.items()},
        "accuracies": accuracies,
        "peer": peer,
    }
    for base in (RANDOM, peer):
        rows = differences(margins, base)
        results[f"over {base}"] = {arm: {t: i.as_dict() for t, i in row.items()} for arm, row in rows.items()}
        headings = [f"margin in bits a byte, less {base}", "mean", *targets]
        print(table(headings, [[arm, *map(str, row.values())] for arm, row in rows.items()]), end="\n\n")
    rows = [
        [arm, *(f"{value:+.3f}" for value in row.values()), f"{accuracies[arm]['mean']:.2f}"]
        for arm, row in means(margins).items()
    ]
    emit(["margin in bits a byte", "mean", *targets, "(accuracy)"], rows, results, arguments.json)


if __name__ == "__main__":
    main()
