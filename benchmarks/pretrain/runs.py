"""Training runs: what each trains on and is evaluated with, kept in a folder so that a stopped benchmark goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.pretrain import training
from benchmarks.pretrain.inputs import (
    END,
    WHOLE,
    Documents,
    Inputs,
    Vocabulary,
    encode_documents,
    general_mix,
    random_ranking,
)
from benchmarks.pretrain.model import Compute, Size, build, token_bits
from benchmarks.pretrain.questions import Question, accuracy, fitted, margins, questions_of
from nagindex.progress import step


@dataclass(frozen=True)
class Run:
    """One model: the arm that chose its documents, for which target, and its seed.

    Attributes:
        target: None for random and the whole pool, which are trained once for all targets.
        arm: name of the arm.
        seed: draws random documents, initial parameters and the order of documents.
        multiple: how many times the tokens, and random documents, of the other runs.
    """

    target: str | None
    arm: str
    seed: int
    multiple: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """Figures of a trained model.

    Attributes:
        bits: bits a byte of held-out texts by target.
        general: bits a byte of the general mix.
        margins: mean margin in bits a byte of the right answers by target, of the targets that are questions.
        accuracies: share of right answers by target.
        tokens: trained on, repeated ones included.
        seconds: of training.
    """

    bits: dict[str, float]
    general: float
    margins: dict[str, float]
    accuracies: dict[str, float]
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What all runs share.

    Attributes:
        size: shape of the model.
        compute: device and type.
        tokens: of each run, repeated ones included.
        budget: share of the pool's tokens that an arm chooses.
    """

    size: Size
    compute: Compute
    tokens: int
    budget: float


@dataclass(frozen=True)
class Experiment:
    """A plan with everything in tokens.

    Attributes:
        plan: what all runs share.
        pool: all documents.
        general: numbers of the documents that no arm may choose.
        rankings: for each target and arm documents' numbers, best first.
        held_out: for each target its texts, each after an end-of-text token and cut to the context.
        mix: the general mix's texts likewise.
        questions: for each target that is questions.
        token_bytes: UTF-8 bytes of each token.
    """

    plan: Plan
    pool: Documents
    general: np.ndarray
    rankings: dict[str, dict[str, np.ndarray]]
    held_out: dict[str, list[np.ndarray]]
    mix: list[np.ndarray]
    questions: dict[str, list[Question]]
    token_bytes: np.ndarray

    def chosen(self, run: Run) -> Documents:
        """Return the documents that a run trains on: exactly equal tokens in each arm, none of the general mix."""
        allowed = np.ones(len(self.pool), bool)
        allowed[self.general] = False
        total = int(self.pool.lengths[allowed].sum())
        if run.arm == WHOLE:
            return self.pool.take(np.flatnonzero(allowed))
        ranking = random_ranking(len(self.pool), run.seed) if run.target is None else self.rankings[run.target][run.arm]
        return self.pool.first(
            ranking[allowed[ranking]], max(1, int(min(1.0, self.plan.budget * run.multiple) * total))
        )


def prepare(inputs: Inputs, plan: Plan) -> Experiment:
    """Return an experiment: the vocabulary trained on all documents, everything encoded, the general mix drawn."""
    vocabulary = Vocabulary(inputs.texts, plan.size.vocabulary)
    pool, general = encode_documents(vocabulary, inputs.texts), general_mix(len(inputs.texts))
    mixed = [pool.tokens[pool.offsets[number] : pool.offsets[number + 1] - 1] for number in general]
    questions = {target: questions_of(texts, vocabulary) for target, texts in inputs.held_out.items()}
    return Experiment(
        plan,
        pool,
        general,
        inputs.rankings,
        {target: cut(vocabulary.encode(texts), plan.size.context) for target, texts in inputs.held_out.items()},
        cut(mixed, plan.size.context),
        {target: own for target, own in questions.items() if own},
        vocabulary.token_bytes,
    )


def cut(texts: Sequence[np.ndarray], context: int) -> list[np.ndarray]:
    """Return the first tokens of each text that is not empty after an end-of-text token, uint16 [at most context + 1]."""
    return [np.concatenate([[END], text[:context]]).astype(np.uint16) for text in texts if len(text)]


