"""Scores of a language model in tasks of lm-evaluation-harness while chosen neurons are switched off, beside random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nagindex.analysis.arms import RANDOM, Arm, chosen_in, measure
from nagindex.analysis.choice import NeuronChoice
from nagindex.arguments import checked
from nagindex.backbone.devices import require_devices
from nagindex.errors import BadInputError
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.targets.lm_eval import Harness

Scores = dict[str, dict[str, float]]
"""Values of metrics by task."""


@dataclass(frozen=True)
class TaskScores:
    """Scores in tasks: of the untouched model, and with each of some choices of neurons switched off.

    Attributes:
        backbone: the model's name.
        total: neurons of the model, of the choices' type.
        arms: the untouched model first.
    """

    backbone: str
    total: int
    arms: Sequence[Arm[Scores]]

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON values: those of each choice, and means and standard deviations of the random draws."""
        return {"backbone": self.backbone, "rows": [self._row(arm) for arm in self.arms]}

    def _row(self, arm: Arm[Scores]) -> dict[str, Any]:
        shared = {"name": arm.name, "neurons": arm.neurons, "share": arm.neurons / self.total, "scores": arm.value}
        return shared | {"random": _of_draws(arm) if arm.draws else None}


def _of_draws(arm: Arm[Scores]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the mean and the standard deviation over the random draws of each metric of each task."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for task, own in arm.value.items():
        drawn = {metric: [draw[task][metric] for draw in arm.draws] for metric in own}
        found[task] = {
            metric: {"mean": float(np.mean(values)), "deviation": float(np.std(values, ddof=1)) if values[1:] else None}
            for metric, values in drawn.items()
        }
    return found


@checked
@reports_progress
def evaluate_deactivation_tasks(
    keys: Mapping[str, NeuronChoice] | Sequence[str | Path],
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    include_path: str | Path | None = None,
    random: int = RANDOM,
    seed: int = 0,
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    progress: ProgressCallback | None = None,
) -> TaskScores:
    """Return the scores in tasks with chosen neurons switched off, and with as many random ones in each of the same layers.

    Args:
        keys: as in `evaluate_deactivation`, like all that is not described here.
        tasks: tasks, groups or tags of lm-evaluation-harness.
        limit: number of questions of each task, its first ones; by default all.
        include_path: a folder of further task definitions, whose code is run.
        random: see there.
        seed: see there.
        model: see there.
        device: see there.
        dtype: see there.
        trust_remote_code: see there.
        progress: called with a `Progress` as each step begins, advances and ends.

    Raises:
        MissingDependencyError: lm_eval is not installed.
        InputNotFoundError, BadInputError, UnsupportedBackboneError: as `evaluate_deactivation`; or there is no such task.
    """
    from nagindex.backbone.language_model import load_language_model

    if not tasks:
        raise BadInputError("no task; name at least one")
    chosen = chosen_in(keys, model, random)
    require_devices([device])
    harness = Harness(include_path)
    harness.require(*tasks)
    loaded = load_language_model(chosen.model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)

    def scores() -> Scores:
        return harness.evaluate(loaded.model, loaded.tokenizer, *tasks, limit=limit)

    arms, total = measure(loaded.model, chosen, scores, random=random, seed=seed)
    return TaskScores(chosen.model, total, arms)
