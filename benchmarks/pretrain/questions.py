"""Questions with one right answer and three wrong ones, made of a target's held-out examples.

The examples carry no wrong options of their own: wrong answers are the right ones of other held-out examples of the same target. They are
easier to rule out than a benchmark's own options, so accuracies do not compare with published ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from benchmarks.pretrain.inputs import END, Vocabulary

WRONG = 3
PATTERN = re.compile(r"(Question: .+?\sAnswer:) (.+)", re.DOTALL)


@dataclass(frozen=True)
class Question:
    """A question in tokens, with its answers, the right one first.

    Attributes:
        prompt: uint16 [tokens], after an end-of-text token.
        answers: uint16 [tokens] each.
    """

    prompt: np.ndarray
    answers: list[np.ndarray]


def questions_of(texts: list[str], vocabulary: Vocabulary, seed: int = 0) -> list[Question]:
    """Return the questions among some texts; none if they have fewer than four different answers.

    Args:
        texts: "Question: ..." and "Answer: ..." in two lines, or others, which are left out.
        vocabulary: encodes them.
        seed: draws the wrong answers.
    """
    pairs = [match.groups() for match in map(PATTERN.fullmatch, texts) if match]
    different = sorted({answer for _, answer in pairs})
    if len(different) <= WRONG:
        return []
    random = np.random.default_rng([3, seed])
    found = []
    for prompt, right in pairs:
        others = [answer for answer in different if answer != right]
        wrong = [others[place] for place in random.choice(len(others), WRONG, replace=False)]
        encoded = vocabulary.encode([prompt, *(f" {answer}" for answer in (right, *wrong))])
        found.append(Question(np.concatenate([[END], encoded[0]]).astype(np.uint16), encoded[1:]))
    return found


def fitted(question: Question, context: int) -> list[tuple[np.ndarray, int]]:
    """Return prompt and answer in one array for each answer, and the answer's tokens.

    At most context + 1 tokens: a long answer is cut at its end, then a long prompt at its start.
    """
    texts = []
    for answer in question.answers:
        kept = answer[:context]
        prompt = question.prompt[-(context + 1 - len(kept)) :]
        texts.append((np.concatenate([prompt, kept]), len(kept)))
    return texts


def margins(bits_per_byte: np.ndarray) -> np.ndarray:
    """Return how many bits a byte fewer the right answer takes than the mean wrong one, float64 [questions].

    Args:
        bits_per_byte: float64 [questions, answers], the right answer first.
    """
    return bits_per_byte[:, 1:].mean(axis=1) - bits_per_byte[:, 0]


def accuracy(bits_per_byte: np.ndarray) -> float:
    """Return the share of questions whose right answer takes the fewest bits a byte."""
    return float((bits_per_byte.argmin(axis=1) == 0).mean())