def perform(experiment: Experiment, run: Run) -> Outcome:
    """Train a run's model and return its figures."""
    plan, started = experiment.plan, time.perf_counter()
    model = build(plan.size, run.seed)
    tokens = int(plan.tokens * run.multiple)
    losses = training.train(model, experiment.chosen(run), tokens, plan.size, run.seed, plan.compute)
    seconds = time.perf_counter() - started

    score = partial(token_bits, model, compute=plan.compute, batch=4 * plan.size.batch)
    targets = list(experiment.held_out) if run.target is None else [run.target]
    answers = {
        target: answer_bits(experiment.questions[target], score, experiment.token_bytes, plan.size.context)
        for target in targets
        if target in experiment.questions
    }
    return Outcome(
        {target: bits_per_byte(experiment.held_out[target], score, experiment.token_bytes) for target in targets},
        bits_per_byte(experiment.mix, score, experiment.token_bytes),
        {target: float(margins(bits).mean()) for target, bits in answers.items()},
        {target: accuracy(bits) for target, bits in answers.items()},
        len(losses) * plan.size.batch * plan.size.context,
        seconds,
    )


Score = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Returns the bits of each text's tokens after its first."""


def bits_per_byte(texts: Sequence[np.ndarray], score: Score, token_bytes: np.ndarray) -> float:
    """Return the bits of all texts' tokens over their UTF-8 bytes; the first token of each is only context."""
    total = sum(float(bits.sum()) for bits in score(texts))
    return total / int(sum(token_bytes[text[1:]].sum() for text in texts))


def answer_bits(questions: Sequence[Question], score: Score, token_bytes: np.ndarray, context: int) -> np.ndarray:
    """Return the bits a byte of each answer after its question, float64 [questions, answers]."""
    texts = [own for question in questions for own in fitted(question, context)]
    bits = score([text for text, _ in texts])
    found = [
        own[-answer:].sum() / token_bytes[text[-answer:]].sum() for own, (text, answer) in zip(bits, texts, strict=True)
    ]
    return np.reshape(found, (len(questions), -1))


def digest(experiment: Experiment, run: Run) -> str:
    """Return a name for a run's outcome, which changes with all that the outcome depends on."""
    recipe = (training.WARM_UP, training.FLOOR, training.BETAS, training.WEIGHT_DECAY, training.CLIP)
    about = [dataclasses.asdict(run), dataclasses.asdict(experiment.plan), recipe]
    found = hashlib.sha256(json.dumps(about).encode())
    targets = list(experiment.held_out) if run.target is None else [run.target]
    questions = [own for target in targets for own in experiment.questions.get(target, ())]
    for texts in (
        [experiment.chosen(run).tokens, experiment.token_bytes],
        [text for target in targets for text in experiment.held_out[target]],
        experiment.mix,
        [part for question in questions for part in (question.prompt, *question.answers)],
    ):
        for text in texts:
            found.update(len(text).to_bytes(8, "little") + text.tobytes())
    return found.hexdigest()[:24]


def outcome_of(experiment: Experiment, run: Run, folder: Path | None) -> Outcome:
    """Return a run's outcome: that of the folder if it is there, else of a new run, which is then kept."""
    if folder is None:
        return perform(experiment, run)
    path = folder / f"{digest(experiment, run)}.json"
    if path.exists():
        return Outcome(**json.loads(path.read_text())["outcome"])
    outcome = perform(experiment, run)
    content = {"run": dataclasses.asdict(run), "outcome": dataclasses.asdict(outcome)}
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)
    return outcome


_experiment: Experiment
_folder: Path | None


def _start(experiment: Experiment, folder: Path | None) -> None:
    """Give a worker process its experiment, and one thread."""
    global _experiment, _folder
    _experiment, _folder = experiment, folder
    torch.set_num_threads(1)


def _work(run: Run) -> Outcome:
    """Return a run's outcome in a worker process."""
    return outcome_of(_experiment, run, _folder)


def outcomes(experiment: Experiment, runs: Sequence[Run], folder: Path | None, workers: int) -> dict[Run, Outcome]:
    """Return the outcome of each run, from the folder where it is known.

    Args:
        experiment: what the runs share.
        runs: all different.
        folder: keeps outcomes; None keeps none.
        workers: processes of one thread each; 1 trains in this process.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    found = {}
    if experiment.plan.compute.device == "cpu":
        torch.set_num_threads(1)  # of so small products a second thread takes more than it gives
    with step("training", len(runs), "runs") as advance:
        if workers == 1:
            for run in runs:
                found[run] = outcome_of(experiment, run, folder)
                advance(1)
            return found
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _start, (experiment, folder)) as pool:
            futures = {pool.submit(_work, run): run for run in runs}
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                advance(1)
    return {run: found[run] for run in runs}
